//! CI jobs that keep pulling while a test breaks something, and what must be true of their answers at the end:
//! each has its audit row.
//!
//! Every client takes turns: a pull in one step, one in two, and both again from a branch that no policy allows.
//! Each attempt has a token of its own, as a job's retry has.

use crate::database::Database;
use crate::escrowed::SECRET;
use crate::gateway::{Gateway, Reply};
use crate::issuer::{Issuer, TokenRequest};
use anyhow::{Context, Result, ensure};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// The repository whose `main` may pull.
pub const REPOSITORY: &str = "acme/web";

/// How many clients pull at once.
const CLIENTS: usize = 4;

/// Beyond this a request hangs: longer than all that the gateway waits for by default.
const HANG: Duration = Duration::from_secs(60);

/// How long a test waits for what the clients are to meet.
const LIMIT: Duration = Duration::from_secs(120);

/// How soon a client that was sent away comes back.
const BACK_SOON: Duration = Duration::from_millis(25);

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A pull in one step.
    Pull,
    /// The first of two.
    Exchange,
    /// The second of two.
    CiPull,
}

/// An answer that reached a client.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `X-Request-Id`.
    pub request: Uuid,
    /// What was asked for.
    pub step: Step,
    /// The status.
    pub status: u16,
    /// The machine code, empty for a success.
    pub code: String,
}

impl Answer {
    /// Whether it handed out an environment.
    #[must_use]
    pub fn opened(&self) -> bool {
        self.status == 200 && self.step != Step::Exchange
    }

    /// What its audit row says, where it must have one.
    fn row(&self) -> Option<&'static str> {
        match (self.status, self.step, self.code.as_str()) {
            (200, Step::Exchange, _) => Some("ci_exchange granted"),
            (200, ..) | (403, _, "not_openable") => Some("ci_pull granted"),
            (403, Step::Exchange, _) => Some("ci_exchange denied"),
            (403, ..) => Some("ci_pull denied"),
            _ => None,
        }
    }
}

/// What the clients have met so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Environments handed out.
    pub pulls: u64,
    /// Tokens exchanged.
    pub exchanges: u64,
    /// Denials.
    pub denials: u64,
    /// 503 with everything that belongs to it.
    pub unavailable: u64,
    /// Requests without an answer: refused or broken connections.
    pub unanswered: u64,
    /// What no client may ever meet.
    pub wrong: u64,
}

/// What all clients share.
struct Shared {
    issuer: Arc<Issuer>,
    vault_id: String,
    url: watch::Sender<String>,
    stop: AtomicBool,
    tally: watch::Sender<Tally>,
    answers: Mutex<Vec<Answer>>,
    /// What no client may ever meet.
    wrong: Mutex<Vec<String>>,
    tolerated: &'static [&'static str],
}

