//! What every attack starts from: a vault that a job may pull, and ways to see what was not looked at.

use anyhow::{Context, Result, ensure};
use lpm_tests::database::Database;
use lpm_tests::escrowed::Escrowed;
use lpm_tests::gateway::{self, Gateway, Reply};
use lpm_tests::issuer::{Issuer, Provider, TokenRequest};
use lpm_tests::stack::Stack;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio_postgres::Client;

/// The one-step pull.
pub(crate) const PULL: &str = "/api/vault/oidc/pull";
/// The first of two steps.
pub(crate) const EXCHANGE: &str = "/api/vault/oidc";

/// A vault whose `production` may be pulled from `main` of `acme/web` and of `my-group/my-project`, and a gateway
/// that trusts an issuer of this test.
pub(crate) struct World {
    /// Database and accounts.
    pub(crate) stack: Stack,
    /// The gateway.
    pub(crate) gateway: Gateway,
    /// GitHub's issuer and GitLab's, both the default of their provider.
    pub(crate) issuer: Issuer,
    /// What the vault's owner does in SQL.
    pub(crate) alice: Escrowed,
    /// The same, connected.
    pub(crate) client: Client,
    /// The vault.
    pub(crate) vault_id: String,
    logs: TempDir,
}

impl World {
    /// A fresh one.
    pub(crate) async fn new() -> Result<Self> {
        let (stack, issuer) = (Stack::new().await?, Issuer::start()?);
        for provider in [Provider::GitHub, Provider::GitLab] {
            stack.database().value(&format!(
                "select lpm.trust_issuer('{}', '{}', allow_private_addresses => true, is_default => true)",
                provider.as_str(),
                issuer.issuer(provider)
            ))?;
        }
        let alice = stack.escrowed(&stack.seed.alice);
        let client = alice.gateway().await?;
        let vault_id = alice.vault(&client).await?;
        let gitlab = json!({"provider": "gitlab", "subject": "project:my-group/my-project"});
        alice.allow_with(&client, &vault_id, &gitlab).await?;
        let logs = tempfile::tempdir()?;
        let gateway = start_gateway(&stack, &logs)?;
        Ok(Self { stack, gateway, issuer, alice, client, vault_id, logs })
    }

    /// Another gateway of the same database.
    pub(crate) fn another_gateway(&self) -> Result<Gateway> {
        start_gateway(&self.stack, &self.logs)
    }

    /// What a job with this token asks for.
    #[must_use]
    pub(crate) fn ask(&self, token: impl Into<Value>) -> Value {
        json!({"oidcToken": token.into(), "vaultId": self.vault_id, "env": "production"})
    }

    /// A one-step pull with a token.
    pub(crate) async fn pull(&self, token: &str) -> Result<Reply> {
        self.gateway.post(PULL, None, &self.ask(token)).await
    }

    /// A one-step pull by the job whose token this describes.
    pub(crate) async fn pull_by(&self, job: &TokenRequest) -> Result<Reply> {
        self.pull(&self.issuer.mint(job)?).await
    }

    /// A vault of `owner` with this policy on it, pushed and escrowed.
    pub(crate) async fn vault_with(&self, owner: &Escrowed, policy: &Value) -> Result<String> {
        let vault_id = uuid::Uuid::new_v4().to_string();
        owner.push(&self.client, &vault_id).await?;
        owner.allow_with(&self.client, &vault_id, policy).await?;
        owner.escrow(&self.client, &vault_id).await?;
        Ok(vault_id)
    }

    /// The same job at another vault, or for another environment.
    pub(crate) async fn post_for(
        &self,
        path: &str,
        job: &TokenRequest,
        vault_id: &str,
        environment: &str,
    ) -> Result<Reply> {
        let body = json!({"oidcToken": self.issuer.mint(job)?, "vaultId": vault_id, "env": environment});
        self.gateway.post(path, None, &body).await
    }

