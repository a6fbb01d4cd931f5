//! Every fixture and a generated grid of policies, for properties that hold whatever they hold.

use super::claims::payload;
use super::decision::*;
use lpm_core::claims::Claims;
use lpm_core::decision::{Candidate, Facts};
use serde_json::{Value, json};

/// Every payload in `tests/fixtures/claims`, and some variants of each.
pub(crate) fn all_claims() -> Vec<Claims> {
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
pub(crate) fn all_candidates() -> Vec<Candidate> {
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

pub(crate) fn facts_with(candidates: Vec<Candidate>, without_job_project: bool) -> Facts {
    Facts { candidates, without_job_project, ..facts(facts_of(vec![])) }
}
