//! The issuers that the database trusts, as last read.

use super::fetch::{FetchError, Source};
use super::keys::{Fetch, KeyCache};
use crate::config::KeyTimes;
use lpm_core::token::{IssuerRules, KeySet};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tracing::{error, info};

/// What a row says beside the [`IssuerRules`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    issuer: String,
    #[serde(default)]
    jwks_uri: Option<String>,
    #[serde(default)]
    jwks: Option<Box<RawValue>>,
    #[serde(default)]
    allow_private_addresses: bool,
}

/// The answer of `lpm_api.issuers()`. Rows are read one by one: a bad one must not stop the others.
#[derive(Deserialize)]
struct Rows {
    issuers: Vec<Box<RawValue>>,
}

/// Where an issuer's keys are.
pub(crate) enum Keys {
    /// Uploaded in the row: no network is ever used. `None` when no key in it can be used.
    Uploaded { jwks: String, keys: Option<Arc<KeySet>> },
    /// Fetched from the issuer.
    Fetched(Arc<KeyCache>),
}

impl Keys {
    /// Keys to verify a token with; see [`KeyCache::for_key_id`].
    pub(crate) async fn for_key_id(&self, key_id: &str, now: Instant) -> Option<Arc<KeySet>> {
        match self {
            Keys::Uploaded { keys, .. } => keys.clone(),
            Keys::Fetched(cache) => cache.for_key_id(key_id, now).await,
        }
    }
}

/// What became of trying an issuer's keys.
pub(crate) enum Tried {
    /// So many that can be used were uploaded.
    Uploaded(usize),
    /// Some were uploaded, and none can be used.
    Unusable,
    /// So many were fetched.
    Fetched(usize),
    /// They were not.
    Failed(FetchError),
}

/// A trusted issuer.
pub(crate) struct Issuer {
    pub rules: IssuerRules,
    pub keys: Keys,
}

impl Issuer {
    /// Fetches its keys once, whatever is cached, or counts those that were uploaded.
    pub(crate) async fn try_keys(&self) -> Tried {
        match &self.keys {
            Keys::Uploaded { keys: Some(keys), .. } => Tried::Uploaded(keys.len()),
            Keys::Uploaded { keys: None, .. } => Tried::Unusable,
            Keys::Fetched(cache) => match cache.try_fetch().await {
                Ok(keys) => Tried::Fetched(keys.len()),
                Err(error) => Tried::Failed(error),
            },
        }
    }
}

/// How the keys of an issuer are, where they are fetched.
pub(crate) struct FetchedKeys {
    /// The issuer.
    pub name: String,
    /// Since the fetch that brought them began; `None` before there are any.
    pub age: Option<Duration>,
    /// How many fetches failed since its row last changed.
    pub failures: u64,
}

#[derive(Default)]
struct Table {
    /// The answer that this was made from; the same again changes nothing.
    text: String,
    issuers: HashMap<String, Arc<Issuer>>,
    /// What is wrong with rows that were left out.
    problems: Vec<String>,
}

/// All trusted issuers.
pub(crate) struct Issuers {
    audience: String,
    times: KeyTimes,
    fetch: Arc<dyn Fetch>,
    table: RwLock<Arc<Table>>,
}

impl Issuers {
    pub(crate) fn new(audience: String, times: KeyTimes, fetch: Arc<dyn Fetch>) -> Self {
        Self { audience, times, fetch, table: RwLock::default() }
    }

    /// The issuer of exactly this name.
    pub(crate) fn get(&self, issuer: &str) -> Option<Arc<Issuer>> {
        self.table().issuers.get(issuer).cloned()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Issuer>> {
        let mut all: Vec<_> = self.table().issuers.values().cloned().collect();
        all.sort_by(|one, other| one.rules.issuer.cmp(&other.rules.issuer));
        all
    }

    /// What is wrong with the rows that were left out.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.table().problems.clone()
    }

    /// Has the database told any issuers yet?
    pub(crate) fn are_loaded(&self) -> bool {
        !self.table().text.is_empty()
    }

