//! Who may wait for a connection, and how long.
//!
//! A request first gets a place, or is sent away at once: there are as many as connections, and the queue's length
//! more. In the queue it waits while connections come back. When none has for [`Queue::patience`], the
//! database stands still: then whoever waits is sent away, and whoever comes later too, until one does.

use super::error::DbError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Longest wait in a queue that moves, however slowly.
const LONGEST: Duration = Duration::from_secs(3);

/// A queue in front of the pool.
#[derive(Clone)]
pub(super) struct Queue {
    connections: usize,
    length: usize,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    flow: Arc<Flow>,
    patience: Duration,
    longest: Duration,
}

/// Whether connections come back.
#[derive(Default)]
struct Flow {
    returned: AtomicU64,
    sent_away: AtomicU64,
    stands: AtomicBool,
}

/// A request's place: in the queue, or with a connection.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
}

/// The right to one connection of the pool.
pub(super) struct Turn {
    flow: Arc<Flow>,
    _turn: OwnedSemaphorePermit,
    _place: Option<Place>,
}

impl Queue {
    pub(super) fn new(connections: usize, length: usize, patience: Duration) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            connections,
            length,
            places: semaphore(connections + length),
            turns: semaphore(connections),
            flow: Arc::default(),
            patience,
            longest: LONGEST,
        }
    }

    /// A place, if there is one and it leads anywhere.
    pub(super) fn admit(&self) -> Result<Place, DbError> {
        if self.flow.stands.load(Ordering::Relaxed) && self.turns.available_permits() == 0 {
            return Err(self.busy());
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.busy())?;
        Ok(Place { _permit: permit })
    }

    /// How many have a place and no turn yet.
    pub(super) fn waiting(&self) -> usize {
        let taken = self.connections + self.length - self.places.available_permits();
        taken.saturating_sub(self.connections - self.turns.available_permits())
    }

    /// How many have been sent away.
    pub(super) fn sent_away(&self) -> u64 {
        self.flow.sent_away.load(Ordering::Relaxed)
    }

    fn busy(&self) -> DbError {
        self.flow.sent_away.fetch_add(1, Ordering::Relaxed);
        DbError::Busy
    }

    /// Waits for a turn. Without a place, for what the gateway itself asks, one after the other.
    pub(super) async fn turn(&self, place: Option<Place>) -> Result<Turn, DbError> {
        let mut waiting = std::pin::pin!(Arc::clone(&self.turns).acquire_owned());
        let end = Instant::now() + self.longest;
        loop {
            let returned = self.flow.returned.load(Ordering::Relaxed);
            match timeout_at(end.min(Instant::now() + self.patience), &mut waiting).await {
                Ok(Ok(turn)) => {
                    return Ok(Turn { flow: Arc::clone(&self.flow), _turn: turn, _place: place });
                }
                Ok(Err(_)) => return Err(self.busy()),
                Err(_) if self.flow.returned.load(Ordering::Relaxed) == returned => {
                    self.flow.stands.store(true, Ordering::Relaxed);
                    return Err(self.busy());
                }
                Err(_) if Instant::now() >= end => return Err(self.busy()),
                Err(_) => {}
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.flow.returned.fetch_add(1, Ordering::Relaxed);
        self.flow.stands.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(20);

    fn place(queue: &Queue) -> Option<Place> {
        Some(queue.admit().expect("a place"))
    }

    fn is_sent_away<T>(outcome: Result<T, DbError>) -> bool {
        matches!(outcome, Err(DbError::Busy))
    }

    #[tokio::test]
    async fn beyond_connections_and_queue_nobody_gets_a_place() {
        let queue = Queue::new(2, 3, PATIENCE);
        let turn = queue.turn(place(&queue)).await.expect("a turn");
        let mut places: Vec<_> = (0..4).map(|_| place(&queue)).collect();
        assert!(is_sent_away(queue.admit()));
        places.pop();
        places.push(place(&queue));
        drop(turn);
        places.push(place(&queue));
        assert!(is_sent_away(queue.admit()));
    }

    #[tokio::test]
    async fn a_queue_that_stands_sends_its_own_away_and_whoever_comes_until_it_moves() {
        let queue = Queue::new(1, 10, PATIENCE);
        let turn = queue.turn(place(&queue)).await.expect("a turn");
        let began = Instant::now();
        assert!(is_sent_away(queue.turn(place(&queue)).await));
        assert!(began.elapsed() >= PATIENCE);
        assert!(is_sent_away(queue.admit()), "nobody waits for what stands");
        drop(turn);
        drop(queue.turn(place(&queue)).await.expect("it moves again"));
    }

    #[tokio::test]
    async fn a_queue_that_moves_is_waited_in_and_not_for_ever() {
        let queue = Queue { longest: 10 * PATIENCE, ..Queue::new(1, 10, PATIENCE) };
        let _held = queue.turn(place(&queue)).await.expect("a turn");
        // connections come back, and others get them
        let flow = Arc::clone(&queue.flow);
        let others = tokio::spawn(async move {
            loop {
                flow.returned.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let began = Instant::now();
        assert!(is_sent_away(queue.turn(place(&queue)).await));
        assert!(began.elapsed() >= queue.longest);
        assert!(queue.admit().is_ok(), "it does not stand");
        others.abort();
    }
}
