//! Pipelines, forks and refs on GitLab (steps 5 and 6).

use super::*;
use crate::claims::testing::{gitlab, payload};
use crate::policy::events;

fn table(rows: Vec<Row>) {
    run_table(gitlab, gitlab_policy, rows);
}

#[test]
fn p1_ref_path_must_agree_with_ref_and_ref_type() {
    let tag = || json!({ "ref_type": "tag", "ref_path": "refs/tags/main" });
    table(vec![
        ("", json!({}), json!({}), "granted"),
        ("P1", tag(), json!({}), "tag_not_allowed"),
        ("P1", tag(), one("allowedBranches", json!([])), "tag_not_allowed"),
        ("", tag(), one("allowedTags", json!(["main"])), "granted"),
        ("P1", one("ref_type", "tag"), json!({}), "ref_not_allowed"),
        ("P1", one("ref_path", "refs/tags/main"), json!({}), "ref_not_allowed"),
        ("P1", one("ref_path", "refs/heads/other"), json!({}), "ref_not_allowed"),
        ("P1", one("ref", "other"), json!({}), "ref_not_allowed"),
        ("P1", json!({ "ref": "refs/heads/main" }), json!({}), "ref_not_allowed"),
        ("P23", json!({ "ref_path": null }), json!({}), "ref_not_allowed"),
        ("P23", json!({ "ref_path": null }), one("allowedBranches", json!([])), "ref_not_allowed"),
        ("P23", json!({ "ref_type": null }), one("allowedBranches", json!([])), "ref_not_allowed"),
        ("P23", json!({ "ref": null }), one("allowedBranches", json!([])), "ref_not_allowed"),
        (
            "P2",
            json!({ "ref": "refs/heads/main", "ref_path": "refs/heads/refs/heads/main" }),
            json!({}),
            "branch_not_allowed",
        ),
        ("", json!({ "ref": "dev", "ref_path": "refs/heads/dev" }), json!({}), "branch_not_allowed"),
        (
            "",
            json!({ "ref": "dev", "ref_path": "refs/merge-requests/7/head" }),
            one("allowedBranches", json!([])),
            "ref_not_allowed",
        ),
    ]);
}

#[test]
fn any_source_is_allowed_where_the_project_is_certain() {
    for source in ["push", "web", "merge_request_event", "parent_pipeline", "pipeline", "a_new_source"] {
        table(vec![
            ("P18", one("pipeline_source", source), json!({}), "granted"),
            (
                "narrowed",
                one("pipeline_source", source),
                one("allowedEvents", json!(["schedule"])),
                "event_not_allowed",
            ),
            ("", one("pipeline_source", source), one("allowedEvents", json!([source])), "granted"),
        ]);
    }
    table(vec![
        ("P23", json!({ "pipeline_source": null }), json!({}), "event_not_allowed"),
        ("P23", one("pipeline_source", ""), json!({}), "event_not_allowed"),
    ]);
}

#[test]
fn a_server_that_hides_the_project_needs_its_dbas_word_and_a_safe_source() {
    for (source, safe) in events::GITLAB_WITHOUT_JOB_PROJECT.iter().map(|source| (*source, true)).chain([
        ("merge_request_event", false),
        ("parent_pipeline", false),
        ("pipeline", false),
        ("external_pull_request_event", false),
        ("chat", false),
    ]) {
        let claims = gitlab().with("pipeline_source", source).without("job_project_id");
        for forks in [false, true] {
            let policy = || changed(gitlab_policy(), one("allowForks", forks));
            let word_of = |accepted: bool| {
                word(&decided(&claims, policy(), json!({}), one("without_job_project", accepted)))
            };
            assert_eq!(word_of(false), "fork_not_allowed", "P17 {source}");
            assert_eq!(word_of(true), if safe { "granted" } else { "fork_not_allowed" }, "P17 {source}");
        }
    }
    let sourced = gitlab().without("job_project_id").with("source_project_id", "991");
    let verdict = decided(&sourced, gitlab_policy(), json!({}), one("without_job_project", true));
    assert_eq!(word(&verdict), "fork_not_allowed", "the source gives it away");
    let path_only =
        payload("gitlab-fork-merge-request-18.4").without("job_project_id").with("pipeline_source", "push");
    let verdict = decided(&path_only, gitlab_policy(), json!({}), one("without_job_project", true));
    assert_eq!(word(&verdict), "no_policy", "a path without its id names nothing");
}

