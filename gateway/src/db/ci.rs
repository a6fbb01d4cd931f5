//! CI: exchange, decide, open.

use super::{Db, DbError, Params, read};
use crate::reply::Answer;
use crate::request::{Account, Origin};
use deadpool_postgres::Object;
use futures_util::future::join;
use uuid::Uuid;

const EXCHANGE: &str = call!("exchange", "$1, $2, $3, $4, $5, $6, $7, $8");
const DECIDE: &str = call!("decide", "$1, $2, $3, $4, $5, $6, $7");
const DECIDE_CI: &str = call!("decide_ci", "$1, $2, $3, $4, $5");
const OPEN: &str = call!("open", "$1");

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

impl Db {
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
