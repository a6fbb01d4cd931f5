//! P23 and P34: what is not there satisfies nothing.

use crate::support::claims::{Payload, github, gitlab};
use crate::support::decision::*;
use crate::support::grid::{all_candidates, all_claims};
use crate::support::requests::{read, request, with};
use crate::support::token::*;
use lpm_core::claims::ClaimsError;
use lpm_core::decision::{Facts, explain};
use lpm_core::failure::Code;
use lpm_core::token::{IssuerRules, KeySet, KeySetError, TokenError};
use serde_json::{Value, json};

/// A rule, the claim that it looks at, and its refusal.
type Rule = (&'static str, Value, &'static str);

fn github_rules_of_policies() -> Vec<Rule> {
    let called = "octo-org/ci-shared/.github/workflows/release.yml";
    let ran = "99aabbccddeeff00112233445566778899aabbcc";
    vec![
        ("event_name", json!({}), "event_not_allowed"),
        ("event_name", one("allowedEvents", json!(["push"])), "event_not_allowed"),
        (
            "event_name",
            json!({ "allowForks": true, "allowedEvents": ["push", "watch"] }),
            "event_not_allowed",
        ),
        ("ref", json!({}), "ref_not_allowed"),
        ("ref", one("allowedBranches", json!([])), "ref_not_allowed"),
        ("ref", one("allowedBranches", json!(["**"])), "ref_not_allowed"),
        ("ref", json!({ "allowedBranches": ["**"], "allowedTags": ["**"] }), "ref_not_allowed"),
        ("environment", one("ciEnvironment", "production"), "ci_environment_not_allowed"),
        ("workflow_ref", one("workflow", ".github/workflows/deploy.yml"), "workflow_not_allowed"),
        (
            "job_workflow_ref",
            one("reusableWorkflow", format!("{called}@refs/tags/v3")),
            "reusable_workflow_not_allowed",
        ),
        (
            "job_workflow_ref",
            one("reusableWorkflow", format!("{called}@{ran}")),
            "reusable_workflow_not_allowed",
        ),
        ("ref_protected", one("protectedRefOnly", true), "ref_not_protected"),
        ("runner_environment", one("runner", "hosted"), "runner_not_allowed"),
        ("runner_environment", one("runner", "self-hosted"), "runner_not_allowed"),
    ]
}

fn gitlab_rules_of_policies() -> Vec<Rule> {
    vec![
        ("pipeline_source", json!({}), "event_not_allowed"),
        ("pipeline_source", one("allowedEvents", json!(["push"])), "event_not_allowed"),
        ("ref", one("allowedBranches", json!([])), "ref_not_allowed"),
        ("ref_type", one("allowedBranches", json!([])), "ref_not_allowed"),
        ("ref_path", one("allowedBranches", json!([])), "ref_not_allowed"),
        ("ref_path", one("allowedTags", json!(["**"])), "ref_not_allowed"),
        ("job_project_id", json!({}), "fork_not_allowed"),
        ("job_project_id", json!({ "allowForks": true, "allowedBranches": [] }), "fork_not_allowed"),
        ("environment", one("ciEnvironment", "production"), "ci_environment_not_allowed"),
        ("ci_config_ref_uri", one("workflow", ".gitlab-ci.yml"), "workflow_not_allowed"),
        ("ref_protected", one("protectedRefOnly", true), "ref_not_protected"),
        ("runner_environment", one("runner", "hosted"), "runner_not_allowed"),
        ("runner_environment", one("runner", "self-hosted"), "runner_not_allowed"),
    ]
}

#[test]
fn p23_a_claim_that_is_absent_null_or_empty_satisfies_no_rule() {
    let of = |payload: fn() -> Payload, policy: fn() -> Value, rules: Vec<Rule>| {
        for (claim, rule, expected) in rules {
            let answer = |payload: &Payload| {
                word(&decided(payload, changed(policy(), rule.clone()), json!({}), json!({})))
            };
            for (case, payload) in [
                ("absent", payload().without(claim)),
                ("null", payload().with(claim, Value::Null)),
                ("empty", payload().with(claim, "")),
            ] {
                assert_eq!(answer(&payload), expected, "P23: `{claim}` {case}, {rule}");
            }
            for (case, value) in [
                ("an empty list", json!([])),
                ("a list of null", json!([null])),
                ("an empty object", json!({})),
            ] {
                let error = payload().with(claim, value).parse();
                let refused =
                    matches!(error, Err(ClaimsError::Type { claim: refused, .. }) if refused == claim);
                assert!(refused, "P23: `{claim}` {case}: {error:?}");
            }
        }
    };
    of(github, github_policy, github_rules_of_policies());
    of(gitlab, gitlab_policy, gitlab_rules_of_policies());
}

