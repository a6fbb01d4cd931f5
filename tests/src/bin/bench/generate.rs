//! The generator of `overload`, a process of its own: it tells refusals from grants, which wrk does not.
//!
//! A request is sent when it is due, however the ones before it are doing, over the connection that has rested longest.
//! A token that was refused is sent again later, as a job would.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is looked at what is due.
const TICK: Duration = Duration::from_millis(1);
/// Beyond this a request hangs.
const HANG: Duration = Duration::from_secs(30);
/// So many pulls in a row, each as fast as this, and it is over.
const CALM: (u32, Duration) = (10, Duration::from_millis(50));

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// As fast as they are answered.
    AsAnswered,
    /// So many a second.
    At(f64),
}

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// `IP:PORT` of the gateway
    #[arg(long)]
    address: String,
    /// File with a body of a one-step pull per line
    #[arg(long)]
    bodies: PathBuf,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    seconds: u64,
    /// Requests per second; without it, as fast as they are answered
    #[arg(long)]
    rate: Option<f64>,
}

/// What came back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub seconds: f64,
    pub sent: u64,
    pub granted: u64,
    /// 503 and 429.
    pub refused: u64,
    /// Connections that ended, and answers that are neither.
    pub broken: u64,
    /// Requests that were due while every connection was waiting.
    pub unsent: u64,
    pub granted_p99_ms: f64,
    pub refused_p99_ms: f64,
    /// From the end of the load until pulls are fast again.
    pub recovery_s: Option<f64>,
    /// There were no tokens left.
    pub exhausted: bool,
}

/// What all connections share.
struct State {
    address: String,
    bodies: VecDeque<Rc<[u8]>>,
    resting: VecDeque<TcpStream>,
    outcome: Outcome,
    granted: Vec<Duration>,
    refused: Vec<Duration>,
}

impl Plan {
    /// Sends, and prints what came back.
    pub(crate) fn run(&self) -> Result<()> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = LocalSet::new().block_on(&runtime, self.generate())?;
        println!("{}", serde_json::to_string(&outcome)?);
        Ok(())
    }

    async fn generate(&self) -> Result<Outcome> {
        let text = std::fs::read_to_string(&self.bodies)?;
        let head = |body: &str| {
            format!(
                "POST /api/vault/oidc/pull HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                self.address,
                body.len()
            )
        };
        let mut state = State {
            address: self.address.clone(),
            bodies: text.lines().map(|body| head(body).into_bytes().into()).collect(),
            resting: VecDeque::with_capacity(self.connections),
            outcome: Outcome::default(),
            granted: Vec::new(),
            refused: Vec::new(),
        };
        for _ in 0..self.connections {
            state.resting.push_back(TcpStream::connect(&self.address).await?);
        }
        let state = Rc::new(RefCell::new(state));
        let (began, time) = (Instant::now(), Duration::from_secs(self.seconds));
        let mut open = JoinSet::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while began.elapsed() < time {
            match self.rate {
                Some(rate) => {
                    tick.tick().await;
                    let due = (began.elapsed().as_secs_f64() * rate) as u64;
                    while due > state.borrow().outcome.sent + state.borrow().outcome.unsent {
                        begin(&state, &mut open);
                    }
                    while open.try_join_next().is_some() {}
                }
                None => {
                    while !state.borrow().resting.is_empty() && !state.borrow().bodies.is_empty() {
                        begin(&state, &mut open);
                    }
                    if open.join_next().await.is_none() {
                        break;
                    }
                }
            }
        }
        let seconds = began.elapsed().as_secs_f64();
        let mut outcome = state.borrow_mut().so_far();
        outcome.seconds = seconds;
        if self.rate.is_some() {
            outcome.recovery_s = Some(recovery(&state, self).await?);
        }
        Ok(outcome)
    }
}

impl State {
    /// What came back by now; later answers do not count.
    fn so_far(&mut self) -> Outcome {
        Outcome {
            granted_p99_ms: p99(&mut self.granted),
            refused_p99_ms: p99(&mut self.refused),
            ..std::mem::take(&mut self.outcome)
        }
    }
}

/// Sends one request over the connection that has rested longest.
fn begin(state: &Rc<RefCell<State>>, open: &mut JoinSet<()>) {
    let mut now = state.borrow_mut();
    let Some(body) = now.bodies.pop_front() else {
        now.outcome.exhausted = true;
        now.outcome.unsent += 1;
        return;
    };
    let Some(stream) = now.resting.pop_front() else {
        now.bodies.push_front(body);
        now.outcome.unsent += 1;
        return;
    };
    now.outcome.sent += 1;
    drop(now);
    open.spawn_local(one(Rc::clone(state), stream, body));
}

async fn one(state: Rc<RefCell<State>>, mut stream: TcpStream, body: Rc<[u8]>) {
    let began = Instant::now();
    let status = timeout(HANG, ask(&mut stream, &body)).await.unwrap_or_else(|_| Ok(0)).unwrap_or(0);
    let took = began.elapsed();
    let address = state.borrow().address.clone();
    let stream = if status == 0 { TcpStream::connect(&address).await.ok() } else { Some(stream) };
    let mut now = state.borrow_mut();
    now.resting.extend(stream);
    match status {
        200 => {
            now.outcome.granted += 1;
            now.granted.push(took);
        }
        503 | 429 => {
            now.outcome.refused += 1;
            now.refused.push(took);
            now.bodies.push_back(body);
        }
        _ => now.outcome.broken += 1,
    }
}

/// Sends a request and reads its answer to the end; its status.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Result<u16> {
    stream.write_all(request).await?;
    let (mut answer, mut read) = ([0; 16 * 1024], 0);
    let head = loop {
        read += match stream.read(&mut answer[read..]).await? {
            0 => anyhow::bail!("the connection ended"),
            more => more,
        };
        if let Some(at) = answer[..read].windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = std::str::from_utf8(&answer[..head])?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).context("no length")?;
    let end = head + length.parse::<usize>()?;
    ensure!(end <= answer.len(), "an answer of {end} bytes");
    let status = text.get(9..12).context("no status")?.parse()?;
    stream.read_exact(&mut answer[read.min(end)..end]).await?;
    Ok(status)
}

/// Seconds until pulls, one after the other, are fast again.
async fn recovery(state: &Rc<RefCell<State>>, plan: &Plan) -> Result<f64> {
    let ended = Instant::now();
    let mut stream = TcpStream::connect(&plan.address).await?;
    let (mut calm, mut since) = (0, None);
    while calm < CALM.0 {
        ensure!(ended.elapsed() < HANG, "it does not recover");
        let body = state.borrow_mut().bodies.pop_front().context("no tokens are left")?;
        let (began, at) = (Instant::now(), ended.elapsed());
        let status = ask(&mut stream, &body).await?;
        if status == 200 && began.elapsed() <= CALM.1 {
            since.get_or_insert(at);
            calm += 1;
        } else {
            (calm, since) = (0, None);
        }
    }
    Ok(since.unwrap_or_default().as_secs_f64())
}

fn p99(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
