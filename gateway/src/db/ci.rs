//! CI: exchange, decide, open.

use super::{Db, DbError, Params, Place, Prepared, read};
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
        place: Place,
        origin: &Origin,
        ci: &CiRequest<'_>,
        ci_token_hash: &[u8],
    ) -> Result<Answer, DbError> {
        self.call_with(
            Some(place),
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
    pub(crate) async fn one_step_pull(
        &self,
        place: Place,
        origin: &Origin,
        ci: &CiRequest<'_>,
    ) -> Result<Answer, DbError> {
        let params: Params<'_> =
            &[&origin.id, &origin.address, &ci.issuer, &ci.claims, &ci.vault, &ci.environment, &ci.owner];
        self.decide_and_open(place, origin.id, DECIDE, params).await
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
        self.decide_and_open(self.admit()?, origin.id, DECIDE_CI, params).await
    }

    /// Decides and opens: two transactions in one network round trip.
    ///
    /// Each statement ends with a Sync of its own, so the first has committed, audit row included, before
    /// the server starts the second, and the second checks that by itself. `join` polls its futures in
    /// order, and a [`Prepared`] statement is sent before it first waits, so the two leave in this
    /// order and together. Both are read to their ends, whatever the first says: only then is the
    /// connection free for others, and only then is it known that the decision was committed.
    ///
    /// A pooler may have two backends execute them. It hands on a connection's messages in their order and lets go of a
    /// backend at `ReadyForQuery`, so the second waits for the first's commit there too; were it to overtake, it would
    /// find no committed row and refuse.
    ///
    /// Where the connection has outlived a statement, the failed transaction is rolled back and counts for nothing. If
    /// that was the decision, both are sent again. A decision that is committed stands, and only the opening is sent
    /// again: deciding anew would find the token used up.
    async fn decide_and_open(
        &self,
        place: Place,
        id: Uuid,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Answer, DbError> {
        let mut decided = None;
        match self.decide_and_open_once(Some(place), id, sql, params, &mut decided).await {
            Err(error) if error.is_stale() => {}
            answer => return answer,
        }
        match decided {
            Some(decided) if decided.status == 200 => self.call_with(None, OPEN, &[&id]).await,
            Some(decided) => Ok(decided),
            None => self.decide_and_open_once(None, id, sql, params, &mut None).await,
        }
    }

    /// `place` is for who has not been let in yet.
    async fn decide_and_open_once(
        &self,
        place: Option<Place>,
        id: Uuid,
        sql: &'static str,
        params: Params<'_>,
        committed: &mut Option<Answer>,
    ) -> Result<Answer, DbError> {
        let lease = self.leases.take(place).await?;
        let work = async |client: &Object| {
            let decide = Prepared::new(client, sql, self.naming).await?;
            let open = Prepared::new(client, OPEN, self.naming).await?;
            let (decided, opened) = join(decide.query(client, params), open.query(client, &[&id])).await;
            let decided = committed.insert(read(&decided?)?);
            let opened = opened?;
            if decided.status == 200 {
                read(&opened)
            } else {
                Ok(Answer::new(decided.status, decided.body()))
            }
        };
        lease.answer(work).await
    }
}
