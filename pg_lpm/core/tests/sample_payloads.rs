//! The sample payloads of both providers with what is decided about them, for `allowForks` false and
//! true: what a reader of the claims' reference expects, in one table.

#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

use lpm_core::claims::{Claims, Provider};
use lpm_core::decision::{CheckRow, Facts, decide, explain};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claims");

/// Payload, then what comes of it for `allowedBranches: ["main"]` without and with forks, and for every
/// branch (`[]`) without and with forks.
const EXPECTED: &[(&str, [&str; 4])] = &[
    ("github-push", ["granted", "granted", "granted", "granted"]),
    ("github-pull-request", ["fork_not_allowed", "granted", "fork_not_allowed", "granted"]),
    (
        "github-pull-request-target",
        ["event_not_allowed", "event_not_allowed", "event_not_allowed", "event_not_allowed"],
    ),
    (
        "github-workflow-run",
        ["event_not_allowed", "event_not_allowed", "event_not_allowed", "event_not_allowed"],
    ),
    ("github-merged-pull-request", ["fork_not_allowed", "granted", "fork_not_allowed", "granted"]),
    ("gitlab-push", ["granted", "granted", "granted", "granted"]),
    // The job's project is known and another's code runs in it: its branch is its own word.
    (
        "gitlab-fork-merge-request-18.4",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    (
        "gitlab-fork-merge-request-19.2",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    (
        "gitlab-fork-merge-request-job-project-sub",
        ["fork_not_allowed", "branch_not_allowed", "fork_not_allowed", "granted"],
    ),
    // Nothing says whose code it is.
    (
        "gitlab-fork-merge-request-before-18.2.2",
        ["fork_not_allowed", "fork_not_allowed", "fork_not_allowed", "fork_not_allowed"],
    ),
    // Only the fork is named.
    ("gitlab-fork-merge-request-18.2.2", ["no_policy", "no_policy", "no_policy", "no_policy"]),
];

fn claims(name: &str) -> Claims {
    let payload = std::fs::read(format!("{FOLDER}/{name}.json")).unwrap();
    let provider = if name.starts_with("gitlab") { Provider::GitLab } else { Provider::GitHub };
    Claims::parse(provider, &payload).unwrap()
}

/// One policy for the parent: pinned, pushed, escrowed, paid.
fn facts(
    provider: Provider,
    branches: &Value,
    forks: bool,
    events: &Value,
    without_job_project: bool,
) -> Facts {
    let (issuer, subject, pin) = match provider {
        Provider::GitHub => (
            "https://token.actions.githubusercontent.com",
            "repo:octo-org/octo-repo",
            json!({ "id": "456789", "owner_id": "123456" }),
        ),
        Provider::GitLab => ("https://gitlab.com", "project:my-group/my-project", json!({ "id": "20" })),
    };
    serde_json::from_value(json!({
        "now": 1_790_000_060, "vault": "vault-abc", "environment": "production",
        "without_job_project": without_job_project, "pull": true,
        "candidates": [{
            "id": "00000000-0000-0000-0000-000000000001", "owner": "alice", "plan": "pro",
            "waiting_since": 1_789_000_000, "pin": pin, "escrow": "wrapping", "escrow_key_loaded": true,
            "escrow_copy": true, "version": 1, "env_config": null,
            "policy": {
                "provider": provider.as_str(), "issuer": issuer, "subject": subject,
                "allowedBranches": branches, "allowedEnvironments": ["production"], "allowForks": forks,
                "scope": "personal", "allowedEvents": events
            }
        }]
    }))
    .unwrap()
}

fn decided(claims: &Claims, facts: &Facts) -> String {
    let verdict = decide(claims, facts);
    let rows = explain(claims, facts);
    assert_eq!(verdict.outcome.is_ok(), rows.iter().all(|row: &CheckRow| row.ok), "{rows:#?}");
    verdict.outcome.map_or_else(|failure| failure.code.as_str().to_owned(), |_| "granted".to_owned())
}

#[test]
fn every_sample_payload_has_its_expected_decision() {
    for (name, expected) in EXPECTED {
        let claims = claims(name);
        for (expected, (branches, forks)) in expected.iter().zip([
            (json!(["main"]), false),
            (json!(["main"]), true),
            (json!([]), false),
            (json!([]), true),
        ]) {
            let facts = facts(claims.provider(), &branches, forks, &Value::Null, false);
            assert_eq!(&decided(&claims, &facts), expected, "{name}, {branches}, forks {forks}");
        }
    }
}

#[test]
fn every_sample_payload_is_in_the_table() {
    let files: BTreeSet<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().replace(".json", ""))
        .collect();
    let named: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, named);
}

#[test]
fn events_of_outsiders_need_a_name_and_forks() {
    for (name, event) in
        [("github-pull-request-target", "pull_request_target"), ("github-workflow-run", "workflow_run")]
    {
        let claims = claims(name);
        for (events, forks, expected) in [
            (json!([event]), false, "fork_not_allowed"),
            (json!([event]), true, "granted"),
            (json!(["push"]), true, "event_not_allowed"),
            (json!([]), true, "event_not_allowed"),
        ] {
            let facts = facts(Provider::GitHub, &json!(["main"]), forks, &events, false);
            assert_eq!(decided(&claims, &facts), expected, "{name}, {events}, forks {forks}");
        }
    }
}

#[test]
fn no_option_lets_in_a_fork_that_the_token_hides() {
    for name in ["gitlab-fork-merge-request-before-18.2.2", "gitlab-fork-merge-request-18.2.2"] {
        let claims = claims(name);
        for forks in [false, true] {
            for events in [Value::Null, json!(["merge_request_event"])] {
                let facts = facts(Provider::GitLab, &json!([]), forks, &events, true);
                assert_ne!(decided(&claims, &facts), "granted", "{name}, {events}, forks {forks}");
            }
        }
    }
}