/// Running pulls.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts pulling `production` of a vault that `main` of [`REPOSITORY`] may pull.
    #[must_use]
    pub fn start(gateway: &Gateway, issuer: &Arc<Issuer>, vault_id: &str) -> Self {
        Self::through(gateway.url(), issuer, vault_id)
    }

    /// The same, where answers with these machine codes are no surprise either.
    #[must_use]
    pub fn tolerating(
        gateway: &Gateway,
        issuer: &Arc<Issuer>,
        vault_id: &str,
        tolerated: &'static [&'static str],
    ) -> Self {
        Self::with(gateway.url(), issuer, vault_id, tolerated)
    }

    /// The same through whatever listens at this address.
    #[must_use]
    pub fn through(url: &str, issuer: &Arc<Issuer>, vault_id: &str) -> Self {
        Self::with(url, issuer, vault_id, &[])
    }

    fn with(url: &str, issuer: &Arc<Issuer>, vault_id: &str, tolerated: &'static [&'static str]) -> Self {
        let shared = Arc::new(Shared {
            issuer: Arc::clone(issuer),
            vault_id: vault_id.to_owned(),
            url: watch::Sender::new(url.to_owned()),
            stop: AtomicBool::new(false),
            tally: watch::Sender::new(Tally::default()),
            answers: Mutex::default(),
            wrong: Mutex::default(),
            tolerated,
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(keep_pulling(Arc::clone(&shared), number));
        }
        Self { shared, clients }
    }

    /// Sends the clients to another gateway.
    pub fn redirect(&self, gateway: &Gateway) {
        self.shared.url.send_replace(gateway.url().to_owned());
    }

    /// What the clients have met so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        *self.shared.tally.borrow()
    }

    /// Returns when what the clients met since now is enough; `what` names it when it never is.
    pub async fn until(&self, what: &str, enough: impl Fn(Tally) -> bool) -> Result<()> {
        let (before, mut tally) = (self.tally(), self.shared.tally.subscribe());
        let since = |now: &Tally| Tally {
            pulls: now.pulls - before.pulls,
            exchanges: now.exchanges - before.exchanges,
            denials: now.denials - before.denials,
            unavailable: now.unavailable - before.unavailable,
            unanswered: now.unanswered - before.unanswered,
            wrong: now.wrong,
        };
        let reached = timeout(LIMIT, tally.wait_for(|now| now.wrong > 0 || enough(since(now)))).await;
        self.shared.nothing_wrong()?;
        ensure!(reached.is_ok(), "{what}: not within {LIMIT:?}; {:?}", since(&self.tally()));
        Ok(())
    }

    /// Returns when as many more environments were handed out, and somebody was denied.
    pub async fn goes_well(&self, pulls: u64) -> Result<()> {
        self.until("pulls go well", |met| met.pulls >= pulls && met.exchanges > 0 && met.denials > 0).await
    }

    /// Returns when as many more requests were answered 503.
    pub async fn is_refused(&self, times: u64) -> Result<()> {
        self.until("pulls are answered 503", |met| met.unavailable >= times).await
    }

    /// How many answers so far had this machine code.
    #[must_use]
    pub fn answered_with(&self, code: &str) -> usize {
        let answers = self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter(|answer| answer.code == code).count()
    }

    /// Has every client finish what it is doing, and returns what they were answered. Fails when anybody met what
    /// nobody may meet: a hang, a wrong status, a 503 without its parts, a secret where none belongs.
    pub async fn finish(mut self) -> Result<Answers> {
        self.shared.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        self.shared.nothing_wrong()?;
        let answers =
            std::mem::take(&mut *self.shared.answers.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Answers { answers, tally: self.tally() })
    }
}

/// Everything that the clients were answered.
#[derive(Debug)]
pub struct Answers {
    answers: Vec<Answer>,
    tally: Tally,
}

/// Answers compared with audit rows, all of which were there.
#[derive(Debug)]
pub struct Audited {
    tally: Tally,
    rows: usize,
}

impl Answers {
    /// What the clients met.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Finds the audit row of each answer that has to have one, saying what it has to say.
    pub async fn audited(&self, database: &Database) -> Result<Audited> {
        self.compare(database, |_| true).await
    }

    /// The same for the answers that handed out an environment, and for no others.
    pub async fn opened_audited(&self, database: &Database) -> Result<Audited> {
        self.compare(database, Answer::opened).await
    }

    async fn compare(&self, database: &Database, which: impl Fn(&Answer) -> bool) -> Result<Audited> {
        let rows = database
            .connect()
            .await?
            .query(
                "select request_id, action || ' ' || decision from lpm.audit_log where action in ('ci_pull', 'ci_exchange')",
                &[],
            )
            .await?;
        let rows: HashMap<Uuid, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let (mut compared, mut missing) = (0, Vec::new());
        for answer in self.answers.iter().filter(|answer| which(answer)) {
            let Some(expected) = answer.row() else { continue };
            compared += 1;
            if rows.get(&answer.request).map(String::as_str) != Some(expected) {
                missing.push((answer, rows.get(&answer.request)));
            }
        }
        ensure!(compared > 0, "nobody was answered anything, so this shows nothing");
        ensure!(
            missing.is_empty(),
            "{} of {compared} answers have no such audit row: {missing:#?}",
            missing.len()
        );
        Ok(Audited { tally: self.tally, rows: rows.len() })
    }
}

impl fmt::Display for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { pulls, exchanges, denials, unavailable, unanswered, .. } = self.tally;
        write!(
            f,
            "200: {pulls} pulls and {exchanges} exchanges, denials: {denials}, 503: {unavailable}, unanswered: {unanswered}, \
             audit rows: {}, missing: 0",
            self.rows
        )
    }
}

/// A request that brought nothing.
struct SentAway;

async fn keep_pulling(shared: Arc<Shared>, number: usize) {
    let http = match Client::builder().no_proxy().timeout(HANG).build().context("no HTTP client") {
        Ok(http) => http,
        Err(error) => return shared.is_wrong(format!("{error:#}")),
    };
    let mut turn = number;
    while !shared.stop.load(Ordering::SeqCst) {
        let branch = if turn % 4 < 2 { "main" } else { "feature/x" };
        if shared.attempt(&http, branch, turn.is_multiple_of(2)).await.is_err() {
            sleep(BACK_SOON).await;
        }
        turn += 1;
    }
}

