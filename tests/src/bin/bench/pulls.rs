//! The workload of the design: floor, one step and two steps take turns, and each slice gives a ratio.

use crate::start;
use anyhow::{Result, ensure};
use lpm_tests::bench::floor::Floor;
use lpm_tests::bench::report::{Report, median};
use lpm_tests::bench::tokens::Bodies;
use lpm_tests::bench::world::World;
use lpm_tests::bench::wrk::{self, Job, Outcome};
use lpm_tests::{cluster, gateway};
use std::time::Duration;

/// As many as the floor has.
const CLIENTS: usize = 16;
/// How much faster than the slice before a slice may be before its tokens run out.
const ROOM: f64 = 1.6;
/// The same where that only ends the turn.
const LITTLE_ROOM: f64 = 1.1;

/// How often, and for how long, floor and product take turns.
#[derive(clap::Args)]
pub(crate) struct Turns {
    /// How often floor and product take turns
    #[arg(long, default_value_t = 7)]
    pub slices: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

impl Turns {
    /// How long one of them is.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// How the gateway is started.
#[derive(clap::Args)]
pub(crate) struct Gateway {
    /// An argument for the gateway, such as --gateway=--pool-size=4; may be repeated
    #[arg(long = "gateway", allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Gateway {
    /// So many vaults behind it.
    pub(crate) async fn world(&self, vaults: usize) -> Result<World> {
        let arguments = |options| self.arguments.iter().cloned().fold(options, gateway::Options::argument);
        World::with(vaults, cluster::Options::default(), arguments).await
    }
}

#[derive(clap::Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    turns: Turns,
    /// How many vaults there are
    #[arg(long, default_value_t = 10_000)]
    vaults: usize,
    #[command(flatten)]
    gateway: Gateway,
}

/// What one slice found, per second.
pub(crate) struct Slice {
    pub floor: f64,
    pub one_step: f64,
    pub two_step: f64,
}

impl Plan {
    pub(crate) async fn measure(&self) -> Result<Report> {
        eprintln!("making {} vaults", self.vaults);
        let world = self.gateway.world(self.vaults).await?;
        let floor = Floor::new(world.cluster(), world.database()).await?;
        let mut runner = Runner::new(&world, self.turns.time());
        // fills caches and plans, and tells how many tokens a slice takes
        runner.slice(&floor)?;
        let mut slices = Vec::new();
        for number in 1..=self.turns.slices {
            let slice = runner.slice(&floor)?;
            eprintln!(
                "slice {number}: floor {:.0}, one step {:.0} ({:.3}), two steps {:.0} ({:.3})",
                slice.floor,
                slice.one_step,
                slice.one_step / slice.floor,
                slice.two_step,
                slice.two_step / slice.floor
            );
            slices.push(slice);
        }
        let figure = |of: fn(&Slice) -> f64| median(slices.iter().map(of).collect());
        let one_step = figure(|slice| slice.one_step);
        let half =
            runner.pull(Job::OneStepAt(one_step / 2.0), one_step / 2.0 * 1.2, self.turns.slices as u64)?;
        let mut report = Report::default();
        report.add("floor_commits_per_s", figure(|slice| slice.floor), "1/s");
        report.add("pull_one_step_per_s", one_step, "1/s");
        report.add("pull_two_step_per_s", figure(|slice| slice.two_step), "1/s");
        report.add("pull_one_step_per_floor", figure(|slice| slice.one_step / slice.floor), "");
        report.add("pull_two_step_per_floor", figure(|slice| slice.two_step / slice.floor), "");
        report.add("half_load_per_s", half.requests_per_second(), "1/s");
        report.add("pull_p50_half_load_ms", half.p50_ms(), "ms");
        report.add("pull_p99_half_load_ms", half.p99_ms(), "ms");
        start::measure(&world, &mut report).await?;
        Ok(report)
    }
}

/// Measures one thing after the other.
pub(crate) struct Runner<'w> {
    world: &'w World,
    time: Duration,
    /// Pulls per second that tokens are minted for.
    one: f64,
    two: f64,
}

impl<'w> Runner<'w> {
    pub(crate) fn new(world: &'w World, time: Duration) -> Self {
        // more than any machine so far: the first turn shows what this one does
        Self { world, time, one: 5_000.0, two: 2_500.0 }
    }

    /// One turn of each.
    pub(crate) fn slice(&mut self, floor: &Floor) -> Result<Slice> {
        let commits = floor.measure(CLIENTS, self.time)?;
        let one_step = self.pull(Job::OneStep, self.one, 1)?.requests_per_second();
        let two_step = self.pull(Job::TwoStep, self.two, 1)?.requests_per_second() / 2.0;
        (self.one, self.two) = (one_step * ROOM, two_step * ROOM);
        Ok(Slice { floor: commits, one_step, two_step })
    }

    /// One turn of pulls alone, which may end early: minting takes longer than pulling.
    pub(crate) fn keep_pulling(&mut self) -> Result<Outcome> {
        let outcome = self.send(Job::OneStep, self.one, 1)?;
        self.one = outcome.requests_per_second() * LITTLE_ROOM;
        Ok(outcome)
    }

    /// Mints more tokens than are needed, and sends as many as there is time for.
    fn pull(&self, job: Job, rate: f64, times: u64) -> Result<Outcome> {
        let outcome = self.send(job, rate, times)?;
        ensure!(outcome.exhausted == 0, "the tokens were too few: {outcome:?}");
        Ok(outcome)
    }

    /// Mints tokens for so many pulls per second, and sends them.
    fn send(&self, job: Job, rate: f64, times: u64) -> Result<Outcome> {
        let time = self.time * u32::try_from(times)?;
        let count = (rate * time.as_secs_f64()).ceil() as usize;
        let bodies = Bodies::mint(self.world, "pulls", job.threads(CLIENTS), count)?;
        let outcome = wrk::run(self.world.gateway().url(), job, &bodies, CLIENTS, time)?;
        ensure!(
            outcome.refused == 0 && outcome.broken == 0 && outcome.late == 0,
            "not every pull succeeded: {outcome:?}"
        );
        Ok(outcome)
    }
}
