//! A vault that is open to CI behind a gateway that tells how it is.

use anyhow::{Context, Result, ensure};
use lpm_tests::escrowed::Escrowed;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, TokenRequest};
use lpm_tests::load::REPOSITORY;
use lpm_tests::stack::shared;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::TempDir;

/// One-step pulls.
pub(crate) const PULL: &str = "/api/vault/oidc/pull";

/// A vault whose `production` may be pulled from `main`, and a gateway with metrics.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) escrowed: Escrowed,
    pub(crate) vault_id: String,
    options: gateway::Options,
    logs: TempDir,
}

impl World {
    pub(crate) async fn new() -> Result<Self> {
        Self::with(|options| options).await
    }

    /// Behind a gateway with more options.
    pub(crate) async fn with(more: impl FnOnce(gateway::Options) -> gateway::Options) -> Result<Self> {
        let escrowed = Escrowed::new().await?;
        let vault_id = escrowed.vault(&escrowed.gateway().await?).await?;
        let options = gateway::Options::new(escrowed.database.url_as(&escrowed.login));
        let options = more(options.argument("--metrics-listen=127.0.0.1:0"));
        let logs = tempfile::Builder::new().prefix("lpm-logs-").tempdir()?;
        let gateway = options.start(&logs.path().join("gateway.log"))?;
        let issuer = Arc::clone(&shared().await?.issuer);
        Ok(Self { gateway, issuer, escrowed, vault_id, options, logs })
    }

    /// Another gateway like the first.
    pub(crate) fn another_gateway(&self) -> Result<Gateway> {
        let log = tempfile::Builder::new().suffix(".log").tempfile_in(self.logs.path())?;
        self.options.start(&log.into_temp_path().keep()?)
    }

    /// What a job on this branch posts to pull in one step, with a fresh token in it.
    pub(crate) fn job(&self, branch: &str) -> Result<Value> {
        let token = self.issuer.mint(&TokenRequest::github().repository(REPOSITORY).branch(branch))?;
        Ok(json!({ "oidcToken": token, "vaultId": self.vault_id, "env": "production" }))
    }

    /// A pull in one step.
    pub(crate) async fn pull(&self, branch: &str) -> Result<Reply> {
        self.gateway.post(PULL, None, &self.job(branch)?).await
    }

    /// What the metrics say now.
    pub(crate) async fn scrape(&self) -> Result<Metrics> {
        let reply = Reply::read(reqwest::get(self.gateway.metrics_url()?).await?).await?;
        ensure!(reply.status == 200, "{}", reply.text());
        ensure!(reply.header("content-type").starts_with("text/plain; version=0.0.4"));
        Metrics::read(&reply.text())
    }
}

/// Every series with its value.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads strictly: every sample belongs to the family that was described last, and none comes twice.
    fn read(text: &str) -> Result<Self> {
        let (mut series, mut family) = (BTreeMap::new(), String::new());
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                family = described.split(' ').next().unwrap_or_default().to_owned();
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
                ensure!(
                    name.starts_with(&family) && family.starts_with("lpm_gateway_"),
                    "{line} in {family}"
                );
                let twice = series.insert(name.to_owned(), value.parse()?);
                ensure!(twice.is_none(), "{name} comes twice");
            }
        }
        Ok(Self(series))
    }

    /// The value of this series, zero where there is none.
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.0.get(&format!("lpm_gateway_{series}")).copied().unwrap_or_default()
    }

    /// The names of all series.
    pub(crate) fn series(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// The series of a family with their values, one a line.
    pub(crate) fn family(&self, name: &str) -> String {
        let name = format!("lpm_gateway_{name}");
        let lines = self.0.iter().filter(|(series, _)| series.starts_with(&name));
        lines.map(|(series, value)| format!("{series} {value}")).collect::<Vec<_>>().join("\n")
    }
}
