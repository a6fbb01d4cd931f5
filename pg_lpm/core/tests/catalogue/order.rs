//! P24 and P26: nothing depends on the order of a list, of members or of rows.

use crate::random::Random;
use crate::support::claims::{github, gitlab};
use crate::support::decision::*;
use crate::support::grid::{all_candidates, all_claims, facts_with};
use crate::support::requests::{policy, with};
use crate::support::token::*;
use lpm_core::claims::{Claims, Provider};
use lpm_core::decision::{Candidate, decide};
use lpm_core::token::{IssuerRules, algorithm, audience};
use serde_json::{Map, Value, json};

fn shuffled(random: &mut Random, items: &[&str]) -> Value {
    let mut items = items.to_vec();
    random.shuffle(&mut items);
    json!(items)
}

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![vec![]],
        _ => orders(count - 1)
            .into_iter()
            .flat_map(|order| {
                (0..count).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, count - 1);
                    order
                })
            })
            .collect(),
    }
}

#[test]
fn p24_the_order_within_a_policys_lists_means_nothing() {
    let mut random = Random::seeded(24);
    let mut lists = || {
        json!({
            "allowedBranches": shuffled(&mut random, &["main", "release/*", "feature/**", "main"]),
            "allowedEnvironments": shuffled(&mut random, &["production", "staging", "development"]),
            "allowedTags": shuffled(&mut random, &["v*", "main", "**"]),
            "allowedEvents": shuffled(&mut random, &["push", "release", "merge_group", "pull_request"]),
        })
    };
    let claims = all_claims();
    let answers = |lists: &Value| -> Vec<_> {
        let facts = facts(facts_of(vec![candidate(1, changed(github_policy(), lists.clone()))]));
        claims.iter().map(|claims| decide(claims, &facts)).collect()
    };
    let request = |lists: &Value| {
        let changes: Vec<(&str, Value)> =
            lists.as_object().unwrap().iter().map(|(field, items)| (field.as_str(), items.clone())).collect();
        policy(&with(&changes)).canonical()
    };
    let first = lists();
    let (expected, canonical) = (answers(&first), request(&first));
    assert!(expected.iter().any(|verdict| verdict.outcome.is_ok()), "P24: something is granted");
    for _ in 0..30 {
        let other = lists();
        assert_eq!(answers(&other), expected, "P24: {other}");
        assert_eq!(request(&other), canonical, "P24: {other}");
    }
    // A guard that reads element 0 only would grant or refuse by these.
    for (at, order) in orders(3).into_iter().enumerate() {
        let pick = |items: [&str; 3]| json!(order.iter().map(|n| items[*n]).collect::<Vec<_>>());
        let lists = json!({
            "allowedBranches": pick(["main", "dev", "x/*"]),
            "allowedEnvironments": pick(["production", "a", "b"]),
            "allowedEvents": pick(["push", "release", "schedule"])
        });
        let of = |claims: Value, expected| {
            run_table(github, github_policy, vec![("P24: one of three", claims, lists.clone(), expected)]);
        };
        of(json!({}), "granted");
        of(one("event_name", "deployment"), "event_not_allowed");
        of(one("ref", "refs/heads/evil"), "branch_not_allowed");
        assert!(at < 6);
    }
}

