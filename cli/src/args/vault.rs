//! Flags of the commands that look at the server's copies, or at what `lpm.json` declares.

use super::{EnvironmentArg, EscrowKeyArg, OrgArg};
use clap::Args;

/// `lpm env diff`.
#[derive(Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub environment: EnvironmentArg,
    #[command(flatten)]
    pub org: OrgArg,
    /// Show the values, too
    #[arg(long)]
    pub show_values: bool,
    /// End with exit code 1 where something differs
    #[arg(long)]
    pub exit_code: bool,
}

/// `lpm env restore`.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The version; without it those that are kept are listed
    #[arg(value_name = "VERSION", value_parser = parse_version)]
    pub version: Option<i32>,
    #[command(flatten)]
    pub org: OrgArg,
    /// Agree beforehand
    #[arg(long)]
    pub yes: bool,
}

/// `lpm env rotate-key`.
#[derive(Args)]
pub(crate) struct RotateKeyArgs {
    /// Agree beforehand
    #[arg(long)]
    pub yes: bool,
    /// Give up the old key although vaults of this machine are on another server or in another account
    #[arg(long)]
    pub forget_unreachable: bool,
    #[command(flatten)]
    pub escrow_key: EscrowKeyArg,
}

/// `lpm env example`.
#[derive(Args)]
pub(crate) struct ExampleArgs {
    /// The file, in place of .env.example beside lpm.json; `-` prints it
    #[arg(long, env = "LPM_OUTPUT", value_name = "FILE|-", hide_env_values = true)]
    pub output: Option<String>,
    /// Replace a file that this command did not make
    #[arg(long)]
    pub force: bool,
}

/// Not clap's own, whose text repeats the number.
fn parse_version(version: &str) -> Result<i32, &'static str> {
    version.parse().ok().filter(|version| *version > 0).ok_or("must be the number of a version")
}
