//! Good tokens, and those that break exactly one rule. Case names carry the attack's number in the
//! reference on OIDC.

mod header;
mod keys;

use super::testing::*;
use super::*;
use crate::claims::testing::{Payload, github, gitlab};
use crate::failure::Code;
use openssl::hash::MessageDigest;
use openssl::rsa::Padding;
use serde_json::json;

/// The failure's code of a token that must be refused.
fn refusal(name: &str, token: &str) -> Code {
    let error = verify(token, &github_rules(), &keys(), NOW).err();
    error.unwrap_or_else(|| panic!("{name}: accepted")).failure().code
}

fn error_of(payload: &Payload, now: i64) -> Option<TokenError> {
    verify(&token_of(payload).signed(), &github_rules(), &keys(), now).err()
}

#[test]
fn a_good_token_of_each_provider_is_verified() {
    let good = token().signed();
    let read = UnverifiedToken::read(&good).expect("well-formed");
    assert_eq!(read.unverified_issuer(), "https://token.actions.githubusercontent.com");
    assert_eq!(read.key_id(), "key-1");
    let verified = read.verify(&github_rules(), &keys(), NOW).expect("good");
    assert_eq!(verified.claims, github().claims());
    assert_eq!(verified.payload, github().bytes());

    let verified = verify(&gitlab_token().signed(), &gitlab_rules(), &keys(), NOW).expect("good");
    assert_eq!(verified.claims, gitlab().claims());
}

#[test]
fn a_payload_may_spell_its_issuer_with_escapes() {
    let payload = String::from_utf8(github().bytes()).expect("UTF-8");
    let escaped = payload.replace("https://token.actions", r"https:\/\/token\u002eactions");
    assert_ne!(escaped, payload);
    verify(&token().payload(escaped).signed(), &github_rules(), &keys(), NOW).expect("good");
}

#[test]
fn a_token_of_another_form_is_refused() {
    let good = token().signed();
    let (unsigned, signature) = good.rsplit_once('.').expect("three parts");
    let (header, payload) = unsigned.split_once('.').expect("two parts");
    let flattened = json!({"protected": header, "payload": payload, "signature": signature}).to_string();
    let general = json!({"payload": payload, "signatures": [
        {"protected": header, "signature": signature}, {"protected": header, "signature": signature}
    ]});
    let cases = [
        ("empty", String::new()),
        ("no dot", "token".to_owned()),
        ("two dots only", "..".to_owned()),
        ("J1 missing third part", unsigned.to_owned()),
        ("J1 empty signature", format!("{unsigned}.")),
        ("J6 JWE, five parts", format!("{good}.e30.e30")),
        ("J6 four parts", format!("{good}.{signature}")),
        ("J6 flattened JSON serialisation", flattened),
        ("J6 general JSON serialisation, two signatures", general.to_string()),
        ("J27 padding", format!("{good}==")),
        ("J27 padded payload", format!("{header}.{payload}=.{signature}")),
        ("J27 standard alphabet", format!("{header}.{payload}.++//{}", &signature[4..])),
        ("J27 leading space", format!(" {good}")),
        ("J27 line feed at the end", format!("{good}\n")),
        ("J27 space inside", format!("{header}.{} {}.{signature}", &payload[..8], &payload[8..])),
        ("J27 percent encoding", good.replacen('.', "%2E", 1)),
        ("not ASCII", good.replacen('.', "。", 1)),
        ("a bearer prefix", format!("Bearer {good}")),
    ];
    for (name, token) in cases {
        assert_eq!(refusal(name, &token), Code::TokenMalformed, "{name}");
    }
}

#[test]
fn j27_stray_bits_do_not_give_a_token_a_second_spelling() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let good = token().signed();
    // 256 bytes of signature are 342 characters, the last with 4 unused bits.
    let last = *good.as_bytes().last().expect("not empty");
    let at = ALPHABET.iter().position(|c| *c == last).expect("base64url");
    assert_eq!(at % 16, 0, "a canonical last character");
    let other = char::from(ALPHABET[at + 1]);
    let respelled = format!("{}{other}", &good[..good.len() - 1]);
    assert_eq!(refusal("stray bits", &respelled), Code::TokenMalformed);
}

