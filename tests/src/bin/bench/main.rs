//! `lpm-bench`: throughput and latency of the whole, beside the floor that is measured in the same minutes.
//!
//! The terminal gets a table, standard output JSON lines; docs/PERFORMANCE.md says what the figures mean.

mod pulls;
mod scale;
mod soak;
mod start;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lpm_tests::bench::report::Report;
use std::process::ExitCode;

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
    /// A million pulls, and what gateway and backends hold in memory
    Soak(soak::Plan),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse().command).await {
        Ok(report) => {
            eprint!("\n{}", report.table());
            print!("{}", report.json_lines());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("lpm-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<Report> {
    match command {
        Command::Pulls(plan) => plan.measure().await,
        Command::Scale(plan) => plan.measure().await,
        Command::Soak(plan) => plan.measure().await,
    }
}
