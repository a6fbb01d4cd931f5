//! Answers: the composite that every function of `lpm_api` returns, and failures by their code.

use lpm_core::failure::{self, Code, Failure};
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, IntoDatum, PgTupleDesc};

/// `lpm_api.answer`: HTTP status and finished body.
pub(crate) type Answer = PgHeapTuple<'static, AllocatedByRust>;

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    let shape =
        PgTupleDesc::for_composite_type("lpm_api.answer").expect("the extension's script creates the type");
    // SAFETY: two values of the two attributes' types, in their order.
    unsafe { PgHeapTuple::from_datums(shape, [i32::from(status).into_datum(), body.into_datum()]) }
        .expect("two values for two attributes")
}

/// The answer to a failure.
pub(crate) fn refusal(failure: &Failure) -> Answer {
    answer(failure.code.status(), &failure.body())
}

/// The failure with this code; arguments are names and values in turn.
///
/// An unknown code is our own mistake, so it answers `internal`, never success.
#[pg_extern(immutable, parallel_safe)]
pub(crate) fn failure(
    code: &str,
    arguments: default!(pgrx::VariadicArray<'_, String>, "'{}'"),
) -> pgrx::composite_type!('static, "lpm_api.answer") {
    let mut failure = Failure::new(Code::parse(code).unwrap_or(Code::Internal));
    let arguments: Vec<String> = arguments.iter().map(Option::unwrap_or_default).collect();
    for pair in arguments.chunks_exact(2) {
        failure = failure.with(&pair[0], &pair[1]);
    }
    refusal(&failure)
}

/// The machine code in a failure's body.
#[pg_extern(immutable, strict, parallel_safe)]
fn failure_code(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body.get("code")?.as_str().map(str::to_owned)
}

/// Text that came from outside, cut to 256 bytes and with control characters escaped.
#[pg_extern(immutable, strict, parallel_safe)]
fn presentable(text: &str) -> String {
    failure::presentable(text)
}
