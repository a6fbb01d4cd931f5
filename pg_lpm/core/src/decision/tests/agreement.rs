//! A property over every fixture and a generated grid of policies: `decide` and `explain` agree.

use super::*;
use crate::support::grid::{all_candidates, all_claims, facts_with};

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
