//! `lpm org …`.

use clap::{Args, Subcommand, ValueEnum};

/// What can be done with an org.
#[derive(Subcommand)]
pub(crate) enum OrgCommand {
    /// List the members, and who has no org key yet
    #[command(after_help = "Examples:\n  lpm org members acme\n  lpm org members acme --json")]
    Members(OrgName),
    /// Invite an account
    #[command(after_help = "\
Examples:
  lpm org invite acme bob
  lpm org invite acme carol --role=maintainer

For owners and admins; nobody invites above their own role. Whether there is such an account is not said.")]
    Invite(InviteArgs),
    /// List the invitations that wait for you, or those of an org
    #[command(after_help = "Examples:\n  lpm org invitations\n  lpm org invitations acme --json")]
    Invitations(OptionalOrg),
    /// Accept an invitation
    #[command(after_help = "Example:\n  lpm org accept acme")]
    Accept(OrgName),
    /// Decline an invitation
    #[command(after_help = "Example:\n  lpm org decline acme")]
    Decline(OrgName),
    /// Take back an invitation
    #[command(after_help = "Example:\n  lpm org uninvite acme bob")]
    Uninvite(MemberArgs),
    /// Change a member's role
    #[command(
        after_help = "Example:\n  lpm org role acme bob admin\n\nFor owners and admins; only owners make owners, or unmake them."
    )]
    Role(RoleArgs),
    /// Remove a member, or leave
    #[command(after_help = "\
Examples:
  lpm org remove acme bob
  lpm org remove acme bob --revoke-policies --yes   and what they allowed to CI ends

A leaver loses the org's vaults at once. What they have pulled before they still know.")]
    Remove(RemoveArgs),
    /// Show or set the lowest role that may share vaults
    #[command(after_help = "Examples:\n  lpm org sharing acme\n  lpm org sharing acme maintainer")]
    Sharing(SharingArgs),
}

/// An org.
#[derive(Args)]
pub(crate) struct OrgName {
    /// The org
    #[arg(value_name = "ORG")]
    pub org: String,
}

/// An org, or oneself.
#[derive(Args)]
pub(crate) struct OptionalOrg {
    /// The org; without it your own
    #[arg(value_name = "ORG")]
    pub org: Option<String>,
}

/// An account in an org.
#[derive(Args)]
pub(crate) struct MemberArgs {
    /// The org
    #[arg(value_name = "ORG")]
    pub org: String,
    /// The account
    #[arg(value_name = "HANDLE")]
    pub handle: String,
}

/// `lpm org invite`.
#[derive(Args)]
pub(crate) struct InviteArgs {
    /// The org
    #[arg(value_name = "ORG")]
    pub org: String,
    /// The account
    #[arg(value_name = "HANDLE")]
    pub handle: String,
    /// The role that they will have
    #[arg(long, value_enum, value_name = "ROLE", default_value = "developer")]
    pub role: Role,
}

/// `lpm org role`.
#[derive(Args)]
pub(crate) struct RoleArgs {
    /// The org
    #[arg(value_name = "ORG")]
    pub org: String,
    /// The member
    #[arg(value_name = "HANDLE")]
    pub handle: String,
    /// The role
    #[arg(value_enum, value_name = "ROLE")]
    pub role: Role,
}

/// `lpm org remove`.
#[derive(Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub member: MemberArgs,
    /// Revoke the org's policies that they wrote, too
    #[arg(long)]
    pub revoke_policies: bool,
    /// Agree beforehand
    #[arg(long)]
    pub yes: bool,
}

/// `lpm org sharing`.
#[derive(Args)]
pub(crate) struct SharingArgs {
    /// The org
    #[arg(value_name = "ORG")]
    pub org: String,
    /// The lowest role that may share; without it, it is shown
    #[arg(value_enum, value_name = "ROLE")]
    pub role: Option<Role>,
}

/// A member's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// May do everything
    Owner,
    /// Manages members, policies and escrow
    Admin,
    /// Reads the audit trail
    Maintainer,
    /// Pulls, and shares where the org allows it
    Developer,
}

impl Role {
    /// As the server names it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Maintainer => "maintainer",
            Self::Developer => "developer",
        }
    }
}
