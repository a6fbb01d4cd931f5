//! The database: every SQL string of the gateway, and how a statement's answer is read.
//!
//! # When an answer counts
//!
//! A function's row arrives *before* its transaction commits: under the extended protocol the commit
//! happens at Sync, after `CommandComplete`, and an error there (a deferred constraint, a failed commit record,
//! a terminated backend) comes as an `ErrorResponse` behind the row. Only `ReadyForQuery` proves the commit. In
//! tokio-postgres 0.7.18 a `RowStream` ends (`None`) at `ReadyForQuery` and at nothing else; `CommandComplete`
//! only notes the number of rows (`src/query.rs`, `impl Stream for RowStream`), and `Client::query` collects
//! the stream to its end (`try_collect`), so it returns `Ok` only behind `ReadyForQuery` and `Err` for an error
//! that arrives after the row or when the connection ends before it. Therefore every call goes through
//! `query`, and nothing here may stop reading a stream at its first row.
//!
//! tokio-postgres logs parameters through the `log` crate at debug level. Nothing bridges `log` to the
//! gateway's subscriber (see [`crate::log`]), and no parameter is a secret: bearer tokens are hashed and
//! keys are sealed before they come here.

mod connect;
mod error;
mod lease;

pub(crate) use error::DbError;

use crate::config::Settings;
use crate::reply::Answer;
use crate::request::{Account, Origin};
use deadpool_postgres::Object;
use futures_util::future::join;
use lease::Leases;
use lpm_core::wire::PushRequest;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A call of one function of `lpm_api`. The subselect with `offset 0` keeps the planner from calling the
/// function once for each column of its answer.
macro_rules! call {
    ($function:literal, $arguments:literal) => {
        concat!(
            "select (r).status, (r).body from (select lpm_api.",
            $function,
            "(",
            $arguments,
            ") r offset 0) s"
        )
    };
}

const CHECK_ACCOUNT: &str = call!("check_account", "$1, 'all'");
const PUSH: &str = call!("push", "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10");
const PULL: &str = call!("pull", "$1, $2, $3, $4");
const LIST_VAULTS: &str = call!("list_vaults", "$1, $2, $3");
const AUDIT: &str = call!("audit", "$1, $2, $3, $4, $5");
const CREATE_POLICY: &str = call!("create_policy", "$1, $2, $3, $4");
const LIST_POLICIES: &str = call!("list_policies", "$1, $2, $3, $4");
const REVOKE_POLICY: &str = call!("revoke_policy", "$1, $2, $3, $4");
const REPIN: &str = call!("repin", "$1, $2, $3, $4, $5");
const ESCROW_KEY: &str = call!("escrow_key", "$1, $2, $3");
const PUT_ESCROW: &str = call!("put_escrow", "$1, $2, $3, $4, $5");
const DISABLE_ESCROW: &str = call!("disable_escrow", "$1, $2, $3, $4");
const EXPLAIN: &str = call!("explain", "$1, $2, $3, $4, $5, $6, $7");
const EXCHANGE: &str = call!("exchange", "$1, $2, $3, $4, $5, $6, $7, $8");
const DECIDE: &str = call!("decide", "$1, $2, $3, $4, $5, $6, $7");
const DECIDE_CI: &str = call!("decide_ci", "$1, $2, $3, $4, $5");
const OPEN: &str = call!("open", "$1");
const ISSUERS: &str = call!("issuers", "");
const READY: &str = call!("ready", "");

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Verified claims and what is asked for with them.
pub(crate) struct CiRequest<'a> {
    /// The issuer whose key signed.
    pub issuer: &'a str,
    /// The bytes whose signature held.
    pub claims: &'a [u8],
    pub vault: &'a str,
    pub environment: Option<&'a str>,
    /// The owner that the caller's `lpm.json` names.
    pub owner: Option<Uuid>,
}

/// The pool, and one method for each function of `lpm_api`.
pub(crate) struct Db {
    leases: Leases,
}