    /// Both ways in refuse the token with this status and code, in a body that says so.
    pub(crate) async fn refuses(&self, name: &str, token: &str, status: u16, code: &str) -> Result<()> {
        for path in [PULL, EXCHANGE] {
            let reply =
                self.gateway.post(path, None, &self.ask(token)).await.with_context(|| name.to_owned())?;
            assert_eq!(seen(&reply), (status, code.to_owned()), "{name}, {path}: {}", reply.text());
            assert!(!reply.member("error").is_empty(), "{name}: no sentence in {}", reply.text());
            assert!(!reply.header("x-request-id").is_empty(), "{name}: no request id");
        }
        Ok(())
    }

    /// The rows that CI requests left: audited, counted as strangers, counted as uses.
    pub(crate) fn traces(&self) -> Result<String> {
        self.stack.database().value(
            "select concat_ws(' ', (select count(*) from lpm.audit_log where action like 'ci_%'),
                              (select count(*) from lpm.oidc_stranger), (select count(*) from lpm.oidc_token_use))",
        )
    }

    /// Decision and reason of the audit row of a request.
    pub(crate) fn audited(&self, reply: &Reply) -> Result<String> {
        self.stack.database().value(&format!(
            "select concat_ws(' ', decision, reason) from lpm.audit_log where request_id = '{}'",
            reply.header("x-request-id")
        ))
    }
}

fn start_gateway(stack: &Stack, logs: &TempDir) -> Result<Gateway> {
    gateway::Options::new(stack.database().url_as(&stack.seed.gateway_login))
        // one fetch of keys in all, however long a test takes
        .argument("--keys-cool-down=10m")
        // more requests at once than connections wait for each other
        .argument("--pool-wait=30s")
        .start(&logs.path().join("gateway.log"))
}

/// A push to `main` of `acme/web`.
#[must_use]
pub(crate) fn job() -> TokenRequest {
    TokenRequest::github().repository("acme/web")
}

/// Status and machine code.
#[must_use]
pub(crate) fn seen(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

/// What [`seen`] says of a grant.
#[must_use]
pub(crate) fn granted() -> (u16, String) {
    (200, String::new())
}

/// … of a token that was used before.
#[must_use]
pub(crate) fn replayed() -> (u16, String) {
    (403, "replayed".to_owned())
}

/// … of a subject that no policy names.
#[must_use]
pub(crate) fn no_policy() -> (u16, String) {
    (403, "no_policy".to_owned())
}

/// While it lives, whoever touches a vault, a policy, a pin, a use or the audit waits.
pub(crate) struct Locked(Client);

impl Locked {
    /// Takes the locks.
    pub(crate) async fn new(database: &Database) -> Result<Self> {
        let client = database.connect().await?;
        client
            .batch_execute(
                "begin; lock table lpm.vault_claim, lpm.vault_sync, lpm.oidc_policy, lpm.oidc_subject_pin, lpm.oidc_token_use,
                                   lpm.ci_token, lpm.oidc_stranger, lpm.audit_log in access exclusive mode",
            )
            .await?;
        Ok(Self(client))
    }

    /// Returns when somebody waits.
    pub(crate) async fn is_met(&self) -> Result<()> {
        let waiting = "select exists (select from pg_locks where not granted
                                         and database = (select oid from pg_database where datname = current_database()))";
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.0.query_one(waiting, &[]).await?.get::<_, bool>(0) {
            ensure!(Instant::now() < deadline, "nobody touches the locked tables, so the locks show nothing");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Lets everybody go on.
    pub(crate) async fn release(self) -> Result<()> {
        Ok(self.0.batch_execute("rollback").await?)
    }
}

/// Somebody who listens and must hear nothing. Nobody accepts, so whoever connected would still be there.
pub(crate) struct Canary(TcpListener);

impl Canary {
    /// On a free port of the loopback interface.
    pub(crate) fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Its address.
    pub(crate) fn url(&self) -> Result<String> {
        Ok(format!("http://{}", self.0.local_addr()?))
    }

    /// Nothing was heard, and something would have been.
    pub(crate) fn heard_nothing(&self) -> Result<()> {
        ensure!(self.0.accept().is_err(), "the canary was contacted");
        let _somebody = std::net::TcpStream::connect(self.0.local_addr()?)?;
        ensure!(self.0.accept().is_ok(), "the canary is deaf");
        Ok(())
    }
}
