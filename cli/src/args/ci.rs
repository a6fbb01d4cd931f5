//! `lpm ci …`.

use super::EnvironmentArg;
use clap::{Args, Subcommand, ValueEnum};

/// What can be done for CI.
#[derive(Subcommand)]
pub(crate) enum CiCommand {
    /// Print the workflow that pulls an environment of this project, ready to be committed
    #[command(after_help = "\
Examples:
  lpm ci setup github-actions > .github/workflows/build.yml
  lpm ci setup gitlab --env=staging >> .gitlab-ci.yml")]
    Setup(SetupArgs),
}

/// `lpm ci setup`.
#[derive(Args)]
pub(crate) struct SetupArgs {
    /// The CI system
    #[arg(value_enum, value_name = "SYSTEM")]
    pub system: System,
    #[command(flatten)]
    pub environment: EnvironmentArg,
}

/// A CI system that a workflow can be printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// GitHub Actions
    #[value(name = "github-actions", alias = "github")]
    GithubActions,
    /// GitLab CI
    #[value(name = "gitlab", alias = "gitlab-ci")]
    Gitlab,
}