#[test]
fn p17_a_fork_in_the_parent_needs_allow_forks_and_every_branch() {
    let forks = || json!({ "allowForks": true, "allowedBranches": [] });
    for name in [
        "gitlab-fork-merge-request-18.4",
        "gitlab-fork-merge-request-19.2",
        "gitlab-fork-merge-request-job-project-sub",
    ] {
        let fork = payload(name);
        for (why, policy, expected) in [
            ("L2", json!({}), "fork_not_allowed"),
            ("L2", one("allowedBranches", json!([])), "fork_not_allowed"),
            ("the branch is the fork's word", one("allowForks", true), "branch_not_allowed"),
            ("", json!({ "allowForks": true, "allowedBranches": ["**"] }), "branch_not_allowed"),
            ("", changed(forks(), one("allowedTags", json!(["**"]))), "branch_not_allowed"),
            ("so is the protection", changed(forks(), one("protectedRefOnly", true)), "ref_not_protected"),
            ("so is the file", changed(forks(), one("workflow", ".gitlab-ci.yml")), "workflow_not_allowed"),
            ("", forks(), "granted"),
            ("by id", changed(forks(), one("subject", "project:20")), "granted"),
            (
                "L5: the fork's own policy",
                changed(forks(), one("subject", "project:991")),
                "fork_not_allowed",
            ),
            ("", changed(forks(), one("subject", "project:evil/my-project")), "fork_not_allowed"),
        ] {
            let verdict = decided(&fork, changed(gitlab_policy(), policy), json!({}), json!({}));
            assert_eq!(word(&verdict), expected, "{name} {why}");
        }
        let tag = fork.clone().with("ref_type", "tag").with("ref_path", "refs/tags/main");
        let policy = changed(gitlab_policy(), changed(forks(), one("allowedTags", json!(["**"]))));
        assert_eq!(word(&decided(&tag, policy, json!({}), json!({}))), "tag_not_allowed", "{name}");
        let protected = fork.with("ref_protected", "true");
        let policy = changed(gitlab_policy(), changed(forks(), one("protectedRefOnly", true)));
        assert_eq!(word(&decided(&protected, policy, json!({}), json!({}))), "ref_not_protected", "{name}");
    }
}

#[test]
fn a_fork_that_only_the_source_shows_is_a_fork() {
    table(vec![
        ("", json!({ "source_project_id": "991" }), json!({}), "fork_not_allowed"),
        ("", json!({ "source_project_id": "20" }), json!({}), "granted"),
        (
            "",
            json!({ "source_project_id": "991" }),
            json!({ "allowForks": true, "allowedBranches": [] }),
            "granted",
        ),
        (
            "L1: run in the fork",
            json!({ "project_id": "991", "project_path": "evil/my-project", "job_project_id": "991",
                                        "job_project_path": "evil/my-project" }),
            json!({ "allowForks": true }),
            "no_policy",
        ),
    ]);
}

#[test]
fn gitlab_names_are_exact() {
    table(vec![
        ("P14", json!({}), one("subject", "project:My-Group/my-project"), "no_policy"),
        ("", json!({}), one("subject", "project:20"), "granted"),
        ("", json!({}), one("subject", "project:2"), "no_policy"),
        ("", json!({}), one("subject", "project:my-group/my-project2"), "no_policy"),
    ]);
}
