//! What a session must be like for a request to write or decide in it.

use crate::answer::{Answer, refusal};
use lpm_core::failure::Code;
use pgrx::prelude::*;

/// Every request that writes or decides starts here; null where it may go on.
///
/// A standby or fenced primary refuses before it does anything; so does a transaction that sees the tables as they
/// once were, because a client could keep it to outlive every revocation. The commit is as durable as the cluster
/// promises whatever the session says. (A SET clause on the function would be undone before the commit.)
///
/// Not plpgsql, which prepares each of its expressions anew in each transaction: every request comes by here.
#[pg_extern(volatile, parallel_unsafe)]
fn refuse_session() -> Option<pgrx::composite_type!('static, "lpm_api.answer")> {
    // SAFETY: variables of this backend, read by its only thread.
    let (read_only, isolation, synchronous_commit) =
        unsafe { (pg_sys::XactReadOnly, pg_sys::XactIsoLevel, pg_sys::synchronous_commit) };
    let refuse = |code: Code| -> Option<Answer> { Some(refusal(&code.into())) };
    if read_only {
        return refuse(Code::ReadOnly);
    }
    if isolation >= pg_sys::XACT_REPEATABLE_READ.cast_signed() {
        return refuse(Code::IsolationLevel);
    }
    if synchronous_commit <= pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_LOCAL_FLUSH.cast_signed() {
        // SAFETY: what `set_config('synchronous_commit', 'on', true)` does.
        unsafe {
            pg_sys::set_config_option(
                c"synchronous_commit".as_ptr(),
                c"on".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_LOCAL,
                true,
                0,
                false,
            );
        }
    }
    None
}
