//! P4: what starts a run, for every event that GitHub documents and for those to come.

use crate::support::claims::{github, payload};
use crate::support::decision::*;
use crate::support::requests::{read, with};
use lpm_core::policy::events;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every event that starts a workflow, with what a policy that names none says to a run on `main`:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows>.
const DOCUMENTED: &[(&str, &str)] = &[
    ("branch_protection_rule", "event_not_allowed"),
    ("check_run", "event_not_allowed"),
    ("check_suite", "event_not_allowed"),
    ("create", "event_not_allowed"),
    ("delete", "event_not_allowed"),
    ("deployment", "granted"),
    ("deployment_status", "event_not_allowed"),
    ("discussion", "event_not_allowed"),
    ("discussion_comment", "event_not_allowed"),
    ("fork", "event_not_allowed"),
    ("gollum", "event_not_allowed"),
    ("image_version", "event_not_allowed"),
    ("issue_comment", "event_not_allowed"),
    ("issues", "event_not_allowed"),
    ("label", "event_not_allowed"),
    ("merge_group", "event_not_allowed"),
    ("milestone", "event_not_allowed"),
    ("page_build", "event_not_allowed"),
    ("project", "event_not_allowed"),
    ("project_card", "event_not_allowed"),
    ("project_column", "event_not_allowed"),
    ("public", "event_not_allowed"),
    ("pull_request", "fork_not_allowed"),
    ("pull_request_review", "event_not_allowed"),
    ("pull_request_review_comment", "event_not_allowed"),
    ("pull_request_target", "event_not_allowed"),
    ("push", "granted"),
    ("registry_package", "event_not_allowed"),
    ("release", "granted"),
    ("repository_dispatch", "granted"),
    ("schedule", "granted"),
    ("status", "event_not_allowed"),
    ("watch", "event_not_allowed"),
    ("workflow_call", "event_not_allowed"),
    ("workflow_dispatch", "granted"),
    ("workflow_run", "event_not_allowed"),
    // Documented once, and still started on older servers.
    ("member", "event_not_allowed"),
];

/// Events that do not exist, or not yet, or are none that a workflow can name.
const UNKNOWN: &[&str] = &[
    "next_years_event",
    "dynamic",
    "pull_request_comment",
    "pull_request_target2",
    "Push",
    "PUSH",
    "push ",
    "push\n",
    "pu\u{17F}h",
    "push,pull_request_target",
    "*",
    "none",
];

fn table(rows: Vec<Row>) {
    run_table(github, github_policy, rows);
}

fn event(name: &str) -> Value {
    one("event_name", name)
}

#[test]
fn p04_every_documented_event_has_its_answer_by_default() {
    for (name, expected) in DOCUMENTED {
        // Everything else about the run is a push to main.
        let verdict = decided(&github().with("event_name", *name), github_policy(), json!({}), json!({}));
        assert_eq!(word(&verdict), *expected, "P4: {name}");
        let everywhere =
            changed(github_policy(), json!({ "allowedBranches": [], "allowedEnvironments": [] }));
        let verdict = decided(&github().with("event_name", *name), everywhere, json!({}), json!({}));
        assert_eq!(word(&verdict), *expected, "P4: {name}, the broadest policy without forks");
    }
    let granted: Vec<&str> =
        DOCUMENTED.iter().filter(|(_, expected)| *expected == "granted").map(|(name, _)| *name).collect();
    for name in &granted {
        let others: Vec<&&str> = granted.iter().filter(|other| *other != name).collect();
        let narrowed = one("allowedEvents", json!(others));
        table(vec![(
            "P4: allowed by default, and others are named",
            event(name),
            narrowed,
            "event_not_allowed",
        )]);
    }
    assert_eq!(
        granted.len(),
        6,
        "P4: push, workflow_dispatch, schedule, release, repository_dispatch, deployment"
    );
}

#[test]
fn p04_this_list_and_the_products_are_the_same() {
    let named = [events::MERGE_GROUP, events::PULL_REQUEST];
    let known: BTreeSet<&str> =
        events::DEFAULT.iter().chain(events::UNTRUSTED).copied().chain(named).collect();
    let documented: BTreeSet<&str> = DOCUMENTED.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, documented, "P4: no event without a case, and no case without an event");
}

