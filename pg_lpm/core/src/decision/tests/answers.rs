//! The order of the steps and what each answers.

use super::*;
use crate::support::claims::github;

/// Changes that break one step each, in the order of the steps: (code, claims, policy, candidate).
fn breakages() -> Vec<(&'static str, Value, Value, Value)> {
    let none = || json!({});
    vec![
        ("no_policy", none(), one("subject", "repo:other/other"), one("pin", json!({ "id": "1" }))),
        ("identity_changed", none(), none(), one("pin", json!({ "id": "1" }))),
        ("event_not_allowed", one("event_name", "watch"), none(), none()),
        ("branch_not_allowed", one("ref", "refs/heads/x"), none(), none()),
        ("environment_not_allowed", none(), one("allowedEnvironments", json!(["other"])), none()),
        ("runner_not_allowed", none(), one("runner", "self-hosted"), none()),
        ("plan_ci_pull", none(), none(), one("plan", "free")),
        ("escrow_off", none(), none(), one("escrow", Value::Null)),
        ("never_pushed", none(), none(), one("version", 0)),
        ("no_escrow_key", none(), none(), one("escrow_key_loaded", false)),
        ("escrow_mismatch", none(), none(), one("escrow_copy", false)),
    ]
}

#[test]
fn the_first_step_that_fails_answers_whatever_fails_behind_it() {
    let breakages = breakages();
    for first in 0..breakages.len() {
        for second in first..breakages.len() {
            let (mut claims, mut policy, mut candidate) = (json!({}), github_policy(), json!({}));
            // The earlier breakage is applied last, so that a shared key has its value.
            for (_, c, p, k) in [&breakages[second], &breakages[first]] {
                claims = changed(claims, c.clone());
                policy = changed(policy, p.clone());
                candidate = changed(candidate, k.clone());
            }
            let verdict = decided(&claims_with(github(), &claims), policy, candidate, json!({}));
            assert_eq!(word(&verdict), breakages[first].0, "also broken: {}", breakages[second].0);
            assert_eq!(verdict.counted, first == 0);
            assert_eq!(verdict.policy, (first > 0).then(|| id(1)));
        }
    }
}

#[test]
fn the_policy_that_came_furthest_answers() {
    let claims = github().parse().unwrap();
    let candidates: Vec<Value> = breakages()
        .into_iter()
        .filter(|(_, claims, ..)| claims == &json!({}))
        .zip(1_u128..)
        .map(|((_, _, policy, changes), n)| changed(candidate(n, changed(github_policy(), policy)), changes))
        .collect();
    for upto in 1..=candidates.len() {
        let forward = outcome(&claims, &facts(facts_of(candidates[..upto].to_vec())));
        let backward = outcome(&claims, &facts(facts_of(candidates[..upto].iter().rev().cloned().collect())));
        assert_eq!(forward, backward, "{upto} policies, each broken at another step");
        assert_eq!(forward.policy, (upto > 1).then(|| id(upto as u128)));
    }
    let at_one_step = |first: u128, second: u128| {
        let free = |n| changed(candidate(n, github_policy()), one("plan", "free"));
        outcome(&claims, &facts(facts_of(vec![free(first), free(second)]))).policy
    };
    assert_eq!((at_one_step(7, 3), at_one_step(3, 7)), (Some(id(7)), Some(id(3))), "the first in order");
}

#[test]
fn the_promised_texts_are_word_for_word() {
    let text = |policy: Value, candidate: Value| {
        let verdict = decided(&github(), changed(github_policy(), policy), candidate, json!({}));
        let failure = verdict.outcome.unwrap_err();
        format!("{} {}", failure.code.status(), failure.text())
    };
    let org = || json!({ "scope": "org", "org": "acme" });
    assert_eq!(text(json!({}), one("plan", "free")), "403 Vault CI pull requires a Pro or Org plan");
    for plan in ["free", "pro"] {
        assert_eq!(text(org(), one("plan", plan)), "403 Org-scoped policies require an Org plan");
    }
    assert_eq!(text(json!({}), one("escrow", Value::Null)), "403 CI escrow is off for this vault");
    assert_eq!(text(json!({}), one("version", 0)), "404 the vault has a policy but was never pushed");
    assert_eq!(
        text(json!({}), one("escrow_key_loaded", Value::Null)),
        "503 the server has no escrow key loaded"
    );
    assert_eq!(
        text(json!({}), one("escrow_copy", Value::Null)),
        "409 the escrowed key no longer opens the vault"
    );
    assert_eq!(
        text(org(), json!({ "plan": "org", "owner": "acme", "escrow": "aes", "escrow_copy": false })),
        r#"409 the last share left CI out; run "lpm env share --org acme" with this lpm"#
    );
    for (policy, plan) in [(json!({}), "pro"), (json!({}), "org"), (org(), "org")] {
        let verdict = decided(&github(), changed(github_policy(), policy), one("plan", plan), json!({}));
        assert_eq!(word(&verdict), "granted", "{plan}");
    }
}

#[test]
fn an_exchange_needs_neither_key_nor_copy_yet() {
    for row in [one("escrow_key_loaded", false), one("escrow_copy", false)] {
        let verdict = decided(&github(), github_policy(), row, one("pull", false));
        assert_eq!(word(&verdict), "granted");
    }
}

