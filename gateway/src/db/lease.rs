//! A connection for the time of one request, and what becomes of it after.
//!
//! It goes back to the pool only in a known state. Who waited long enough is answered at once; the connection
//! then has the server cancel what is under way, and comes back or is closed. Closing it alone would leave a
//! backend behind that nothing bounds: `statement_timeout` ends before the commit, which may wait for a
//! synchronous standby for ever, and every request would leave one more.

use super::connect::Canceller;
use super::error::DbError;
use super::queue::{Place, Queue, Turn};
use crate::reply::Answer;
use deadpool_postgres::{Object, Pool};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a cancelled statement may take to end, and the request to cancel to arrive.
const GRACE: Duration = Duration::from_secs(2);
/// A request sends two statements at most, and each may be waiting.
const STATEMENTS: usize = 2;

/// Where connections come from.
#[derive(Clone)]
pub(super) struct Leases {
    pool: Pool,
    queue: Queue,
    canceller: Canceller,
    patience: Duration,
    /// Connections that are older than this are not used any more.
    renewed: Arc<RwLock<Instant>>,
}

/// How many connections there are, and who wants them.
pub(crate) struct PoolState {
    pub max: usize,
    pub size: usize,
    pub in_use: usize,
    pub waiting: usize,
    /// How many were sent away because they could not have one.
    pub exhausted: u64,
}

/// A connection, and the right to it: the next in the queue has its turn when the connection is back or closed.
struct Held {
    object: Object,
    turn: Turn,
}

impl Leases {
    /// Statements that take longer than `patience` have hung.
    pub(super) fn new(pool: Pool, queue: Queue, canceller: Canceller, patience: Duration) -> Self {
        let renewed = Arc::new(RwLock::new(Instant::now()));
        Self { pool, queue, canceller, patience, renewed }
    }

    /// A place among those that get a connection, or none at once.
    pub(super) fn admit(&self) -> Result<Place, DbError> {
        self.queue.admit()
    }

    /// A connection that nobody else uses.
    pub(super) async fn take(&self, place: Option<Place>) -> Result<Lease, DbError> {
        let turn = self.queue.turn(place).await?;
        let renewed = *self.renewed.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let object = self.pool.get().await?;
            if Object::metrics(&object).created >= renewed {
                let held = Some(Held { object, turn });
                return Ok(Lease { held, leases: self.clone(), patience: self.patience });
            }
            drop(Object::take(object));
        }
    }

    /// Closes a connection whose statements are those of another time, and has all that are as old closed when they
    /// are free.
    fn renew(&self, held: Held) {
        *self.renewed.write().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.give_up(held);
    }

    /// What the pool looks like right now.
    pub(super) fn state(&self) -> PoolState {
        let status = self.pool.status();
        PoolState {
            max: status.max_size,
            size: status.size,
            in_use: status.size.saturating_sub(status.available),
            waiting: self.queue.waiting(),
            exhausted: self.queue.sent_away(),
        }
    }

    /// Closes a connection, and those that lie idle with it: what ended this one (a lost network, a machine that
    /// was replaced, a primary that became a standby) has ended them too, and each would cost a request to find out.
    fn give_up(&self, held: Held) {
        let turn = held.close();
        self.pool.retain(|_, _| false);
        drop(turn);
    }

    /// Waits for what is under way, then has it cancelled.
    async fn wind_up(&self, held: Held, patience: Duration) {
        if is_idle(&held.object, patience).await {
            return;
        }
        for _ in 0..STATEMENTS {
            // The server does not say whether there was anything to cancel, only that it has read the request.
            if !matches!(timeout(GRACE, self.canceller.cancel(&held.object)).await, Ok(Ok(()))) {
                break;
            }
            if is_idle(&held.object, GRACE).await {
                return;
            }
        }
        self.give_up(held);
    }
}

impl Held {
    /// Closes the connection.
    fn close(self) -> Turn {
        drop(Object::take(self.object));
        self.turn
    }
}

/// Has everything that was sent been answered in time? A Sync is answered behind it all.
async fn is_idle(object: &Object, patience: Duration) -> bool {
    !patience.is_zero() && matches!(timeout(patience, object.check_connection()).await, Ok(Ok(())))
}

/// A connection for the time of one request.
pub(super) struct Lease {
    held: Option<Held>,
    leases: Leases,
    /// How long what is under way may still take when nobody waits for it any more.
    patience: Duration,
}

impl Lease {
    /// What `work` finds, unless that takes too long.
    pub(super) async fn answer(
        mut self,
        work: impl AsyncFnOnce(&Object) -> Result<Answer, DbError>,
    ) -> Result<Answer, DbError> {
        let Some(held) = &self.held else { return Err(DbError::NoAnswer) };
        let Ok(answer) = timeout(self.patience, work(&held.object)).await else {
            self.patience = Duration::ZERO;
            return Err(DbError::NoAnswer);
        };
        let Some(held) = self.held.take() else { return answer };
        match &answer {
            Err(error) if error.lost_connection() => self.leases.give_up(held),
            Err(error) if error.is_stale() => self.leases.renew(held),
            Err(error) if error.spoils_connection() => drop(held.close()),
            // A server that has become a standby is left, so that the next connection looks for the primary.
            Ok(answer) if answer.status == 503 && answer.code().as_deref() == Some("read_only") => {
                self.leases.give_up(held);
            }
            _ => {}
        }
        answer
    }
}

impl Drop for Lease {
    /// Something is still under way: it took too long, or the caller hung up. Waiting for it costs less than a new
    /// backend, which is what an attacker would be after.
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (leases, patience) = (self.leases.clone(), self.patience);
        runtime.spawn(async move { leases.wind_up(held, patience).await });
    }
}
