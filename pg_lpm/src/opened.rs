//! Each grant is opened once, without writing a row and without a clock.
//!
//! A grant is known by the transaction that wrote its audit row; ids of transactions are never used twice, in all
//! databases of the server alike. Whoever grants notes the id in a fixed table in shared memory (at its slot, id modulo
//! size), whoever opens takes it out. A grant whose slot a later one has taken, the second grant of one transaction, and
//! whatever was granted before the server lost its memory (restart, crash, fail-over) can no longer be opened: all fail
//! closed. Whether the transaction has committed at all is for `lpm_api.open` to ask.

use crate::keyring;
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// How many transactions later a grant that nobody has opened is forgotten, at the earliest.
const SLOTS: usize = 1 << 16;

/// The grants that wait to be opened; 0 where there is none.
struct Waiting([AtomicI64; SLOTS]);

// SAFETY: atomics only.
unsafe impl PGRXSharedMemory for Waiting {}

// SAFETY: the name is prefixed with the extension's.
static WAITING: PgAtomic<Waiting> = unsafe { PgAtomic::new(c"pg_lpm_waiting") };

/// Asks for the shared memory; only while preloading.
pub(crate) fn register() {
    pg_shmem_init!(WAITING = Waiting([const { AtomicI64::new(0) }; SLOTS]));
}

/// The slot of a transaction, where there is one.
fn slot(transaction_id: i64) -> Option<&'static AtomicI64> {
    let id = usize::try_from(transaction_id).ok().filter(|&id| id > 0)?;
    keyring::preloaded().then(|| &WAITING.get().0[id % SLOTS])
}

thread_local! {
    static GRANTED: Cell<i64> = const { Cell::new(0) };
}

/// Remembers that this transaction grants, so that its grant can be opened once it has committed; false where there is
/// no memory for it.
#[pg_extern(
    volatile,
    strict,
    parallel_unsafe,
    sql = "
create function lpm.note_grant(transaction_id xid8) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"
)]
fn note_grant(transaction_id: i64) -> bool {
    GRANTED.set(transaction_id);
    slot(transaction_id).map(|slot| slot.store(transaction_id, Ordering::SeqCst)).is_some()
}

/// True for the first caller with this transaction's grant, and never again.
#[pg_extern(
    volatile,
    strict,
    parallel_unsafe,
    sql = "
create function lpm.claim_open(transaction_id xid8) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"
)]
fn claim_open(transaction_id: i64) -> bool {
    slot(transaction_id).is_some_and(|slot| {
        slot.compare_exchange(transaction_id, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    })
}

/// Makes the commit of a grant durable on this server, and returns the position in the WAL that covers it.
///
/// A client can lower `synchronous_commit` between the decision and its commit; flushing costs nothing where
/// the commit has waited already. For a grant that another backend decided, everything written so far covers it.
#[pg_extern(
    volatile,
    strict,
    parallel_unsafe,
    sql = "
create function lpm.flush_decision(transaction_id xid8) returns pg_lsn
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"
)]
fn flush_decision(transaction_id: i64) -> i64 {
    // SAFETY: reads positions of this server and flushes up to one that was written; nothing is held meanwhile.
    unsafe {
        let last_commit = pg_sys::XactLastCommitEnd;
        let target = if GRANTED.get() == transaction_id && last_commit != 0 {
            last_commit
        } else {
            end_of_last_record(pg_sys::GetXLogInsertRecPtr(), pg_sys::wal_segment_size.cast_unsigned().into())
        };
        pg_sys::XLogFlush(target);
        target.cast_signed()
    }
}

/// Where the last record ends, when the next one starts at `insert`: a record that fills its page is followed by
/// the header of the next, which nobody has written yet, and which cannot be flushed.
fn end_of_last_record(insert: u64, segment_size: u64) -> u64 {
    const PAGE: u64 = pg_sys::XLOG_BLCKSZ as u64;
    const HEADER: u64 = size_of::<pg_sys::XLogPageHeaderData>().next_multiple_of(8) as u64;
    const FIRST_HEADER: u64 = size_of::<pg_sys::XLogLongPageHeaderData>().next_multiple_of(8) as u64;
    let header = if insert % segment_size < PAGE { FIRST_HEADER } else { HEADER };
    if insert % PAGE == header { insert - header } else { insert }
}
