//! Headers.

use super::*;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// The error of a correctly signed token with this header.
fn error(header: &str) -> TokenError {
    let token = token().header(header).signed();
    verify(&token, &github_rules(), &keys(), NOW).err().unwrap_or_else(|| panic!("{header}: accepted"))
}

#[test]
fn a_header_needs_algorithm_and_key_id_only() {
    for header in [
        r#"{"alg":"RS256","kid":"key-1"}"#,
        r#" { "kid" : "key-1", "typ" : "jwt", "alg" : "RS256" } "#,
        r#"{"alg":"RS256","kid":"\u006bey-1","x5t":""}"#,
    ] {
        verify(&token().header(header).signed(), &github_rules(), &keys(), NOW).expect(header);
    }
}

#[test]
fn an_algorithm_that_the_issuer_is_not_trusted_with_is_refused() {
    let names = [
        "none", "None", "nOnE", "NONE", "", "HS256", "HS384", "HS512", "eddsa", "RS1", "ES256K", "rs256",
        "RS256 ", "RSA-OAEP", "dir", "RS384", "RS512", "PS256", "ES256", "EdDSA",
    ];
    for name in names {
        let error = error(&json!({"alg": name, "kid": "key-1"}).to_string());
        assert_eq!(error, TokenError::Algorithm { algorithm: name.to_owned() }, "J1, J2 {name}");
        assert_eq!(error.failure().code, Code::TokenAlgorithm);
    }
}

#[test]
fn j1_an_unsigned_token_is_refused_however_it_ends() {
    for name in ["none", "None", "nOnE"] {
        let token = token().header(json!({"alg": name, "kid": "key-1"}).to_string());
        assert_eq!(refusal(name, &format!("{}.", token.unsigned())), Code::TokenMalformed);
        assert_eq!(refusal(name, &token.unsigned()), Code::TokenMalformed);
        assert_eq!(refusal(name, &token.signature("x")), Code::TokenAlgorithm);
    }
}

