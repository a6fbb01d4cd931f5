//! Organisations: members, invitations, their public keys, and shared vaults.

use super::PushedEscrow;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// `POST /api/users/me/public-key`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyBody {
    /// X25519, base64 of 32 bytes; returned as it came.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub public_key: String,
}

/// `GET /api/users/me/public-key`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PublicKeyReply {
    /// Null where the account has none.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub public_key: Option<String>,
}

/// An item of the bare array that `GET /api/orgs/{org}/members/public-keys` answers.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MemberKey {
    /// The account.
    pub user_id: Uuid,
    /// The account's handle.
    #[serde(default)]
    pub handle: Option<String>,
    /// `owner`, `admin`, `maintainer` or `developer`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
    /// As it was registered.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"))]
    pub public_key: Option<String>,
    /// Whether there is one.
    pub has_public_key: bool,
}

/// A vault's key for one member.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WrappedKey {
    /// The member.
    pub user_id: Uuid,
    /// `b64(ephemeral key):b64(iv):b64(wrapped AES key ‖ tag)`, 126 characters.
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$")
    )]
    pub wrapped_key: String,
}

/// `POST /api/orgs/{org}/vaults/{vault}`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ShareRequest {
    /// `b64(iv):b64(ciphertext ‖ tag)`.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[A-Za-z0-9+/]{16}:([A-Za-z0-9+/]{4}){5,}([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{4})$"
        )
    )]
    pub encrypted_blob: String,
    /// The complete set of recipients: it replaces the stored one.
    pub wrapped_keys: Vec<WrappedKey>,
    /// The version that the caller has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = -2147483648, maximum = 2147483647))]
    pub expected_version: Option<i32>,
    /// Replace whatever is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The project's display name; absent keeps the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The non-secret part of `lpm.json`; absent keeps the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub schema: Option<Box<RawValue>>,
    /// The key of this ciphertext for CI, where the org's vault is open to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<PushedEscrow>,
}

/// `GET /api/orgs/{org}/vaults/{vault}`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrgPullReply {
    /// The vault.
    pub vault_id: String,
    /// As it was shared, byte for byte.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[A-Za-z0-9+/]{16}:([A-Za-z0-9+/]{4}){5,}([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{4})$"
        )
    )]
    pub encrypted_blob: String,
    /// The caller's own copy; absent where the last share was not for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$")
    )]
    pub wrapped_key: Option<String>,
    /// The version of both.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647))]
    pub version: i32,
    /// The org.
    pub owner: Uuid,
}

/// `GET /api/orgs/{org}/members`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    /// Owners first.
    pub members: Vec<Member>,
    /// The lowest role that may share vaults.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub may_share: String,
}

/// A member of an org.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The account.
    pub user_id: Uuid,
    /// Its handle.
    pub handle: String,
    /// `owner`, `admin`, `maintainer` or `developer`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
    /// Whether a share can be made for them.
    pub has_public_key: bool,
}

/// `PUT /api/orgs/{org}/members/{handle}`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoleRequest {
    /// `owner`, `admin`, `maintainer` or `developer`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
}

/// `DELETE /api/orgs/{org}/members/{handle}?revokePolicies=`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RemoveMemberReply {
    /// Always `true`.
    pub success: bool,
    /// The org's policies that the leaver wrote.
    pub policies: Vec<RemovedMemberPolicy>,
}

/// A policy that a leaver wrote.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RemovedMemberPolicy {
    /// Its id.
    pub id: Uuid,
    /// The vault that it opens.
    pub vault_id: String,
    /// Whom it lets in.
    pub subject: String,
    /// Whether it has been revoked with them.
    pub revoked: bool,
}

/// `PUT /api/orgs/{org}/settings`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OrgSettings {
    /// The lowest role that may share vaults: `owner`, `admin`, `maintainer` or `developer`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub may_share: String,
}

/// `POST /api/orgs/{org}/invitations`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InviteRequest {
    /// Whom. The answer does not tell whether there is such an account.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "dave"))]
    pub handle: String,
    /// The role that they will have; nobody invites above their own.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
}

/// `GET /api/invitations` (the caller's) and `GET /api/orgs/{org}/invitations` (the org's).
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InvitationList {
    /// Newest first.
    pub invitations: Vec<Invitation>,
}

/// An invitation that was neither accepted nor taken back.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// The org's slug.
    pub org: String,
    /// Who is invited.
    pub handle: String,
    /// As what.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
    /// The handle of who invited, where that account still exists.
    #[serde(default)]
    pub invited_by: Option<String>,
    /// When it ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
}
