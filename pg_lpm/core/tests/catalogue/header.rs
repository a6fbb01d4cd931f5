//! J3 to J6: what a header may say.

use crate::support::claims::github;
use crate::support::token::*;
use lpm_core::json::JsonError;
use lpm_core::token::TokenError;
use serde_json::json;

/// Why a correctly signed token with this header is refused.
fn refused(header: impl AsRef<[u8]>) -> Option<TokenError> {
    refusal(&token().header(header).signed())
}

fn with_key_id(key_id: &str) -> String {
    json!({"alg": "RS256", "kid": key_id}).to_string()
}

#[test]
fn j03_a_key_id_is_only_looked_up_among_the_issuers_keys() {
    for (case, key_id) in [
        ("path traversal", "../../dev/null"),
        ("an absolute path", "/dev/null"),
        ("SQL", "' OR 1=1--"),
        ("LIKE", "key-_"),
        ("a wildcard", "*"),
        ("an address", "https://evil.example/jwks"),
        ("a command", "$(id)"),
        ("a space behind", "key-1 "),
        ("upper case", "KEY-1"),
        ("look-alike: Cyrillic е", "k\u{435}y-1"),
        ("look-alike: Kelvin sign", "\u{212A}ey-1"),
        ("look-alike: full width", "ｋey-1"),
        ("look-alike: a zero-width space", "key-1\u{200B}"),
        ("look-alike: a combining mark", "key-1\u{301}"),
        ("one of another issuer", "other-issuers-key"),
        ("the thumbprint in x5t", "dGh1bWJwcmludA"),
        ("256 bytes", &"k".repeat(256)),
    ] {
        assert_eq!(refused(with_key_id(key_id)), Some(TokenError::UnknownKey), "J3: {case}");
    }
    let nul = |at: &str| Some(TokenError::HeaderJson(JsonError::Nul { path: at.to_owned() }));
    for (case, header, expected) in [
        ("NUL", with_key_id("key-1\0"), nul("${1}")),
        ("NUL first", with_key_id("\0key-1"), nul("${1}")),
        ("257 bytes", with_key_id(&"k".repeat(257)), Some(TokenError::KeyId)),
        ("3 KB", with_key_id(&"k".repeat(3000)), Some(TokenError::HeaderTooLarge)),
        ("1 MB", with_key_id(&"k".repeat(1 << 20)), Some(TokenError::TooLarge)),
        ("a number", r#"{"alg":"RS256","kid":1}"#.to_owned(), Some(TokenError::HeaderType)),
    ] {
        assert_eq!(refused(header), expected, "J3: {case}");
    }
    let raw_nul = b"{\"alg\":\"RS256\",\"kid\":\"key-1\0\"}";
    let error = refused(raw_nul);
    assert!(matches!(error, Some(TokenError::HeaderJson(JsonError::Syntax(_)))), "J3: raw NUL: {error:?}");
}

#[test]
fn j03_another_issuers_key_verifies_nothing() {
    // Two issuers with a key each; the attacker owns the second.
    let other = SigningKey { id: "other-issuers-key", key: STRANGER.key.clone() };
    let theirs = key_set(&[other.jwk()]).unwrap();
    let header = with_key_id(other.id);
    for (case, token, expected) in [
        ("its id, our issuer", token().header(header).signed_by(&other), TokenError::UnknownKey),
        ("our id, its key", token().signed_by(&other), TokenError::Signature),
    ] {
        assert_eq!(refusal(&token), Some(expected), "J3: {case}");
    }
    let by_other = token_of(&github().with("iss", "https://ghes.evil.example/_services/token"));
    let error = verify(&by_other.signed_by(&other), &github_rules(), &theirs, NOW).err();
    let issuer = "https://ghes.evil.example/_services/token".to_owned();
    assert_eq!(error, Some(TokenError::UntrustedIssuer { issuer }), "J3: its keys, our rules");
}

#[test]
fn j04_a_token_without_a_key_id_is_refused_even_where_there_is_one_key() {
    assert_eq!(keys().len(), 1);
    for (case, header, expected) in [
        ("missing", r#"{"alg":"RS256"}"#, TokenError::KeyId),
        ("empty", r#"{"alg":"RS256","kid":""}"#, TokenError::KeyId),
        ("missing, with x5t", r#"{"alg":"RS256","x5t":"key-1"}"#, TokenError::KeyId),
        ("null", r#"{"alg":"RS256","kid":null}"#, TokenError::HeaderType),
        (
            "a list",
            r#"{"alg":"RS256","kid":["key-1"]}"#,
            TokenError::HeaderJson(JsonError::TooDeep { max: 1 }),
        ),
    ] {
        assert_eq!(refused(header), Some(expected), "J4: {case}");
    }
}

#[test]
fn j05_a_key_or_its_address_in_the_header_is_refused() {
    let nested = || TokenError::HeaderJson(JsonError::TooDeep { max: 1 });
    let jwk = STRANGER.jwk();
    for (case, parameter, expected) in [
        ("jku", r#""jku":"https://evil.example/jwks""#.to_owned(), TokenError::HeaderParameter),
        ("jku of ourselves", r#""jku":"https://lpm.dev/jwks""#.to_owned(), TokenError::HeaderParameter),
        ("jku empty", r#""jku":"""#.to_owned(), TokenError::HeaderParameter),
        ("x5u", r#""x5u":"https://evil.example/cert""#.to_owned(), TokenError::HeaderParameter),
        ("x5c", r#""x5c":["MIIB"]"#.to_owned(), nested()),
        ("x5c as a string", r#""x5c":"MIIB""#.to_owned(), TokenError::HeaderParameter),
        ("jwk", r#""jwk":{"kty":"oct","k":"AA"}"#.to_owned(), nested()),
        ("jwk of RSA", format!(r#""jwk":{jwk}"#), nested()),
        ("jwk as a string", format!(r#""jwk":{}"#, json!(jwk.to_string())), TokenError::HeaderParameter),
        ("jwk null", r#""jwk":null"#.to_owned(), TokenError::HeaderType),
        ("x5t#S256", r#""x5t#S256":"x""#.to_owned(), TokenError::HeaderParameter),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"key-1",{parameter}}}"#);
        assert_eq!(refused(&header), Some(expected.clone()), "J5: {case}, signed by the issuer");
        let by_stranger = token().header(&header).signed_by(&STRANGER);
        assert_eq!(refusal(&by_stranger), Some(expected), "J5: {case}, signed by the key it brings");
    }
    let thumbprint = r#"{"alg":"RS256","kid":"key-1","x5t":"of another key"}"#;
    assert_eq!(refused(thumbprint), None, "J5: `x5t` alone is tolerated and chooses nothing");
}

#[test]
fn j06_a_parameter_that_changes_what_is_verified_is_refused() {
    let nested = || TokenError::HeaderJson(JsonError::TooDeep { max: 1 });
    for (case, parameter, expected) in [
        ("crit", r#""crit":["exp"]"#, nested()),
        ("crit empty", r#""crit":[]"#, nested()),
        ("crit as a string", r#""crit":"b64""#, TokenError::HeaderParameter),
        ("b64 false", r#""b64":false"#, TokenError::HeaderType),
        ("b64 as a string", r#""b64":"false""#, TokenError::HeaderParameter),
        ("zip", r#""zip":"DEF""#, TokenError::HeaderParameter),
        ("cty JWT", r#""cty":"JWT""#, TokenError::HeaderParameter),
        ("enc of a JWE", r#""enc":"A256GCM""#, TokenError::HeaderParameter),
        ("epk of a JWE", r#""epk":"x""#, TokenError::HeaderParameter),
        ("typ of an access token", r#""typ":"at+jwt""#, TokenError::NotAJwt),
        ("typ of a JWE", r#""typ":"JWE""#, TokenError::NotAJwt),
        ("typ empty", r#""typ":"""#, TokenError::NotAJwt),
        ("an unknown one", r#""nonce":"x""#, TokenError::HeaderParameter),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"key-1",{parameter}}}"#);
        assert_eq!(refused(header), Some(expected), "J6: {case}");
    }
    for algorithm in ["RSA-OAEP", "RSA-OAEP-256", "RSA1_5", "dir", "A256KW", "ECDH-ES"] {
        let header = json!({"alg": algorithm, "kid": "key-1"}).to_string();
        let expected = TokenError::Algorithm { algorithm: algorithm.to_owned() };
        assert_eq!(refused(header), Some(expected), "J6: `{algorithm}` of a JWE in three parts");
    }
    // Four names are known; a raw LF between them, or `typ` in lower case, is still a JWT's header.
    let plain = "{\"typ\":\"jwt\",\n\"alg\":\"RS256\",\"kid\":\"key-1\",\"x5t\":\"\"}";
    assert_eq!(refused(plain), None, "J6: nothing but what is known");
}
