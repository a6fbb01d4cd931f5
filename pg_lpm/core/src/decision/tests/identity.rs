//! Whose policy it is, and the ids behind names (steps 2 and 4).

use super::*;
use crate::support::claims::{github, gitlab, payload};

fn pin(id: &str, owner_id: Option<&str>) -> Value {
    one("pin", json!({ "id": id, "owner_id": owner_id }))
}

fn with_pin(payload: &Payload, policy: Value, pin: Value) -> Verdict {
    decided(payload, policy, pin, json!({}))
}

#[test]
fn the_first_grant_says_what_to_record() {
    let recorded = |payload: &Payload, policy: Value, pinned: Value| {
        with_pin(payload, policy, pinned).outcome.unwrap().pin.map(|pin| (pin.id, pin.owner_id))
    };
    let full = Some(("456789".to_owned(), Some("123456".to_owned())));
    assert_eq!(recorded(&github(), github_policy(), json!({})), full);
    assert_eq!(recorded(&github(), github_policy(), pin("456789", None)), full, "the owner is still missing");
    assert_eq!(recorded(&github(), github_policy(), pin("456789", Some("123456"))), None);
    assert_eq!(recorded(&gitlab(), gitlab_policy(), json!({})), Some(("20".to_owned(), None)));
    assert_eq!(recorded(&gitlab(), gitlab_policy(), pin("20", None)), None);
    let fork = changed(gitlab_policy(), json!({ "allowForks": true, "allowedBranches": [] }));
    let recorded = recorded(&payload("gitlab-fork-merge-request-18.4"), fork, json!({}));
    assert_eq!(recorded, Some(("20".to_owned(), None)), "the parent's id, never the fork's");
    assert!(
        with_pin(&github(), changed(github_policy(), one("allowedBranches", json!(["x"]))), json!({}))
            .outcome
            .is_err(),
        "a refusal records nothing"
    );
}

#[test]
fn a_rename_is_granted_and_said() {
    let moved = github()
        .with("repository", "evil/octo-repo")
        .with("repository_owner", "evil")
        .with("repository_owner_id", "4711");
    let new_path = gitlab().with("project_path", "new/name").with("job_project_path", "new/name");
    for (case, payload, policy, pinned, renamed) in [
        ("as pinned", github(), github_policy(), pin("456789", Some("123456")), false),
        (
            "another name",
            github().with("repository", "octo-org/new-name"),
            github_policy(),
            pin("456789", Some("123456")),
            true,
        ),
        ("another owner, and nobody recorded one", moved, github_policy(), pin("456789", None), true),
        ("as pinned, GitLab", gitlab(), gitlab_policy(), pin("20", None), false),
        ("another path, GitLab", new_path, gitlab_policy(), pin("20", None), true),
    ] {
        let grant = with_pin(&payload, policy, pinned).outcome.expect(case);
        assert_eq!(grant.renamed, renamed, "{case}");
    }
}

#[test]
fn the_refusal_names_the_callers_ids_only() {
    let verdict =
        with_pin(&github().with("repository_id", "999"), github_policy(), pin("456789", Some("123456")));
    let failure = verdict.outcome.unwrap_err();
    assert!(failure.text().contains("999") && !failure.body().contains("456789"), "{}", failure.body());
    assert!(failure.hint().contains("repin repo:octo-org/octo-repo"), "{}", failure.hint());
    let verdict = with_pin(
        &github().with("repository_owner_id", "4711"),
        github_policy(),
        pin("456789", Some("123456")),
    );
    let failure = verdict.outcome.unwrap_err();
    assert!(failure.text().contains("4711") && !failure.body().contains("123456"), "{}", failure.body());
}

#[test]
fn what_was_never_pinned_lapses_after_thirty_days() {
    let waited = |seconds: i64, changes: Value, policy: Value, payload: &Payload| {
        word(&decided(payload, policy, changed(one("waiting_since", NOW - seconds), changes), json!({})))
    };
    assert_eq!(waited(30 * DAY, json!({}), github_policy(), &github()), "granted");
    assert_eq!(waited(30 * DAY + 1, json!({}), github_policy(), &github()), "policy_lapsed");
    assert_eq!(waited(-DAY, json!({}), github_policy(), &github()), "granted", "a clock that was ahead");
    assert_eq!(waited(99 * DAY, pin("456789", None), github_policy(), &github()), "granted");
    assert_eq!(waited(99 * DAY, json!({}), gitlab_policy(), &gitlab()), "policy_lapsed");
    let by_id = changed(gitlab_policy(), one("subject", "project:20"));
    assert_eq!(waited(99 * DAY, json!({}), by_id, &gitlab()), "granted", "an id is never taken by another");
}
