//! `lpm-dev`: the development stack, the demonstration, the runner of the documentation's examples, and of a command
//! beside a stack.

mod console;
mod demo;
mod docs;
mod examples;
mod run;
mod stack;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The development stack of `pg_lpm`: `make up`, `make down`, `make demo`, the examples of the documentation, and
/// commands beside a stack.
#[derive(Parser)]
#[command(name = "lpm-dev", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start cluster, issuer and gateway in the background, and return when they are ready
    Up {
        /// Where `env` and the process ids are written
        #[arg(long, default_value = ".lpm-dev")]
        directory: PathBuf,
    },
    /// End what `up` started, and remove its data
    Down {
        /// Where `up` wrote
        #[arg(long, default_value = ".lpm-dev")]
        directory: PathBuf,
    },
    /// Play the main job, from an empty cluster to a .env in CI, and every refusal on the way
    Demo,
    /// Run the examples of README.md and docs/**/*.md: code fences `sh` and `sql`
    Docs {
        /// The directory with README.md and docs/
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// Only files whose path contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Run a command beside a stack of its own, with what `up` writes to `env` in its environment
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Up { directory } => stack::up(&directory).await.map(|()| true),
        Command::Down { directory } => stack::down(&directory).map(|()| true),
        Command::Demo => demo::play().await,
        Command::Docs { root, only } => docs::run(&root, &only).await,
        Command::Run { command } => run::run(&command).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lpm-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}
