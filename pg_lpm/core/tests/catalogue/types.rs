//! J9 and J17: every claim has one type and one form, and nothing is converted.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::token::*;
use lpm_core::claims::{ClaimsError, MAX_JTI};
use lpm_core::failure::Code;
use lpm_core::json::JsonError;
use lpm_core::token::TokenError;
use serde_json::{Value, json};

const TIME: &str = "a whole number of seconds since 1970";
const ID: &str = "a decimal number in a string";
const FLAG: &str = "the string `true` or `false`";
const TEXT: &str = "a string";
const AUDIENCE: &str = "exactly one string";
const NO_LIST: &str = "exactly one string, not a list of audiences";

fn wrong(claim: &'static str, expected: &'static str) -> ClaimsError {
    ClaimsError::Type { claim, expected }
}

/// A payload, a claim of it, and what that must be.
type Kind = (fn() -> Payload, &'static str, &'static str);

/// Claims of each kind.
fn kinds() -> Vec<Kind> {
    let github_claims = [
        ("exp", TIME),
        ("iat", TIME),
        ("nbf", TIME),
        ("repository_id", ID),
        ("repository_owner_id", ID),
        ("actor_id", ID),
        ("run_id", ID),
        ("ref_protected", FLAG),
        ("sub", TEXT),
        ("jti", TEXT),
        ("repository", TEXT),
        ("repository_owner", TEXT),
        ("event_name", TEXT),
        ("ref", TEXT),
        ("ref_type", TEXT),
        ("head_ref", TEXT),
        ("base_ref", TEXT),
        ("environment", TEXT),
        ("workflow_ref", TEXT),
        ("job_workflow_ref", TEXT),
        ("job_workflow_sha", TEXT),
        ("runner_environment", TEXT),
        ("sha", TEXT),
        ("aud", AUDIENCE),
    ];
    let gitlab_claims = [
        ("exp", TIME),
        ("project_id", ID),
        ("job_project_id", ID),
        ("source_project_id", ID),
        ("job_id", ID),
        ("pipeline_id", ID),
        ("namespace_id", ID),
        ("user_id", ID),
        ("ref_protected", FLAG),
        ("environment_protected", FLAG),
        ("project_path", TEXT),
        ("job_project_path", TEXT),
        ("pipeline_source", TEXT),
        ("ref", TEXT),
        ("ref_path", TEXT),
        ("ref_type", TEXT),
        ("environment", TEXT),
        ("ci_config_ref_uri", TEXT),
        ("runner_environment", TEXT),
        ("aud", AUDIENCE),
    ];
    let of = |payload: fn() -> Payload, claims: &[(&'static str, &'static str)]| {
        claims.iter().map(|(claim, kind)| (payload, *claim, *kind)).collect::<Vec<_>>()
    };
    [of(github, &github_claims), of(gitlab, &gitlab_claims)].concat()
}

#[test]
fn j09_a_claim_of_another_json_type_refuses_the_token() {
    let values = [
        ("true", json!(true)),
        ("false", json!(false)),
        ("0", json!(0)),
        ("a number", json!(456_789)),
        ("a fraction", json!(5.9)),
        ("a list", json!(["x"])),
        ("an empty list", json!([])),
        ("a list of null", json!([null])),
        ("an object", json!({"name": "x"})),
        ("an empty object", json!({})),
        ("text", json!("x")),
    ];
    let mut checked = 0;
    for (payload, claim, kind) in kinds() {
        for (case, value) in &values {
            let fits = match kind {
                TIME => value.is_u64(),
                ID | FLAG => false,
                // What a text says is the next question; a list of audiences has its own sentence.
                _ => value.is_string(),
            };
            if fits {
                continue;
            }
            let expected = if kind == AUDIENCE && value.is_array() { NO_LIST } else { kind };
            let error = payload().with(claim, value.clone()).parse();
            assert_eq!(error, Err(wrong(claim, expected)), "J9: `{claim}` as {case}");
            checked += 1;
        }
    }
    assert!(checked > 400, "J9: {checked} cases");
}