#[test]
fn p23_each_of_those_rules_can_be_satisfied() {
    // Otherwise the test before would prove nothing.
    let other = ["self-hosted", "watch", "**", "allowForks", "@99aabb"];
    for (payload, policy, rules) in [
        (github(), github_policy(), github_rules_of_policies()),
        (gitlab(), gitlab_policy(), gitlab_rules_of_policies()),
    ] {
        for (claim, rule, _) in rules {
            if other.iter().any(|text| rule.to_string().contains(text)) {
                continue;
            }
            let verdict = decided(&payload, changed(policy.clone(), rule.clone()), json!({}), json!({}));
            assert_eq!(word(&verdict), "granted", "P23: `{claim}`, {rule}");
        }
    }
}

#[test]
fn p23_an_identity_that_is_absent_null_or_empty_is_no_token() {
    let of = |payload: fn() -> Payload, claims: &[&'static str]| {
        for claim in claims.iter().copied() {
            let missing = Err(ClaimsError::Missing { claim });
            assert_eq!(payload().without(claim).parse(), missing, "P23: `{claim}` absent");
            assert_eq!(payload().with(claim, Value::Null).parse(), missing, "P23: `{claim}` null");
            let empty = payload().with(claim, "").parse().unwrap_err();
            let expected = match claim {
                "iat" | "exp" => {
                    ClaimsError::Type { claim, expected: "a whole number of seconds since 1970" }
                }
                "iss" | "aud" | "jti" | "repository" | "repository_owner" => ClaimsError::Empty { claim },
                _ => ClaimsError::Missing { claim },
            };
            assert_eq!(empty, expected, "P23: `{claim}` empty");
            let list = payload().with(claim, json!([])).parse();
            let refused = matches!(list, Err(ClaimsError::Type { claim: refused, .. }) if refused == claim);
            assert!(refused, "P23: `{claim}` an empty list: {list:?}");
        }
    };
    let registered = ["iss", "aud", "jti", "iat", "exp"];
    of(github, &registered);
    of(gitlab, &registered);
    of(github, &["repository", "repository_id", "repository_owner", "repository_owner_id"]);
    of(gitlab, &["project_id", "project_path", "job_id", "pipeline_id"]);
}

#[test]
fn p23_a_pull_request_without_its_base_has_no_branch() {
    let open = |base: Value| {
        let claims = json!({ "event_name": "pull_request", "ref": "refs/pull/57/merge", "head_ref": "main" });
        claims_with(github(), &claims).with("base_ref", base)
    };
    for (case, base) in [("null", Value::Null), ("empty", json!(""))] {
        for branches in [json!([]), json!(["**"]), json!(["main"])] {
            let policy = changed(github_policy(), json!({ "allowForks": true, "allowedBranches": branches }));
            assert_eq!(
                word(&decided(&open(base.clone()), policy, json!({}), json!({}))),
                "ref_not_allowed",
                "P23: base {case}"
            );
        }
    }
    // The one claim that no rule needs: GitHub's `ref` is written in full, and its type can only contradict it.
    let untyped = decided(&github().without("ref_type"), github_policy(), json!({}), json!({}));
    assert_eq!(word(&untyped), "granted", "P23: `ref_type` absent");
}

