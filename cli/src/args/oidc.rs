//! `lpm env oidc …`.

use super::{EnvironmentArg, EscrowKeyArg, OrgArg};
use clap::{ArgGroup, Args, Subcommand};

/// What can be done with the policies of a vault.
#[derive(Subcommand)]
pub(crate) enum OidcCommand {
    /// Let a repository's or project's CI pull environments of this vault
    #[command(after_help = "\
Examples:
  lpm env oidc allow --repo=acme/web --env=production
  lpm env oidc allow --repo=acme/web --branch=main,release/* --env=staging,preview --protected-only
  lpm env oidc allow --repo=acme/web --tag='v*' --env=production
  lpm env oidc allow --provider=gitlab --project=acme/web --env=production
  lpm env oidc allow --org=acme --repo=acme/web --env=production
                                              the org's copy of the vault, for its owners and admins

This opens the vault to CI escrow: the key of this vault's present version is sealed to the server's escrow
key, so that the server can decrypt for the jobs that a policy allows, and each push or share brings the
next one. The escrow key's fingerprint is shown and kept in lpm.json; another key is refused. `lpm env oidc
disable` closes the vault again. Published clients cannot bring a key with each push: where they push the same
vault, --legacy-clients seals this machine's vault key instead, which opens all of its vaults.
Policies only ever add: `lpm env oidc list` shows them, `revoke` takes one back.")]
    Allow(Box<AllowArgs>),
    /// List the policies of this vault
    #[command(after_help = "Examples:\n  lpm env oidc list\n  lpm env oidc list --org=acme --json")]
    List(OrgArg),
    /// Take a policy back; what was granted under it ends at once
    #[command(after_help = "Example:\n  lpm env oidc revoke 0192f0c4-7b1e-7c3a-9c55-3f6a5d0f7a11")]
    Revoke(RevokeArgs),
    /// Close this vault to CI: the server forgets the escrow
    #[command(
        after_help = "Examples:\n  lpm env oidc disable\n  lpm env oidc disable --org=acme\n\nThe policies stay; `lpm env oidc allow` opens the vault again."
    )]
    Disable(OrgArg),
    /// Accept the new ids of a repository or project that was re-created or transferred
    #[command(
        after_help = "Examples:\n  lpm env oidc repin repo:acme/web\n  lpm env oidc repin --project=acme/web"
    )]
    Repin(RepinArgs),
    /// Show why a job would be granted or denied: every policy, every check
    #[command(after_help = "\
Examples:
  lpm env oidc explain --env=production --claims=claims.json
  lpm env oidc explain --env=production            with the token of the job that runs it

A dry run for the vault's owner: nothing is pulled and no token is used up. Exit code 0 if the job
would be granted, 3 if not.")]
    Explain(ExplainArgs),
}

/// `lpm env oidc allow`.
#[derive(Args)]
#[command(group = ArgGroup::new("who").required(true).args(["repo", "project"]))]
#[command(group = ArgGroup::new("what").required(true).args(["env", "all_environments"]))]
pub(crate) struct AllowArgs {
    /// Where the job runs: github or gitlab
    #[arg(long, env = "LPM_PROVIDER", default_value = "github", hide_env_values = true)]
    pub provider: String,
    /// The repository: owner/repo (with --provider=gitlab also group/project)
    #[arg(long, value_name = "OWNER/REPO")]
    pub repo: Option<String>,
    /// The GitLab project: group/project or its numeric id
    #[arg(long, value_name = "GROUP/PROJECT|ID")]
    pub project: Option<String>,
    /// Environments of the vault, comma-separated or repeated
    #[arg(long, value_name = "ENVIRONMENT,…", value_delimiter = ',')]
    pub env: Vec<String>,
    /// Every environment, also those that are added later
    #[arg(long)]
    pub all_environments: bool,
    /// Branches; `*` within a path segment, `**` across [default: main, or none with --tag]
    #[arg(long, value_name = "BRANCH,…", value_delimiter = ',', conflicts_with = "all_branches")]
    pub branch: Vec<String>,
    /// Every branch
    #[arg(long)]
    pub all_branches: bool,
    /// Tags; without --branch only tags are allowed
    #[arg(long, value_name = "TAG,…", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Only these events (GitHub) or pipeline sources (GitLab), in place of the usual ones
    #[arg(long, value_name = "EVENT,…", value_delimiter = ',')]
    pub event: Vec<String>,
    /// Accept runs that cannot be told from a fork's
    #[arg(long, alias = "forks")]
    pub allow_forks: bool,
    /// Only jobs in this deployment environment of the provider
    #[arg(long, value_name = "NAME")]
    pub ci_environment: Option<String>,
    /// Only this workflow file, such as .github/workflows/deploy.yml
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<String>,
    /// Only jobs of this reusable workflow, such as acme/ci/.github/workflows/deploy.yml@refs/tags/v3
    #[arg(long, value_name = "FILE@REF")]
    pub reusable_workflow: Option<String>,
    /// Only branches and tags that the provider protects
    #[arg(long)]
    pub protected_only: bool,
    /// Only this kind of runner: hosted or self-hosted
    #[arg(long, value_name = "KIND")]
    pub runner: Option<String>,
    /// Only tokens for this audience
    #[arg(long, value_name = "AUDIENCE")]
    pub audience: Option<String>,
    /// The issuer, where it is not the provider's usual one
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The repository's numeric id, if known; else the first pull pins it
    #[arg(long, value_name = "ID")]
    pub repository_id: Option<String>,
    /// The repository owner's numeric id, beside --repository-id
    #[arg(long, value_name = "ID")]
    pub owner_id: Option<String>,
    /// The project's numeric id, if known; else the first pull pins it
    #[arg(long, value_name = "ID")]
    pub project_id: Option<String>,
    #[command(flatten)]
    pub org: OrgArg,
    /// Seal this machine's vault key, for teams with published clients; `=false` ends that
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub legacy_clients: Option<bool>,
    #[command(flatten)]
    pub escrow_key: EscrowKeyArg,
}

/// `lpm env oidc revoke`.
#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// The policy's id, as `lpm env oidc list` shows it
    #[arg(value_name = "POLICY")]
    pub policy: String,
}

/// `lpm env oidc repin`.
#[derive(Args)]
#[command(group = ArgGroup::new("who").required(true).args(["subject", "repo", "project"]))]
pub(crate) struct RepinArgs {
    /// The subject as policies name it: repo:owner/repo or project:group/project
    #[arg(value_name = "SUBJECT")]
    pub subject: Option<String>,
    /// The same as repo:OWNER/REPO
    #[arg(long, value_name = "OWNER/REPO")]
    pub repo: Option<String>,
    /// The same as project:GROUP/PROJECT
    #[arg(long, value_name = "GROUP/PROJECT|ID")]
    pub project: Option<String>,
}

/// `lpm env oidc explain`.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub environment: EnvironmentArg,
    /// A file with a token's claims as JSON, `-` for standard input; without it the current CI job's token
    #[arg(long, value_name = "FILE|-")]
    pub claims: Option<String>,
}
