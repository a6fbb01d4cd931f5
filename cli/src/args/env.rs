//! `lpm env …`.

use super::{DiffArgs, ExampleArgs, OidcCommand, PairArgs, RestoreArgs, RotateKeyArgs};
use clap::{Args, Subcommand};
use lpm_core::dotenv::Format;

/// What can be done with a vault.
#[derive(Subcommand)]
pub(crate) enum EnvCommand {
    /// Set variables on this machine
    #[command(after_help = "\
Examples:
  lpm env set API_KEY --env=production             asks for the value, without showing it
  pass show api | lpm env set API_KEY              reads it from standard input
  lpm env set PORT=8080 HOST=localhost             for values that may stand in your shell's history

The first variable of a project creates lpm.json with a new vault id. Nothing leaves this machine
before `lpm env push`.")]
    Set(SetArgs),
    /// Print the value of a variable
    #[command(after_help = "Examples:\n  lpm env get API_KEY\n  lpm env get API_KEY --env=production --json")]
    Get(GetArgs),
    /// List environments and the names of their variables, never values
    #[command(after_help = "Examples:\n  lpm env list\n  lpm env list --env=production --json")]
    List(EnvironmentArg),
    /// Delete variables on this machine
    #[command(
        visible_alias = "unset",
        after_help = "Examples:\n  lpm env delete API_KEY OLD_KEY\n  lpm env delete --all --env=staging"
    )]
    Delete(DeleteArgs),
    /// Import a .env file
    #[command(after_help = "\
Examples:
  lpm env import .env.production --env=production
  lpm env import .env --replace                    what the file does not have is deleted
  other-tool export | lpm env import -")]
    Import(ImportArgs),
    /// Print an environment, or write it to a file
    #[command(after_help = "\
Examples:
  lpm env export --env=production --output=.env    mode 0600, written in one step
  eval \"$(lpm env export --output=-)\"              into this shell
  lpm env export --format=docker --output=app.env  for docker run --env-file app.env")]
    Export(ExportArgs),
    /// Encrypt the vault and upload it
    #[command(
        after_help = "Examples:\n  lpm env push\n  lpm env push --force        replaces a version that this machine has not seen"
    )]
    Push(PushArgs),
    /// Encrypt the vault for the members of an org and upload it
    #[command(after_help = "\
Examples:
  lpm env share --org=acme                         asks about keys that it has not seen before
  lpm env share --org=acme --yes --json            in scripts
  lpm env pull --org=acme                          how the other members get it

Every member with a registered key gets the vault's key, wrapped for theirs; one who has none registers it
with `lpm env pull --org=acme`. New and changed fingerprints are shown: compare them with the members, not
by way of the server. The org's vault and your own (`lpm env push`) count their versions apart.")]
    Share(ShareArgs),
    /// Download the vault, or in CI one environment of it (--oidc)
    #[command(after_help = "\
Examples:
  lpm env pull                                     replaces the variables on this machine
  lpm env pull --org=acme                          adds the org's: per environment and variable, its value wins
  lpm env pull --org=acme --replace                only what the org has stays
  lpm env pull --accept-legacy-key                 once, for a vault that a very old client pushed
  lpm env pull --oidc --env=production --output=.env
                                                   in CI: the job's identity is the credential
  eval \"$(lpm env pull --oidc --env=production --output=-)\"
  lpm env pull --oidc --env=production --format=github
                                                   for all later steps of a GitHub job

Where the job's token comes from: LPM_OIDC_TOKEN, else GitHub's runtime (the job needs `permissions:
id-token: write`), else LPM_GITLAB_OIDC_TOKEN. Without --output a CI pull prints a .env file on
standard output. An environment that does not exist is an error.")]
    Pull(PullArgs),
    /// Run a command with an environment's variables
    #[command(after_help = "\
Examples:
  lpm env run -- npm start
  lpm env run --oidc --env=production -- ./deploy.sh   in CI, without a file