#[test]
fn j2_the_public_key_is_never_a_shared_secret() {
    let jwk = KEY.jwk();
    let secrets = [
        ("PEM", KEY.key.public_key_to_pem().expect("PEM")),
        ("DER", KEY.key.public_key_to_der().expect("DER")),
        ("PKCS #1 DER", KEY.key.rsa().expect("RSA").public_key_to_der_pkcs1().expect("DER")),
        ("n", jwk["n"].as_str().expect("base64").as_bytes().to_vec()),
        ("JWK", jwk.to_string().into_bytes()),
    ];
    for (name, secret) in secrets {
        let token = token().header(r#"{"alg":"HS256","kid":"key-1"}"#);
        let key = PKey::hmac(&secret).expect("an HMAC key");
        let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a signer");
        let mac = signer.sign_oneshot_to_vec(token.unsigned().as_bytes()).expect("a MAC");
        assert_eq!(refusal(name, &token.signature(mac)), Code::TokenAlgorithm, "{name}");
    }
}

#[test]
fn j2_rules_cannot_allow_what_is_no_signature() {
    for name in ["HS256", "none", "Ed25519", "rs256", ""] {
        let rules = json!({
            "issuer": "x", "provider": "github", "audiences": [], "algorithms": ["RS256", name],
            "maxLifetime": 1, "maxAge": 1
        });
        serde_json::from_value::<IssuerRules>(rules).expect_err(name);
    }
}

#[test]
fn other_algorithms_hold_where_rules_and_key_allow_them() {
    let mut jwk = KEY.jwk();
    jwk.as_object_mut().expect("an object").remove("alg");
    let keys = key_set(&[jwk]).expect("a key for all RSA algorithms");
    let cases = [
        ("RS384", MessageDigest::sha384(), Padding::PKCS1),
        ("RS512", MessageDigest::sha512(), Padding::PKCS1),
        ("PS256", MessageDigest::sha256(), Padding::PKCS1_PSS),
    ];
    for (name, digest, padding) in cases {
        let token = token().header(json!({"alg": name, "kid": "key-1"}).to_string());
        let signed = token.signature(KEY.sign(digest, padding, token.unsigned().as_bytes()));
        let rules = IssuerRules { algorithms: vec![algorithm(name).expect("known")], ..github_rules() };
        verify(&signed, &rules, &keys, NOW).expect(name);
        // The same key published for RS256 only.
        let bound = verify(&signed, &rules, &super::keys(), NOW).err();
        assert_eq!(bound, Some(TokenError::Signature), "{name}");
    }
}

#[test]
fn a_key_id_is_only_looked_up() {
    let unknown = [
        "../../dev/null",
        "' OR 1=1--",
        "key-1 ",
        "KEY-1",
        "kеy-1",
        "key-2",
        "https://evil.example/jwks",
        "*",
    ];
    for key_id in unknown {
        let header = json!({"alg": "RS256", "kid": key_id}).to_string();
        assert_eq!(error(&header), TokenError::UnknownKey, "J3 {key_id}");
    }
    let refused = [
        ("J4 missing", r#"{"alg":"RS256"}"#.to_owned(), TokenError::KeyId),
        ("J4 empty", r#"{"alg":"RS256","kid":""}"#.to_owned(), TokenError::KeyId),
        ("J3 257 bytes", json!({"alg": "RS256", "kid": "k".repeat(257)}).to_string(), TokenError::KeyId),
        ("J3 1 MB", json!({"alg": "RS256", "kid": "k".repeat(1 << 20)}).to_string(), TokenError::TooLarge),
        ("J3 3 KB", json!({"alg": "RS256", "kid": "k".repeat(3000)}).to_string(), TokenError::HeaderTooLarge),
        ("J4 null", r#"{"alg":"RS256","kid":null}"#.to_owned(), TokenError::HeaderType),
        ("J3 a number", r#"{"alg":"RS256","kid":1}"#.to_owned(), TokenError::HeaderType),
    ];
    for (name, header, expected) in refused {
        assert_eq!(error(&header), expected, "{name}");
    }
    let longest = json!({"alg": "RS256", "kid": "k".repeat(256)}).to_string();
    assert_eq!(error(&longest), TokenError::UnknownKey);
}

#[test]
fn a_parameter_outside_the_allow_list_is_refused() {
    let jwk = STRANGER.jwk().to_string();
    let parameters = [
        ("J5", r#""jku":"https://evil.example/jwks""#.to_owned()),
        ("J5", format!(r#""jwk":{jwk}"#)),
        ("J5", r#""x5u":"https://evil.example/cert""#.to_owned()),
        ("J5", r#""x5c":["MIIB"]"#.to_owned()),
        ("J5", r#""x5t#S256":"x""#.to_owned()),
        ("J6", r#""crit":["exp"]"#.to_owned()),
        ("J6", r#""crit":[]"#.to_owned()),
        ("J6", r#""b64":false"#.to_owned()),
        ("J6", r#""zip":"DEF""#.to_owned()),
        ("J6", r#""cty":"JWT""#.to_owned()),
        ("J6 JWE", r#""enc":"A256GCM""#.to_owned()),
        ("J6 typ", r#""typ":"at+jwt""#.to_owned()),
        ("J6 typ", r#""typ":"""#.to_owned()),
        ("J7 twice", r#""kid":"key-1""#.to_owned()),
        ("J7 twice", r#""alg":"none""#.to_owned()),
        ("J8 upper case", r#""Alg":"none""#.to_owned()),
        ("J8 Kelvin sign", r#""\u212Aid":"key-1""#.to_owned()),
        ("J8 NUL", r#""kid\u0000":"key-1""#.to_owned()),
        ("J26 NUL", r#""x5t":"\u0000""#.to_owned()),
        ("J26 lone surrogate", r#""x5t":"\ud800""#.to_owned()),
        ("J23 nine members", (1..8).map(|i| format!(r#""x{i}":"""#)).collect::<Vec<_>>().join(",")),
        ("J24 nested", r#""x5t":{}"#.to_owned()),
        ("an unknown one", r#""nonce":"x""#.to_owned()),
    ];
    for (name, parameter) in parameters {
        let error = error(&format!(r#"{{"alg":"RS256","kid":"key-1",{parameter}}}"#));
        assert_eq!(error.failure().code, Code::TokenHeader, "{name} {parameter}: {error}");
    }
}

#[test]
fn a_header_of_another_form_is_refused() {
    let deep = [vec![b'['; 1000], vec![b']'; 1000]].concat();
    let headers: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("a list", b"[]"),
        ("null", b"null"),
        ("empty object", b"{}"),
        ("no algorithm", br#"{"kid":"key-1"}"#),
        ("cut off", br#"{"alg":"RS256","kid":"key-1""#),
        ("J24 deep", &deep),
        ("J26 invalid UTF-8", b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}"),
        ("J23 2049 bytes", &[b" ".repeat(2049 - 29), br#"{"alg":"RS256","kid":"key-1"}"#.to_vec()].concat()),
    ];
    for (name, header) in headers {
        let token = token().header(header).signed();
        assert_eq!(refusal(name, &token), Code::TokenHeader, "{name}");
    }
    let largest = [b" ".repeat(2048 - 29), br#"{"alg":"RS256","kid":"key-1"}"#.to_vec()].concat();
    verify(&token().header(largest).signed(), &github_rules(), &keys(), NOW).expect("2048 bytes");
}
