//! The decision and its explanation.

use crate::answer::row;
use crate::policy::stored_badly;
use lpm_core::claims::Claims;
use lpm_core::decision::{self, Facts};
use lpm_core::failure::{Code, Failure};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{IntoDatum, Uuid};
use std::rc::Rc;

fn inputs(provider: &str, claims: &[u8], facts: &str) -> Result<(Rc<Claims>, Facts), Failure> {
    let claims = crate::claims::read(provider, claims)?;
    let facts = serde_json::from_str(facts)
        .map_err(|problem| stored_badly(&format!("the facts of a decision ({problem})")))?;
    Ok((claims, facts))
}

fn to_uuid(id: uuid::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// Decides: claims against the policies in `facts`. `counted` marks a stranger (step 2 of the decision).
#[pg_extern(immutable, strict, parallel_safe)]
fn judge(provider: &str, claims: &[u8], facts: &str) -> pgrx::composite_type!('static, "lpm.verdict") {
    let verdict = inputs(provider, claims, facts).map(|(claims, facts)| decision::decide(&claims, &facts));
    let (policy, counted, outcome) = match verdict {
        Err(failure) => (None, false, Err(failure)),
        Ok(verdict) => (verdict.policy, verdict.counted, verdict.outcome),
    };
    let values = match outcome {
        Err(failure) => [
            failure.code.as_str().into_datum(),
            i32::from(failure.code.status()).into_datum(),
            failure.body().into_datum(),
            policy.map(to_uuid).into_datum(),
            false.into_datum(),
            counted.into_datum(),
            None,
            false.into_datum(),
            None,
            None,
        ],
        Ok(grant) => {
            let (pin_id, pin_owner_id) = grant.pin.map_or((None, None), |pin| (Some(pin.id), pin.owner_id));
            [
                None,
                200.into_datum(),
                None,
                to_uuid(grant.policy).into_datum(),
                true.into_datum(),
                false.into_datum(),
                grant.environments.into_datum(),
                grant.renamed.into_datum(),
                pin_id.into_datum(),
                pin_owner_id.into_datum(),
            ]
        }
    };
    // SAFETY: the type's attributes in their order.
    unsafe { row(c"lpm", c"verdict", values) }
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
