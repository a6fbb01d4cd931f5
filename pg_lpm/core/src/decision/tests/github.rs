//! Events, forks and refs on GitHub (steps 5 and 6).

use super::*;
use crate::support::claims::{github, payload};

fn table(rows: Vec<Row>) {
    run_table(github, github_policy, rows);
}

#[test]
fn branches_and_tags_are_typed() {
    let tag = || json!({ "ref": "refs/tags/main", "ref_type": "tag" });
    let ref_is = |git_ref: &str| json!({ "ref": git_ref });
    table(vec![
        ("", json!({}), json!({}), "granted"),
        ("", ref_is("refs/heads/feature/x"), json!({}), "branch_not_allowed"),
        ("case", ref_is("refs/heads/Main"), json!({}), "branch_not_allowed"),
        ("", tag(), one("allowedTags", json!(["main"])), "granted"),
        ("", tag(), one("allowedTags", json!(["v*"])), "tag_not_allowed"),
        ("tags beside branches", json!({}), one("allowedTags", json!(["v*"])), "granted"),
        (
            "tags only",
            json!({}),
            json!({ "allowedTags": ["**"], "allowedBranches": [] }),
            "branch_not_allowed",
        ),
        ("tags only", tag(), json!({ "allowedTags": ["**"], "allowedBranches": [] }), "granted"),
        (
            "G8: a bot's copy of a pull request",
            ref_is("refs/heads/pull-request/7"),
            json!({}),
            "branch_not_allowed",
        ),
    ]);
}

#[test]
fn every_branch_does_not_mean_the_branches_of_machines() {
    for branch in ["gh-readonly-queue/main/pr-7-0f1e", "dependabot/npm_and_yarn/lodash-4"] {
        let git_ref = || one("ref", format!("refs/heads/{branch}"));
        let prefix = branch.split_once('/').unwrap().0;
        let patterns = |patterns: Value| one("allowedBranches", patterns);
        table(vec![
            ("G7", git_ref(), patterns(json!([])), "branch_not_allowed"),
            ("G7", git_ref(), patterns(json!(["**"])), "branch_not_allowed"),
            ("G7", git_ref(), patterns(json!(["main", "*/**"])), "branch_not_allowed"),
            ("G7", git_ref(), patterns(json!([format!("{prefix}*/**")])), "branch_not_allowed"),
            ("", git_ref(), patterns(json!([format!("{prefix}/**")])), "granted"),
            ("", git_ref(), patterns(json!([branch])), "granted"),
        ]);
    }
}

#[test]
fn a_pull_request_is_compared_by_its_base_only() {
    let open = || {
        json!({ "event_name": "pull_request", "ref": "refs/pull/57/merge", "ref_protected": "false",
                          "head_ref": "feature/login", "base_ref": "main" })
    };
    let other = |claim: &str, value: Value| changed(open(), one(claim, value));
    let forks = || one("allowForks", true);
    let named = || one("allowedEvents", json!(["pull_request"]));
    table(vec![
        ("G3", open(), json!({}), "fork_not_allowed"),
        ("G3", open(), one("allowedBranches", json!([])), "fork_not_allowed"),
        ("", open(), forks(), "granted"),
        ("", open(), named(), "granted"),
        (
            "an exact list",
            open(),
            json!({ "allowForks": true, "allowedEvents": ["push"] }),
            "event_not_allowed",
        ),
        ("head is the author's word", other("head_ref", json!("main")), json!({}), "fork_not_allowed"),
        (
            "",
            changed(other("base_ref", json!("dev")), one("head_ref", "main")),
            forks(),
            "branch_not_allowed",
        ),
        (
            "",
            changed(other("base_ref", json!("dev")), one("ref", "refs/heads/main")),
            forks(),
            "branch_not_allowed",
        ),
        ("P4: merged", other("ref", json!("refs/heads/main")), json!({}), "fork_not_allowed"),
        ("P4: merged", other("ref", json!("refs/heads/main")), forks(), "granted"),
        (
            "tags only",
            open(),
            json!({ "allowForks": true, "allowedBranches": [], "allowedTags": ["**"] }),
            "branch_not_allowed",
        ),
    ]);
}

#[test]
fn a_merge_queue_is_matched_as_its_base() {
    let queued = |base: &str| {
        json!({ "event_name": "merge_group",
                                      "ref": format!("refs/heads/gh-readonly-queue/{base}/pr-7-{SHA}") })
    };
    let named = |branches: Value| json!({ "allowedEvents": ["merge_group"], "allowedBranches": branches });
    table(vec![
        ("G7", queued("main"), json!({}), "event_not_allowed"),
        ("G7", queued("main"), one("allowForks", true), "event_not_allowed"),
        ("", queued("main"), named(json!(["main"])), "granted"),
        ("", queued("main"), named(json!([])), "granted"),
        ("", queued("release/1.0"), named(json!(["release/*"])), "granted"),
        ("", queued("dev"), named(json!(["main"])), "branch_not_allowed"),
        ("", queued("main"), named(json!(["gh-readonly-queue/**"])), "branch_not_allowed"),
        ("", json!({ "event_name": "merge_group" }), named(json!(["main"])), "ref_not_allowed"),
        (
            "",
            json!({ "event_name": "merge_group", "ref": "refs/heads/gh-readonly-queue/main/x" }),
            named(json!([])),
            "ref_not_allowed",
        ),
    ]);
}

#[test]
fn a_run_inside_a_fork_is_a_stranger() {
    let fork = || {
        json!({ "repository": "evil/octo-repo", "repository_owner": "evil", "repository_id": "991",
                          "repository_owner_id": "4711" })
    };
    table(vec![("G1", fork(), json!({}), "no_policy"), ("G1", fork(), one("allowForks", true), "no_policy")]);
    let target = payload("github-pull-request-target");
    for (policy, expected) in [
        (json!({}), "event_not_allowed"),
        (json!({ "allowForks": true }), "event_not_allowed"),
        (json!({ "allowedEvents": ["pull_request_target"] }), "fork_not_allowed"),
        (json!({ "allowedEvents": ["pull_request_target"], "allowForks": true }), "granted"),
    ] {
        let verdict = decided(&target, changed(github_policy(), policy), json!({}), json!({}));
        assert_eq!(word(&verdict), expected, "G4");
    }
}
