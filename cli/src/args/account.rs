//! `lpm login`, `logout`, `whoami`, `token-rotate` and `sessions`.

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};

/// `lpm login`.
#[derive(Args)]
pub(crate) struct LoginArgs {
    /// Print the address instead of opening the browser
    #[arg(long, env = "LPM_NO_BROWSER", value_parser = FalseyValueParser::new(), hide_env_values = true, conflicts_with = "with_token")]
    pub no_browser: bool,
    /// Read a personal access token from standard input, or ask for it, and keep that
    #[arg(long)]
    pub with_token: bool,
    /// Seconds to wait for the browser
    #[arg(long, env = "LPM_LOGIN_WAIT", value_name = "SECONDS", default_value_t = 120, value_parser = super::parse_timeout, hide_env_values = true)]
    pub wait: u64,
}

/// `lpm logout`.
#[derive(Args)]
pub(crate) struct LogoutArgs {
    /// Also end pairings, which signs browsers out, and a token that `--with-token` kept
    #[arg(long)]
    pub revoke: bool,
}

/// `lpm sessions`.
#[derive(Args)]
pub(crate) struct SessionsArgs {
    /// What to do with them; without it they are listed
    #[command(subcommand)]
    pub command: Option<SessionsCommand>,
}

/// What can be done with a session.
#[derive(Subcommand)]
pub(crate) enum SessionsCommand {
    /// End a session: its machine must sign in again
    #[command(after_help = "Example:\n  lpm sessions end 0192f0c4-0000-7000-8000-000000000001")]
    End(EndArgs),
}

/// `lpm sessions end`.
#[derive(Args)]
pub(crate) struct EndArgs {
    /// The session's id, as `lpm sessions` shows it
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `lpm env pair`.
#[derive(Args)]
pub(crate) struct PairArgs {
    /// The six characters that the browser shows
    #[arg(value_name = "CODE")]
    pub code: String,
    /// The six digits that the browser shows, compared here
    #[arg(long, value_name = "NUMBER")]
    pub check: Option<String>,
    /// Do not ask; only together with --check
    #[arg(long, requires = "check")]
    pub yes: bool,
}