#[test]
fn p04_an_event_that_is_unknown_or_absent_is_denied_whatever_the_policy_says() {
    for name in UNKNOWN {
        table(vec![
            ("P4: unknown, by default", event(name), json!({}), "event_not_allowed"),
            ("P4: unknown, with forks", event(name), one("allowForks", true), "event_not_allowed"),
            (
                "P4: unknown, named and with forks",
                event(name),
                json!({ "allowedEvents": [name], "allowForks": true }),
                "event_not_allowed",
            ),
        ]);
        read(&with(&[("allowedEvents", json!([name])), ("allowForks", json!(true))])).expect_err(name);
    }
    for absent in [json!({ "event_name": null }), event("")] {
        for forks in [false, true] {
            table(vec![
                ("P4: absent", absent.clone(), one("allowForks", forks), "event_not_allowed"),
                (
                    "P4: absent, and something is named",
                    absent.clone(),
                    json!({ "allowForks": forks, "allowedEvents": ["push"] }),
                    "event_not_allowed",
                ),
            ]);
        }
    }
}

#[test]
fn p04_what_outsiders_start_needs_its_name_and_forks() {
    let untrusted = DOCUMENTED
        .iter()
        .filter(|(name, expected)| *expected == "event_not_allowed" && *name != "merge_group");
    let mut count = 0;
    for (name, _) in untrusted {
        table(vec![
            ("P4: forks alone", event(name), one("allowForks", true), "event_not_allowed"),
            ("P4: its name alone", event(name), one("allowedEvents", json!([name])), "fork_not_allowed"),
            (
                "P4: another's name and forks",
                event(name),
                json!({ "allowedEvents": ["push"], "allowForks": true }),
                "event_not_allowed",
            ),
            ("P4: both", event(name), json!({ "allowedEvents": [name], "allowForks": true }), "granted"),
        ]);
        // And a policy that has the name without forks is not made.
        let failure = read(&with(&[("allowedEvents", json!(["push", name]))])).expect_err(name);
        let expected = format!("the policy's `allowedEvents` names `{name}`, which outsiders can start");
        assert_eq!(failure.text(), expected, "P4: {name}");
        count += 1;
    }
    assert_eq!(count, 29, "P4: all but six, pull_request and merge_group");
}

#[test]
fn p04_pull_requests_and_what_they_start_are_no_push_to_main() {
    for (name, expected) in [
        // `closed` by a merge: ref is refs/heads/main and protected.
        ("github-merged-pull-request", "fork_not_allowed"),
        ("github-pull-request", "fork_not_allowed"),
        ("github-pull-request-target", "event_not_allowed"),
        ("github-workflow-run", "event_not_allowed"),
    ] {
        for policy in [
            json!({}),
            one("allowedBranches", json!([])),
            one("allowedBranches", json!(["**"])),
            one("protectedRefOnly", true),
            one("ciEnvironment", "production"),
        ] {
            let policy = changed(github_policy(), policy);
            assert_eq!(word(&decided(&payload(name), policy, json!({}), json!({}))), expected, "P4: {name}");
        }
    }
    let comment = || json!({ "event_name": "issue_comment", "actor": "evil-forker" });
    table(vec![
        ("P4: a comment on main", comment(), json!({}), "event_not_allowed"),
        ("P4: a comment, every branch", comment(), one("allowedBranches", json!([])), "event_not_allowed"),
    ]);
    // Traces of a pull request beside an event that has none.
    for (claim, value) in [("head_ref", "feature/x"), ("base_ref", "main")] {
        for event in events::DEFAULT {
            let traced = || json!({ "event_name": event, claim: value });
            table(vec![
                ("P4: a trace of a pull request", traced(), json!({}), "fork_not_allowed"),
                ("P4: a trace, with forks", traced(), one("allowForks", true), "fork_not_allowed"),
                ("P4: a trace, named", traced(), one("allowedEvents", json!([event])), "fork_not_allowed"),
            ]);
        }
    }
}