/// The catalogue forbids a policy without conditions; here it may be as broad as its writer says, and has
/// to say it: `[]` means all where the design says so, and absence means it nowhere.
#[test]
fn p23_a_request_says_what_it_means_or_is_refused() {
    let given = |field: &str, value: Option<Value>| {
        let mut body = request();
        body.as_object_mut().unwrap().remove(field);
        if let Some(value) = value {
            body[field] = value;
        }
        read(&body)
    };
    let (must_be_list, missing) = ("must be a list of strings", "is missing");
    let no_rule = "";
    let texts = ["ciEnvironment", "workflow", "reusableWorkflow", "runner", "audience", "issuer"];
    let list_text = "must be a string, not a list";
    let empty_text = "must neither be empty nor begin or end with a space";
    // (field, absent, null, "", [], [""], [null]); an empty text for what is accepted.
    let mut table = vec![
        ("allowedBranches", [missing, missing, must_be_list, no_rule, "must not be empty", must_be_list]),
        (
            "allowedEnvironments",
            [missing, missing, must_be_list, no_rule, "is no environment's name", must_be_list],
        ),
        ("allowedTags", [no_rule, no_rule, must_be_list, "is empty", "must not be empty", must_be_list]),
        ("allowedEvents", [no_rule, no_rule, must_be_list, "is empty", "is no event's name", must_be_list]),
        ("subject", [missing, missing, empty_text, list_text, list_text, list_text]),
        ("provider", [missing, missing, empty_text, list_text, list_text, list_text]),
        ("vaultId", [missing, missing, empty_text, list_text, list_text, list_text]),
        (
            "allowForks",
            [
                no_rule,
                no_rule,
                "must be true or false",
                "must be true or false",
                "must be true or false",
                "must be true or false",
            ],
        ),
        (
            "protectedRefOnly",
            [
                no_rule,
                no_rule,
                "must be true or false",
                "must be true or false",
                "must be true or false",
                "must be true or false",
            ],
        ),
        ("repositoryId", [no_rule, no_rule, empty_text, list_text, list_text, list_text]),
    ];
    table.extend(texts.map(|field| (field, [no_rule, no_rule, empty_text, list_text, list_text, list_text])));
    for (field, expected) in table {
        let values = [
            None,
            Some(Value::Null),
            Some(json!("")),
            Some(json!([])),
            Some(json!([""])),
            Some(json!([null])),
        ];
        for (value, expected) in values.into_iter().zip(expected) {
            let case = value.as_ref().map_or("absent".to_owned(), Value::to_string);
            match given(field, value) {
                Ok(_) => assert_eq!(expected, "", "P23: `{field}` {case} is accepted"),
                Err(failure) => {
                    assert_eq!(failure.code, Code::PolicyInvalid, "P23: `{field}` {case}");
                    let text = failure.text();
                    assert!(!expected.is_empty() && text.contains(expected), "P23: `{field}` {case}: {text}");
                }
            }
        }
    }
    let forks = given("allowForks", None).unwrap().policy.allow_forks;
    assert!(!forks, "P23: `allowForks` absent is false");
    let broad = with(&[("allowedBranches", json!([])), ("allowedEnvironments", json!([]))]);
    let warnings = read(&broad).unwrap().policy.warnings();
    assert_eq!(warnings.len(), 2, "P23: what is all is warned of: {warnings:?}");
}

