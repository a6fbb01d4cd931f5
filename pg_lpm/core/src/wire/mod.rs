//! The bodies of the HTTP interface, one type each, shared by gateway and command line.
//!
//! Requests that the published client sends are read leniently where it is free (unknown fields are
//! ignored) and strictly where it matters (types). Key material and bearer tokens that stand in a body
//! are read by the handler into [`crate::secret::Secret`] at once. With the feature `openapi` every type
//! describes itself for `/openapi.json`.

mod ci;
mod escrow;
mod health;
mod orgs;
mod pairing;
mod policies;
mod sessions;
mod vaults;

pub use ci::{CiPullReply, ExchangeReply, ExchangeRequest, ExplainRequest};
pub use escrow::{EscrowKeyReply, EscrowReply, EscrowRequest, PushedEscrow};
pub use health::{AliveReply, ReadyReply};
pub use orgs::{
    Invitation, InvitationList, InviteRequest, Member, MemberKey, MemberList, OrgPullReply, OrgSettings,
    PublicKeyBody, PublicKeyReply, RemoveMemberReply, RemovedMemberPolicy, RoleRequest, ShareRequest,
    WrappedKey,
};
pub use pairing::{
    ApprovePairingRequest, ConsumePairingReply, PairingReply, StartPairingReply, StartPairingRequest,
};
pub use policies::{
    CreatePolicyReply, CreatePolicyRequest, ExplainCheck, ExplainReply, PolicyDocument, PolicyEntry,
    PolicyList, PolicyPin, RepinReply, RepinRequest, RevokePolicyReply,
};
pub use sessions::{
    CodeRequest, RefreshRequest, RevokeTokenRequest, RotateReply, SessionEntry, SessionList, SessionReply,
    WhoamiLimits, WhoamiOrg, WhoamiReply, WhoamiUsage,
};
pub use vaults::{
    AuditEntry, AuditReply, PullReply, PushReply, PushRequest, RestoreRequest, VaultEntry, VaultList,
    VersionEntry, VersionList,
};

use serde::{Deserialize, Serialize};

/// Every error.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorReply {
    /// The sentence for people.
    pub error: String,
    /// The machine code: what programs look at.
    #[serde(default)]
    pub code: Option<String>,
    /// The next step.
    #[serde(default)]
    pub hint: Option<String>,
}

/// An object of which nothing is read.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Empty {}

/// That something was done.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    /// Always `true`.
    pub success: bool,
}