    /// Takes over what the database says. An issuer whose keys come from where they came from keeps them;
    /// a row that cannot be used is left out and the others stay. `false` when the whole is unreadable.
    pub(crate) fn apply(&self, text: &str) -> bool {
        let old = self.table();
        if old.text == text {
            return true;
        }
        let rows: Rows = match serde_json::from_str(text) {
            Ok(rows) => rows,
            Err(error) => {
                error!(line = error.line(), column = error.column(), "The database's issuers are unreadable");
                return false;
            }
        };
        let (mut issuers, mut problems) = (HashMap::with_capacity(rows.issuers.len()), Vec::new());
        for row in rows.issuers {
            match self.issuer(row.get(), &old) {
                Ok(issuer) => drop(issuers.insert(issuer.rules.issuer.clone(), Arc::new(issuer))),
                Err(problem) => {
                    error!(%problem, "An issuer's row cannot be used; correct it with lpm.trust_issuer");
                    problems.push(format!("{problem:#}"));
                }
            }
        }
        info!(issuers = issuers.len(), "The trusted issuers have changed");
        let table = Arc::new(Table { text: text.to_owned(), issuers, problems });
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        true
    }

    fn issuer(&self, text: &str, old: &Table) -> anyhow::Result<Issuer> {
        let (row, mut rules): (Row, IssuerRules) = (serde_json::from_str(text)?, serde_json::from_str(text)?);
        // With a symmetric algorithm whoever can verify can sign.
        if rules.algorithms.iter().any(|algorithm| format!("{algorithm:?}").starts_with("HS")) {
            anyhow::bail!("`{}` has a symmetric signature algorithm", rules.issuer);
        }
        // The own URL first: it is the one that texts recommend.
        rules.audiences.insert(0, self.audience.clone());
        let source = Source {
            issuer: row.issuer,
            jwks_uri: row.jwks_uri,
            allow_private_addresses: row.allow_private_addresses,
        };
        let keys = self.keys(source, row.jwks.as_deref().map(RawValue::get), old.issuers.get(&rules.issuer));
        Ok(Issuer { rules, keys })
    }

    fn keys(&self, source: Source, jwks: Option<&str>, old: Option<&Arc<Issuer>>) -> Keys {
        match (jwks, old.map(|old| &old.keys)) {
            (Some(jwks), Some(Keys::Uploaded { jwks: same, keys })) if jwks == same => {
                Keys::Uploaded { jwks: same.clone(), keys: keys.clone() }
            }
            (Some(jwks), _) => {
                let keys = KeySet::parse(jwks.as_bytes());
                if let Err(problem) = &keys {
                    error!(issuer = source.issuer, %problem, "An issuer's uploaded keys cannot be used");
                }
                Keys::Uploaded { jwks: jwks.to_owned(), keys: keys.ok().map(Arc::new) }
            }
            (None, Some(Keys::Fetched(cache))) if *cache.source() == source => {
                Keys::Fetched(Arc::clone(cache))
            }
            (None, _) => Keys::Fetched(KeyCache::new(source, Arc::clone(&self.fetch), self.times)),
        }
    }

    /// How the keys are that are fetched, sorted by issuer.
    pub(crate) fn fetched_keys(&self, now: Instant) -> Vec<FetchedKeys> {
        let table = self.table();
        let mut found = Vec::with_capacity(table.issuers.len());
        for (name, issuer) in &table.issuers {
            if let Keys::Fetched(cache) = &issuer.keys {
                found.push(FetchedKeys {
                    name: name.clone(),
                    age: cache.age(now),
                    failures: cache.failures(),
                });
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Has the keys fetched again that have grown old.
    pub(crate) fn refresh_due(&self, now: Instant) {
        for issuer in self.table().issuers.values() {
            if let Keys::Fetched(cache) = &issuer.keys {
                cache.refresh_if_due(now);
            }
        }
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
#[path = "issuers_tests.rs"]
mod tests;
