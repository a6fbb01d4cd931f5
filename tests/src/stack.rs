//! Everything together: cluster, extension, trusted issuer, gateway, accounts.
//!
//! The cluster, the issuer and a template database are made once per test binary; a [`Stack`] is a copy of
//! the template with a gateway of its own, so that tests see nothing of each other.

use crate::cli::Machine;
use crate::cluster::{self, Cluster};
use crate::database::{Database, Login};
use crate::escrowed::Escrowed;
use crate::gateway::{self, Gateway};
use crate::issuer::{Issuer, Provider, TokenRequest};
use crate::process::Lifetime;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// The org of every stack, of which `alice` is an admin.
pub const ORG: &str = "acme";

/// The name of the template database.
const TEMPLATE: &str = "lpm_template";

/// The gateway's login.
const GATEWAY_LOGIN: &str = "gateway";

/// A database with the extension, a trusted issuer, the gateway's login and `alice`.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The database.
    pub database: Database,
    /// What gateways log in as.
    pub gateway_login: Login,
    /// A token of `alice`: org plan, admin of [`ORG`].
    pub alice: String,
}

impl Seed {
    /// Makes a database and fills it.
    pub async fn create(cluster: &Cluster, name: &str, issuer_url: &str) -> Result<Self> {
        let database = cluster.create_database(name, None).await?;
        let client = database.connect().await?;
        client.batch_execute("create extension pg_lpm cascade").await.context(
            "the extension is not installed for this PostgreSQL, or not as it stands in the sources: run `make extension`",
        )?;
        client
            .batch_execute(&format!(
                "select lpm.create_user('alice', plan => 'org');
                 select lpm.create_org('{ORG}', plan => 'org');
                 select lpm.add_member('{ORG}', 'alice', role => 'admin');
                 select lpm.trust_issuer('github', '{issuer_url}', allow_private_addresses => true, is_default => true);
                 select lpm.trust_issuer('gitlab', '{issuer_url}/gitlab', allow_private_addresses => true, is_default => true);"
            ))
            .await?;
        let alice = text(&client, "select lpm.create_token('alice', name => 'laptop')").await?;
        let password = text(&client, &format!("select lpm.create_gateway_login('{GATEWAY_LOGIN}')")).await?;
        let gateway_login = Login { user: GATEWAY_LOGIN.to_owned(), password };
        Ok(Self { database, gateway_login, alice })
    }

    /// Starts a gateway of this database.
    pub fn gateway(&self, log: &Path, lifetime: Lifetime) -> Result<Gateway> {
        let options = gateway::Options::new(self.database.url_as(&self.gateway_login))
            .argument("--metrics-listen=127.0.0.1:0")
            .lifetime(lifetime);
        // what outlives its handle is for people
        let options = if lifetime == Lifetime::Detached { options.as_it_comes() } else { options };
        options.start(log)
    }
}

async fn text(client: &tokio_postgres::Client, sql: &str) -> Result<String> {
    Ok(client.query_one(sql, &[]).await.with_context(|| sql.to_owned())?.get(0))
}

/// What all stacks of a test binary share.
pub struct Shared {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The issuer.
    pub issuer: Arc<Issuer>,
    /// The template.
    pub seed: Seed,
}

impl Shared {
    /// A cluster of one's own, which ends with the last stack in it.
    pub async fn new() -> Result<Self> {
        let cluster = cluster::Options::default().start()?;
        let issuer = Issuer::start()?;
        let seed = Seed::create(&cluster, TEMPLATE, issuer.url()).await?;
        Ok(Self { cluster: Arc::new(cluster), issuer: Arc::new(issuer), seed })
    }
}

/// The shared part of this test binary, made at the first call.
pub async fn shared() -> Result<&'static Shared> {
    static SHARED: OnceCell<Shared> = OnceCell::const_new();
    SHARED.get_or_try_init(Shared::new).await
}

/// One test's own database and gateway.
pub struct Stack {
    /// The gateway.
    pub gateway: Gateway,
    /// The database with its accounts.
    pub seed: Seed,
    /// The issuer, shared: a test that rotates or breaks it starts one of its own.
    pub issuer: Arc<Issuer>,
    /// The cluster, shared: a test that restarts it makes one of its own.
    pub cluster: Arc<Cluster>,
    _logs: TempDir,
}

impl Stack {
    /// A fresh copy of what this test binary shares.
    pub async fn new() -> Result<Self> {
        Self::of(shared().await?).await
    }

    /// A fresh copy of `shared`.
    pub async fn of(shared: &Shared) -> Result<Self> {
        let database = shared.cluster.fresh_database(Some(TEMPLATE)).await?;
        let seed = Seed { database, ..shared.seed.clone() };
        let logs = tempfile::Builder::new().prefix("lpm-logs-").tempdir()?;
        let gateway = seed.gateway(&logs.path().join("gateway.log"), Lifetime::Bound)?;
        Ok(Self {
            gateway,
            seed,
            issuer: Arc::clone(&shared.issuer),
            cluster: Arc::clone(&shared.cluster),
            _logs: logs,
        })
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.seed.database
    }

    /// A new account, and a token of it.
    pub async fn account(&self, handle: &str, plan: &str) -> Result<String> {
        let client = self.database().connect().await?;
        client.query("select lpm.create_user($1, plan => $2)", &[&handle, &plan]).await?;
        let row = client.query_one("select lpm.create_token($1, name => 'laptop')", &[&handle]).await?;
        Ok(row.get(0))
    }

    /// What the account with `token` does in SQL.
    #[must_use]
    pub fn escrowed(&self, token: &str) -> Escrowed {
        Escrowed::of(self.database().clone(), self.seed.gateway_login.clone(), token, self.issuer.url())
    }

    /// A developer's machine with `token`.
    pub fn machine(&self, token: &str) -> Result<Machine> {
        Ok(Machine::new()?.with("LPM_REGISTRY_URL", self.gateway.url()).with("LPM_TOKEN", token))
    }

    /// A runner of `machine`'s project, for the job whose tokens `request` describes.
    pub fn job(&self, machine: &Machine, request: &TokenRequest) -> Result<Machine> {
        let runner = machine.runner(self.gateway.url())?;
        Ok(match request.provider {
            Provider::GitHub => runner.github(&self.issuer.runtime(&request.claims)),
            Provider::GitLab => runner.with("LPM_GITLAB_OIDC_TOKEN", self.issuer.mint(request)?),
        })
    }
}
