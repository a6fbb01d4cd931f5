//! The keys of one issuer: cached, refreshed in the background, kept through outages.
//!
//! - A token whose key id is known never waits: it is verified with what is there.
//! - Keys older than `refresh` are fetched again by a task of their own, so a removed key stops working at the
//!   next refresh although nobody asks for it.
//! - An unknown key id waits for one fetch, which all who ask share, and within `cool_down` of the last
//!   fetch, however that ended, it is answered at once from what is there.
//! - When a fetch fails the old keys stay, until they are older than `max_age`.

use super::fetch::{FetchError, Source};
use crate::config::KeyTimes;
use futures_util::future::BoxFuture;
use lpm_core::token::KeySet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Something that fetches an issuer's keys.
pub(crate) trait Fetch: Send + Sync {
    /// Fetches once; ends in bounded time.
    fn fetch(&self, source: Arc<Source>) -> BoxFuture<'static, Result<KeySet, FetchError>>;
}

/// Keys and when they were fetched.
struct Loaded {
    keys: Arc<KeySet>,
    since: Instant,
}

/// The last fetch: when it began, and a channel that closes when it ends.
#[derive(Default)]
struct Flight {
    began: Option<Instant>,
    running: Option<watch::Receiver<()>>,
}

/// The keys of one issuer.
pub(crate) struct KeyCache {
    source: Arc<Source>,
    fetch: Arc<dyn Fetch>,
    times: KeyTimes,
    loaded: RwLock<Option<Arc<Loaded>>>,
    flight: Mutex<Flight>,
    failures: AtomicU64,
}

impl KeyCache {
    pub(crate) fn new(source: Source, fetch: Arc<dyn Fetch>, times: KeyTimes) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            fetch,
            times,
            loaded: RwLock::default(),
            flight: Mutex::default(),
            failures: AtomicU64::default(),
        })
    }

    /// Where the keys come from; a changed row gets a new cache.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// How long ago the fetch began that brought what is there.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        self.current().map(|loaded| now.saturating_duration_since(loaded.since))
    }

    /// How many fetches failed.
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Keys to verify a token with. They may lack the key id: then the issuer does not publish it, as far as
    /// is known. `None` when there are no keys at all that may be used.
    pub(crate) async fn for_key_id(self: &Arc<Self>, key_id: &str, now: Instant) -> Option<Arc<KeySet>> {
        if let Some(keys) = self.usable(now).filter(|keys| keys.contains(key_id)) {
            return Some(keys);
        }
        if let Some(mut running) = self.refresh(now) {
            // Nothing is ever sent: the error is the channel's end, and with it the fetch's.
            let _ = running.changed().await;
        }
        self.usable(now)
    }

    /// Fetches once and keeps nothing, for whoever wants to know whether that works.
    pub(crate) async fn try_fetch(&self) -> Result<KeySet, FetchError> {
        self.fetch.fetch(Arc::clone(&self.source)).await
    }

    /// Begins a background fetch when the keys have grown old. Keys that nobody has asked for yet are left
    /// alone: an issuer that is never used is never contacted.
    pub(crate) fn refresh_if_due(self: &Arc<Self>, now: Instant) {
        if self
            .current()
            .is_some_and(|loaded| now.saturating_duration_since(loaded.since) >= self.times.refresh)
        {
            self.refresh(now);
        }
    }

    /// Joins the fetch that is running or begins one. `None` within the cool-down of the last.
    fn refresh(self: &Arc<Self>, now: Instant) -> Option<watch::Receiver<()>> {
        let mut flight = self.flight();
        if let Some(running) = flight.running.as_ref().filter(|running| running.has_changed().is_ok()) {
            return Some(running.clone());
        }
        if flight.began.is_some_and(|began| now.saturating_duration_since(began) < self.times.cool_down) {
            return None;
        }
        let (ends, running) = watch::channel(());
        *flight = Flight { began: Some(now), running: Some(running.clone()) };
        drop(flight);
        // A task of its own, so that a caller who hangs up does not end the fetch for the others.
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Dropped at the end of this task, also by a panic.
            let _ends = ends;
            match this.fetch.fetch(Arc::clone(&this.source)).await {
                Ok(keys) => this.store(keys, now),
                Err(error) => {
                    this.failures.fetch_add(1, Ordering::Relaxed);
                    warn!(issuer = this.source.issuer, %error, "An issuer's keys could not be fetched");
                }
            }
        });
        Some(running)
    }

    /// Replaces the whole set at once, so that removed keys are gone. Counted from the fetch's beginning: what
    /// it brought cannot be younger.
    fn store(&self, keys: KeySet, since: Instant) {
        debug!(issuer = self.source.issuer, keys = keys.len(), "An issuer's keys were fetched");
        let loaded = Some(Arc::new(Loaded { keys: Arc::new(keys), since }));
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    fn usable(&self, now: Instant) -> Option<Arc<KeySet>> {
        let loaded = self.current()?;
        let usable = now.saturating_duration_since(loaded.since) < self.times.max_age;
        usable.then(|| Arc::clone(&loaded.keys))
    }

    fn current(&self) -> Option<Arc<Loaded>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
