//! The keyring in shared memory: published by the worker, read by every backend.
//!
//! What is kept are the derived sub-keys; the raw key is wiped after derivation. Keys are never copied
//! into a backend's own memory for longer than one operation.

use crate::{settings, source, worker};
use lpm_core::envelope::fingerprint;
use lpm_core::envelope::keyring::{EscrowKey, KeyParts, MAX_KEYS};
use pgrx::prelude::*;
use pgrx::{PGRXSharedMemory, PgLwLock, pg_shmem_init};
use std::sync::atomic::{AtomicBool, Ordering};

const MAX_ERROR: usize = 512;

/// The last good keys, newest first, and what the last reading of the source found wrong.
#[derive(Clone, Copy)]
struct Ring {
    count: usize,
    keys: [KeyParts; MAX_KEYS],
    error: [u8; MAX_ERROR],
    error_len: usize,
}

// SAFETY: plain old data without pointers, only reached through its lock.
unsafe impl PGRXSharedMemory for Ring {}

impl Ring {
    const EMPTY: Ring =
        Ring { count: 0, keys: [KeyParts::ZERO; MAX_KEYS], error: [0; MAX_ERROR], error_len: 0 };
}

// SAFETY: the name is prefixed with the extension's.
static RING: PgLwLock<Ring> = unsafe { PgLwLock::new(c"pg_lpm_keyring") };
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Asks for the shared memory; only while preloading.
pub(crate) fn register() {
    pg_shmem_init!(RING = Ring::EMPTY);
    PRELOADED.store(true, Ordering::Relaxed);
}

/// Whether the library was preloaded, so that shared memory and worker exist.
pub(crate) fn preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// Publishes what the worker read: new keys, or the reason why the last good ones stay.
pub(crate) fn publish(read: Result<Vec<EscrowKey>, String>) {
    let mut ring = RING.exclusive();
    match read {
        Ok(keys) => {
            ring.keys = [KeyParts::ZERO; MAX_KEYS];
            for (slot, key) in ring.keys.iter_mut().zip(&keys) {
                *slot = key.to_parts();
            }
            ring.count = keys.len().min(MAX_KEYS);
            ring.error_len = 0;
        }
        Err(problem) => {
            let len = problem.floor_char_boundary(MAX_ERROR);
            ring.error[..len].copy_from_slice(&problem.as_bytes()[..len]);
            ring.error_len = len;
        }
    }
}

/// Every loaded key, newest first.
pub(crate) fn keys() -> Vec<EscrowKey> {
    if !preloaded() {
        return Vec::new();
    }
    let ring = RING.share();
    ring.keys[..ring.count].iter().map(EscrowKey::from_parts).collect()
}

/// The key with this id. Where it is missing and no request has asked for it lately, the source is read again first:
/// the key may have been added and nobody told the server.
pub(crate) fn find(id: &str) -> Option<EscrowKey> {
    let loaded = || keys().into_iter().find(|key| key.id().as_str() == id);
    if let Some(key) = loaded() {
        return Some(key);
    }
    if !preloaded() || id.is_empty() || !worker::read_source_for_request() {
        return None;
    }
    loaded()
}

/// The loaded escrow keys: id, public half, fingerprint; position 1 seals what is new.
#[pg_extern(volatile, parallel_unsafe)]
fn loaded_escrow_keys() -> TableIterator<
    'static,
    (name!(position, i32), name!(id, String), name!(public_key, Vec<u8>), name!(fingerprint, String)),
> {
    TableIterator::new((1..).zip(keys()).map(|(position, key)| {
        (position, key.id().as_str().to_owned(), key.public().to_vec(), fingerprint(key.public()))
    }))
}

/// Whether the key with this id is loaded; reads the source again before it says no.
#[pg_extern(volatile, parallel_unsafe)]
fn has_escrow_key(id: Option<&str>) -> bool {
    id.is_some_and(|id| find(id).is_some())
}

/// Whether any key is loaded.
#[pg_extern(volatile, parallel_unsafe)]
fn has_escrow_keys() -> bool {
    !keys().is_empty()
}

/// How the escrow keys were last read: for `lpm.health`.
#[pg_extern(volatile, parallel_unsafe)]
fn escrow_key_source() -> TableIterator<
    'static,
    (
        name!(preloaded, bool),
        name!(protected, bool),
        name!(keys, i32),
        name!(error, Option<String>),
        name!(from_environment, bool),
    ),
> {
    let (count, error) = if preloaded() {
        let ring = RING.share();
        let error = &ring.error[..ring.error_len];
        (ring.count, (!error.is_empty()).then(|| String::from_utf8_lossy(error).into_owned()))
    } else {
        (0, None)
    };
    TableIterator::once((
        preloaded(),
        settings::memory_is_protected(),
        i32::try_from(count).unwrap_or(i32::MAX),
        error,
        source::is_environment(),
    ))
}

/// Reads the escrow key source again and returns how many keys are loaded, once they are published.
#[pg_extern(volatile, parallel_unsafe, security_definer)]
#[search_path(pg_catalog, pg_temp)]
fn reload_escrow_keys() -> i32 {
    if !preloaded() {
        ereport!(
            ERROR,
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "pg_lpm is not preloaded, so there is no keyring",
            "set shared_preload_libraries = 'pg_lpm' and restart"
        );
    }
    if let Err(problem) = worker::read_source_again(worker::PATIENT) {
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, problem);
    }
    let ring = RING.share();
    if ring.error_len > 0 {
        let problem = String::from_utf8_lossy(&ring.error[..ring.error_len]).into_owned();
        drop(ring);
        ereport!(ERROR, PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR, problem, "the last good keys stay in use");
    }
    i32::try_from(ring.count).unwrap_or(i32::MAX)
}
