//! What a new cluster is made with.

use super::{Cluster, Disk, random_key};
use crate::process::Lifetime;
use anyhow::Result;

/// What a new cluster is made with.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) settings: Vec<(String, String)>,
    pub(super) preload: Vec<String>,
    pub(super) escrow_keys: Option<String>,
    pub(super) lifetime: Lifetime,
    pub(super) launcher: Vec<String>,
    pub(super) disk: Option<Disk>,
}

impl Default for Options {
    /// With the extension's library and one random escrow key.
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            preload: vec!["pg_lpm".to_owned()],
            escrow_keys: Some(format!("dev:{}\n", random_key())),
            lifetime: Lifetime::Bound,
            launcher: Vec::new(),
            disk: None,
        }
    }
}

impl Options {
    /// Adds a setting; a later one wins.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// The libraries to preload, instead of `pg_lpm` alone.
    #[must_use]
    pub fn preload(mut self, libraries: &[&str]) -> Self {
        self.preload = libraries.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// The text of the escrow key file.
    #[must_use]
    pub fn escrow_keys(mut self, text: impl Into<String>) -> Self {
        self.escrow_keys = Some(text.into());
        self
    }

    /// No escrow key at all.
    #[must_use]
    pub fn without_escrow_key(mut self) -> Self {
        self.escrow_keys = None;
        self
    }

    /// A plain PostgreSQL, for what must hold without the extension.
    #[must_use]
    pub fn without_extension(self) -> Self {
        self.preload(&[]).without_escrow_key()
    }

    /// As safe as a real one, for a cluster that may live longer than a test.
    #[must_use]
    pub fn durable(self) -> Self {
        self.setting("fsync", "on").setting("full_page_writes", "on")
    }

    /// Whether it ends with its handle.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Starts the server through this command: in a network namespace, under another clock.
    #[must_use]
    pub fn launcher(mut self, command: Vec<String>) -> Self {
        self.launcher = command;
        self
    }

    /// Puts a part of it on a disk of its own, small enough to be filled.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Makes the cluster and starts it.
    pub fn start(self) -> Result<Cluster> {
        Cluster::create(self)
    }
}
