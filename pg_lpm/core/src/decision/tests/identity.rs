//! Whose policy it is, and the ids behind names (steps 2 and 4).

use super::*;
use crate::claims::testing::{github, gitlab, payload};

fn pin(id: &str, owner_id: Option<&str>) -> Value {
    one("pin", json!({ "id": id, "owner_id": owner_id }))
}

fn with_pin(payload: &Payload, policy: Value, pin: Value) -> Verdict {
    decided(payload, policy, pin, json!({}))
}

#[test]
fn a_stranger_gets_one_answer_whatever_the_vault_is() {
    let claims = github().parse().unwrap();
    let nobody = outcome(&claims, &facts(facts_of(vec![])));
    let strangers = vec![
        candidate(1, changed(github_policy(), one("subject", "repo:octo-org/other"))),
        candidate(2, gitlab_policy()),
        changed(candidate(3, changed(github_policy(), one("subject", "repo:x/y"))), one("plan", "free")),
        changed(
            candidate(4, changed(github_policy(), one("subject", "repo:x/z"))),
            one("escrow", Value::Null),
        ),
    ];
    let some = outcome(&claims, &facts(facts_of(strangers)));
    assert_eq!(nobody, some, "P27, P28: same text, no policy named, counted");
    assert!(nobody.counted);
    assert_eq!(nobody.policy, None);
    let failure = nobody.outcome.unwrap_err();
    insta::assert_snapshot!(failure.body(), @r#"{"error":"no OIDC policy of this vault allows repo:octo-org/octo-repo","code":"no_policy","hint":"on a machine that has the vault: `lpm env oidc allow --provider=github --repo=octo-org/octo-repo --env=production` (published 0.28: `lpm use vars oidc allow … --repo=…`)"}"#);
    let gitlab = outcome(&gitlab().parse().unwrap(), &facts(facts_of(vec![])));
    assert!(gitlab.outcome.unwrap_err().hint().contains("--provider=gitlab --project=my-group/my-project "));
}

#[test]
fn p20_an_issuer_is_compared_byte_for_byte() {
    for issuer in [
        "https://token.actions.githubusercontent.com/",
        "https://token.actions.githubusercontent.com/octo-inc",
        "https://TOKEN.actions.githubusercontent.com",
        "https://ghes.example.com/_services/token",
        "",
    ] {
        let policy = changed(github_policy(), one("issuer", issuer));
        let pinned = pin("456789", Some("123456"));
        assert_eq!(word(&with_pin(&github(), policy, pinned)), "no_policy", "J20, J21: {issuer}");
    }
}

#[test]
fn p14_only_ascii_case_is_folded_in_a_repositorys_name() {
    let named = |subject: &str| changed(github_policy(), one("subject", subject));
    for subject in ["repo:octo-org/octo-repo", "repo:Octo-Org/OCTO-repo"] {
        assert_eq!(word(&with_pin(&github(), named(subject), json!({}))), "granted", "{subject}");
    }
    let upper = github().with("repository", "Octo-Org/Octo-Repo").with("repository_owner", "Octo-Org");
    let verdict = with_pin(&upper, github_policy(), json!({}));
    assert!(!verdict.outcome.unwrap().renamed, "case is no rename");
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
fn once_pinned_ids_decide() {
    let renamed = || github().with("repository", "octo-org/new-name");
    let moved = || {
        github()
            .with("repository", "evil/octo-repo")
            .with("repository_owner", "evil")
            .with("repository_owner_id", "4711")
    };
    let taken = || github().with("repository_id", "999");
    let pinned = || pin("456789", Some("123456"));
    for (row, payload, pinned, expected) in [
        ("", github(), pinned(), "granted"),
        ("P15: re-created", taken(), pinned(), "identity_changed"),
        (
            "P15: owner renamed, name taken",
            taken().with("repository_owner_id", "4711"),
            pinned(),
            "identity_changed",
        ),
        (
            "P11b: another one's immutable sub",
            github().with("repository_id", "1").with("repository_owner_id", "2"),
            pinned(),
            "identity_changed",
        ),
        ("a rename", renamed(), pinned(), "granted"),
        ("a rename before the first grant", renamed(), json!({}), "no_policy"),
        ("a rename, and the id is another's", renamed().with("repository_id", "999"), pinned(), "no_policy"),
        ("a transfer", github().with("repository_owner_id", "4711"), pinned(), "owner_changed"),
        ("a transfer with its name", moved(), pinned(), "owner_changed"),
        ("an owner that nobody recorded", moved(), pin("456789", None), "granted"),
    ] {
        let verdict = with_pin(&payload, github_policy(), pinned);
        assert_eq!(word(&verdict), expected, "{row}");
        if let Ok(grant) = verdict.outcome {
            assert_eq!(grant.renamed, !row.is_empty(), "{row}");
        }
    }
    for (row, payload, policy, pinned, expected) in [
        ("", gitlab(), gitlab_policy(), pin("20", None), "granted"),
        (
            "P16: path reuse",
            gitlab().with("project_id", "30").with("job_project_id", "30"),
            gitlab_policy(),
            pin("20", None),
            "identity_changed",
        ),
        (
            "P16: rename",
            gitlab().with("project_path", "new/name").with("job_project_path", "new/name"),
            gitlab_policy(),
            pin("20", None),
            "granted",
        ),
        (
            "an id needs no pin",
            gitlab(),
            changed(gitlab_policy(), one("subject", "project:20")),
            json!({}),
            "granted",
        ),
        (
            "a repin cannot contradict an id",
            gitlab(),
            changed(gitlab_policy(), one("subject", "project:20")),
            pin("21", None),
            "identity_changed",
        ),
    ] {
        assert_eq!(word(&with_pin(&payload, policy, pinned)), expected, "{row}");
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
