//! The load generator: wrk, with scripts that send what was minted before.

use super::tokens::Bodies;
use super::world::ENVIRONMENT;
use crate::process::stdout_of;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Longer than a disk stalls, and a pull that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// What wrk does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    /// Pulls in one step, as fast as they are answered.
    OneStep,
    /// Pulls in one step, so many a second.
    OneStepAt(f64),
    /// Pulls in two steps, as fast as they are answered.
    TwoStep,
}

impl Job {
    /// How many threads wrk has; each reads a file of its own.
    #[must_use]
    pub fn threads(self, connections: usize) -> usize {
        match self {
            Self::OneStep | Self::OneStepAt(_) => 2,
            // a thread knows only its own conversation
            Self::TwoStep => connections,
        }
    }
}

/// What wrk measured.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Outcome {
    /// Answered requests.
    pub requests: u64,
    microseconds: f64,
    /// Answers that were no success.
    pub refused: u64,
    /// Connections and requests that failed.
    pub broken: u64,
    /// Requests that took longer than [`PATIENCE`].
    pub late: u64,
    p50: f64,
    p99: f64,
    longest: f64,
    /// Threads that had sent all of theirs before the time was over.
    pub exhausted: u64,
}

impl Outcome {
    /// Answered requests per second.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.microseconds
    }

    /// Half of the requests were answered within so many milliseconds.
    #[must_use]
    pub fn p50_ms(&self) -> f64 {
        self.p50 / 1e3
    }

    /// All but one in a hundred were.
    #[must_use]
    pub fn p99_ms(&self) -> f64 {
        self.p99 / 1e3
    }

    /// All were.
    #[must_use]
    pub fn longest_ms(&self) -> f64 {
        self.longest / 1e3
    }
}

/// Sends `bodies` over so many connections.
pub fn run(url: &str, job: Job, bodies: &Bodies, connections: usize, time: Duration) -> Result<Outcome> {
    let threads = job.threads(connections);
    ensure!(bodies.files() == threads, "{threads} threads need as many files");
    let script = match job {
        Job::TwoStep => include_str!("two_step.lua"),
        Job::OneStep | Job::OneStepAt(_) => include_str!("pull.lua"),
    };
    let path = bodies.base().with_added_extension("lua");
    fs::write(&path, format!("{script}{}", include_str!("every.lua")))?;
    let mut wrk = Command::new("wrk");
    wrk.arg(format!("--threads={threads}"))
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={}s", time.as_secs().max(1)))
        .arg(format!("--timeout={}s", PATIENCE.as_secs()))
        .arg("--script")
        .arg(&path)
        .args([url, "--"])
        .arg(bodies.base());
    match job {
        Job::OneStep => {}
        Job::OneStepAt(rate) => drop(wrk.arg((rate / threads as f64).to_string())),
        Job::TwoStep => drop(wrk.arg(ENVIRONMENT)),
    }
    let output = stdout_of(&mut wrk).context("wrk is Debian's package `wrk`")?;
    let line = output.lines().find_map(|line| line.strip_prefix("lpm-bench "));
    Ok(serde_json::from_str(line.with_context(|| format!("wrk says nothing of ours:\n{output}"))?)?)
}