impl Shared {
    /// One job's attempt.
    async fn attempt(&self, http: &Client, branch: &str, one_step: bool) -> Result<(), SentAway> {
        let url = self.url.borrow().clone();
        let token = match self.issuer.mint(&TokenRequest::github().repository(REPOSITORY).branch(branch)) {
            Ok(token) => token,
            Err(error) => {
                self.is_wrong(format!("no token: {error:#}"));
                return Err(SentAway);
            }
        };
        let body = json!({ "oidcToken": token, "vaultId": self.vault_id, "env": "production" });
        if one_step {
            let request = http.post(format!("{url}/api/vault/oidc/pull")).json(&body);
            return self.ask(Step::Pull, branch, request).await.map(drop);
        }
        let request = http.post(format!("{url}/api/vault/oidc")).json(&body);
        let exchanged = self.ask(Step::Exchange, branch, request).await?;
        if exchanged.status.is_success() {
            let path = format!("{url}/api/vaults/{}/ci-pull?env=production", self.vault_id);
            let request = http.get(path).bearer_auth(exchanged.member("token"));
            self.ask(Step::CiPull, branch, request).await?;
        }
        Ok(())
    }

    /// Sends a request and notes what became of it.
    async fn ask(&self, step: Step, branch: &str, request: RequestBuilder) -> Result<Reply, SentAway> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.unanswered(step, &error)),
        };
        let request = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()?.parse().ok());
        let Some(request) = request else {
            self.is_wrong(format!("{step:?} was answered {} without X-Request-Id", response.status()));
            return Err(SentAway);
        };
        let status = response.status().as_u16();
        let reply = match Reply::read(response).await {
            Ok(reply) => reply,
            // cut off in the middle: even so it has to have its row
            Err(_) => {
                self.note(Answer { request, step, status, code: String::new() });
                self.tally.send_modify(|tally| tally.unanswered += 1);
                return Err(SentAway);
            }
        };
        let answer = Answer { request, step, status, code: reply.code() };
        if let Err(error) = self.judge(&answer, branch, &reply) {
            self.is_wrong(format!("{answer:?} for `{branch}`: {error:#}: {}", reply.text()));
        }
        let code = answer.code.clone();
        self.note(answer);
        self.tally.send_modify(|tally| match (status, step) {
            (200, Step::Exchange) => tally.exchanges += 1,
            (200, _) => tally.pulls += 1,
            (503, _) => tally.unavailable += 1,
            _ => tally.denials += 1,
        });
        // a denial that the branch explains is all that this job could hope for
        if status == 200 || code == "branch_not_allowed" { Ok(reply) } else { Err(SentAway) }
    }

    /// Is this what a client may meet?
    fn judge(&self, answer: &Answer, branch: &str, reply: &Reply) -> Result<()> {
        let opened = reply.text().contains(SECRET);
        ensure!(opened == answer.opened(), "the secret is {}there", if opened { "" } else { "not " });
        if answer.status == 200 {
            ensure!(branch == "main", "a branch that no policy allows");
            return Ok(());
        }
        for member in ["error", "code", "hint"] {
            ensure!(!reply.member(member).is_empty(), "no `{member}`");
        }
        match (answer.status, answer.code.as_str()) {
            (503, _) => ensure!(!reply.header("retry-after").is_empty(), "no Retry-After"),
            (403, "branch_not_allowed") => ensure!(branch != "main", "a branch that is allowed"),
            (_, code) => ensure!(self.tolerated.contains(&code), "nothing that a client may meet here"),
        }
        Ok(())
    }

    fn unanswered(&self, step: Step, error: &reqwest::Error) -> SentAway {
        if error.is_timeout() {
            self.is_wrong(format!("{step:?} hangs: no answer within {HANG:?}"));
        }
        self.tally.send_modify(|tally| tally.unanswered += 1);
        SentAway
    }

    fn note(&self, answer: Answer) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    fn is_wrong(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.tally.send_modify(|tally| tally.wrong += 1);
    }

    fn nothing_wrong(&self) -> Result<()> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(wrong.is_empty(), "{} wrong answers, the first: {}", wrong.len(), wrong[0]);
        Ok(())
    }
}
