//! OIDC tokens: whose keys are trusted, where they come from, and whether a signature holds.
//!
//! Only issuers that the database names are ever contacted, whatever a token says. The keys of one issuer
//! are fetched at most once per cool-down, by a task of its own: requests with a known key id never wait for
//! a fetch.

mod address;
mod fetch;
mod issuers;
mod keys;
mod proxy;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::config::KeyTimes;
use crate::db::{Db, Listener};
use fetch::HttpFetcher;
pub(crate) use issuers::FetchedKeys;
use issuers::Issuers;
pub(crate) use issuers::{Issuer, Tried};
use lpm_core::failure::{Code, Failure};
use lpm_core::token::{KeySet, UnverifiedToken, Verified};
pub(crate) use proxy::Proxies;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often the issuers are read again: within a second of `lpm.trust_issuer` every replica knows.
const REREAD: Duration = Duration::from_millis(500);
/// How often while the database says by itself when they have changed.
const REREAD_ANYWAY: Duration = Duration::from_secs(30);

/// The trusted issuers and their keys.
pub(crate) struct Oidc {
    issuers: Issuers,
    proxies: Arc<Proxies>,
}

/// A token of a trusted issuer whose signature nobody has checked.
pub(crate) struct Verifiable<'t> {
    unverified: UnverifiedToken<'t>,
    issuer: Arc<Issuer>,
    keys: Arc<KeySet>,
}

impl Verifiable<'_> {
    /// Checks its signature, and then what it says.
    pub(crate) fn verify(&self) -> Result<Verified, Failure> {
        self.unverified.verify(&self.issuer.rules, &self.keys, unix_now()).map_err(|error| error.failure())
    }
}

impl Oidc {
    /// `audience` is the gateway's own URL, accepted from every issuer beside what its row says.
    pub(crate) fn new(audience: String, times: KeyTimes, proxies: Proxies) -> Self {
        let proxies = Arc::new(proxies);
        let fetcher = Arc::new(HttpFetcher::new(Arc::clone(&proxies)));
        Self { issuers: Issuers::new(audience, times, fetcher), proxies }
    }

    /// Verifies a token: first whose it claims to be, then that issuer's keys, then everything else.
    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, Failure> {
        self.verifiable(token).await?.verify()
    }

    /// A token, and everything that is needed to verify it. This may wait for its issuer.
    pub(crate) async fn verifiable<'t>(&self, token: &'t str) -> Result<Verifiable<'t>, Failure> {
        let unverified = UnverifiedToken::read(token).map_err(|error| error.failure())?;
        let unverified_issuer = unverified.unverified_issuer();
        let Some(issuer) = self.issuers.get(unverified_issuer) else {
            return Err(if self.issuers.are_loaded() {
                Failure::new(Code::TokenIssuer).with("issuer", unverified_issuer)
            } else {
                Code::Unavailable.into()
            });
        };
        let Some(keys) = issuer.keys.for_key_id(unverified.key_id(), Instant::now()).await else {
            return Err(Failure::new(Code::IssuerUnavailable).with("issuer", &issuer.rules.issuer));
        };
        Ok(Verifiable { unverified, issuer, keys })
    }

    /// All trusted issuers whose rows can be used, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Issuer>> {
        self.issuers.all()
    }

    /// What is wrong with the rows that cannot.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.issuers.problems()
    }

    /// The proxy for issuers that `NO_PROXY` does not except, without its password.
    pub(crate) fn proxy(&self) -> Option<String> {
        self.proxies.name()
    }

    /// The keys that are fetched from issuers, by issuer.
    pub(crate) fn fetched_keys(&self) -> Vec<FetchedKeys> {
        self.issuers.fetched_keys(Instant::now())
    }

    /// Reads the issuers once; otherwise says why not.
    pub(crate) async fn reread(&self, db: &Db) -> Result<(), String> {
        let answer = db.issuers().await.map_err(|error| error.to_string())?;
        if answer.is_success() && self.issuers.apply(answer.body()) {
            Ok(())
        } else {
            Err("its answer cannot be used".to_owned())
        }
    }

    /// Reads the issuers again and again, and has their keys refreshed in time.
    pub(crate) async fn keep_fresh(self: Arc<Self>, db: Arc<Db>, listener: Option<Listener>) {
        let mut ticks = interval(REREAD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = self.issuers.are_loaded();
        let (bell, mut heard) = watch::channel(false);
        // without a listener the bell stays here, and silent
        let _silent = match listener {
            Some(listener) => {
                tokio::spawn(listener.listen(bell));
                None
            }
            None => Some(bell),
        };
        let mut last = None;
        loop {
            let rung = tokio::select! {
                _ = ticks.tick() => false,
                changed = heard.changed() => changed.is_ok(),
            };
            let listening = *heard.borrow_and_update();
            if rung || !listening || last.is_none_or(|last: Instant| last.elapsed() >= REREAD_ANYWAY) {
                let began = Instant::now();
                last = self.reread_and_tell(&db, &mut answered).await.then_some(began);
            }
            self.issuers.refresh_due(Instant::now());
        }
    }

    /// Reads the issuers, and says in the log when that has begun to fail or to work.
    async fn reread_and_tell(&self, db: &Db, answered: &mut bool) -> bool {
        let read = self.reread(db).await;
        match &read {
            Ok(()) if !*answered => info!("The database tells the trusted issuers"),
            Err(reason) if *answered => {
                warn!(reason, "The database does not tell the trusted issuers; those last read stay");
            }
            Ok(()) | Err(_) => {}
        }
        *answered = read.is_ok();
        *answered
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