#[test]
fn j23_sizes_are_limited_before_anything_is_decoded() {
    let huge = token().payload(github().with("groups", "x".repeat(1 << 20)).bytes()).signed();
    assert_eq!(refusal("1 MB", &huge), Code::TokenTooLarge);
    assert_eq!(refusal("16 KiB + 1", &"x".repeat(MAX_TOKEN + 1)), Code::TokenTooLarge);
    assert_eq!(refusal("16 KiB", &"x".repeat(MAX_TOKEN)), Code::TokenMalformed);
    let many = github().with("groups_direct", vec![0; 1000]);
    assert_eq!(refusal("1000 groups", &token_of(&many).signed()), Code::TokenMalformed);
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let good = token();
    let flip = |at: usize, bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let signature = KEY.sign(MessageDigest::sha256(), Padding::PKCS1, good.unsigned().as_bytes());
    let changed = token_of(&github().with("repository", "evil/x"));
    let sha1 = KEY.sign(MessageDigest::sha1(), Padding::PKCS1, good.unsigned().as_bytes());
    let pss = KEY.sign(MessageDigest::sha256(), Padding::PKCS1_PSS, good.unsigned().as_bytes());
    let cases = [
        ("J3 a stranger's key under the issuer's id", good.signed_by(&STRANGER)),
        ("J1 one zero byte", good.signature([0])),
        ("J1 all zero", good.signature([0; 256])),
        ("J28 first bit", good.signature(flip(0, &signature))),
        ("J28 last bit", good.signature(flip(255, &signature))),
        ("J28 cut", good.signature(&signature[1..])),
        ("J28 leading zero", good.signature([&[0], signature.as_slice()].concat())),
        ("J28 trailing zero", good.signature([signature.as_slice(), &[0]].concat())),
        ("J2 SHA-1", good.signature(sha1)),
        ("J2 PSS under RS256", good.signature(pss)),
        ("another payload", changed.signature(&signature)),
        ("another header", good.clone().header(r#"{"alg":"RS256","kid":"key-1"}"#).signature(&signature)),
    ];
    for (name, token) in cases {
        assert_eq!(refusal(name, &token), Code::TokenSignature, "{name}");
    }
}

#[test]
fn claims_are_judged_only_after_the_signature() {
    for payload in [github().with("exp", 1), github().with("aud", "x"), github().without("jti")] {
        assert_eq!(refusal("unsigned", &token_of(&payload).signature([0; 256])), Code::TokenSignature);
    }
}

#[test]
fn a_payload_that_two_parsers_could_read_differently_is_refused() {
    let cases = [
        ("J7 repository twice", r#""repository":"evil/x""#, Code::TokenMalformed),
        ("J7 iss twice", r#""iss":"https://gitlab.com""#, Code::TokenMalformed),
        (
            "J7 iss twice, the same",
            r#""iss":"https://token.actions.githubusercontent.com""#,
            Code::TokenMalformed,
        ),
        ("J7 iss twice, escaped", r#""\u0069ss":"https://gitlab.com""#, Code::TokenMalformed),
        ("J8 SUB", r#""SUB":"x""#, Code::TokenClaims),
        ("J8 long s", r#""\u017fub":"x""#, Code::TokenClaims),
        ("J8 NUL", r#""iss\u0000":"x""#, Code::TokenMalformed),
        ("J25 1e100000", r#""x":1e100000"#, Code::TokenMalformed),
        ("J26 lone surrogate", r#""x":"\ud800""#, Code::TokenMalformed),
    ];
    for (name, members, code) in cases {
        let token = token().payload(github().bytes_with(members)).signed();
        assert_eq!(refusal(name, &token), code, "{name}");
    }
    let deep = [vec![b'['; 5000], vec![b']'; 5000]].concat();
    let in_iss = [br#"{"iss":"#.as_slice(), &deep, b"}"].concat();
    let issuer = r#"["https://token.actions.githubusercontent.com"]"#;
    let nested = token().signed();
    let cases: &[(&str, &[u8])] = &[
        ("J24 deep", &deep),
        ("J24 deep in iss", &in_iss),
        ("J26 invalid UTF-8", b"{\"iss\":\"https://token.actions.githubusercontent.com\",\"x\":\"\xff\"}"),
        ("no JSON", b"x"),
        ("empty", b""),
        ("a list that serde would take for the object", issuer.as_bytes()),
        ("J6 a nested token", nested.as_bytes()),
    ];
    for (name, payload) in cases {
        assert_eq!(refusal(name, &token().payload(payload).signed()), Code::TokenMalformed, "{name}");
    }
}

#[test]
fn the_issuer_is_compared_byte_for_byte() {
    let issuers = [
        ("J19 trailing slash", "https://token.actions.githubusercontent.com/"),
        ("J19 longer host", "https://token.actions.githubusercontent.com.evil.com"),
        ("J19 user part", "https://token.actions.githubusercontent.com@evil.com"),
        ("J19 upper case", "https://TOKEN.actions.githubusercontent.com"),
        ("J19 http", "http://token.actions.githubusercontent.com"),
        ("J19 percent encoding", "https://token.actions%2egithubusercontent.com"),
        ("J19 IDN", "https://tokеn.actions.githubusercontent.com"),
        ("J19 white space", "https://token.actions.githubusercontent.com "),
        ("J19 port", "https://token.actions.githubusercontent.com:443"),
        ("J19 prefix", "https://token.actions.githubusercontent"),
        (
            "J21 an enterprise with the same keys",
            "https://token.actions.githubusercontent.com/other-enterprise",
        ),
        ("J20 another provider's", "https://gitlab.com"),
        ("J33 an internal address", "http://169.254.169.254"),
    ];
    for (name, issuer) in issuers {
        let token = token_of(&github().with("iss", issuer)).signed();
        assert_eq!(refusal(name, &token), Code::TokenIssuer, "{name}");
    }
    let enterprise = rules(json!({
        "issuer": "https://token.actions.githubusercontent.com/acme", "provider": "github",
        "audiences": ["https://lpm.dev"], "algorithms": ["RS256"], "maxLifetime": 600, "maxAge": 600
    }));
    let error = verify(&token().signed(), &enterprise, &keys(), NOW).err();
    assert!(matches!(error, Some(TokenError::UntrustedIssuer { .. })), "J21 the public issuer's token");
}

#[test]
fn the_issuer_decides_the_provider() {
    let token = token_of(&gitlab().with("iss", "https://token.actions.githubusercontent.com")).signed();
    assert_eq!(refusal("J20 GitLab's claims", &token), Code::TokenClaims);
    let login = json!({
        "iss": "https://gitlab.com", "sub": "1", "aud": "https://lpm.dev", "jti": "x",
        "iat": NOW, "exp": NOW + 120
    });
    let token = super::testing::token().payload(login.to_string()).signed();
    let error = verify(&token, &gitlab_rules(), &keys(), NOW).expect_err("J22 a login token");
    assert_eq!(error.failure().text(), "the OIDC token's claim `project_id` is missing");
}

#[test]
fn an_audience_is_one_of_ours_byte_for_byte() {
    for base in ["https://lpm.dev", "https://vault.example.com"] {
        assert_eq!(error_of(&github().with("aud", base), NOW), None, "{base}");
    }
    let audiences = [
        ("J18 another", "https://github.com/octo-org"),
        ("J18 trailing slash", "https://lpm.dev/"),
        ("J18 upper case", "https://LPM.dev"),
        ("J18 longer host", "https://lpm.dev.evil.com"),
        ("J18 prefix", "https://lpm.de"),
        ("J18 http", "http://lpm.dev"),
        ("J18 both", "https://lpm.dev https://vault.example.com"),
        ("J18 both with a comma", "https://lpm.dev,https://evil.com"),
        ("reserved suffix", "https://lpm.dev/sealed/v1/key.hash"),
        ("reserved suffix of the second", "https://vault.example.com/sealed/v1/key.hash"),
    ];
    for (name, audience) in audiences {
        let expected = "https://lpm.dev".to_owned();
        let error = TokenError::Audience { audience: audience.to_owned(), expected };
        assert_eq!(error_of(&github().with("aud", audience), NOW), Some(error), "{name}");
    }
    for list in [json!(["https://lpm.dev"]), json!(["https://lpm.dev", "https://evil.com"])] {
        let error = error_of(&github().with("aud", list), NOW).expect("J18 a list");
        assert!(error.failure().text().contains("`aud` must be exactly one string"), "{error}");
    }
}

#[test]
fn an_audience_with_a_reserved_suffix_is_refused_even_where_it_is_listed() {
    let bases =
        ["https://lpm.dev", "https://lpm.dev/sealed/v1/x", "https://lpm.dev/sealed"].map(str::to_owned);
    assert_eq!(audience(&bases, "https://lpm.dev"), Ok("https://lpm.dev"));
    assert_eq!(audience(&bases, "https://lpm.dev/sealed"), Ok("https://lpm.dev/sealed"));
    assert!(audience(&bases, "https://lpm.dev/sealed/v1/x").is_err());
    assert!(audience(&[], "").is_err());
}

#[test]
fn times_are_checked_to_the_second() {
    // The fixture: iat 1790000000, nbf 600 s before, exp 300 s after; lifetime and age at most 600 s.
    const IAT: i64 = 1_790_000_000;
    let late = || github().with("exp", IAT + 600);
    let cases = [
        ("fresh", github(), IAT, None),
        ("J10 last second", github(), IAT + 329, None),
        ("J10 leeway edge", github(), IAT + 330, Some(TokenError::Expired)),
        ("J10 long expired", github(), IAT + 86_400, Some(TokenError::Expired)),
        ("J10 iat in the leeway", github(), IAT - 30, None),
        ("J10 iat in the future", github(), IAT - 31, Some(TokenError::NotYetValid)),
        ("J10 nbf in the leeway", github().with("nbf", IAT + 30), IAT, None),
        ("J10 nbf in the future", github().with("nbf", IAT + 31), IAT, Some(TokenError::NotYetValid)),
        ("no nbf", github().without("nbf"), IAT, None),
        ("J10 exp = iat", github().with("exp", IAT), IAT, Some(TokenError::EndsBeforeItStarts)),
        ("J10 exp < iat", github().with("exp", IAT - 1), IAT, Some(TokenError::EndsBeforeItStarts)),
        ("J10 longest lifetime", late(), IAT, None),
        ("J10 lifetime", github().with("exp", IAT + 601), IAT, Some(TokenError::Lifetime)),
        ("J10 ten years", github().with("exp", IAT + 315_360_000), IAT, Some(TokenError::Lifetime)),
        ("J10 2^53", github().with("exp", 1_i64 << 53), IAT, Some(TokenError::Lifetime)),
        ("J10 iat 0", github().with("iat", 0), IAT, Some(TokenError::Lifetime)),
        ("a clock that went mad", github(), i64::MAX, Some(TokenError::Expired)),
        ("a clock before all time", github(), i64::MIN, Some(TokenError::NotYetValid)),
    ];
    for (name, payload, now, expected) in cases {
        assert_eq!(error_of(&payload, now), expected, "{name}");
    }
    for claim in ["exp", "iat"] {
        let error = error_of(&github().without(claim), NOW);
        let missing = TokenError::Claims(crate::claims::ClaimsError::Missing { claim });
        assert_eq!(error, Some(missing), "J10 missing");
    }
}

#[test]
fn j11_an_old_token_is_refused_though_it_has_not_expired() {
    const IAT: i64 = 1_790_000_000;
    let week = token_of(&gitlab().with("exp", IAT + 604_800)).signed();
    let trusting = IssuerRules { max_lifetime: 604_800, max_age: 3600, ..gitlab_rules() };
    let error = |now| verify(&week, &trusting, &keys(), now).err();
    assert_eq!(error(IAT + 3630), None);
    assert_eq!(error(IAT + 3631), Some(TokenError::TooOld));
    assert_eq!(verify(&week, &gitlab_rules(), &keys(), IAT).err(), Some(TokenError::Lifetime));
}

#[test]
fn every_refusal_is_a_401_without_the_token() {
    let good = token().signed();
    let (unsigned, signature) = good.rsplit_once('.').expect("three parts");
    let tokens = [
        unsigned.to_owned(),
        format!("{good}="),
        token().signature([0; 256]),
        token_of(&github().with("exp", 1)).signed(),
        token_of(&github().with("jti", 1)).signed(),
    ];
    for token in tokens {
        let error = verify(&token, &github_rules(), &keys(), NOW).expect_err("refused");
        let failure = error.failure();
        assert_eq!(failure.code.status(), 401);
        for text in [failure.body(), format!("{error:?}")] {
            assert!(!text.contains(&unsigned[..20]) && !text.contains(&signature[..20]), "{text}");
        }
    }
}
