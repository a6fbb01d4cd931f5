//! What the user types: commands, flags, their help and their variables. Nothing here does anything.

mod account;
mod ci;
mod env;
mod mistake;
mod oidc;
mod org;
mod vault;

pub(crate) use account::{EndArgs, LoginArgs, LogoutArgs, PairArgs, SessionsArgs, SessionsCommand};
pub(crate) use ci::{CiCommand, SetupArgs, System};
pub(crate) use env::{
    DeleteArgs, EnvCommand, EnvironmentArg, EscrowKeyArg, ExportArgs, GetArgs, ImportArgs, LogArgs, OrgArg,
    OutputArgs, PullArgs, PushArgs, RunArgs, SetArgs, ShareArgs,
};
pub(crate) use mistake::without_words;
pub(crate) use oidc::{AllowArgs, ExplainArgs, OidcCommand, RepinArgs};
pub(crate) use org::{
    InviteArgs, MemberArgs, OptionalOrg, OrgCommand, OrgName, RemoveArgs, RoleArgs, SharingArgs,
};
pub(crate) use vault::{DiffArgs, ExampleArgs, RestoreArgs, RotateKeyArgs};

#[cfg(test)]
pub(crate) use env::AllowNameArg;

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};

/// Where the published client looks, too.
pub(crate) const DEFAULT_REGISTRY: &str = "https://lpm.dev";

/// Environment variables in an end-to-end encrypted vault, on every machine of yours and in CI
///
/// A vault belongs to a project: `lpm.json` holds its id and nothing secret, so commit it. Values are
/// encrypted on this machine; the server stores ciphertext. CI gets one environment of one vault when a
/// policy of yours says so.
#[derive(Parser)]
#[command(
    name = "lpm",
    version,
    max_term_width = 100,
    subcommand_required = true,
    after_help = "\
Examples:
  lpm login                                   signs in with the browser
  lpm env set API_KEY --env=production        asks for the value
  lpm env push                                encrypts and uploads the vault
  lpm env oidc allow --repo=acme/web --env=production
                                              lets CI pull production from main
  lpm ci setup github-actions                 prints the workflow for it
  lpm env pull --oidc --env=production --output=.env
                                              the step in the workflow

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 denied, 4 nobody answered."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command has.
#[derive(clap::Args, Clone)]
pub(crate) struct Globals {
    /// Address of the gateway. Plain http:// is refused except on this machine
    #[arg(long, global = true, env = "LPM_REGISTRY_URL", default_value = DEFAULT_REGISTRY, value_name = "URL", hide_env_values = true, help_heading = "Global options")]
    pub registry_url: String,
    /// The vault, where it is not the one that lpm.json names
    #[arg(
        long,
        global = true,
        env = "LPM_VAULT_ID",
        value_name = "ID",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub vault: Option<String>,
    /// The account that owns the vault, for CI pulls without lpm.json
    #[arg(
        long,
        global = true,
        env = "LPM_VAULT_OWNER",
        value_name = "UUID",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub owner: Option<String>,
    /// Seconds that one request may take
    #[arg(long, global = true, env = "LPM_TIMEOUT", value_name = "SECONDS", default_value_t = 60, value_parser = parse_timeout, hide_env_values = true, help_heading = "Global options")]
    pub timeout: u64,
    /// Print one JSON document, also for failures
    #[arg(long, global = true, env = "LPM_JSON", value_parser = FalseyValueParser::new(), hide_env_values = true, help_heading = "Global options")]
    pub json: bool,
}

/// The groups of commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign in at the gateway, with the browser
    #[command(after_help = "\
Examples:
  lpm login                                        opens the browser, and waits for it
  lpm login --no-browser                           prints the address to open on this machine
  pass show lpm | lpm login --with-token           where no browser is, over ssh for example

The page asks for a personal access token, once, and this machine gets a session of its own that
`lpm sessions` shows and `lpm logout` ends. It is kept in the desktop's keychain where there is one
(LPM_KEYCHAIN=off: never), else in ~/.lpm/sessions. LPM_TOKEN, where it is set, wins over all that.")]
    Login(LoginArgs),
    /// Sign out: end this machine's session and forget it
    #[command(after_help = "\
Examples:
  lpm logout
  lpm logout --revoke                              also unpairs every browser

What this machine knows is removed even when the server cannot be reached.")]
    Logout(LogoutArgs),
    /// Show who you are at the gateway
    #[command(after_help = "Examples:\n  lpm whoami\n  lpm whoami --json")]
    Whoami,
    /// Replace the token by a new one; the old one ends
    #[command(after_help = "\
Examples:
  lpm token-rotate                                 the login of this machine goes on with the new one
  LPM_TOKEN=$old lpm token-rotate > new-token      what came from LPM_TOKEN is printed")]
    TokenRotate,
    /// List your login sessions, or end one
    #[command(
        after_help = "Examples:\n  lpm sessions\n  lpm sessions end 0192f0c4-0000-7000-8000-000000000001"
    )]
    Sessions(SessionsArgs),
    /// Environment variables: set, push, pull, run, and who may pull them in CI
    #[command(subcommand, subcommand_required = true)]
    Env(EnvCommand),
    /// Organisations: members, invitations, who may share vaults
    #[command(subcommand, subcommand_required = true)]
    Org(OrgCommand),
    /// Continuous integration: the workflow that pulls an environment
    #[command(subcommand, subcommand_required = true)]
    Ci(CiCommand),
    /// How the published client spells `lpm env`
    #[command(hide = true, subcommand, subcommand_required = true)]
    Use(UseCommand),
}

/// `lpm use vars …`.
#[derive(Subcommand)]
pub(crate) enum UseCommand {
    /// The same as `lpm env`
    #[command(subcommand, subcommand_required = true)]
    Vars(EnvCommand),
}

/// Not clap's own, whose text repeats the number.
fn parse_timeout(seconds: &str) -> Result<u64, &'static str> {
    let seconds = seconds.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    seconds.ok_or("must be a number of seconds from 1 to 3600")
}

impl Command {
    /// The command without its second spelling.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Use(UseCommand::Vars(command)) => Self::Env(command),
            command => command,
        }
    }
}

#[cfg(test)]
mod tests;
