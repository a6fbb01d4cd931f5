//! P17 and P18: whose code runs in a GitLab job.

use crate::support::claims::{Payload, gitlab, payload};
use crate::support::decision::*;
use lpm_core::policy::events;
use serde_json::{Value, json};

/// A fork's merge request that runs in the parent, by what the server says: L2, L2 of 19.2 and L5.
const SHOWN: [&str; 3] = [
    "gitlab-fork-merge-request-18.4",
    "gitlab-fork-merge-request-19.2",
    "gitlab-fork-merge-request-job-project-sub",
];
/// The same from servers that do not say whose code it is (L3) or where it runs (L4).
const HIDDEN: [&str; 2] = ["gitlab-fork-merge-request-before-18.2.2", "gitlab-fork-merge-request-18.2.2"];

fn against(payload: &Payload, policy: Value) -> &'static str {
    word(&decided(payload, changed(gitlab_policy(), policy), json!({}), json!({})))
}

fn with_forks(policy: Value) -> Value {
    changed(json!({ "allowForks": true, "allowedBranches": [] }), policy)
}

#[test]
fn p17_a_forks_merge_request_in_the_parent_is_a_forks() {
    for name in SHOWN {
        let fork = payload(name);
        for (case, policy, expected) in [
            ("the branch that it calls its own", json!({}), "fork_not_allowed"),
            ("every branch", one("allowedBranches", json!([])), "fork_not_allowed"),
            ("the parent by its id", one("subject", "project:20"), "fork_not_allowed"),
            ("its source named", one("allowedEvents", json!(["merge_request_event"])), "fork_not_allowed"),
            ("forks, and a branch", one("allowForks", true), "branch_not_allowed"),
            (
                "forks, and every branch by **",
                with_forks(one("allowedBranches", json!(["**"]))),
                "branch_not_allowed",
            ),
            ("forks, and tags", with_forks(one("allowedTags", json!(["**"]))), "branch_not_allowed"),
            ("forks, and protected refs", with_forks(one("protectedRefOnly", true)), "ref_not_protected"),
            ("forks, and a file", with_forks(one("workflow", ".gitlab-ci.yml")), "workflow_not_allowed"),
            ("forks, and nothing more", with_forks(json!({})), "granted"),
            ("forks, by the parent's id", with_forks(one("subject", "project:20")), "granted"),
            ("the fork's own policy", with_forks(one("subject", "project:991")), "fork_not_allowed"),
            (
                "the fork's own policy by path",
                with_forks(one("subject", "project:evil/my-project")),
                "fork_not_allowed",
            ),
        ] {
            assert_eq!(against(&fork, policy), expected, "P17: {name}, {case}");
        }
        // Whatever the fork claims of its own refs.
        let protected = fork.clone().with("ref_protected", "true");
        let expected = "ref_not_protected";
        assert_eq!(
            against(&protected, with_forks(one("protectedRefOnly", true))),
            expected,
            "P17: {name}, protected"
        );
        let tag = fork.with("ref_type", "tag").with("ref_path", "refs/tags/main");
        let tags = with_forks(one("allowedTags", json!(["**"])));
        assert_eq!(against(&tag, tags), "tag_not_allowed", "P17: {name}, a tag");
    }
    // The customised `sub` of L5 says that it is the parent's main branch.
    let customised = payload(SHOWN[2]).claims();
    let sub = "job_project_path:my-group/my-project:ref_type:branch:ref:main";
    assert_eq!(customised.subject.as_deref(), Some(sub), "P17: L5");
}

#[test]
fn p17_a_server_that_hides_the_project_is_trusted_with_no_merge_request() {
    let either = [false, true];
    let subjects = ["project:my-group/my-project", "project:20", "project:991", "project:evil/my-project"];
    for (name, subject) in HIDDEN.iter().flat_map(|name| subjects.map(|subject| (*name, subject))) {
        let fork = payload(name);
        let named = fork.claims().subjects().contains(&subject.to_owned());
        let expected = if named { "fork_not_allowed" } else { "no_policy" };
        for (forks, accepted) in either.iter().flat_map(|forks| either.map(|accepted| (*forks, accepted))) {
            let broad = json!({ "subject": subject, "allowForks": forks, "allowedBranches": [] });
            for events in [Value::Null, json!(["merge_request_event"])] {
                let policy = changed(changed(gitlab_policy(), broad.clone()), one("allowedEvents", events));
                let verdict = decided(&fork, policy, json!({}), one("without_job_project", accepted));
                let case = format!("{name}, {subject}, forks {forks}, accepted {accepted}");
                assert_eq!(word(&verdict), expected, "P17: {case}");
            }
        }
    }
    let before = payload(HIDDEN[0]).claims().subjects();
    assert_eq!(before, ["project:20", "project:my-group/my-project"], "P17: L3 looks like the parent's own");
    let patched = payload(HIDDEN[1]).claims().subjects();
    assert_eq!(patched, ["project:991", "project:evil/my-project"], "P17: L4 names the fork only");
}