The command's exit code is passed on.")]
    Run(RunArgs),
    /// Show what is different between this machine and the server, by name
    #[command(after_help = "\
Examples:
  lpm env diff                                     + only here, ~ another value, - only on the server
  lpm env diff --org=acme --env=production
  lpm env diff --exit-code >/dev/null || lpm env push

Values are shown with --show-values only.")]
    Diff(DiffArgs),
    /// Bring back a version that the server has kept, or list those
    #[command(after_help = "\
Examples:
  lpm env restore                                  lists the versions
  lpm env restore 12                               asks, then makes version 12 the newest one
  lpm env restore 12 --org=acme --yes

The variables on this machine stay as they are until `lpm env pull`. A version that this machine cannot open
is not kept: what was there before comes back.")]
    Restore(RestoreArgs),
    /// Replace this machine's vault key, and encrypt everything anew
    #[command(after_help = "\
Examples:
  lpm env rotate-key                               asks first
  lpm env rotate-key --yes --json

Every vault of yours that this machine's key opens gets a new key of its own and is pushed under the new vault
key; escrows for CI are renewed where the escrow key was accepted before. Vaults under other machines' keys
are named and left as they are. Interrupted, it goes on when it is run again. Orgs' vaults are not concerned:
`lpm env share` makes a new key every time.")]
    RotateKey(RotateKeyArgs),
    /// Check variables against what `envSchema` of lpm.json declares
    #[command(after_help = "\
Examples:
  lpm env check                                    every environment on this machine
  lpm env check --env=production --json

Checked are required, format (url, port, email, boolean, integer, hostname, ip), enum and pattern; an empty
value counts as absent. Exit code 1 where something is wrong. Values are never shown.")]
    Check(EnvironmentArg),
    /// Write a .env.example from what `envSchema` of lpm.json declares
    #[command(after_help = "Examples:\n  lpm env example\n  lpm env example --output=-")]
    Example(ExampleArgs),
    /// List the vaults that the server has for you, or for an org
    #[command(after_help = "Examples:\n  lpm env list-remote\n  lpm env list-remote --org=acme --json")]
    ListRemote(OrgArg),
    /// Show who did what with the vault
    #[command(
        after_help = "Examples:\n  lpm env log\n  lpm env log --all --json\n  lpm env log --org=acme      for owners, admins and maintainers"
    )]
    Log(LogArgs),
    /// Take a new vault id, where the present one belongs to someone else
    #[command(
        after_help = "Example:\n  lpm env new-id && lpm env push\n\nThe variables on this machine move along."
    )]
    NewId,
    /// Give a browser this machine's vault key
    #[command(after_help = "\
Examples:
  lpm env pair K7M2QX                              the code that the browser shows
  lpm env pair K7M2QX --check=402913 --yes         for scripts, with the number from there

The key is sealed for that browser: the server passes on what it cannot open. Needs `lpm login`.")]
    Pair(PairArgs),
    /// End every pairing: browsers that have the vault key are signed out
    #[command(after_help = "Example:\n  lpm env unpair")]
    Unpair,
    /// Who may pull which environment in CI
    #[command(subcommand, subcommand_required = true)]
    Oidc(OidcCommand),
}

/// Which environment.
#[derive(Args, Clone)]
pub(crate) struct EnvironmentArg {
    /// The environment; aliases of lpm.json (`dev`) work
    #[arg(long, env = "LPM_ENV", value_name = "ENVIRONMENT", hide_env_values = true)]
    pub env: Option<String>,
}

/// `lpm env set`.
#[derive(Args)]
pub(crate) struct SetArgs {
    /// KEY to be asked for the value, or KEY=VALUE
    #[arg(required = true, value_name = "KEY[=VALUE]")]
    pub variables: Vec<String>,
    #[command(flatten)]
    pub environment: EnvironmentArg,
}

/// `lpm env get`.
#[derive(Args)]
pub(crate) struct GetArgs {
    /// The variable
    #[arg(value_name = "KEY")]
    pub name: String,
    #[command(flatten)]
    pub environment: EnvironmentArg,
}

