//! Answers: the composite that every function of `lpm_api` returns, and failures by their code.

use lpm_core::failure::{self, Code, Failure};
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, IntoDatum, PgTupleDesc};
use std::ffi::CStr;

/// `lpm_api.answer`: HTTP status and finished body.
pub(crate) type Answer = Row;

/// A row of one of our composite types.
pub(crate) type Row = PgHeapTuple<'static, AllocatedByRust>;

/// A value of the composite type `schema.name`; the attributes' values, in their order.
///
/// # Safety
///
/// Each value has its attribute's type.
pub(crate) unsafe fn row<const N: usize>(
    schema: &CStr,
    name: &CStr,
    values: [Option<pg_sys::Datum>; N],
) -> Row {
    let shape = PgTupleDesc::for_composite_type_by_oid(type_id(schema, name))
        .expect("the extension's script creates the type");
    // SAFETY: the caller's word.
    unsafe { PgHeapTuple::from_datums(shape, values) }.expect("as many values as attributes")
}

/// The type's id, from the catalog's caches: pgrx would have the name parsed as SQL, each time.
fn type_id(schema: &CStr, name: &CStr) -> pg_sys::Oid {
    // SAFETY: both names live longer than the lookups, which keep nothing of them.
    unsafe {
        pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::TYPENAMENSP as _,
            pg_sys::Anum_pg_type_oid as _,
            name.as_ptr().into(),
            pg_sys::get_namespace_oid(schema.as_ptr(), true).into(),
            pg_sys::Datum::null(),
            pg_sys::Datum::null(),
        )
    }
}

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    // SAFETY: a number and a text.
    unsafe { row(c"lpm_api", c"answer", [i32::from(status).into_datum(), body.into_datum()]) }
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
