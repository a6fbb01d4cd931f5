//! What a good token is and what is said of others. Each attack has its tests in the catalogue, beside the
//! crate's other integration tests.

use super::*;
use crate::claims::ClaimsError;
use crate::failure::Code;
use crate::json::JsonError;
use crate::support::claims::{github, gitlab};
use crate::support::token::*;
use serde_json::json;

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
fn a_header_of_another_form_is_refused() {
    for (case, header, expected) in [
        ("a list", "[]", TokenError::HeaderNotAnObject),
        ("null", "null", TokenError::HeaderNotAnObject),
        ("text", "\"RS256\"", TokenError::HeaderNotAnObject),
        ("empty object", "{}", TokenError::NoAlgorithm),
        ("no algorithm", r#"{"kid":"key-1"}"#, TokenError::NoAlgorithm),
    ] {
        assert_eq!(refusal(&token().header(header).signed()), Some(expected), "{case}");
    }
    for (case, header) in [("empty", ""), ("cut off", r#"{"alg":"RS256","kid":"key-1""#)] {
        let error = refusal(&token().header(header).signed());
        assert!(matches!(error, Some(TokenError::HeaderJson(JsonError::Syntax(_)))), "{case}: {error:?}");
    }
}

#[test]
fn a_document_as_issuers_publish_it_is_read() {
    let mut jwk = KEY.jwk();
    jwk["x5c"] = json!(["MIIB".repeat(400)]);
    jwk["x5t"] = json!("x");
    jwk["key_ops"] = json!(["verify"]);
    let set = KeySet::parse(json!({"keys": [jwk], "more": 1}).to_string().as_bytes()).expect("good");
    assert!(set.contains("key-1") && !set.contains("key-2") && !set.contains(""));
    assert_eq!((set.len(), set.skipped()), (1, &[][..]));
    verify(&token().signed(), &github_rules(), &set, NOW).expect("good");
}

#[test]
fn claims_are_judged_only_after_the_signature() {
    for payload in [github().with("exp", 1), github().with("aud", "x"), github().without("jti")] {
        assert_eq!(refusal(&token_of(&payload).signature([0; 256])), Some(TokenError::Signature));
    }
}

#[test]
fn every_error_has_its_row_in_the_table_of_failures() {
    let text = || "x".to_owned();
    for (error, code) in [
        (TokenError::TooLarge, Code::TokenTooLarge),
        (TokenError::Parts, Code::TokenMalformed),
        (TokenError::Unsigned, Code::TokenMalformed),
        (TokenError::Base64 { part: "header" }, Code::TokenMalformed),
        (TokenError::NoIssuer, Code::TokenMalformed),
        (TokenError::HeaderTooLarge, Code::TokenHeader),
        (TokenError::HeaderJson(JsonError::TooDeep { max: 1 }), Code::TokenHeader),
        (TokenError::HeaderNotAnObject, Code::TokenHeader),
        (TokenError::HeaderType, Code::TokenHeader),
        (TokenError::HeaderParameter, Code::TokenHeader),
        (TokenError::NotAJwt, Code::TokenHeader),
        (TokenError::NoAlgorithm, Code::TokenHeader),
        (TokenError::KeyId, Code::TokenHeader),
        (TokenError::Algorithm { algorithm: text() }, Code::TokenAlgorithm),
        (TokenError::UntrustedIssuer { issuer: text() }, Code::TokenIssuer),
        (TokenError::UnknownKey, Code::TokenKey),
        (TokenError::Signature, Code::TokenSignature),
        (TokenError::Claims(ClaimsError::NotAnObject), Code::TokenMalformed),
        (TokenError::Claims(JsonError::TooDeep { max: 8 }.into()), Code::TokenMalformed),
        (TokenError::Claims(ClaimsError::LookAlike { claim: "iss" }), Code::TokenClaims),
        (TokenError::Claims(ClaimsError::Missing { claim: "jti" }), Code::TokenClaims),
        (TokenError::Audience { audience: text(), expected: text() }, Code::TokenAudience),
        (TokenError::EndsBeforeItStarts, Code::TokenClaims),
        (TokenError::Lifetime, Code::TokenLifetime),
        (TokenError::NotYetValid, Code::TokenNotYetValid),
        (TokenError::Expired, Code::TokenExpired),
        (TokenError::TooOld, Code::TokenTooOld),
    ] {
        assert_eq!(error.failure().code, code, "{error:?}");
    }
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
