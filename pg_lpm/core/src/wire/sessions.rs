//! Login sessions and tokens.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/cli/exchange`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CodeRequest {
    /// What the sign-in page sent to the waiting command line.
    pub code: String,
}

/// `POST /api/cli/refresh`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RefreshRequest {
    /// The newest refresh token of the session.
    pub refresh_token: String,
    /// SHA-256 of host and user; informative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_fingerprint: Option<String>,
}

/// The answer to an exchange of a login code and to a refresh.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionReply {
    /// The access token, good for an hour.
    pub token: String,
    /// What buys the next access token; good once, for 30 days.
    pub refresh_token: String,
    /// When the access token ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
}

/// `GET /api/registry/-/whoami`, in the spelling of npm and of the published client.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhoamiReply {
    /// The account's id: what `lpm.json` names as owner.
    pub id: Uuid,
    /// The handle.
    pub username: String,
    /// The handle.
    pub profile_username: String,
    /// `free`, `pro` or `org`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(free|pro|org)$"))]
    pub plan_tier: String,
    /// Whether the bearer is a login session.
    pub session: bool,
    /// Always `false`: signing in is the identity provider's business.
    pub mfa_enabled: bool,
    /// Always `false`: there is no package registry here.
    pub has_pool_access: bool,
    /// The orgs of the account.
    pub organizations: Vec<WhoamiOrg>,
    /// The handle and the orgs' slugs.
    pub available_scopes: Vec<String>,
    /// What is stored.
    pub usage: WhoamiUsage,
    /// What may be stored; 0 means unlimited.
    pub limits: WhoamiLimits,
}

/// An org of the account.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhoamiOrg {
    /// The org.
    pub id: Uuid,
    /// Its slug.
    pub slug: String,
    /// Its slug again: orgs have no other name here.
    pub name: String,
    /// `owner`, `admin`, `maintainer` or `developer`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(owner|admin|maintainer|developer)$"))]
    pub role: String,
    /// Always `false`.
    pub require_2fa: bool,
}

/// What an account stores.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhoamiUsage {
    /// Bytes of ciphertext, newest versions only.
    pub storage_bytes: u64,
    /// Always 0.
    pub private_packages: u32,
}

/// What an account may store; 0 means unlimited.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct WhoamiLimits {
    /// Always 0.
    pub storage_bytes: u64,
    /// Always 0.
    pub private_packages: u32,
}

/// `POST /api/registry/-/token/rotate`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RotateReply {
    /// The token that replaces the bearer.
    pub token: String,
    /// When it ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
}

/// `POST /api/registry/tokens/revoke`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RevokeTokenRequest {
    /// A token of the caller's account; the published client sends the bearer itself.
    pub token: String,
}

/// `GET /api/cli/sessions`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionList {
    /// Newest first; only those that have not ended.
    pub sessions: Vec<SessionEntry>,
}

/// A login session; `DELETE /api/cli/sessions/{id}` ends it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SessionEntry {
    /// Its id.
    pub id: Uuid,
    /// What the device called itself.
    pub device: String,
    /// When it began, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub created_at: String,
    /// When it was last refreshed, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub refreshed_at: String,
    /// When it ends unless it is refreshed, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
    /// Whether the bearer belongs to it.
    pub current: bool,
}
