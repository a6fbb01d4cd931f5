//! `lpm-bench`: throughput and latency of the whole, beside the floor that is measured in the same minutes.
//!
//! The terminal gets a table, standard output JSON lines; docs/PERFORMANCE.md says what the figures mean.

mod generate;
mod overload;
mod pulls;
mod scale;
mod soak;
mod start;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lpm_tests::bench::report::Report;
use std::process::ExitCode;
use tokio::runtime::Runtime;

/// Measures `pg_lpm`: `make bench`, `make bench-quick`, `make check-scale`, `make check-soak`.
#[derive(Parser)]
#[command(name = "lpm-bench", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pulls in one and two steps beside the floor, and the gateway's start and memory
    Pulls(pulls::Plan),
    /// Pulls beside the floor, in a database that is small at first and then large
    Scale(scale::Plan),
    /// Several times what can be served: what is left of it, and how fast the rest is refused
    Overload(overload::Plan),
    /// Sends pulls, for `overload`: a process of its own, so that it has a core of its own
    #[command(hide = true)]
    Generate(generate::Plan),
    /// A million pulls, and what gateway and backends hold in memory
    Soak(soak::Plan),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Pulls(plan) => report(plan.measure()),
        Command::Scale(plan) => report(plan.measure()),
        Command::Overload(plan) => report(plan.measure()),
        Command::Generate(plan) => plan.run(),
        Command::Soak(plan) => report(plan.measure()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lpm-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report(measured: impl Future<Output = Result<Report>>) -> Result<()> {
    let report = Runtime::new()?.block_on(measured)?;
    eprint!("\n{}", report.table());
    print!("{}", report.json_lines());
    Ok(())
}
