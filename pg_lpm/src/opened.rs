//! Each grant is opened once, without writing a row.
//!
//! A grant is known by the transaction that wrote its audit row. Transaction ids only grow, in all databases
//! of the server alike, so a fixed table of counters is enough: the slot of an id (id modulo size) holds the
//! highest id that was opened there. An id is opened by raising its slot from something smaller; a rollback
//! does not lower it. An older id that shares the slot, and a second grant of the same transaction, can no
//! longer be opened: both fail closed. A server that lost its shared memory (restart, crash) opens nothing
//! that was granted before.

use crate::keyring;
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

const SLOTS: usize = 1 << 16;

struct Opened {
    since: pg_sys::TimestampTz,
    highest: [AtomicI64; SLOTS],
}

// SAFETY: a constant and atomics.
unsafe impl PGRXSharedMemory for Opened {}

// SAFETY: the name is prefixed with the extension's.
static OPENED: PgAtomic<Opened> = unsafe { PgAtomic::new(c"pg_lpm_opened") };

/// Asks for the shared memory; only while preloading.
pub(crate) fn register() {
    pg_shmem_init!(
        OPENED = Opened {
            // SAFETY: takes nothing, returns the time.
            since: unsafe { pg_sys::GetCurrentTimestamp() },
            highest: [const { AtomicI64::new(0) }; SLOTS]
        }
    );
}

/// True for the first caller with this transaction's grant, and never again.
#[pg_extern(volatile, strict, parallel_unsafe)]
fn claim_open(transaction_id: i64, granted_at: TimestampWithTimeZone) -> bool {
    if !keyring::preloaded() || transaction_id <= 0 {
        return false;
    }
    let opened = OPENED.get();
    if pg_sys::TimestampTz::from(granted_at) < opened.since {
        return false;
    }
    let slot = usize::try_from(transaction_id).unwrap_or(0) % SLOTS;
    opened.highest[slot].fetch_max(transaction_id, Ordering::SeqCst) < transaction_id
}

thread_local! {
    static DECIDED: Cell<i64> = const { Cell::new(0) };
}

/// Remembers that this backend decides in this transaction, so that its commit's place in the WAL is known.
#[pg_extern(volatile, strict, parallel_unsafe)]
fn note_decision(transaction_id: i64) {
    DECIDED.set(transaction_id);
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
create function lpm.flush_decision(transaction_id bigint) returns pg_lsn
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"
)]
fn flush_decision(transaction_id: i64) -> i64 {
    // SAFETY: reads positions of this server and flushes up to one that was written; nothing is held meanwhile.
    unsafe {
        let last_commit = pg_sys::XactLastCommitEnd;
        let target = if DECIDED.get() == transaction_id && last_commit != 0 {
            last_commit
        } else {
            pg_sys::GetXLogInsertRecPtr()
        };
        pg_sys::XLogFlush(target);
        target.cast_signed()
    }
}
