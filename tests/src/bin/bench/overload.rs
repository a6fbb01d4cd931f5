//! More than can be served: the generator on one core, gateway and PostgreSQL on the other.
//!
//! First what is sustainable: as fast as answers come, over a few connections. Then several times that for a minute, from
//! many connections and whatever comes back; and how soon it is over when it is over.

use crate::generate::{Outcome, Way};
use crate::pulls::Gateway;
use anyhow::{Context, Result, ensure};
use lpm_tests::bench::report::Report;
use lpm_tests::bench::tokens::Bodies;
use lpm_tests::bench::world::{World, memory};
use lpm_tests::process::stdout_of;
use std::process::Command;
use std::time::Duration;

/// Clients that find out what is sustainable: more than the gateway has connections to the database.
const CLIENTS: usize = 32;
/// More pulls per second than one core has served yet.
const ENOUGH: f64 = 4_000.0;

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// The core of the generator; this program itself has to be pinned to another
    #[arg(long, default_value_t = 0)]
    generator_core: usize,
    /// How often the sustainable rate is offered at once
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// From how many connections
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// For how many seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many vaults there are
    #[arg(long, default_value_t = 2_000)]
    vaults: usize,
    #[command(flatten)]
    gateway: Gateway,
}

impl Plan {
    pub(crate) async fn measure(&self) -> Result<Report> {
        eprintln!("making {} vaults", self.vaults);
        let world = self.gateway.world(self.vaults).await?;
        let gateway = world.gateway().pid();
        let ten = Duration::from_secs(10);
        // the first fills caches and plans
        self.generate(&world, Way::AsAnswered, CLIENTS, ten, ENOUGH)?;
        let calm = self.generate(&world, Way::AsAnswered, CLIENTS, ten, ENOUGH)?;
        ensure!(calm.refused == 0 && calm.broken == 0, "not every pull succeeded: {calm:?}");
        let (sustainable, idle) = (calm.granted as f64 / calm.seconds, memory(gateway, "VmRSS")?);
        eprintln!("sustainable: {sustainable:.0} pulls per second");
        let (offered, time) = (sustainable * self.times, Duration::from_secs(self.seconds));
        let flood = self.generate(&world, Way::At(offered), self.connections, time, sustainable * 1.3)?;
        eprintln!("{flood:?}");
        let goodput = flood.granted as f64 / flood.seconds;
        let mut report = Report::default();
        report.add("overload_sustainable_per_s", sustainable, "1/s");
        report.add("overload_offered_per_s", flood.sent as f64 / flood.seconds, "1/s");
        report.add("overload_goodput_per_s", goodput, "1/s");
        report.add("overload_goodput_per_sustainable", goodput / sustainable, "");
        report.add("overload_refusals_per_s", flood.refused as f64 / flood.seconds, "1/s");
        report.add("overload_refusals_p99_ms", flood.refused_p99_ms, "ms");
        report.add("overload_granted_p99_ms", flood.granted_p99_ms, "ms");
        report.add("overload_broken", flood.broken as f64, "");
        report.add("overload_gateway_before_mib", idle as f64 / 1024.0, "MiB");
        report.add("overload_gateway_peak_mib", memory(gateway, "VmHWM")? as f64 / 1024.0, "MiB");
        report.add("overload_recovery_s", flood.recovery_s.context("it has not recovered")?, "s");
        Ok(report)
    }

    /// Mints tokens for so many pulls per second, and has them sent by a process of its own on its own core.
    fn generate(
        &self,
        world: &World,
        way: Way,
        connections: usize,
        time: Duration,
        rate: f64,
    ) -> Result<Outcome> {
        let bodies = Bodies::mint(world, "overload", 1, (rate * time.as_secs_f64()).ceil() as usize + 100)?;
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", &self.generator_core.to_string()])
            .arg(std::env::current_exe()?)
            .args(["generate", "--address", world.gateway().url().trim_start_matches("http://")])
            .args(["--connections", &connections.to_string(), "--seconds", &time.as_secs().to_string()])
            .arg("--bodies")
            .arg(bodies.base().with_added_extension("0"));
        if let Way::At(rate) = way {
            command.args(["--rate", &rate.to_string()]);
        }
        let outcome: Outcome = serde_json::from_str(&stdout_of(&mut command)?)?;
        ensure!(!outcome.exhausted, "too few tokens were minted: {outcome:?}");
        Ok(outcome)
    }
}
