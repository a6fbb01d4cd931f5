//! J1 and J6: what is no `header.payload.signature`.

use crate::support::token::*;
use lpm_core::token::TokenError;
use serde_json::json;

#[test]
fn j01_an_unsigned_token_is_refused_however_it_is_spelled() {
    for name in ["none", "None", "nOnE", "NONE", "noné", ""] {
        let token = token().header(json!({"alg": name, "kid": "key-1"}).to_string());
        let algorithm = || TokenError::Algorithm { algorithm: name.to_owned() };
        for (case, token, expected) in [
            ("missing third part", token.unsigned(), TokenError::Parts),
            ("empty signature", format!("{}.", token.unsigned()), TokenError::Unsigned),
            ("one byte as signature", token.signature([0]), algorithm()),
            ("a good RS256 signature", token.signed(), algorithm()),
        ] {
            assert_eq!(refusal(&token), Some(expected), "J1: `{name}`, {case}");
        }
    }
    let good = token();
    for (case, token, expected) in [
        ("missing third part", good.unsigned(), TokenError::Parts),
        ("empty signature", format!("{}.", good.unsigned()), TokenError::Unsigned),
        ("one zero byte", good.signature([0]), TokenError::Signature),
        ("zeros of the right length", good.signature([0; 256]), TokenError::Signature),
    ] {
        assert_eq!(refusal(&token), Some(expected), "J1: RS256, {case}");
    }
    for (case, header, expected) in [
        ("no alg", r#"{"kid":"key-1"}"#, TokenError::NoAlgorithm),
        ("alg null", r#"{"alg":null,"kid":"key-1"}"#, TokenError::HeaderType),
        ("alg false", r#"{"alg":false,"kid":"key-1"}"#, TokenError::HeaderType),
    ] {
        assert_eq!(refusal(&token().header(header).signed()), Some(expected), "J1: {case}");
    }
}

#[test]
fn j06_a_token_of_another_form_is_refused() {
    let good = token().signed();
    let [header, payload, signature] = parts(&good);
    let flattened = json!({"protected": header, "payload": payload, "signature": signature});
    let one = || json!({"protected": header, "signature": signature});
    let general = |signatures: &[_]| json!({"payload": payload, "signatures": signatures}).to_string();
    for (case, token) in [
        ("JWE, five parts", format!("{good}.e30.e30")),
        ("JWE with empty parts", format!("{header}..{payload}.{signature}.")),
        ("two signatures, compact", format!("{good}.{signature}")),
        ("JWS JSON serialisation, flattened", flattened.to_string()),
        ("JWS JSON serialisation, general", general(&[one()])),
        ("JWS JSON serialisation, two signatures", general(&[one(), one()])),
        ("two tokens", format!("{good}.{good}")),
        ("no parts at all", "token".to_owned()),
        ("nothing", String::new()),
        ("full stops of another script", good.replace('.', "。")),
    ] {
        assert_eq!(refusal(&token), Some(TokenError::Parts), "J6: {case}");
    }
    // Its dots make three parts of what is still JSON.
    let dotted =
        json!({"protected": header, "payload": payload, "signature": "..", "header": {}}).to_string();
    assert_eq!(refusal(&dotted), Some(TokenError::Base64 { part: "header" }), "J6: JSON with two dots");
}

#[test]
fn j06_a_token_within_a_token_is_refused() {
    let inner = token().signed();
    let quoted = json!(inner).to_string();
    for (case, payload) in [("a nested token", inner.as_str()), ("a nested token as JSON", &quoted)] {
        let token = token().payload(payload).signed();
        assert_eq!(refusal(&token), Some(TokenError::NoIssuer), "J6: {case}");
    }
    let nested = token().header(r#"{"alg":"RS256","kid":"key-1","cty":"JWT"}"#).payload(&inner).signed();
    assert_eq!(refusal(&nested), Some(TokenError::HeaderParameter), "J6: announced with `cty`");
}