/// `lpm env delete`.
#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// The variables
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "KEY")]
    pub names: Vec<String>,
    /// Every variable of the environment
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub environment: EnvironmentArg,
}

/// `lpm env import`.
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Delete what the file does not have
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub environment: EnvironmentArg,
}

/// Where variables go and in which form.
#[derive(Args, Clone)]
pub(crate) struct OutputArgs {
    /// Write to FILE (mode 0600, in one step); `-` prints export lines for eval "$(…)"
    #[arg(long, env = "LPM_OUTPUT", value_name = "FILE|-", hide_env_values = true)]
    pub output: Option<String>,
    /// The form: dotenv, shell, json, docker, github (appends to `$GITHUB_ENV`)
    #[arg(long, env = "LPM_FORMAT", value_name = "FORMAT", value_parser = parse_format, hide_env_values = true)]
    pub format: Option<Format>,
    #[command(flatten)]
    pub allow_name: AllowNameArg,
}

/// Names that are refused unless listed.
#[derive(Args, Clone)]
pub(crate) struct AllowNameArg {
    /// Let this variable into a process although its name takes one over (`PATH`, `LD_*`, `GITHUB_*`, …)
    #[arg(
        long,
        env = "LPM_ALLOW_NAME",
        value_name = "NAME,…",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub allow_name: Vec<String>,
}

/// `lpm env export`.
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub environment: EnvironmentArg,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `lpm env push`.
#[derive(Args)]
pub(crate) struct PushArgs {
    /// Replace whatever version the server has
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub escrow_key: EscrowKeyArg,
}

/// Whose copy of the vault.
#[derive(Args, Clone)]
pub(crate) struct OrgArg {
    /// The org, in place of yourself
    #[arg(long, value_name = "ORG")]
    pub org: Option<String>,
}

/// Which escrow key is the server's.
#[derive(Args, Clone)]
pub(crate) struct EscrowKeyArg {
    /// Accept this escrow key in place of the one that lpm.json has pinned
    #[arg(long, env = "LPM_ACCEPT_ESCROW_KEY", value_name = "FINGERPRINT", hide_env_values = true)]
    pub accept_escrow_key: Option<String>,
}

/// `lpm env share`.
#[derive(Args)]
pub(crate) struct ShareArgs {
    /// The org whose members get the vault
    #[arg(long, value_name = "ORG")]
    pub org: String,
    /// Replace whatever version the org has
    #[arg(long)]
    pub force: bool,
    /// Agree to new and changed keys beforehand
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub escrow_key: EscrowKeyArg,
}

/// `lpm env pull`.
#[derive(Args)]
pub(crate) struct PullArgs {
    /// In CI: pull one environment with the job's identity
    #[arg(long, env = "LPM_OIDC", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub oidc: bool,
    #[command(flatten)]
    pub environment: EnvironmentArg,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Replace this machine's variables even by an empty vault, or where they cannot be read
    #[arg(long)]
    pub force: bool,
    /// Pull the copy that was shared with this org; its variables are added to this machine's
    #[arg(long, value_name = "ORG", conflicts_with = "oidc")]
    pub org: Option<String>,
    /// With --org: delete what the org's copy does not have
    #[arg(long, requires = "org")]
    pub replace: bool,
    /// Accept a vault sealed under the old key, which anybody with the account's token can make
    #[arg(long)]
    pub accept_legacy_key: bool,
}

/// `lpm env run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// In CI: pull the environment with the job's identity
    #[arg(long, env = "LPM_OIDC", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub oidc: bool,
    #[command(flatten)]
    pub environment: EnvironmentArg,
    #[command(flatten)]
    pub allow_name: AllowNameArg,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<std::ffi::OsString>,
}

/// `lpm env log`.
#[derive(Args)]
pub(crate) struct LogArgs {
    /// Everything, not only the last 50 entries
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub org: OrgArg,
}

fn parse_format(name: &str) -> Result<Format, String> {
    name.parse()
}
