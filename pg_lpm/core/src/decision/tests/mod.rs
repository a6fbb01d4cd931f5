//! Tables of cases: something valid with one thing changed, and what comes of it. Row ids such as `P4`
//! name the attacks of the threat catalogue.

#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

mod agreement;
mod answers;
mod github;
mod gitlab;
mod identity;
mod narrowing;

use super::*;
use crate::claims::testing::Payload;
use serde_json::{Map, Value, json};

const NOW: i64 = 1_790_000_060;
const DAY: i64 = 24 * 60 * 60;
pub(super) const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// `object` with the members of `changes` set.
fn changed(mut object: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else { panic!("changes are an object") };
    object.as_object_mut().unwrap().extend(changes);
    object
}

fn github_policy() -> Value {
    json!({
        "provider": "github", "issuer": "https://token.actions.githubusercontent.com",
        "subject": "repo:octo-org/octo-repo", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false, "scope": "personal"
    })
}

fn gitlab_policy() -> Value {
    changed(
        github_policy(),
        json!({ "provider": "gitlab", "issuer": "https://gitlab.com", "subject": "project:my-group/my-project" }),
    )
}

/// A policy in whose way nothing stands: pinned to nothing yet, pushed, escrowed, on a paid plan.
fn candidate(n: u128, policy: Value) -> Value {
    json!({
        "id": id(n), "policy": policy, "owner": "alice", "plan": "pro", "waiting_since": NOW - DAY,
        "pin": null, "escrow": "wrapping", "escrow_key_loaded": true, "version": 3, "env_config": null
    })
}

fn facts_of(candidates: Vec<Value>) -> Value {
    json!({
        "now": NOW, "vault": "vault-abc", "environment": "production", "without_job_project": false,
        "pull": true, "candidates": candidates
    })
}

fn facts(json: Value) -> Facts {
    serde_json::from_value(json).unwrap()
}

/// What is decided about one policy, after checking that `explain` says the same.
fn outcome(claims: &Claims, facts: &Facts) -> Verdict {
    let verdict = decide(claims, facts);
    let rows = explain(claims, facts);
    let granted =
        |candidate: &Candidate| rows.iter().filter(|row| row.policy == candidate.id).all(|row| row.ok);
    let any = facts.candidates.iter().any(granted);
    assert_eq!(verdict.outcome.is_ok(), any, "decide and explain disagree: {verdict:?}\n{rows:#?}");
    verdict
}

/// `granted`, or the code of the refusal.
fn word(verdict: &Verdict) -> &'static str {
    match &verdict.outcome {
        Ok(_) => "granted",
        Err(failure) => failure.code.as_str(),
    }
}

/// One policy, one set of claims.
fn decided(payload: &Payload, policy: Value, candidate_changes: Value, facts_changes: Value) -> Verdict {
    let claims = payload.parse().unwrap();
    let candidate = changed(candidate(1, policy), candidate_changes);
    outcome(&claims, &facts(changed(facts_of(vec![candidate]), facts_changes)))
}

/// The row of the threat catalogue, changed claims, changed policy, and what comes of it.
type Row = (&'static str, Value, Value, &'static str);

/// Null removes a claim; the fixtures hold every claim that the tables change.
fn claims_with(mut payload: Payload, claims: &Value) -> Payload {
    for (claim, value) in claims.as_object().unwrap() {
        payload = if value.is_null() { payload.without(claim) } else { payload.with(claim, value.clone()) };
    }
    payload
}

fn run_table(payload: fn() -> Payload, policy: fn() -> Value, rows: Vec<Row>) {
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
fn one(key: &str, value: impl Into<Value>) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value.into())]))
}
