//! J18: a token for somebody else.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::token::*;
use lpm_core::claims::ClaimsError;
use lpm_core::token::{IssuerRules, TokenError, audience};
use serde_json::json;

fn error(payload: &Payload) -> Option<TokenError> {
    refusal(&token_of(payload).signed())
}

fn not_ours(audience: &str) -> TokenError {
    TokenError::Audience { audience: audience.to_owned(), expected: "https://lpm.dev".to_owned() }
}

#[test]
fn j18_an_audience_is_one_of_ours_byte_for_byte() {
    for ours in ["https://lpm.dev", "https://vault.example.com"] {
        assert_eq!(error(&github().with("aud", ours)), None, "J18: {ours}");
    }
    for (case, audience) in [
        ("GitHub's default", "https://github.com/octo-org"),
        ("another service", "sts.amazonaws.com"),
        ("trailing slash", "https://lpm.dev/"),
        ("a path", "https://lpm.dev/api"),
        ("a port", "https://lpm.dev:443"),
        ("upper case", "https://LPM.dev"),
        ("upper case throughout", "HTTPS://LPM.DEV"),
        ("a longer host", "https://lpm.dev.evil.com"),
        ("our prefix before another host", "https://lpm.dev@evil.com"),
        ("a prefix of ours", "https://lpm.de"),
        ("a subdomain", "https://x.lpm.dev"),
        ("http", "http://lpm.dev"),
        ("no scheme", "lpm.dev"),
        ("a space behind", "https://lpm.dev "),
        ("a line feed behind", "https://lpm.dev\n"),
        ("percent encoding", "https://lpm%2Edev"),
        ("full width", "https://lpm．dev"),
        ("Cyrillic", "https://l\u{440}m.dev"),
        ("both, joined by a space", "https://lpm.dev https://vault.example.com"),
        ("both, joined by a comma", "https://lpm.dev,https://evil.com"),
        ("a list in a string", r#"["https://lpm.dev"]"#),
        ("a wildcard", "*"),
        ("reserved for sealed answers", "https://lpm.dev/sealed/v1/key.hash"),
        ("reserved, of the second base", "https://vault.example.com/sealed/v1/key.hash"),
    ] {
        assert_eq!(error(&github().with("aud", audience)), Some(not_ours(audience)), "J18: {case}");
    }
}

#[test]
fn j18_more_than_one_audience_is_none() {
    let expected = "exactly one string, not a list of audiences";
    let list = || Some(TokenError::Claims(ClaimsError::Type { claim: "aud", expected }));
    for (case, audiences) in [
        ("ours alone", json!(["https://lpm.dev"])),
        ("ours and another", json!(["https://lpm.dev", "https://attacker.example"])),
        ("another and ours", json!(["https://attacker.example", "https://lpm.dev"])),
        ("both of ours", json!(["https://lpm.dev", "https://vault.example.com"])),
        ("ours twice", json!(["https://lpm.dev", "https://lpm.dev"])),
        ("none", json!([])),
        ("lists of lists", json!([["https://lpm.dev"]])),
    ] {
        assert_eq!(error(&github().with("aud", audiences.clone())), list(), "J18: {case}");
        let gitlab =
            verify(&token_of(&gitlab().with("aud", audiences)).signed(), &gitlab_rules(), &keys(), NOW);
        assert_eq!(gitlab.err(), list(), "J18: {case}, on GitLab");
    }
    let missing = || Some(TokenError::Claims(ClaimsError::Missing { claim: "aud" }));
    assert_eq!(error(&github().without("aud")), missing(), "J18: absent");
    assert_eq!(error(&github().with("aud", json!(null))), missing(), "J18: null");
    let empty = Some(TokenError::Claims(ClaimsError::Empty { claim: "aud" }));
    assert_eq!(error(&github().with("aud", "")), empty, "J18: empty");
}

#[test]
fn j18_no_row_can_be_read_as_accepting_more() {
    let rules = |audiences: &[&str]| IssuerRules {
        audiences: audiences.iter().map(|text| (*text).to_owned()).collect(),
        ..github_rules()
    };
    let token = token().signed();
    for (case, audiences) in [
        ("no audience", &[][..]),
        ("an empty one", &[""]),
        ("a wildcard", &["*"]),
        ("a prefix", &["https://lpm"]),
        ("a pattern", &["https://**", "https://lpm.*"]),
        ("one that is longer", &["https://lpm.dev/"]),
    ] {
        let error = verify(&token, &rules(audiences), &keys(), NOW).err();
        let expected = audiences.first().map(|first| (*first).to_owned()).unwrap_or_default();
        let audience = "https://lpm.dev".to_owned();
        assert_eq!(error, Some(TokenError::Audience { audience, expected }), "J18: {case}");
    }
    // Listed or not, what is reserved for sealed answers has no other meaning.
    let bases =
        ["https://lpm.dev", "https://lpm.dev/sealed/v1/x", "https://lpm.dev/sealed"].map(str::to_owned);
    assert_eq!(
        audience(&bases, "https://lpm.dev/sealed"),
        Ok("https://lpm.dev/sealed"),
        "J18: no reserved one"
    );
    let reserved = "https://lpm.dev/sealed/v1/x";
    assert_eq!(audience(&bases, reserved), Err(not_ours(reserved)), "J18: reserved, and listed");
}
