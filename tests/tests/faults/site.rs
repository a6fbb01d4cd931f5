//! One test's own database, gateway and vault, and what is asked of them at the end.

use anyhow::{Context, Result};
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::database::{Database, Login};
use lpm_tests::escrowed::Escrowed;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, TokenRequest};
use lpm_tests::load::{Answers, Audited, Load, REPOSITORY};
pub(crate) use lpm_tests::process::eventually;
use lpm_tests::stack::{Seed, shared};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// Connections of a gateway's pool.
pub(crate) const POOL: u64 = 4;

/// A statement that waits is to be given up soon.
pub(crate) const HASTY: &str = "--statement-timeout=1s";

/// A statement that waits is to go on waiting, for as long as a test may need.
pub(crate) const PATIENT: &str = "--statement-timeout=60s";

/// One-step pulls.
pub(crate) const PULL: &str = "/api/vault/oidc/pull";

/// A vault that is open to CI, behind a gateway, in a cluster.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) escrowed: Escrowed,
    pub(crate) vault_id: String,
    options: gateway::Options,
    logs: TempDir,
}

impl Site {
    /// In a cluster of its own, for what concerns the whole server.
    pub(crate) async fn alone(cluster: cluster::Options, patience: &str) -> Result<Self> {
        Self::of(cluster.start()?, |database, login| {
            gateway::Options::new(database.url_as(login)).argument(patience)
        })
        .await
    }

    /// In this cluster, behind a gateway with these options.
    pub(crate) async fn of(
        cluster: Cluster,
        options: impl FnOnce(&Database, &Login) -> gateway::Options,
    ) -> Result<Self> {
        let issuer = Arc::new(Issuer::start()?);
        let seed = Seed::create(&cluster, "faults", issuer.url()).await?;
        let options = options(&seed.database, &seed.gateway_login);
        Self::behind(Arc::new(cluster), issuer, seed, options).await
    }

    /// In the cluster that all tests share.
    pub(crate) async fn shared(patience: &str) -> Result<Self> {
        let shared = shared().await?;
        let database = shared.cluster.fresh_database(Some(shared.seed.database.name())).await?;
        let options = gateway::Options::new(database.url_as(&shared.seed.gateway_login)).argument(patience);
        let seed = Seed { database, ..shared.seed.clone() };
        Self::behind(Arc::clone(&shared.cluster), Arc::clone(&shared.issuer), seed, options).await
    }

    async fn behind(
        cluster: Arc<Cluster>,
        issuer: Arc<Issuer>,
        seed: Seed,
        options: gateway::Options,
    ) -> Result<Self> {
        let escrowed = Escrowed::of(seed.database, seed.gateway_login, &seed.alice, issuer.url());
        let vault_id = escrowed.vault(&escrowed.gateway().await?).await?;
        // how long a statement waits is the gateway's alone to say
        escrowed.database.value(&format!("alter role {} set lock_timeout = 0", in_database(&escrowed)))?;
        let options = options.argument(format!("--pool-size={POOL}"));
        let logs = tempfile::Builder::new().prefix("lpm-logs-").tempdir()?;
        let gateway = options.start(&logs.path().join("gateway.log"))?;
        Ok(Self { gateway, cluster, issuer, escrowed, vault_id, options, logs })
    }

    /// Puts a new gateway in the place of one that is gone.
    pub(crate) fn start_gateway(&mut self) -> Result<()> {
        self.gateway = self.options.start(&self.logs.path().join("gateway.log"))?;
        Ok(())
    }

    /// Starts pulling.
    pub(crate) fn load(&self) -> Load {
        Load::start(&self.gateway, &self.issuer, &self.vault_id)
    }

    /// Ends pulling, and compares every answer with the audit.
    pub(crate) async fn audited(&self, load: Load) -> Result<Audited> {
        self.answers(load).await?.audited(&self.escrowed.database).await
    }

    /// Ends pulling.
    pub(crate) async fn answers(&self, load: Load) -> Result<Answers> {
        load.finish().await.with_context(|| format!("the gateway says:\n{}", tail(&self.gateway.log())))
    }