#[test]
fn p23_an_empty_rule_in_a_row_grants_nothing() {
    // No request makes these; a row that somebody edited could hold them.
    let tag = || json!({ "ref": "refs/tags/v1", "ref_type": "tag" });
    run_table(
        github,
        github_policy,
        vec![
            ("P23: no tag", tag(), one("allowedTags", json!([])), "tag_not_allowed"),
            (
                "P23: no tag and every branch",
                json!({}),
                json!({ "allowedTags": [], "allowedBranches": [] }),
                "branch_not_allowed",
            ),
            ("P23: no event", json!({}), one("allowedEvents", json!([])), "event_not_allowed"),
            (
                "P23: no event, with forks",
                json!({}),
                json!({ "allowedEvents": [], "allowForks": true }),
                "event_not_allowed",
            ),
            (
                "P23: an empty environment rule",
                one("environment", ""),
                one("ciEnvironment", ""),
                "ci_environment_not_allowed",
            ),
            (
                "P23: an empty workflow rule",
                one("workflow_ref", ""),
                one("workflow", ""),
                "workflow_not_allowed",
            ),
            (
                "P23: an empty reusable workflow",
                one("job_workflow_ref", ""),
                one("reusableWorkflow", ""),
                "reusable_workflow_not_allowed",
            ),
            ("P23: an empty audience rule", json!({}), one("audience", ""), "audience_not_allowed"),
            ("P23: an empty issuer", json!({}), one("issuer", ""), "no_policy"),
        ],
    );
    let asked = decided(
        &github(),
        changed(github_policy(), one("allowedEnvironments", json!([]))),
        json!({}),
        one("environment", ""),
    );
    assert_eq!(word(&asked), "environment_not_allowed", "P23: every environment, and none is asked for");
    let pinned = decided(&github(), github_policy(), one("pin", json!({ "id": "" })), json!({}));
    assert_eq!(word(&pinned), "identity_changed", "P23: an empty pin");
    for (case, row, expected) in [
        ("no escrow", one("escrow", Value::Null), "escrow_off"),
        ("no version", one("version", 0), "never_pushed"),
        ("nobody knows of a key", one("escrow_key_loaded", Value::Null), "no_escrow_key"),
        ("nobody knows of a copy", one("escrow_copy", Value::Null), "escrow_mismatch"),
    ] {
        assert_eq!(word(&decided(&github(), github_policy(), row, json!({}))), expected, "P23: {case}");
    }
    for (case, row) in [
        ("no policy", one("policy", Value::Null)),
        ("no plan", one("plan", Value::Null)),
        ("no branches", one("policy", changed(github_policy(), one("allowedBranches", Value::Null)))),
        ("no environments", one("policy", changed(github_policy(), one("allowedEnvironments", Value::Null)))),
        ("no subject", one("policy", changed(github_policy(), one("subject", "")))),
        ("an empty pattern", one("policy", changed(github_policy(), one("allowedBranches", json!([""]))))),
        ("an escrow without a kind", one("escrow", "")),
    ] {
        let facts = facts_of(vec![changed(candidate(1, github_policy()), row)]);
        serde_json::from_value::<Facts>(facts).expect_err(case);
    }
}

#[test]
fn p34_no_configuration_is_no_access() {
    for claims in all_claims() {
        let nothing = facts(facts_of(vec![]));
        assert_eq!(word(&outcome(&claims, &nothing)), "no_policy", "P34: no policy");
        assert!(explain(&claims, &nothing).is_empty(), "P34: no policy to explain");
    }
    assert!(!all_candidates().is_empty());
    let token = token().signed();
    let without = |change: fn(&mut IssuerRules)| {
        let mut rules = github_rules();
        change(&mut rules);
        verify(&token, &rules, &keys(), NOW).err()
    };
    let audience = TokenError::Audience { audience: "https://lpm.dev".to_owned(), expected: String::new() };
    let issuer = "https://token.actions.githubusercontent.com".to_owned();
    for (case, error, expected) in [
        ("no audience", without(|rules| rules.audiences.clear()), audience),
        (
            "no algorithm",
            without(|rules| rules.algorithms.clear()),
            TokenError::Algorithm { algorithm: "RS256".to_owned() },
        ),
        ("no issuer", without(|rules| rules.issuer.clear()), TokenError::UntrustedIssuer { issuer }),
        ("no lifetime", without(|rules| rules.max_lifetime = 0), TokenError::Lifetime),
    ] {
        assert_eq!(error, Some(expected), "P34: {case}");
    }
    assert_eq!(KeySet::parse(br#"{"keys":[]}"#).err(), Some(KeySetError::NoUsableKey), "P34: no key");
    for missing in ["issuer", "provider", "audiences", "algorithms", "maxLifetime", "maxAge"] {
        let mut row = json!({
            "issuer": "x", "provider": "github", "audiences": [], "algorithms": [], "maxLifetime": 1, "maxAge": 1
        });
        row.as_object_mut().unwrap().remove(missing);
        serde_json::from_value::<IssuerRules>(row).expect_err(missing);
    }
    for missing in ["now", "vault", "environment", "without_job_project", "pull", "candidates"] {
        let mut row = facts_of(vec![candidate(1, github_policy())]);
        row.as_object_mut().unwrap().remove(missing);
        serde_json::from_value::<Facts>(row).expect_err(missing);
    }
}