#[test]
fn p24_the_order_within_rules_keys_and_claims_means_nothing() {
    let bases = ["https://lpm.dev", "https://vault.example.com", "https://third.example"];
    let names = ["RS256", "ES256", "EdDSA"];
    let others = ["a", "b"].map(|id| SigningKey { id, key: STRANGER.key.clone() });
    let jwks = [KEY.jwk(), others[0].jwk(), others[1].jwk()];
    let token = token().signed();
    for order in orders(3) {
        let rules = IssuerRules {
            audiences: order.iter().map(|at| bases[*at].to_owned()).collect(),
            algorithms: order.iter().map(|at| algorithm(names[*at]).unwrap()).collect(),
            ..github_rules()
        };
        let keys = key_set(&order.iter().map(|at| jwks[*at].clone()).collect::<Vec<_>>()).unwrap();
        assert_eq!(verify(&token, &rules, &keys, NOW).err(), None, "P24: {order:?}");
        assert!(audience(&rules.audiences, "https://evil.example").is_err(), "P24: {order:?}");
    }
    let mut random = Random::seeded(2424);
    for (provider, payload) in [(Provider::GitHub, github()), (Provider::GitLab, gitlab())] {
        let members: Map<String, Value> = serde_json::from_slice(&payload.bytes()).unwrap();
        let mut members: Vec<String> =
            members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        for _ in 0..50 {
            random.shuffle(&mut members);
            let claims = Claims::parse(provider, format!("{{{}}}", members.join(",")).as_bytes());
            assert_eq!(claims, payload.parse(), "P24: {members:?}");
        }
    }
    for groups in [json!(["my-group/sub", "evil"]), json!(["evil", "my-group/sub"]), json!([])] {
        assert_eq!(
            gitlab().with("groups_direct", groups).claims(),
            gitlab().claims(),
            "P24: a list of claims"
        );
    }
}

/// The catalogue lets deny rules win; here there are none, so one policy that grants is enough wherever it
/// stands.
#[test]
fn p26_a_grant_does_not_depend_on_the_order_of_policies() {
    let narrow = |n: u128, changes: Value| candidate(n, changed(github_policy(), changes));
    let candidates = [
        narrow(1, json!({ "allowedBranches": [], "allowedEnvironments": [] })),
        narrow(2, json!({})),
        narrow(3, one("allowedBranches", json!(["dev"]))),
        narrow(4, json!({ "ciEnvironment": "staging", "runner": "self-hosted" })),
    ];
    for (case, claims, expected) in [
        ("broad and narrow allow it", json!({}), "granted"),
        ("the broad one alone", one("ref", "refs/heads/evil"), "granted"),
        ("none", one("event_name", "watch"), "event_not_allowed"),
    ] {
        let claims = claims_with(github(), &claims).claims();
        for order in orders(4) {
            let verdict =
                outcome(&claims, &facts(facts_of(order.iter().map(|at| candidates[*at].clone()).collect())));
            assert_eq!(word(&verdict), expected, "P26: {case}, {order:?}");
            if let Ok(grant) = &verdict.outcome {
                assert_eq!(grant.environments, ["production"], "P26: {case}, {order:?}");
            }
        }
    }
    // Without the broad one: a policy that refuses takes nothing away from one that grants.
    let claims = github().claims();
    for order in orders(3) {
        let some = order.iter().map(|at| candidates[at + 1].clone()).collect();
        let verdict = outcome(&claims, &facts(facts_of(some)));
        assert_eq!((word(&verdict), verdict.policy), ("granted", Some(id(2))), "P26: {order:?}");
    }
}

#[test]
fn p26_over_the_whole_grid_a_grant_depends_on_no_order() {
    let candidates = all_candidates();
    for (n, claims) in all_claims().iter().enumerate() {
        let grants =
            |candidates: Vec<Candidate>| outcome(claims, &facts_with(candidates, false)).outcome.is_ok();
        let alone: Vec<bool> = candidates.iter().map(|candidate| grants(vec![candidate.clone()])).collect();
        // Triples that start at different places, so that grants stand first, in the middle and last.
        for i in (n..candidates.len() - 101).step_by(29) {
            let picked = [i, i + 41, i + 101];
            let expected = picked.iter().any(|i| alone[*i]);
            for order in orders(3) {
                let shuffled = order.iter().map(|at| candidates[picked[*at]].clone()).collect();
                assert_eq!(grants(shuffled), expected, "P26: {picked:?} in the order {order:?}");
            }
        }
    }
}