impl Db {
    /// A pool that connects when it is first used, so that the gateway starts before the database.
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let (pool, canceller) = connect::pool(settings)?;
        // Beyond this a statement has hung: the server would have cancelled it.
        let patience = settings.statement_timeout + Duration::from_secs(2);
        Ok(Self { leases: Leases::new(pool, canceller, patience) })
    }

    /// Whether the account may write, before much is read from it.
    pub(crate) async fn check_account(&self, account: &Account) -> Result<Answer, DbError> {
        self.call(CHECK_ACCOUNT, &[&account.hash()]).await
    }

    /// `POST /api/vaults/{id}/sync`
    pub(crate) async fn push(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        push: &PushRequest,
    ) -> Result<Answer, DbError> {
        let schema = push.schema.as_deref().map(serde_json::value::RawValue::get);
        self.call(
            PUSH,
            &[
                &origin.id,
                &origin.address,
                &account.hash(),
                &vault,
                &push.encrypted_blob,
                &push.wrapped_key,
                &push.expected_version,
                &push.force,
                &push.name,
                &schema,
            ],
        )
        .await
    }

    /// `GET /api/vaults/{id}/sync`
    pub(crate) async fn pull(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(PULL, &[&origin.id, &origin.address, &account.hash(), &vault]).await
    }

    /// `GET /api/vaults`
    pub(crate) async fn list_vaults(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(LIST_VAULTS, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `GET /api/vaults/{id}/audit`
    pub(crate) async fn audit(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        cursor: Option<&str>,
    ) -> Result<Answer, DbError> {
        self.call(AUDIT, &[&origin.id, &origin.address, &account.hash(), &vault, &cursor]).await
    }

    /// `POST /api/vault/oidc/policies`; the body goes to the extension as it came, which reads it strictly.
    pub(crate) async fn create_policy(
        &self,
        origin: &Origin,
        account: &Account,
        body: &str,
    ) -> Result<Answer, DbError> {
        self.call(CREATE_POLICY, &[&origin.id, &origin.address, &account.hash(), &body]).await
    }

    /// `GET /api/vault/oidc/policies`
    pub(crate) async fn list_policies(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(LIST_POLICIES, &[&origin.id, &origin.address, &account.hash(), &vault]).await
    }

    /// `DELETE /api/vault/oidc/policies/{id}`
    pub(crate) async fn revoke_policy(
        &self,
        origin: &Origin,
        account: &Account,
        policy: &str,
    ) -> Result<Answer, DbError> {
        self.call(REVOKE_POLICY, &[&origin.id, &origin.address, &account.hash(), &policy]).await
    }

    /// `POST /api/vault/oidc/repin`
    pub(crate) async fn repin(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        subject: &str,
    ) -> Result<Answer, DbError> {
        self.call(REPIN, &[&origin.id, &origin.address, &account.hash(), &vault, &subject]).await
    }

    /// `GET /api/vault/oidc/escrow-key`
    pub(crate) async fn escrow_key(&self, origin: &Origin, account: &Account) -> Result<Answer, DbError> {
        self.call(ESCROW_KEY, &[&origin.id, &origin.address, &account.hash()]).await
    }

    /// `POST /api/vault/oidc/escrow`, with the key sealed.
    pub(crate) async fn put_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        sealed: &str,
    ) -> Result<Answer, DbError> {
        self.call(PUT_ESCROW, &[&origin.id, &origin.address, &account.hash(), &vault, &sealed]).await
    }

    /// `DELETE /api/vault/oidc/escrow`
    pub(crate) async fn disable_escrow(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
    ) -> Result<Answer, DbError> {
        self.call(DISABLE_ESCROW, &[&origin.id, &origin.address, &account.hash(), &vault]).await
    }

    /// `POST /api/vault/oidc/explain`; `issuer` is `None` for claims that nobody signed.
    pub(crate) async fn explain(
        &self,
        origin: &Origin,
        account: &Account,
        vault: &str,
        issuer: Option<&str>,
        claims: &[u8],
        environment: Option<&str>,
    ) -> Result<Answer, DbError> {
        let hash = account.hash();
        let params: Params<'_> =
            &[&origin.id, &origin.address, &hash, &vault, &issuer, &claims, &environment];
        self.call(EXPLAIN, params).await
    }

    /// `POST /api/vault/oidc`; the token itself stays in the gateway.
    pub(crate) async fn exchange(
        &self,
        origin: &Origin,
        ci: &CiRequest<'_>,
        ci_token_hash: &[u8],
    ) -> Result<Answer, DbError> {
        self.call(
            EXCHANGE,
            &[
                &origin.id,
                &origin.address,
                &ci.issuer,
                &ci.claims,
                &ci.vault,
                &ci.environment,
                &ci.owner,
                &ci_token_hash,
            ],
        )
        .await
    }

    /// `POST /api/vault/oidc/pull`
    pub(crate) async fn one_step_pull(&self, origin: &Origin, ci: &CiRequest<'_>) -> Result<Answer, DbError> {
        let params: Params<'_> =
            &[&origin.id, &origin.address, &ci.issuer, &ci.claims, &ci.vault, &ci.environment, &ci.owner];
        self.decide_and_open(origin.id, DECIDE, params).await
    }

    /// `GET /api/vaults/{id}/ci-pull`
    pub(crate) async fn ci_pull(
        &self,
        origin: &Origin,
        ci_token: &Account,
        vault: &str,
        environment: Option<&str>,
    ) -> Result<Answer, DbError> {
        let hash = ci_token.hash();
        let params: Params<'_> = &[&origin.id, &origin.address, &hash, &vault, &environment];
        self.decide_and_open(origin.id, DECIDE_CI, params).await
    }

    /// The trusted issuers.
    pub(crate) async fn issuers(&self) -> Result<Answer, DbError> {
        self.call(ISSUERS, &[]).await
    }

    /// Is the database there, writable, and has it an escrow key?
    pub(crate) async fn ready(&self) -> Result<Answer, DbError> {
        self.call(READY, &[]).await
    }

    /// One statement, one transaction.
    async fn call(&self, sql: &'static str, params: Params<'_>) -> Result<Answer, DbError> {
        let lease = self.leases.take().await?;
        let work = async |client: &Object| {
            let rows = client.query(&client.prepare_cached(sql).await?, params).await?;
            read(&rows)
        };
        lease.answer(work).await
    }

    /// Decides and opens: two transactions in one network round trip.
    ///
    /// Each statement ends with a Sync of its own, so the first has committed, audit row included, before
    /// the server starts the second, and the second checks that by itself. `join` polls its futures in
    /// order, and `query` on a prepared statement sends before it first waits, so the two leave in this
    /// order and together. Both are read to their ends, whatever the first says: only then is the
    /// connection free for others, and only then is it known that the decision was committed.
    async fn decide_and_open(
        &self,
        id: Uuid,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Answer, DbError> {
        let lease = self.leases.take().await?;
        let work = async |client: &Object| {
            let (decide, open) = (client.prepare_cached(sql).await?, client.prepare_cached(OPEN).await?);
            let (decided, opened) = join(client.query(&decide, params), client.query(&open, &[&id])).await;
            let (decided, opened) = (read(&decided?)?, opened?);
            if decided.status == 200 { read(&opened) } else { Ok(decided) }
        };
        lease.answer(work).await
    }
}

/// The answer in the only row.
fn read(rows: &[Row]) -> Result<Answer, DbError> {
    let [row] = rows else { return Err(DbError::NoAnswer) };
    let status: i32 = row.try_get(0)?;
    let body: Option<&str> = row.try_get(1)?;
    let status =
        u16::try_from(status).ok().filter(|status| (200..600).contains(status)).ok_or(DbError::NoAnswer)?;
    Ok(Answer::new(status, body.unwrap_or_default()))
}
