//! `lpm`: vaults of environment variables, and the one door that opens them to CI.

mod args;
mod ci_token;
mod client;
mod commands;
mod credentials;
mod declared;
mod error;
mod files;
mod identity;
mod keychain;
mod local;
mod login;
mod output;
mod project;
mod published;
mod recipients;
mod rotation;
mod run;
mod wrapping_key;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(run::run())
}