#[test]
fn j09_times_ids_and_flags_have_one_spelling() {
    let cases: Vec<(&str, Payload, ClaimsError)> = vec![
        ("exp as a string", github().with("exp", "1790000300"), wrong("exp", TIME)),
        ("exp with a fraction", github().with("exp", json!(1_790_000_300.5)), wrong("exp", TIME)),
        (
            "exp, whole, written as a fraction",
            github().with("exp", json!(1_790_000_300.0)),
            wrong("exp", TIME),
        ),
        ("iat -1", github().with("iat", -1), wrong("iat", TIME)),
        ("repository_id as a number", github().with("repository_id", 456_789), wrong("repository_id", ID)),
        ("repository_id 5.9", github().with("repository_id", json!(5.9)), wrong("repository_id", ID)),
        ("repository_id \"5.9\"", github().with("repository_id", "5.9"), wrong("repository_id", ID)),
        (
            "repository_id \"456789.0\"",
            github().with("repository_id", "456789.0"),
            wrong("repository_id", ID),
        ),
        ("id with a space", github().with("repository_id", "456789 "), wrong("repository_id", ID)),
        ("id with a line feed", github().with("repository_id", "456789\n"), wrong("repository_id", ID)),
        ("id with a plus", github().with("repository_owner_id", "+123456"), wrong("repository_owner_id", ID)),
        (
            "id with a minus",
            github().with("repository_owner_id", "-123456"),
            wrong("repository_owner_id", ID),
        ),
        ("id with a leading zero", github().with("repository_id", "0456789"), wrong("repository_id", ID)),
        ("id 0", github().with("repository_id", "0"), wrong("repository_id", ID)),
        ("id in hexadecimal", github().with("repository_id", "0x6f855"), wrong("repository_id", ID)),
        ("id with an exponent", github().with("repository_id", "456789e0"), wrong("repository_id", ID)),
        ("id with separators", github().with("repository_id", "456_789"), wrong("repository_id", ID)),
        ("id in Arabic digits", github().with("repository_id", "٤٥٦٧٨٩"), wrong("repository_id", ID)),
        (
            "id in full-width digits",
            github().with("repository_id", "４５６７８９"),
            wrong("repository_id", ID),
        ),
        ("id of 21 digits", gitlab().with("project_id", "1".repeat(21)), wrong("project_id", ID)),
        ("ref_protected as a boolean", github().with("ref_protected", true), wrong("ref_protected", FLAG)),
        ("ref_protected \"True\"", github().with("ref_protected", "True"), wrong("ref_protected", FLAG)),
        ("ref_protected \"TRUE\"", github().with("ref_protected", "TRUE"), wrong("ref_protected", FLAG)),
        ("ref_protected \"1\"", github().with("ref_protected", "1"), wrong("ref_protected", FLAG)),
        ("ref_protected \"true \"", github().with("ref_protected", "true "), wrong("ref_protected", FLAG)),
        ("ref_protected \"yes\"", gitlab().with("ref_protected", "yes"), wrong("ref_protected", FLAG)),
        ("aud {}", github().with("aud", json!({})), wrong("aud", AUDIENCE)),
        ("aud []", github().with("aud", json!([])), wrong("aud", NO_LIST)),
        ("aud [null]", github().with("aud", json!([null])), wrong("aud", NO_LIST)),
        ("aud null", github().with("aud", json!(null)), ClaimsError::Missing { claim: "aud" }),
    ];
    for (case, payload, expected) in cases {
        assert_eq!(payload.parse(), Err(expected.clone()), "J9: {case}");
        let failure = expected.failure();
        assert_eq!((failure.code, failure.code.status()), (Code::TokenClaims, 401), "J9: {case}");
    }
    let beyond_double = github().bytes_with(r#""x":1e400"#);
    let error = refusal(&token().payload(beyond_double).signed());
    let json = matches!(error, Some(TokenError::Claims(ClaimsError::Json(JsonError::Syntax(_)))));
    assert!(json, "J9: 1e400 in any claim: {error:?}");
}

#[test]
fn j09_the_issuer_is_text_before_anything_else_is_read() {
    let issuer = "https://token.actions.githubusercontent.com";
    for (case, value) in [
        ("a list", json!([issuer])),
        ("a list of a list", json!([[issuer]])),
        ("an object", json!({"iss": issuer})),
        ("a number", json!(1)),
        ("true", json!(true)),
        ("null", json!(null)),
    ] {
        let token = token_of(&github().with("iss", value)).signed();
        assert_eq!(refusal(&token), Some(TokenError::NoIssuer), "J9: iss as {case}");
    }
    for (case, payload) in [
        ("missing", github().without("iss").bytes()),
        ("the payload text", json!(issuer).to_string().into_bytes()),
        ("the payload null", b"null".to_vec()),
        ("the payload empty", Vec::new()),
        // a derived reader takes a list for the struct that it fills in order
        ("the payload a list", json!([issuer]).to_string().into_bytes()),
    ] {
        assert_eq!(
            refusal(&token().payload(payload).signed()),
            Some(TokenError::NoIssuer),
            "J9: iss, {case}"
        );
    }
}

#[test]
fn j17_a_token_needs_an_id_of_its_own() {
    let missing = || ClaimsError::Missing { claim: "jti" };
    let too_long = || ClaimsError::TooLong { claim: "jti", max: MAX_JTI };
    let place = |payload: &Payload| {
        let text = String::from_utf8(payload.bytes()).unwrap();
        let members: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
        format!("${{{}}}", members.keys().position(|name| name == "jti").unwrap())
    };
    let megabyte = github().with("jti", "x".repeat(1 << 20));
    let long = ClaimsError::Json(JsonError::StringTooLong { path: place(&megabyte), max: 4096 });
    for (case, payload, expected) in [
        ("missing", github().without("jti"), missing()),
        ("null", github().with("jti", json!(null)), missing()),
        ("empty", github().with("jti", ""), ClaimsError::Empty { claim: "jti" }),
        ("257 bytes", github().with("jti", "x".repeat(257)), too_long()),
        ("257 bytes in fewer characters", github().with("jti", "é".repeat(129)), too_long()),
        ("a number", github().with("jti", 1), wrong("jti", TEXT)),
        ("a list", github().with("jti", json!(["x"])), wrong("jti", TEXT)),
        ("an object", github().with("jti", json!({})), wrong("jti", TEXT)),
        ("false", github().with("jti", false), wrong("jti", TEXT)),
        ("missing on GitLab", gitlab().without("jti"), missing()),
        ("empty on GitLab", gitlab().with("jti", ""), ClaimsError::Empty { claim: "jti" }),
    ] {
        assert_eq!(payload.parse(), Err(expected), "J17: {case}");
    }
    assert_eq!(megabyte.parse(), Err(long), "J17: 1 MB");
    assert_eq!(refusal(&token_of(&megabyte).signed()), Some(TokenError::TooLarge), "J17: 1 MB in a token");
    let longest = token_of(&github().with("jti", "x".repeat(MAX_JTI))).signed();
    assert_eq!(refusal(&longest), None, "J17: 256 bytes");
}
