//! Attacks on what our own design adds: issuer binding, shared pins, claimed vault ids, bound ciphertext and
//! escrow, hashed tokens, aliases. Each ends with the refusal, the trail that it leaves, and the honest job,
//! which is served as before.

mod aes_moves;
mod aliases;
mod escrow_moves;
mod issuers;
mod shared_pins;
mod squatters;
mod token_hashes;
mod transplants;

use anyhow::{Result, ensure};
use lpm_tests::database::Database;
use lpm_tests::escrowed::{Escrowed, SECRET};
use lpm_tests::job::{Job, Met};
use tokio_postgres::Client;

/// An absent address, name or other text.
pub(crate) const NONE: Option<&str> = None;

/// A database of its own, `alice` in it, and a connection with the gateway's rights.
pub(crate) struct World {
    pub(crate) alice: Escrowed,
    pub(crate) client: Client,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        let alice = Escrowed::new().await?;
        let client = alice.gateway().await?;
        Ok(Self { alice, client })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.alice.database
    }

    /// The honest job, with a fresh token.
    pub(crate) fn job(&self) -> Job {
        Job::of(&self.alice.issuer)
    }

    /// The one value that `sql` returns to a superuser.
    pub(crate) fn value(&self, sql: &str) -> Result<String> {
        self.database().value(sql)
    }

    /// Asserts that a request was refused like this, handed out nothing, and left exactly this trail.
    pub(crate) fn refused(&self, case: &str, met: &Met, seen: (i32, &str), trail: &str) -> Result<()> {
        assert_eq!(met.seen(), seen, "{case}: {}", met.body);
        assert_eq!(met.trail(self.database())?, trail, "{case}");
        let text = met.body.to_string();
        assert!(met.body["vars"].is_null() && !text.contains(SECRET), "{case}: {text}");
        Ok(())
    }

    /// Asserts that nobody's policy named the request: it is counted, under this vault id, and not audited.
    pub(crate) fn is_a_stranger(&self, case: &str, met: &Met, issuer: &str, vault_id: &str) -> Result<()> {
        self.refused(case, met, (403, "no_policy"), "")?;
        let counted = format!(
            "select coalesce(sum(attempts), 0) from lpm.oidc_stranger where issuer = '{issuer}' and vault_id = '{vault_id}'"
        );
        assert_eq!(self.value(&counted)?, "1", "{case}: counted");
        self.value("truncate lpm.oidc_stranger; select 1")?;
        Ok(())
    }

    /// Whether the honest job gets what it should, with a grant in the trail.
    pub(crate) async fn serves(&self, job: Job, vault_id: &str) -> Result<()> {
        let met = job.pull(&self.client, vault_id).await?;
        ensure!(met.status == 200, "the honest job met {} {}", met.status, met.body);
        ensure!(met.body["vars"]["API_KEY"] == SECRET, "the honest job got {}", met.body);
        let trail = met.trail(self.database())?;
        ensure!(trail == "ci_pull granted" || trail == "ci_pull granted renamed", "its trail is `{trail}`");
        Ok(())
    }
}
