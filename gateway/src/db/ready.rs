//! Whether the database answers and takes writes: one question at a time, however many ask.
//!
//! Anybody may ask, without a token. So whoever asks shares the answer to the next question with all who wait for it, and no number
//! of them takes more than one connection from those who pull. That one waits for its turn where others are sent away:
//! a gateway that has as much to do as it can is ready, and load balancers must not take it for one that is not.

use super::{Db, DbError};
use crate::reply::Answer;
use tokio::sync::Mutex;
use tokio::time::Instant;

const READY: &str = call!("ready", "");

/// The last answer, and when its question was asked.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Answer)>>);

impl Db {
    /// Is the database there, writable, and has it an escrow key?
    pub(crate) async fn ready(&self) -> Result<Answer, DbError> {
        self.call_with(None, READY, &[]).await
    }

    /// The same for whoever wants to know, and all at once: the question is put after the caller asked.
    pub(crate) async fn ready_for_anybody(&self) -> Answer {
        let asked = Instant::now();
        let mut last = self.readiness.0.lock().await;
        if let Some((since, answer)) = &*last
            && *since >= asked
        {
            return answer.clone();
        }
        let since = Instant::now();
        let answer = self.ready().await.unwrap_or_else(|error| {
            error.report();
            Answer::from(&error.failure())
        });
        *last = Some((since, answer.clone()));
        answer
    }
}