#[test]
fn explain_shows_every_check_with_expected_and_actual() {
    let claims = github().with("ref", "refs/heads/feature/x").parse().unwrap();
    let narrow = json!({
        "allowForks": true, "allowedEvents": ["push", "merge_group"], "ciEnvironment": "Production",
        "workflow": ".gitlab-ci.yml", "protectedRefOnly": true, "runner": "hosted", "audience": "https://vault.example.com"
    });
    let rows = explain(
        &claims,
        &facts(facts_of(vec![
            candidate(1, github_policy()),
            changed(candidate(2, changed(gitlab_policy(), narrow)), one("pin", json!({ "id": "20" }))),
        ])),
    );
    let shown: Vec<String> = rows
        .iter()
        .map(|row| {
            let ok = if row.ok { "ok" } else { "NO" };
            format!("{} {ok} {}: {} | {}", row.policy.as_u128(), row.check, row.expected, row.actual)
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    1 ok issuer: https://token.actions.githubusercontent.com | https://token.actions.githubusercontent.com
    1 ok subject: repo:octo-org/octo-repo | repo:octo-org/octo-repo
    1 ok lapse: a grant within 30 days | none for 1 day
    1 ok event: push, workflow_dispatch, schedule, release, repository_dispatch, deployment; pull_request where forks are allowed | push
    1 ok fork: no fork's run | no sign of a fork that is not allowed
    1 NO ref: the branch main | the branch feature/x
    1 ok environment: production | production
    1 ok plan: pro or org | pro
    1 ok escrow: on | on
    1 ok pushed: version 1 or later | version 3
    1 ok escrow_key: loaded | loaded
    1 ok escrow_copy: there | there
    2 NO issuer: https://gitlab.com | https://token.actions.githubusercontent.com
    2 NO subject: project:my-group/my-project | repo:octo-org/octo-repo
    2 NO identity: 20 | 456789
    2 ok event: push, merge_group | push
    2 ok fork: forks are allowed | no sign of a fork that is not allowed
    2 NO ref: the branch main | the branch feature/x
    2 ok environment: production | production
    2 ok ci_environment: Production | production
    2 NO workflow: .gitlab-ci.yml | octo-org/octo-repo/.github/workflows/deploy.yml@refs/heads/main
    2 ok protected_ref: protected | protected
    2 ok runner: github-hosted | github-hosted
    2 NO audience: https://vault.example.com | https://lpm.dev
    2 ok plan: pro or org | pro
    2 ok escrow: on | on
    2 ok pushed: version 1 or later | version 3
    2 ok escrow_key: loaded | loaded
    2 ok escrow_copy: there | there
    ");
}

#[test]
fn explain_names_an_alias_only_where_it_leads_somewhere_else() {
    let actual = |asked: &str, config: Value| {
        let aliased = changed(candidate(1, github_policy()), one("env_config", config));
        let facts = facts(changed(facts_of(vec![aliased]), one("environment", asked)));
        let rows = explain(&github().parse().unwrap(), &facts);
        rows.iter().find(|row| row.check == "environment").unwrap().actual.clone()
    };
    let to = |name: &str, canonical: &str| one(name, one("canonical", canonical));
    assert_eq!(actual("prod", to("prod", "production")), "prod (an alias of production)");
    assert_eq!(actual("prod", to("prod", "prod")), "prod", "itself");
    assert_eq!(actual("prod", to("prod", "")), "prod", "nothing");
    assert_eq!(actual("prod", to("other", "production")), "prod", "somebody else's");
    let hidden = "pr\u{202E}od";
    assert_eq!(
        actual(hidden, to(hidden, "production")),
        r"pr\u{202e}od",
        "a name that the audit shows otherwise"
    );
}

#[test]
fn explain_escapes_what_reorders_a_line() {
    let claims = github().with("ref", "refs/heads/a\u{202E}b\u{1B}c").parse().unwrap();
    let rows = explain(&claims, &facts(facts_of(vec![candidate(1, github_policy())])));
    let row = rows.iter().find(|row| row.check == "ref").unwrap();
    assert_eq!(row.actual, r"the branch a\u{202e}b\u{1b}c");
}

#[test]
fn facts_have_one_shape() {
    let good = facts_of(vec![candidate(1, github_policy())]);
    assert!(serde_json::from_value::<Facts>(good.clone()).is_ok());
    for (why, bad) in [
        ("an unknown fact", changed(good.clone(), one("replayed", true))),
        ("a missing one", json!({ "now": 1, "candidates": [] })),
        ("an unknown escrow", facts_of(vec![changed(candidate(1, github_policy()), one("escrow", "raw"))])),
        ("an unknown plan", facts_of(vec![changed(candidate(1, github_policy()), one("plan", "gold"))])),
        (
            "an unknown rule",
            facts_of(vec![candidate(1, changed(github_policy(), one("deniedBranches", json!(["x"]))))]),
        ),
        (
            "no pattern",
            facts_of(vec![candidate(1, changed(github_policy(), one("allowedBranches", json!(["["]))))]),
        ),
        ("no subject", facts_of(vec![candidate(1, changed(gitlab_policy(), one("subject", "project:x")))])),
    ] {
        assert!(serde_json::from_value::<Facts>(bad).is_err(), "{why}");
    }
}
