//! `lpm-gateway`: HTTP in front of `pg_lpm`.
//!
//! It verifies OIDC signatures, hashes bearer tokens and calls one function of `lpm_api` per request. It
//! keeps no state but issuer keys, so any number of replicas can run.

mod config;
mod db;
mod handlers;
mod log;
mod oidc;
mod reply;
mod request;
mod routes;
mod serve;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(config::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lpm-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: config::Args) -> anyhow::Result<()> {
    let settings = args.settings()?;
    log::start(&settings.log, settings.log_format)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve::run(settings))
}
