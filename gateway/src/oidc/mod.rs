//! OIDC tokens: whose keys are trusted, where they come from, and whether a signature holds.
//!
//! Only issuers that the database names are ever contacted, whatever a token says. The keys of one issuer
//! are fetched at most once per cool-down, by a task of its own: requests with a known key id never wait for
//! a fetch.

mod address;
mod fetch;
mod issuers;
mod keys;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::config::KeyTimes;
use crate::db::Db;
use fetch::HttpFetcher;
pub(crate) use issuers::FetchedKeys;
use issuers::Issuers;
use lpm_core::failure::{Code, Failure};
use lpm_core::token::{UnverifiedToken, Verified};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often the issuers are read again: within a second of `lpm.trust_issuer` every replica knows.
const REREAD: Duration = Duration::from_millis(500);

/// The trusted issuers and their keys.
pub(crate) struct Oidc {
    issuers: Issuers,
}

impl Oidc {
    /// `audience` is the gateway's own URL, accepted from every issuer beside what its row says.
    pub(crate) fn new(audience: String, times: KeyTimes) -> Self {
        Self { issuers: Issuers::new(audience, times, Arc::new(HttpFetcher::new())) }
    }

    /// Verifies a token: first whose it claims to be, then that issuer's keys, then everything else.
    pub(crate) async fn verify(&self, token: &str) -> Result<Verified, Failure> {
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
        unverified.verify(&issuer.rules, &keys, unix_now()).map_err(|error| error.failure())
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
    pub(crate) async fn keep_fresh(self: Arc<Self>, db: Arc<Db>) {
        let mut ticks = interval(REREAD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answered = self.issuers.are_loaded();
        loop {
            ticks.tick().await;
            match self.reread(&db).await {
                Ok(()) if !answered => {
                    answered = true;
                    info!("The database tells the trusted issuers");
                }
                Err(reason) if answered => {
                    answered = false;
                    warn!(reason, "The database does not tell the trusted issuers; those last read stay");
                }
                Ok(()) | Err(_) => {}
            }
            self.issuers.refresh_due(Instant::now());
        }
    }
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
