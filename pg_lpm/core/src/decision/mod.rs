//! The decision: claims and policies in, a grant or the reason of its refusal out.
//!
//! [`decide`] and [`explain`] walk the same table of checks, `checks::STEPS`, so they cannot disagree:
//! a policy grants exactly when every row that `explain` shows for it is ok. Clock, rows and keys are
//! [`Facts`]; nothing here asks anyone.
//!
//! The steps bear the numbers that users see in the documentation. 1 (signature) and 3 (replay) happen
//! elsewhere: before there are claims, and with a row that must be written.

mod case;
mod checks;
mod facts;
mod narrowing;
mod refs;
#[cfg(test)]
mod tests;

pub use facts::{Candidate, Facts, Pin, Plan};

use crate::claims::Claims;
use crate::failure::{Code, Failure, visible};
use case::Case;
use serde::Serialize;
use uuid::Uuid;

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The policy that grants, or whose refusal is the answer; none where no policy names the subject.
    pub policy: Option<Uuid>,
    /// The grant, or why not.
    pub outcome: Result<Grant, Failure>,
    /// A stranger's attempt (step 2): counted, not audited one by one.
    pub counted: bool,
}

/// What may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The policy that grants; the first of the candidates, where several do.
    pub policy: Uuid,
    /// The environments that may be opened, in the order to try them: the one asked for, then the one
    /// that it is an alias of. The alias counts only where the vault has no environment of the name asked
    /// for, which nobody knows before the vault is open.
    pub environments: Vec<String>,
    /// The environment asked for.
    pub asked: String,
    /// The subject has another name than the policy's; its id is the same.
    pub renamed: bool,
    /// Ids to record now, because none (or no owner) are recorded yet.
    pub pin: Option<Pin>,
}

/// One check of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckRow {
    /// The policy.
    pub policy: Uuid,
    /// The check's name.
    pub check: &'static str,
    /// What the policy or the server wants.
    pub expected: String,
    /// What the token or the vault says.
    pub actual: String,
    /// Whether that is enough.
    pub ok: bool,
}

/// Decides steps 2 and 4 to 12, and what of 13 is known by then: whether one of the candidates grants the request on its own.
///
/// All candidates take a step before any takes the next, so the answer is about the policy that came
/// furthest, and whether there is a grant does not depend on their order.
#[must_use]
pub fn decide(claims: &Claims, facts: &Facts) -> Verdict {
    let mut alive: Vec<Case> =
        facts.candidates.iter().map(|candidate| Case::new(claims, facts, candidate)).collect();
    if alive.is_empty() {
        return Verdict { policy: None, outcome: Err(case::no_policy(claims, facts)), counted: true };
    }
    for step in checks::STEPS {
        let mut refused: Option<(Uuid, Failure)> = None;
        alive.retain(|case| match step.iter().find_map(|check| check.refusal(case)) {
            None => true,
            Some(failure) => {
                refused.get_or_insert((case.candidate.id, failure));
                false
            }
        });
        if let (true, Some((policy, failure))) = (alive.is_empty(), refused) {
            let counted = failure.code == Code::NoPolicy;
            return Verdict { policy: (!counted).then_some(policy), outcome: Err(failure), counted };
        }
    }
    let grant = grant(&alive);
    Verdict { policy: Some(grant.policy), outcome: Ok(grant), counted: false }
}

/// The first policy grants, for what any policy of the same row permits: which of two names the vault
/// has is not known yet, so the answer would otherwise depend on the order of the policies.
fn grant(alive: &[Case]) -> Grant {
    let first = &alive[0];
    let permitted = |name: &String| {
        alive.iter().any(|case| case.reads_the_row_of(first) && case.permits_environment(name))
    };
    Grant {
        policy: first.candidate.id,
        environments: first.names_of_environment().into_iter().filter(permitted).collect(),
        asked: first.facts.environment.clone(),
        renamed: first.is_renamed(),
        pin: first.pin_to_record(),
    }
}

/// Every check of every candidate, run on even where one has failed; never a grant.
#[must_use]
pub fn explain(claims: &Claims, facts: &Facts) -> Vec<CheckRow> {
    let mut rows = Vec::new();
    for candidate in &facts.candidates {
        let case = Case::new(claims, facts, candidate);
        for check in checks::STEPS.iter().copied().flatten() {
            if let Some(finding) = check.run(&case) {
                rows.push(CheckRow {
                    policy: candidate.id,
                    check: check.name,
                    expected: visible(&finding.expected),
                    actual: visible(&finding.actual),
                    ok: finding.refusal.is_none(),
                });
            }
        }
    }
    rows
}
