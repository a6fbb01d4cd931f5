//! The decision and its explanation.

use crate::policy::stored_badly;
use lpm_core::claims::{Claims, Provider};
use lpm_core::decision::{self, Facts};
use lpm_core::failure::{Code, Failure};
use pgrx::Uuid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

fn inputs(provider: &str, claims: &[u8], facts: &str) -> Result<(Claims, Facts), Failure> {
    let claims = Claims::parse(Provider::parse(provider)?, claims).map_err(|problem| problem.failure())?;
    let facts = serde_json::from_str(facts)
        .map_err(|problem| stored_badly(&format!("the facts of a decision ({problem})")))?;
    Ok((claims, facts))
}

fn to_uuid(id: uuid::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// Decides: claims against the policies in `facts`. `counted` marks a stranger (step 2 of the decision).
#[pg_extern(immutable, strict, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn judge(
    provider: &str,
    claims: &[u8],
    facts: &str,
) -> TableIterator<
    'static,
    (
        name!(reason, Option<String>),
        name!(status, i32),
        name!(body, Option<String>),
        name!(policy, Option<Uuid>),
        name!(granted, bool),
        name!(counted, bool),
        name!(environments, Option<Vec<String>>),
        name!(renamed, bool),
        name!(pin_id, Option<String>),
        name!(pin_owner_id, Option<String>),
    ),
> {
    let denied = |failure: Failure, policy: Option<uuid::Uuid>, counted: bool| {
        let reason = Some(failure.code.as_str().to_owned());
        (
            reason,
            i32::from(failure.code.status()),
            Some(failure.body()),
            policy.map(to_uuid),
            false,
            counted,
            None,
            false,
            None,
            None,
        )
    };
    TableIterator::once(match inputs(provider, claims, facts) {
        Err(failure) => denied(failure, None, false),
        Ok((claims, facts)) => {
            let verdict = decision::decide(&claims, &facts);
            match verdict.outcome {
                Err(failure) => denied(failure, verdict.policy, verdict.counted),
                Ok(grant) => {
                    let (pin_id, pin_owner_id) =
                        grant.pin.map_or((None, None), |pin| (Some(pin.id), pin.owner_id));
                    (
                        None,
                        200,
                        None,
                        Some(to_uuid(grant.policy)),
                        true,
                        false,
                        Some(grant.environments),
                        grant.renamed,
                        pin_id,
                        pin_owner_id,
                    )
                }
            }
        }
    })
}

/// Every check of every policy, run on even where one has failed.
#[pg_extern(immutable, strict, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn explain_checks(
    provider: &str,
    claims: &[u8],
    facts: &str,
) -> Result<
    TableIterator<
        'static,
        (
            name!(policy, Option<Uuid>),
            name!(check, String),
            name!(expected, String),
            name!(actual, String),
            name!(ok, bool),
        ),
    >,
    ErrorReport,
> {
    let (claims, facts) = inputs(provider, claims, facts).map_err(|failure| {
        let code = match failure.code {
            Code::Internal => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
            _ => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        };
        ErrorReport::new(code, failure.text(), "").set_hint(failure.hint())
    })?;
    let rows = decision::explain(&claims, &facts).into_iter();
    Ok(TableIterator::new(
        rows.map(|row| (Some(to_uuid(row.policy)), row.check.to_owned(), row.expected, row.actual, row.ok)),
    ))
}
