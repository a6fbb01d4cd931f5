//! The attack catalogue at the SQL layer: what transactions, names, collations, numbers and rights could be made to do,
//! mostly with the gateway's login. Test and case names begin with the row's id.
//!
//! D2 is shown in `faults`, D3 and D12 in `catalogue_http`, D8 in `leak_search`.

mod claims;
mod clock;
mod collations;
mod commits;
mod names;
mod rights;
mod sessions;
mod standby;

use anyhow::Result;
use lpm_tests::escrowed::Escrowed;
use lpm_tests::job::Job;
use tokio_postgres::Client;

/// What every attack starts from: a vault of `alice` that `main` of `acme/web` may pull, and a gateway's connection.
pub(crate) struct World {
    pub(crate) alice: Escrowed,
    pub(crate) client: Client,
    pub(crate) vault_id: String,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        Self::of(Escrowed::new().await?).await
    }

    pub(crate) async fn of(alice: Escrowed) -> Result<Self> {
        let client = alice.gateway().await?;
        let vault_id = alice.vault(&client).await?;
        Ok(Self { alice, client, vault_id })
    }

    /// A job that the policy admits, with a token that nobody has used.
    pub(crate) fn job(&self) -> Job {
        Job::of(&self.alice.issuer)
    }

    /// What a superuser's query returns.
    pub(crate) fn value(&self, sql: &str) -> Result<String> {
        self.alice.database.value(sql)
    }
}

pub(crate) const NONE: Option<&str> = None;
