//! Pipelines, forks and refs on GitLab (steps 5 and 6).

use super::*;
use crate::support::claims::{gitlab, payload};

fn table(rows: Vec<Row>) {
    run_table(gitlab, gitlab_policy, rows);
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
}

#[test]
fn a_forks_branch_is_shown_with_its_project() {
    let forks = || json!({ "allowForks": true });
    let refused = |payload: &Payload| {
        decided(payload, changed(gitlab_policy(), forks()), json!({}), json!({})).outcome.unwrap_err()
    };
    let fork = refused(&payload("gitlab-fork-merge-request-18.4"));
    assert_eq!(fork.code.as_str(), "branch_not_allowed");
    assert!(fork.text().contains("evil/my-project:main"), "{}", fork.text());
    let own = refused(&claims_with(gitlab(), &json!({ "ref": "dev", "ref_path": "refs/heads/dev" })));
    assert!(own.text().contains("dev") && !own.text().contains(":dev"), "{}", own.text());
}

#[test]
fn after_a_rename_a_forks_merge_request_is_still_the_parents() {
    let renamed =
        json!({ "subject": "project:my-group/old-name", "allowForks": true, "allowedBranches": [] });
    let parents = one("pin", json!({ "id": "20" }));
    let verdict = decided(
        &payload("gitlab-fork-merge-request-18.4"),
        changed(gitlab_policy(), renamed),
        parents,
        json!({}),
    );
    assert_eq!(word(&verdict), "granted", "{verdict:?}");
    assert!(verdict.outcome.unwrap().renamed);
}

#[test]
fn gitlab_names_are_exact() {
    table(vec![
        ("", json!({}), one("subject", "project:20"), "granted"),
        ("", json!({}), one("subject", "project:2"), "no_policy"),
        ("", json!({}), one("subject", "project:my-group/my-project2"), "no_policy"),
    ]);
}
