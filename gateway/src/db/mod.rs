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

mod check;
mod ci;
mod connect;
mod error;
mod escrow;
mod hosts;
mod lease;
mod listen;
mod members;
mod orgs;
mod pairing;
mod policies;
mod queue;
mod ready;
mod sessions;
mod statement;
mod vaults;
mod versions;

pub(crate) use check::Session;
pub(crate) use ci::CiRequest;
pub(crate) use error::DbError;
pub(crate) use lease::PoolState;
pub(crate) use listen::Listener;
pub(crate) use queue::Place;
pub(crate) use sessions::PairHashes;

use crate::config::Settings;
use crate::reply::Answer;
use deadpool_postgres::Object;
use lease::Leases;
use queue::Queue;
use ready::Readiness;
use statement::{Naming, Prepared};
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const ISSUERS: &str = call!("issuers", "");

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The pool, and one method for each function of `lpm_api`.
pub(crate) struct Db {
    leases: Leases,
    readiness: Readiness,
    naming: Naming,
}

impl Db {
    /// A pool that connects when it is first used, so that the gateway starts before the database.
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let (pool, canceller) = connect::pool(settings)?;
        // Beyond this a statement has hung: the server would have cancelled it.
        let patience = settings.statement_timeout + Duration::from_secs(2);
        let queue = Queue::new(settings.pool_size, settings.pool_queue, settings.pool_wait);
        let naming = if settings.unnamed_statements { Naming::Unnamed } else { Naming::Named };
        let leases = Leases::new(pool, queue, canceller, patience);
        Ok(Self { leases, naming, readiness: Readiness::default() })
    }

    /// A place for a request that is going to ask something; without one, it is refused before it costs more.
    pub(crate) fn admit(&self) -> Result<Place, DbError> {
        self.leases.admit()
    }

    /// The connections.
    pub(crate) fn pool(&self) -> PoolState {
        self.leases.state()
    }

    /// The trusted issuers.
    pub(crate) async fn issuers(&self) -> Result<Answer, DbError> {
        // one after the other, and needed by those who have a place
        self.call_with(None, ISSUERS, &[]).await
    }

    /// One statement, one transaction. One that its connection has outlived is sent once more, on another.
    async fn call(&self, sql: &'static str, params: Params<'_>) -> Result<Answer, DbError> {
        self.call_with(Some(self.admit()?), sql, params).await
    }

    /// The same, for whoever has been let in already.
    async fn call_with(
        &self,
        place: Option<Place>,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Answer, DbError> {
        match self.call_once(place, sql, params).await {
            Err(error) if error.is_stale() => self.call_once(None, sql, params).await,
            answer => answer,
        }
    }

    async fn call_once(
        &self,
        place: Option<Place>,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Answer, DbError> {
        let lease = self.leases.take(place).await?;
        let work = async |client: &Object| {
            read(&Prepared::new(client, sql, self.naming).await?.query(client, params).await?)
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
