//! Decisions for tests: a policy in whose way nothing stands, one thing changed, and what comes of it.

pub(crate) use super::NOW;
use super::claims::Payload;
use lpm_core::claims::Claims;
use lpm_core::decision::{Candidate, Facts, Verdict, decide, explain};
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) const DAY: i64 = 24 * 60 * 60;
pub(crate) const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

pub(crate) fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// `object` with the members of `changes` set.
pub(crate) fn changed(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    object.as_object_mut().unwrap().extend(changes);
    object
}

pub(crate) fn github_policy() -> Value {
    json!({
        "provider": "github", "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:octo-org/octo-repo", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false, "scope": "personal"
    })
}

pub(crate) fn gitlab_policy() -> Value {
    changed(
        github_policy(),
        json!({ "provider": "gitlab", "issuer": "https://gitlab.com", "subject": "project:my-group/my-project" }),
    )
}

/// A policy in whose way nothing stands: pinned to nothing yet, pushed, escrowed, on a paid plan.
pub(crate) fn candidate(n: u128, policy: Value) -> Value {
    json!({
        "id": id(n), "policy": policy, "owner": "alice", "plan": "pro", "waiting_since": NOW - DAY,
        "pin": null, "escrow": "wrapping", "escrow_key_loaded": true, "escrow_copy": true, "version": 3,
        "env_config": null
    })
}

pub(crate) fn facts_of(candidates: Vec<Value>) -> Value {
    json!({
        "now": NOW, "vault": "vault-abc", "environment": "production", "without_job_project": false,
        "pull": true, "candidates": candidates
    })
}

pub(crate) fn facts(json: Value) -> Facts {
    // as text, the way SQL hands it over
    serde_json::from_str(&json.to_string()).unwrap()
}

/// What is decided about one policy, after checking that `explain` says the same.
pub(crate) fn outcome(claims: &Claims, facts: &Facts) -> Verdict {
    let verdict = decide(claims, facts);
    let rows = explain(claims, facts);
    let granted =
        |candidate: &Candidate| rows.iter().filter(|row| row.policy == candidate.id).all(|row| row.ok);
    let any = facts.candidates.iter().any(granted);
    assert_eq!(verdict.outcome.is_ok(), any, "decide and explain disagree: {verdict:?}\n{rows:#?}");
    verdict
}

/// `granted`, or the code of the refusal.
pub(crate) fn word(verdict: &Verdict) -> &'static str {
    match &verdict.outcome {
        Ok(_) => "granted",
        Err(failure) => failure.code.as_str(),
    }
}

/// One policy, one set of claims.
pub(crate) fn decided(
    payload: &Payload,
    policy: Value,
    candidate_changes: Value,
    facts_changes: Value,
) -> Verdict {
    let claims = payload.parse().unwrap();
    let candidate = changed(candidate(1, policy), candidate_changes);
    outcome(&claims, &facts(changed(facts_of(vec![candidate]), facts_changes)))
}

/// The row of the threat catalogue, changed claims, changed policy, and what comes of it.
pub(crate) type Row = (&'static str, Value, Value, &'static str);

/// Null removes a claim; the fixtures hold every claim that the tables change.
pub(crate) fn claims_with(mut payload: Payload, claims: &Value) -> Payload {
    for (claim, value) in claims.as_object().unwrap() {
        payload = if value.is_null() { payload.without(claim) } else { payload.with(claim, value.clone()) };
    }
    payload
}

pub(crate) fn run_table(payload: fn() -> Payload, policy: fn() -> Value, rows: Vec<Row>) {
    for (row, claims, policy_changes, expected) in rows {
        let verdict = decided(
            &claims_with(payload(), &claims),
            changed(policy(), policy_changes.clone()),
            json!({}),
            json!({}),
        );
        assert_eq!(word(&verdict), expected, "{row}: {claims} against {policy_changes}\n{verdict:#?}");
    }
}

/// An object of one member.
pub(crate) fn one(key: &str, value: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value.into())]))
}
