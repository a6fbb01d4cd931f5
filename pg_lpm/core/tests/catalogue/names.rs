//! J7 and J8: names of members that two parsers take for different claims.

use crate::support::claims::{github, gitlab};
use crate::support::token::*;
use lpm_core::claims::{Claims, ClaimsError, Job, Provider};
use lpm_core::json::JsonError;
use lpm_core::token::{KeySet, KeySetError, TokenError};

fn twice(path: impl Into<String>) -> JsonError {
    JsonError::DuplicateName { path: path.into() }
}

#[test]
fn j07_a_claim_given_twice_refuses_the_token_at_any_depth() {
    let place = format!("${{{}}}", github().members());
    for (case, raw, path) in [
        ("another value behind", r#""repository":"evil/x""#, "$".to_owned()),
        ("the same value behind", r#""repository":"octo-org/octo-repo""#, "$".to_owned()),
        ("escaped", r#""\u0072epository":"evil/x""#, "$".to_owned()),
        ("null behind", r#""repository":null"#, "$".to_owned()),
        ("an unread name", r#""x":1,"x":1"#, "$".to_owned()),
        ("an empty name", r#""":1,"":1"#, "$".to_owned()),
        ("within an object", r#""x":{"a":1,"a":2}"#, place.clone()),
        ("within a list", r#""x":[0,{"a":1,"b":2,"a":3}]"#, format!("{place}[1]")),
        ("at the deepest level", r#""x":[[[[[[{"a":1,"a":1}]]]]]]"#, format!("{place}{}", "[0]".repeat(6))),
    ] {
        let payload = github().bytes_with(raw);
        let error = ClaimsError::Json(twice(path));
        assert_eq!(Claims::parse(Provider::GitHub, &payload), Err(error.clone()), "J7: {case}");
        assert_eq!(refusal(&token().payload(payload).signed()), Some(error.into()), "J7: {case}, in a token");
    }
    // The example of the attack: which one is read first must not matter.
    for pair in [
        r#""repository":"evil/x","repository":"acme/app""#,
        r#""repository":"acme/app","repository":"evil/x""#,
    ] {
        let payload = github().without("repository").bytes_with(pair);
        let error = ClaimsError::Json(twice("$"));
        assert_eq!(refusal(&token().payload(payload).signed()), Some(error.into()), "J7: {pair}");
    }
    // What was read before the signature is strict as well: it chooses the keys.
    for (case, raw) in [
        ("another", r#""iss":"https://gitlab.com""#),
        ("the same", r#""iss":"https://token.actions.githubusercontent.com""#),
        ("escaped", r#""\u0069ss":"https://gitlab.com""#),
    ] {
        let token = token().payload(github().bytes_with(raw)).signed();
        assert_eq!(refusal(&token), Some(TokenError::NoIssuer), "J7: iss twice, {case}");
    }
}

#[test]
fn j07_a_header_parameter_or_a_key_given_twice_is_refused() {
    for (case, parameter) in [
        ("alg", r#""alg":"none""#),
        ("alg, the same", r#""alg":"RS256""#),
        ("alg, escaped", r#""\u0061lg":"none""#),
        ("kid", r#""kid":"key-2""#),
        ("an unknown one", r#""x":"","x":"""#),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"key-1",{parameter}}}"#);
        let error = refusal(&token().header(header).signed());
        assert_eq!(error, Some(TokenError::HeaderJson(twice("$"))), "J7: header, {case}");
    }
    let key = KEY.jwk().to_string();
    for (case, document, path) in [
        ("`keys`", format!(r#"{{"keys":[{key}],"keys":[]}}"#), "$"),
        ("`kid`", format!(r#"{{"keys":[{{"kid":"x",{}]}}"#, &key[1..]), "${0}[0]"),
        ("`n`", format!(r#"{{"keys":[{key},{{"n":"AQ",{}]}}"#, &key[1..]), "${0}[1]"),
    ] {
        let error = KeySet::parse(document.as_bytes()).err();
        assert_eq!(error, Some(KeySetError::Json(twice(path))), "J7: keys, {case}");
    }
}

#[test]
fn j08_a_look_alike_of_a_claim_is_refused_beside_it_and_instead_of_it() {
    let cases = [
        ("SUB", "sub"),
        ("ſub", "sub"),
        ("Sub", "sub"),
        ("ISS", "iss"),
        ("iſs", "iss"),
        ("iſſ", "iss"),
        ("iß", "iss"),
        ("iẞ", "iss"),
        ("İSS", "iss"),
        ("ıss", "iss"),
        ("AUD", "aud"),
        ("Jti", "jti"),
        ("jtı", "jti"),
        ("EXP", "exp"),
        ("Iat", "iat"),
        ("NBF", "nbf"),
        ("Repository", "repository"),
        ("repoſitory_ID", "repository_id"),
        ("Repository_Owner_Id", "repository_owner_id"),
        ("wor\u{212A}flow_ref", "workflow_ref"),
        ("workﬂow_ref", "workflow_ref"),
        ("job_worKﬂow_ref", "job_workflow_ref"),
        ("REF", "ref"),
        ("Event_Name", "event_name"),
    ];
    for (name, claim) in cases {
        let expected = ClaimsError::LookAlike { claim };
        let beside = github().with(name, "x");
        assert_eq!(beside.parse(), Err(expected.clone()), "J8: `{name}` beside");
        assert_eq!(
            refusal(&token_of(&beside).signed()),
            Some(expected.clone().into()),
            "J8: `{name}` beside"
        );
        let instead = github().with(claim, "x").without(claim).with(name, "x");
        assert_eq!(instead.parse(), Err(expected), "J8: `{name}` instead");
    }
    for (name, claim) in [
        ("Project_ID", "project_id"),
        ("uſer_login", "user_login"),
        ("ci_conﬁg_ref_uri", "ci_config_ref_uri"),
    ] {
        let error = gitlab().with(name, "1").parse();
        assert_eq!(error, Err(ClaimsError::LookAlike { claim }), "J8: `{name}` on GitLab");
    }
}

/// No table of ours decides what folds: every character of Unicode is asked.
#[test]
fn j08_no_character_of_unicode_folds_into_a_claims_name_unseen() {
    let claims = ["iss", "sub", "aud", "jti", "exp", "workflow_ref", "repository_id", "ref_protected"];
    let folds = |c: char| {
        // Lower, upper and full case folding, whichever a parser uses.
        let upper: String = c.to_lowercase().flat_map(char::to_uppercase).collect();
        upper.to_lowercase()
    };
    let mut seen = Vec::new();
    for c in ('\0'..=char::MAX).filter(|c| !c.is_ascii_lowercase()) {
        let folded = folds(c);
        if !folded.bytes().all(|byte| byte.is_ascii_lowercase()) {
            continue;
        }
        for claim in claims.into_iter().filter(|claim| claim.contains(&folded)) {
            let name = claim.replacen(&folded, &c.to_string(), 1);
            let error = github().with(&name, "x").parse();
            assert_eq!(error, Err(ClaimsError::LookAlike { claim }), "J8: `{name}` (U+{:04X})", u32::from(c));
            seen.push(c);
        }
    }
    for c in ['S', 'ſ', '\u{212A}', 'ß', 'ẞ', 'ﬂ'] {
        assert!(seen.contains(&c), "J8: U+{:04X} is among them", u32::from(c));
    }
}

#[test]
fn j08_look_alikes_of_a_parameter_and_other_names_stay_what_they_are() {
    for (case, parameter) in [
        ("Alg", r#""Alg":"none""#),
        ("ALG", r#""ALG":"none""#),
        ("Kelvin sign", r#""\u212Aid":"key-2""#),
        ("dotless ı", r#""k\u0131d":"key-2""#),
        ("Crit", r#""Crit":"exp""#),
        ("with a space", r#""alg ":"none""#),
    ] {
        let header = format!(r#"{{"alg":"RS256","kid":"key-1",{parameter}}}"#);
        let error = refusal(&token().header(header).signed());
        assert_eq!(error, Some(TokenError::HeaderParameter), "J8: header, {case}");
    }
    // Organisations name their custom properties freely, and what no case folds is just another name.
    let plain = github().claims();
    for name in ["repo_property_Team", "ſ", "Project_ID", "iss ", "iss\u{200B}", "ｉｓｓ", "іss", "Ref_Path"]
    {
        let claims = github().with(name, "evil").claims();
        assert_eq!(claims, plain, "J8: `{name}` means nothing");
    }
    let Job::GitHub(job) = plain.job else { panic!("a GitHub job") };
    assert_eq!(job.repository, "octo-org/octo-repo", "J8");
}
