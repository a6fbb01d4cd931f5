//! Properties over every fixture and a generated grid of policies: `decide` and `explain` agree, and no
//! order matters.

use super::*;
use crate::claims::testing::payload;

/// Every payload in `tests/fixtures/claims`, and some variants of each.
fn all_claims() -> Vec<Claims> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/claims");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    let mut claims = Vec::new();
    for name in &names {
        let base = payload(name);
        for (claim, value) in [
            ("aud", "https://lpm.dev"),
            ("ref", "refs/heads/feature/x"),
            ("ref_type", "tag"),
            ("environment", ""),
            ("ref_protected", "false"),
            ("event_name", "merge_group"),
            ("pipeline_source", "web"),
        ] {
            claims.push(base.clone().with(claim, value).parse().unwrap());
        }
    }
    claims
}

/// Some hundred candidates: every combination of these values, thinned by a step that is prime to all.
fn all_candidates() -> Vec<Candidate> {
    let axes: Vec<(&str, Vec<Value>)> = vec![
        ("allowForks", vec![json!(false), json!(true)]),
        ("allowedBranches", vec![json!([]), json!(["main"]), json!(["feature/**"])]),
        ("allowedEnvironments", vec![json!([]), json!(["production"]), json!(["staging"])]),
        ("allowedTags", vec![Value::Null, json!(["**"])]),
        (
            "allowedEvents",
            vec![
                Value::Null,
                json!(["push", "web", "pull_request_target"]),
                json!(["merge_group", "pull_request", "merge_request_event"]),
            ],
        ),
        ("protectedRefOnly", vec![json!(false), json!(true)]),
        ("ciEnvironment", vec![Value::Null, json!("production")]),
        ("runner", vec![Value::Null, json!("hosted")]),
        (
            "subject",
            vec![
                json!(["repo:octo-org/octo-repo", "project:my-group/my-project"]),
                json!(["repo:other/repo", "project:20"]),
            ],
        ),
        ("pin", vec![Value::Null, json!(["456789", "20"]), json!(["1", "991"])]),
        (
            "row",
            vec![
                json!({}),
                json!({}),
                json!({}),
                one("plan", "free"),
                one("escrow", Value::Null),
                one("version", 0),
            ],
        ),
    ];
    let total: usize = axes.iter().map(|(_, values)| values.len()).product();
    let mut candidates = Vec::new();
    for n in (0..total).step_by(151) {
        for (provider, mut policy) in [github_policy(), gitlab_policy()].into_iter().enumerate() {
            let (mut row, mut rest) = (json!({}), n);
            for (axis, values) in &axes {
                let value = values[rest % values.len()].clone();
                rest /= values.len();
                match *axis {
                    "row" => row = changed(row, value),
                    "pin" if value.is_null() => {}
                    "pin" => row = changed(row, one("pin", json!({ "id": value[provider] }))),
                    "subject" => policy["subject"] = value[provider].clone(),
                    _ => policy[*axis] = value,
                }
            }
            let number = candidates.len() as u128 + 1;
            candidates.push(serde_json::from_value(changed(candidate(number, policy), row)).unwrap());
        }
    }
    candidates
}

fn facts_with(candidates: Vec<Candidate>, without_job_project: bool) -> Facts {
    Facts { candidates, without_job_project, ..facts(facts_of(vec![])) }
}

#[test]
fn a_policy_grants_exactly_when_every_check_is_ok() {
    let (mut granted, mut refused) = (0, 0);
    for claims in all_claims() {
        for candidate in all_candidates() {
            for without_job_project in [false, true] {
                let facts = facts_with(vec![candidate.clone()], without_job_project);
                let verdict = outcome(&claims, &facts);
                match verdict.outcome {
                    Ok(_) => granted += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(granted > 200 && refused > granted, "the grid sees both: {granted} and {refused}");
}

#[test]
fn p24_p26_a_grant_depends_on_no_order() {
    let candidates = all_candidates();
    for (n, claims) in all_claims().iter().enumerate() {
        let alone: Vec<bool> = candidates
            .iter()
            .map(|candidate| decide(claims, &facts_with(vec![candidate.clone()], false)).outcome.is_ok())
            .collect();
        // Triples that start at different places, so that grants stand first, in the middle and last.
        for i in (n..candidates.len() - 101).step_by(29) {
            let picked = [i, i + 41, i + 101];
            let expected = picked.iter().any(|i| alone[*i]);
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let shuffled = order.iter().map(|at| candidates[picked[*at]].clone()).collect();
                let verdict = outcome(claims, &facts_with(shuffled, false));
                assert_eq!(verdict.outcome.is_ok(), expected, "{picked:?} in the order {order:?}");
            }
        }
    }
}

#[test]
fn p24_the_order_within_a_list_means_nothing() {
    let lists = |reverse: bool| {
        let list = |mut items: Vec<&str>| {
            if reverse {
                items.reverse();
            }
            json!(items)
        };
        changed(
            github_policy(),
            json!({
                "allowedBranches": list(vec!["main", "release/*", "feature/**"]),
                "allowedEnvironments": list(vec!["production", "staging"]),
                "allowedTags": list(vec!["v*", "main"]),
                "allowedEvents": list(vec!["push", "release", "pull_request"]),
            }),
        )
    };
    for claims in all_claims() {
        let of = |reverse: bool| decide(&claims, &facts(facts_of(vec![candidate(1, lists(reverse))])));
        assert_eq!(of(false), of(true));
    }
}

#[test]
fn p34_no_configuration_is_no_access() {
    for claims in all_claims() {
        let verdict = decide(&claims, &facts(facts_of(vec![])));
        assert_eq!(word(&verdict), "no_policy");
        assert!(explain(&claims, &facts(facts_of(vec![]))).is_empty());
    }
}
