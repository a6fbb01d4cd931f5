//! How many connections there may be, and which one goes when there is one more: the one that has waited longest
//! for its next request, or to say its first.
//!
//! So idle and dribbling callers, however many, keep nobody out: whoever comes has as long to begin as it takes for
//! `--max-connections` others to come. Only where every single connection is being answered, a new one is closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tracing::warn;

/// All of them.
pub(crate) struct Connections {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: usize,
    /// The idle ones by when they became so.
    idle: BTreeMap<u64, Arc<Seat>>,
    next: u64,
    refusing: bool,
}

/// One of them.
pub(crate) struct Connection {
    all: Arc<Connections>,
    seat: Arc<Seat>,
}

#[derive(Default)]
struct Seat {
    leave: Notify,
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    /// Requests that are being answered.
    active: usize,
    /// Its key in [`State::idle`].
    ticket: Option<u64>,
    idle_since: Option<Instant>,
    /// Somebody else has its seat.
    evicted: bool,
}

/// A request that is being answered, until its answer is sent or given up.
pub(crate) struct Active {
    all: Arc<Connections>,
    seat: Arc<Seat>,
}

impl Connections {
    pub(crate) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default() })
    }

    /// A new one; `None` where there is no room and nobody who could leave.
    pub(crate) fn open(self: &Arc<Self>) -> Option<Connection> {
        let mut state = self.state();
        if state.open >= self.most {
            let Some((_, oldest)) = state.idle.pop_first() else {
                if !std::mem::replace(&mut state.refusing, true) {
                    warn!(
                        open = state.open,
                        "New connections are closed: --max-connections (LPM_GATEWAY_MAX_CONNECTIONS) are being answered"
                    );
                }
                return None;
            };
            let mut own = oldest.own();
            (own.evicted, own.ticket) = (true, None);
            drop(own);
            oldest.leave.notify_one();
            state.open -= 1;
        }
        state.refusing = false;
        state.open += 1;
        let seat = Arc::new(Seat::default());
        state.wait(&seat);
        Some(Connection { all: Arc::clone(self), seat })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, seat: &Arc<Seat>) {
        self.next += 1;
        let mut own = seat.own();
        (own.ticket, own.idle_since) = (Some(self.next), Some(Instant::now()));
        self.idle.insert(self.next, Arc::clone(seat));
    }
}

impl Seat {
    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request has begun.
    pub(crate) fn begin(&self) -> Active {
        let mut state = self.all.state();
        let mut own = self.seat.own();
        own.active += 1;
        own.idle_since = None;
        if let Some(ticket) = own.ticket.take() {
            state.idle.remove(&ticket);
        }
        if std::mem::take(&mut own.evicted) {
            // it was about to go, and now has something to do
            state.open += 1;
        }
        Active { all: Arc::clone(&self.all), seat: Arc::clone(&self.seat) }
    }

    /// Returns when another one needs the room and nothing is being answered here.
    pub(crate) async fn has_to_leave(&self) {
        loop {
            self.seat.leave.notified().await;
            if self.seat.own().evicted {
                return;
            }
        }
    }

    /// For how long nothing has been answered; `None` while something is.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        self.seat.own().idle_since.map(|since| since.elapsed())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.all.state();
        let mut own = self.seat.own();
        if let Some(ticket) = own.ticket.take() {
            state.idle.remove(&ticket);
        }
        if !std::mem::replace(&mut own.evicted, true) {
            state.open -= 1;
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let mut state = self.all.state();
        let mut own = self.seat.own();
        own.active -= 1;
        // `evicted` here: the connection is gone, and only its last answer's task was still there
        if own.active == 0 && !own.evicted {
            drop(own);
            state.wait(&self.seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn leaves(connection: &Connection) -> bool {
        connection.has_to_leave().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_has_waited_longest_leaves() {
        let all = Connections::at_most(3);
        let [first, second, third] = [(); 3].map(|()| all.open().expect("there is room"));
        drop(first.begin());
        let _fourth = all.open().expect("the second one's seat");
        assert!(leaves(&second) && !leaves(&first) && !leaves(&third));
        drop(second);
        let _fifth = all.open().expect("the third one's seat");
        assert!(leaves(&third) && !leaves(&first));
    }

    #[test]
    fn whoever_is_being_answered_stays_and_a_new_one_is_refused() {
        let all = Connections::at_most(2);
        let [first, second] = [(); 2].map(|()| all.open().expect("there is room"));
        let (one, other, another) = (first.begin(), second.begin(), second.begin());
        assert!(all.open().is_none());
        drop(other);
        assert!(all.open().is_none(), "the second one still answers");
        drop(another);
        assert!(all.open().is_some());
        assert!(leaves(&second) && !leaves(&first));
        drop(one);
    }

    #[test]
    fn whoever_goes_leaves_room_for_exactly_one() {
        let all = Connections::at_most(1);
        let first = all.open().expect("there is room");
        let answering = first.begin();
        drop(first);
        drop(answering);
        let second = all.open().expect("there is room");
        let _answering = second.begin();
        assert!(all.open().is_none());
    }

    #[test]
    fn whoever_begins_in_the_last_moment_stays() {
        let all = Connections::at_most(1);
        let first = all.open().expect("there is room");
        let second = all.open().expect("the first one's seat");
        let answering = first.begin();
        assert!(!leaves(&first));
        drop((answering, first, second));
        assert_eq!(all.state().open, 0);
        assert!(all.state().idle.is_empty());
    }
}
