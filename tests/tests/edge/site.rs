//! One test's own database, a vault in it that is open to CI, and a gateway that is started as the test says.

use anyhow::Result;
use lpm_tests::escrowed::Escrowed;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, TokenRequest};
use lpm_tests::stack::{Seed, shared};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

/// One-step pulls.
pub(crate) const PULL: &str = "/api/vault/oidc/pull";

/// The repository whose `main` may pull.
pub(crate) const REPOSITORY: &str = "acme/web";

/// Its id, which no renaming changes.
pub(crate) const REPOSITORY_ID: &str = "42";

/// A gateway of a database of its own.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) escrowed: Escrowed,
    pub(crate) vault_id: String,
    _files: TempDir,
}

impl Site {
    /// With a gateway as it comes, but for what `options` adds.
    pub(crate) async fn new(options: impl FnOnce(gateway::Options) -> gateway::Options) -> Result<Self> {
        let shared = shared().await?;
        let database = shared.cluster.fresh_database(Some(shared.seed.database.name())).await?;
        let Seed { gateway_login, alice, .. } = shared.seed.clone();
        let files = tempfile::Builder::new().prefix("lpm-edge-").tempdir()?;
        let options = options(gateway::Options::new(database.url_as(&gateway_login)));
        let gateway = options.start(&files.path().join("gateway.log"))?;
        let escrowed = Escrowed::of(database, gateway_login, &alice, shared.issuer.url());
        let vault_id = escrowed.vault(&escrowed.gateway().await?).await?;
        Ok(Self { gateway, issuer: Arc::clone(&shared.issuer), escrowed, vault_id, _files: files })
    }

    /// What the job whose token `request` describes posts to pull in one step.
    pub(crate) fn body(&self, request: &TokenRequest) -> Result<Value> {
        Ok(self.body_with(&self.issuer.mint(request)?))
    }

    /// The same, with a token that is there already.
    pub(crate) fn body_with(&self, token: &str) -> Value {
        json!({ "oidcToken": token, "vaultId": self.vault_id, "env": "production" })
    }

    /// A pull in one step.
    pub(crate) async fn pull(&self, request: &TokenRequest) -> Result<Reply> {
        self.gateway.post(PULL, None, &self.body(request)?).await
    }
}

/// The job that may pull.
pub(crate) fn job() -> TokenRequest {
    TokenRequest::github().repository(REPOSITORY).claim("repository_id", REPOSITORY_ID)
}
