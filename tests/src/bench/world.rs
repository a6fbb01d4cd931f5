//! What is measured: a cluster as safe as a real one, many vaults that CI may pull, and a gateway.

use crate::cluster::{self, Cluster};
use crate::database::Database;
use crate::escrowed::Escrowed;
use crate::gateway::{self, Gateway};
use crate::issuer::Issuer;
use crate::stack::Seed;
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The environment that is pulled, one of three.
pub const ENVIRONMENT: &str = "production";
/// The owner of all repositories.
pub const OWNER_ID: &str = "123456";
/// How many sessions fill the database.
const FILLERS: usize = 8;
/// How many variables each environment has.
const VARIABLES: usize = 16;

/// A vault of one repository.
pub struct Vault {
    /// Its id.
    pub id: String,
    /// `owner/name`
    pub repository: String,
    /// The id that the policies pin.
    pub repository_id: String,
}

impl Vault {
    fn numbered(number: usize) -> Self {
        Self {
            id: format!("bench-{number:07}"),
            repository: format!("bench/app-{number}"),
            repository_id: (500_000_000 + number).to_string(),
        }
    }
}

/// Everything that runs.
pub struct World {
    cluster: Cluster,
    database: Database,
    issuer: Issuer,
    gateway: Gateway,
    gateway_options: gateway::Options,
    vaults: usize,
}

impl World {
    /// Makes so many vaults of 4 KiB with three environments and two policies each, one of which allows the pull.
    pub async fn new(vaults: usize) -> Result<Self> {
        Self::with(vaults, cluster::Options::default(), |options| options).await
    }

    /// The same, with a cluster and gateway as the caller wants them.
    pub async fn with(
        vaults: usize,
        options: cluster::Options,
        gateway: impl FnOnce(gateway::Options) -> gateway::Options,
    ) -> Result<Self> {
        let options = options.durable().setting("shared_buffers", "512MB").setting("max_wal_size", "8GB");
        let (cluster, issuer) = (options.start()?, Issuer::start()?);
        let seed = Seed::create(&cluster, "bench", issuer.url()).await?;
        let database = seed.database.clone();
        fill(&seed, issuer.url(), vaults).await?;
        settle(&database).await?;
        let gateway_options = gateway(gateway::Options::new(database.url_as(&seed.gateway_login)));
        let gateway = gateway_options.start(&cluster.log_dir().join("gateway.log"))?;
        Ok(Self { cluster, database, issuer, gateway, gateway_options, vaults })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Who signs the tokens.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What it was started with.
    #[must_use]
    pub fn gateway_options(&self) -> &gateway::Options {
        &self.gateway_options
    }

    /// Where files of a measurement may lie; they end with the cluster.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.cluster.home()
    }

    /// The vault of the `number`th request: all of them in turn, far from each other.
    #[must_use]
    pub fn vault(&self, number: usize) -> Vault {
        // a prime, so that every vault comes once before any comes twice
        Vault::numbered(number.wrapping_mul(7919) % self.vaults)
    }
}

/// Has the planner know what there is, and everything written.
pub async fn settle(database: &Database) -> Result<()> {
    let client = database.connect().await?;
    for command in ["vacuum (analyze)", "checkpoint"] {
        client.batch_execute(command).await?;
    }
    Ok(())
}

async fn fill(seed: &Seed, issuer: &str, vaults: usize) -> Result<()> {
    let escrowed = Escrowed::of(seed.database.clone(), seed.gateway_login.clone(), &seed.alice, issuer);
    let (escrowed, mut fillers) = (Arc::new(escrowed), JoinSet::new());
    for filler in 0..FILLERS {
        let escrowed = Arc::clone(&escrowed);
        fillers.spawn(async move {
            let client = escrowed.gateway().await?;
            let payload = payload(filler);
            for number in (filler..vaults).step_by(FILLERS) {
                let vault = Vault::numbered(number);
                escrowed.push_payload(&client, &vault.id, &payload).await?;
                for (branch, environments) in [("main", json!([ENVIRONMENT])), ("release/*", json!(["staging"]))] {
                    let policy = json!({
                        "subject": format!("repo:{}", vault.repository), "allowedBranches": [branch],
                        "allowedEnvironments": environments, "repositoryId": vault.repository_id, "ownerId": OWNER_ID,
                    });
                    escrowed.allow_with(&client, &vault.id, &policy).await?;
                }
                escrowed.escrow(&client, &vault.id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    Ok(())
}

/// About 4 KiB: three environments of 16 variables.
fn payload(filler: usize) -> String {
    let variables = |environment: &str| -> serde_json::Map<String, serde_json::Value> {
        (0..VARIABLES)
            .map(|number| {
                let value = format!("{environment}-{filler}-{number}-{}", "x".repeat(44));
                (format!("VARIABLE_{number:02}"), value.into())
            })
            .collect()
    };
    json!({ "environments": {
        "development": variables("development"), "staging": variables("staging"), "production": variables("production"),
    }})
    .to_string()
}

/// What a process holds in memory, in KiB: `VmRSS` and the like of proc(5).
pub fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let value = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    ensure!(value.is_some(), "/proc/{pid}/status has no {field}");
    Ok(value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vault_has_about_four_kibibytes() {
        let size = payload(3).len();
        assert!((3_600..4_400).contains(&size), "{size}");
    }
}
