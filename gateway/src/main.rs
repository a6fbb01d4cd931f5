//! `lpm-gateway`: HTTP in front of `pg_lpm`.
//!
//! It verifies OIDC signatures, hashes bearer tokens and calls one function of `lpm_api` per request. It
//! keeps no state but issuer keys, so any number of replicas can run.

mod check;
mod client_address;
mod config;
mod connection;
mod connections;
mod db;
mod handlers;
mod lifecycle;
mod limits;
mod log;
mod metrics;
mod notify;
mod oidc;
mod openapi;
mod page;
mod reply;
mod request;
mod routes;
mod serve;
mod tls;

use config::Action;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use std::alloc::System;
use std::ffi::OsString;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is given back: bodies, tokens and answers pass through buffers of hyper and tokio-postgres, which do not.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    match run(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lpm-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `false` when `check-config` has found something wrong.
fn run(typed: &[OsString]) -> anyhow::Result<bool> {
    hide_memory();
    let args = config::Args::read(typed)?;
    let action = args.action;
    let settings = args.settings()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if action == Action::CheckConfig {
        // without a log: what is wrong stands in the report
        return runtime.block_on(check::run(&settings));
    }
    let log = log::start(&settings.log, settings.log_format)?;
    raise_file_limit();
    runtime.block_on(serve::run(settings, log, || config::Args::reread(typed)))?;
    Ok(true)
}

/// No core dump, whatever the system does with those, and no `/proc/self/mem` for others of the same user.
fn hide_memory() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("lpm-gateway: a core dump could show what requests hold: {error}");
    }
}

/// Every connection is an open file, and the customary soft limit of 1,024 is meant for programs that call `select`.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "The limit of open files stays as it is");
    }
}