    /// What a job posts to pull in one step, with a fresh token in it.
    pub(crate) fn job(&self) -> Result<Value> {
        let token = self.issuer.mint(&TokenRequest::github().repository(REPOSITORY))?;
        Ok(json!({ "oidcToken": token, "vaultId": self.vault_id, "env": "production" }))
    }

    /// A pull in one step that goes on by itself.
    pub(crate) fn pull(&self, job: &Value) -> JoinHandle<Result<Reply>> {
        let request = self.gateway.request(Method::POST, PULL).json(job);
        tokio::spawn(async move { Reply::read(request.send().await?).await })
    }

    /// Holds a lock in this mode on a table until it is released.
    pub(crate) async fn hold(&self, table: &str, mode: &str) -> Result<Held> {
        let client = self.escrowed.database.connect().await?;
        client.batch_execute(&format!("begin; lock table {table} in {mode} mode")).await?;
        Ok(Held { client })
    }

    /// Returns when so many of the gateway's statements wait for a lock.
    pub(crate) async fn waiting(&self, statements: u64) -> Result<()> {
        let what = format!("{statements} statements wait for a lock");
        eventually(&what, async || Ok(self.count("wait_event_type = 'Lock'")? == statements)).await
    }

    /// The audit's decisions about pulls, with their number: `denied 1, granted 2`.
    pub(crate) fn decisions(&self) -> Result<String> {
        self.escrowed.database.value(
            "select string_agg(concat_ws(' ', decision, n), ', ' order by decision)
               from (select decision, count(*) n from lpm.audit_log where action = 'ci_pull' group by 1) d",
        )
    }

    /// How many of the server's processes serve the gateway's login in this database.
    pub(crate) fn backends(&self) -> Result<u64> {
        self.count("true")
    }

    /// How many of these are in a state that the condition on `pg_stat_activity` describes.
    pub(crate) fn count(&self, condition: &str) -> Result<u64> {
        let sql = format!("select count(*) from pg_stat_activity where {} and {condition}", self.mine());
        Ok(self.escrowed.database.value(&sql)?.parse()?)
    }

    /// The condition on `pg_stat_activity` for the gateway's connections.
    pub(crate) fn mine(&self) -> String {
        format!("usename = '{}' and datname = '{}'", self.escrowed.login.user, self.escrowed.database.name())
    }

    /// The gateway's open files beside its connections to the database. Only while nobody pulls.
    pub(crate) async fn rest(&self) -> Result<usize> {
        let mut last = usize::MAX;
        // until two looks agree: clients that have just left are seen off by and by
        eventually("the gateway's open files stay the same", async || {
            let now = self.gateway.open_files()?.saturating_sub(usize::try_from(self.backends()?)?);
            Ok(std::mem::replace(&mut last, now) == now)
        })
        .await?;
        Ok(last)
    }

    /// Nothing was left behind: neither a connection beyond the pool nor a file beyond what there was `before`.
    pub(crate) async fn leaks_nothing(&self, before: usize) -> Result<()> {
        let what = format!("at most {POOL} backends, at most {before} other files");
        let mut seen = (0, 0);
        let gone = eventually(&what, async || {
            let backends = self.backends()?;
            seen = (backends, self.gateway.open_files()?);
            Ok(backends <= POOL && seen.1 <= before + usize::try_from(backends)?)
        });
        gone.await.with_context(|| format!("backends and open files: {seen:?}"))
    }

    /// Readiness and liveness, as a load balancer sees them.
    pub(crate) async fn health(&self) -> Result<(u16, u16)> {
        let (ready, alive) =
            (self.gateway.get("/readyz", None).await?, self.gateway.get("/healthz", None).await?);
        Ok((ready.status.as_u16(), alive.status.as_u16()))
    }
}

/// A lock that somebody holds.
pub(crate) struct Held {
    client: Client,
}

impl Held {
    /// Lets it go.
    pub(crate) async fn release(self) -> Result<()> {
        Ok(self.client.batch_execute("commit").await?)
    }
}

/// The gateway's login in this database, as `alter role` names it.
pub(crate) fn in_database(escrowed: &Escrowed) -> String {
    format!(r#""{}" in database "{}""#, escrowed.login.user, escrowed.database.name())
}

/// The end of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("Answered")).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