#[test]
fn p17_a_run_in_the_fork_is_a_strangers() {
    let inside = || {
        json!({
            "project_id": "991", "project_path": "evil/my-project",
            "job_project_id": "991", "job_project_path": "evil/my-project"
        })
    };
    let source = |id: &str| one("source_project_id", id);
    run_table(
        gitlab,
        gitlab_policy,
        vec![
            ("P17: L1, run in the fork", inside(), json!({}), "no_policy"),
            ("P17: L1, with forks", inside(), with_forks(json!({})), "no_policy"),
            ("P17: L1, by the parent's id", inside(), with_forks(one("subject", "project:20")), "no_policy"),
            ("P17: only the source is another's", source("991"), json!({}), "fork_not_allowed"),
            (
                "P17: only the source is another's, with forks",
                source("991"),
                with_forks(json!({})),
                "granted",
            ),
            ("P17: the source is the project's", source("20"), json!({}), "granted"),
        ],
    );
    let hidden = gitlab().without("job_project_id").with("source_project_id", "991");
    let verdict = decided(&hidden, gitlab_policy(), json!({}), one("without_job_project", true));
    assert_eq!(word(&verdict), "fork_not_allowed", "P17: an old server, and the source gives it away");
    // A path without its id names nothing: nobody would have checked the id.
    let path_only = payload(SHOWN[0]).without("job_project_id").with("pipeline_source", "push");
    let verdict = decided(&path_only, gitlab_policy(), json!({}), one("without_job_project", true));
    assert_eq!(word(&verdict), "no_policy", "P17: job_project_path without job_project_id");
}

/// The catalogue would keep child pipelines out of the default sources; here the projects decide, because
/// a child names them as its parent does, and the source is what counts where they are not named.
#[test]
fn p18_a_child_pipeline_launders_nothing() {
    let child = || gitlab().with("pipeline_source", "parent_pipeline");
    for name in SHOWN {
        let laundered = payload(name).with("pipeline_source", "parent_pipeline");
        assert_eq!(against(&laundered, json!({})), "fork_not_allowed", "P18: a fork's, {name}");
        let laundered = payload(name).with("pipeline_source", "pipeline");
        assert_eq!(
            against(&laundered, json!({})),
            "fork_not_allowed",
            "P18: a fork's multi-project one, {name}"
        );
    }
    let narrowed = one("allowedEvents", json!(["push", "web"]));
    assert_eq!(against(&child(), json!({})), "granted", "P18: the project's own child");
    assert_eq!(against(&child(), narrowed), "event_not_allowed", "P18: narrowed to other sources");
    for source in [
        "parent_pipeline",
        "pipeline",
        "merge_request_event",
        "external_pull_request_event",
        "security_orchestration_policy",
        "chat",
        "ondemand_dast_scan",
        "next_years_source",
        "Push",
    ] {
        let hidden =
            gitlab().with("pipeline_source", source).without("job_project_id").without("job_project_path");
        for (forks, accepted) in [(false, false), (false, true), (true, false), (true, true)] {
            let policy = changed(gitlab_policy(), one("allowForks", forks));
            let verdict = decided(&hidden, policy, json!({}), one("without_job_project", accepted));
            let expected = "fork_not_allowed";
            assert_eq!(
                word(&verdict),
                expected,
                "P18: {source} of an old server, forks {forks}, accepted {accepted}"
            );
        }
    }
    assert_eq!(events::GITLAB_WITHOUT_JOB_PROJECT, ["push", "web", "schedule", "api", "trigger"]);
    for source in events::GITLAB_WITHOUT_JOB_PROJECT {
        let hidden =
            gitlab().with("pipeline_source", *source).without("job_project_id").without("job_project_path");
        for (accepted, expected) in [(false, "fork_not_allowed"), (true, "granted")] {
            let verdict = decided(&hidden, gitlab_policy(), json!({}), one("without_job_project", accepted));
            assert_eq!(word(&verdict), expected, "P18: {source} of an old server, accepted {accepted}");
        }
    }
}
