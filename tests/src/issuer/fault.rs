//! Endpoints that misbehave, and a count of who asked.

use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// What a gateway asks an issuer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// GitHub's discovery document.
    Discovery,
    /// GitHub's keys.
    Jwks,
    /// GitLab's discovery document.
    GitlabDiscovery,
    /// GitLab's keys.
    GitlabJwks,
}

/// What an endpoint answers instead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The status; 200 when absent.
    pub status: Option<u16>,
    /// The body; empty when absent.
    pub body: Option<String>,
    /// A `Location` header, for redirects.
    pub location: Option<String>,
    /// Never answer.
    pub hang: bool,
}

/// The faults that are set, and the counts.
pub(super) struct Faults {
    set: Mutex<HashMap<Endpoint, Fault>>,
    counts: watch::Sender<HashMap<Endpoint, u64>>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { set: Mutex::default(), counts: watch::Sender::new(HashMap::new()) }
    }
}

impl Faults {
    pub(super) fn set(&self, endpoint: Endpoint, fault: Option<Fault>) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => set.insert(endpoint, fault),
            None => set.remove(&endpoint),
        };
    }

    /// Counts a request and says what to answer it with.
    pub(super) fn on_request(&self, endpoint: Endpoint) -> Option<Fault> {
        self.counts.send_modify(|counts| *counts.entry(endpoint).or_default() += 1);
        self.set.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).cloned()
    }

    pub(super) fn requests(&self, endpoint: Endpoint) -> u64 {
        self.counts.borrow().get(&endpoint).copied().unwrap_or_default()
    }

    pub(super) async fn asked(&self, endpoint: Endpoint, count: u64) {
        self.counts
            .subscribe()
            .wait_for(|counts| counts.get(&endpoint).copied().unwrap_or_default() >= count)
            .await
            .expect("the sender lives as long as the issuer");
    }
}
