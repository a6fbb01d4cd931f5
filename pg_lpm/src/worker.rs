//! The one background worker: reads the escrow key source and publishes the keyring.
//!
//! It reads at start, on SIGHUP, and when a backend asks; a backend that asks returns once the answer is
//! published. It needs no database.

use crate::{keyring, source};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgAtomic, pg_shmem_init};
use std::cell::{Cell, UnsafeCell};
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What worker and backends share: tickets drawn, tickets served, and who to wake.
struct Bell {
    drawn: AtomicU64,
    served: AtomicU64,
    /// The address of the worker's latch, which lies in shared memory; 0 while there is no worker.
    latch: AtomicUsize,
    /// When a request last had the source read, in seconds of the system's uptime.
    asked: AtomicU64,
    published: UnsafeCell<pg_sys::ConditionVariable>,
}

// SAFETY: atomics, and a condition variable that PostgreSQL's own functions synchronise.
unsafe impl PGRXSharedMemory for Bell {}

// SAFETY: the name is prefixed with the extension's.
static BELL: PgAtomic<Bell> = unsafe { PgAtomic::new(c"pg_lpm_key_worker") };

/// For a person who waits: a command may take ten seconds, and the worker may be reading already.
pub(crate) const PATIENT: Duration = Duration::from_secs(25);
/// For a request that waits, maybe with rows locked.
const HURRIED: Duration = Duration::from_secs(2);

/// Registers the worker and its shared memory; only while preloading.
pub(crate) fn register() {
    pg_shmem_init!(BELL = new_bell());
    BackgroundWorkerBuilder::new("pg_lpm escrow keys")
        .set_type("pg_lpm escrow keys")
        .set_library("pg_lpm")
        .set_function("pg_lpm_key_worker")
        .set_start_time(BgWorkerStartTime::PostmasterStart)
        .set_restart_time(Some(Duration::from_secs(1)))
        .enable_shmem_access(None)
        .load();
}

fn new_bell() -> Bell {
    let published = UnsafeCell::new(pg_sys::ConditionVariable::default());
    // SAFETY: a valid pointer; the structure holds list indexes, no addresses, so it may be moved after.
    unsafe { pg_sys::ConditionVariableInit(published.get()) };
    Bell {
        drawn: AtomicU64::new(0),
        served: AtomicU64::new(0),
        latch: AtomicUsize::new(0),
        asked: AtomicU64::new(0),
        published,
    }
}

/// The worker's main function.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_lpm_key_worker(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    let bell = BELL.get();
    // SAFETY: set before any worker starts, constant after.
    let data_directory =
        PathBuf::from(unsafe { CStr::from_ptr(pg_sys::DataDir) }.to_string_lossy().into_owned());
    // SAFETY: a background worker with shared memory has a latch in it.
    bell.latch.store(unsafe { pg_sys::MyLatch }.expose_provenance(), Ordering::SeqCst);
    let mut first = true;
    let ending = Cell::new(false);
    // asking takes the flag back
    let is_ending = || {
        ending.set(ending.get() || BackgroundWorker::sigterm_received());
        ending.get()
    };
    loop {
        let reload = BackgroundWorker::sighup_received();
        if reload {
            // SAFETY: outside any transaction, as the server's own processes do it in their main loop.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let ticket = bell.drawn.load(Ordering::SeqCst);
        if first || reload || ticket != bell.served.load(Ordering::SeqCst) {
            first = false;
            let read = source::read(&data_directory, &is_ending);
            if ending.get() {
                break;
            }
            match &read {
                Ok(keys) => log!("pg_lpm: {} escrow key(s) loaded", keys.len()),
                Err(problem) => {
                    log!("pg_lpm: the escrow keys could not be read, the last good ones stay: {problem}")
                }
            }
            keyring::publish(read);
            bell.served.store(ticket, Ordering::SeqCst);
            // SAFETY: lives in shared memory as long as the server.
            unsafe { pg_sys::ConditionVariableBroadcast(bell.published.get()) };
        }
        if bell.drawn.load(Ordering::SeqCst) == bell.served.load(Ordering::SeqCst)
            && !BackgroundWorker::wait_latch(None)
        {
            break;
        }
    }
    bell.latch.store(0, Ordering::SeqCst);
}

/// Has the worker read the source for a request that misses a key: one in five seconds asks and waits, all others go
/// on without, or whoever names unknown keys would occupy every connection.
pub(crate) fn read_source_for_request() -> bool {
    const PAUSE: u64 = 5;
    let asked = &BELL.get().asked;
    let (now, last) = (uptime(), asked.load(Ordering::SeqCst));
    now >= last + PAUSE
        && asked.compare_exchange(last, now, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        && read_source_again(HURRIED).is_ok()
}

/// Seconds, by a clock that nobody sets and all processes share.
fn uptime() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned()
}

/// Has the worker read the source, and returns once the result is published.
pub(crate) fn read_source_again(patience: Duration) -> Result<(), String> {
    let bell = BELL.get();
    let ticket = bell.drawn.fetch_add(1, Ordering::SeqCst) + 1;
    let deadline = Instant::now() + patience;
    let latch = bell.latch.load(Ordering::SeqCst);
    // SAFETY: the latch lies in shared memory, at the same address in every process. Should it have gone to
    // another process since, that one takes an idle turn of its loop.
    unsafe {
        if latch != 0 {
            pg_sys::SetLatch(std::ptr::with_exposed_provenance_mut(latch));
        }
        pg_sys::ConditionVariablePrepareToSleep(bell.published.get());
    }
    let mut outcome = Ok(());
    while bell.served.load(Ordering::SeqCst) < ticket {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            outcome = Err("the pg_lpm worker does not answer: see the server log".to_owned());
            break;
        }
        // SAFETY: as above; waits for the worker's broadcast and reacts to cancellation.
        unsafe {
            pg_sys::ConditionVariableTimedSleep(
                bell.published.get(),
                i64::try_from(left.as_millis()).unwrap_or(1).max(1),
                pg_sys::PG_WAIT_EXTENSION,
            );
        }
    }
    // SAFETY: pairs with ConditionVariablePrepareToSleep.
    unsafe { pg_sys::ConditionVariableCancelSleep() };
    outcome
}
