//! Vaults as ciphertext: push, pull, versions, audit.

use super::PushedEscrow;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// `POST /api/vaults/{vault}/sync`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushRequest {
    /// `b64(iv):b64(ciphertext ‖ tag)`.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[A-Za-z0-9+/]{16}:([A-Za-z0-9+/]{4}){5,}([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{4})$"
        )
    )]
    pub encrypted_blob: String,
    /// `b64(iv):b64(wrapped AES key ‖ tag)`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$"))]
    pub wrapped_key: String,
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
    /// The non-secret part of `lpm.json`, opaque except for `envConfig`; absent keeps the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub schema: Option<Box<RawValue>>,
    /// The key of this ciphertext for CI, where the vault's escrow is of kind `aes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<PushedEscrow>,
}

/// The answer to a push, a share and a restore.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushReply {
    /// The new version.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647))]
    pub version: i32,
    /// `created`, `updated` or `restored`.
    pub status: String,
    /// The account or org that owns the row.
    pub owner: Uuid,
}

/// `GET /api/vaults/{vault}/sync`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PullReply {
    /// The vault.
    pub vault_id: String,
    /// As it was pushed, byte for byte.
    #[cfg_attr(
        feature = "openapi",
        schema(
            pattern = "^[A-Za-z0-9+/]{16}:([A-Za-z0-9+/]{4}){5,}([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/]{4})$"
        )
    )]
    pub encrypted_blob: String,
    /// As it was pushed, byte for byte.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[A-Za-z0-9+/]{16}:[A-Za-z0-9+/]{64}$"))]
    pub wrapped_key: String,
    /// The version of both.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647))]
    pub version: i32,
    /// The account or org that owns the row.
    pub owner: Uuid,
}

/// `GET /api/vaults` and `GET /api/orgs/{org}/vaults`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VaultList {
    /// Newest first.
    pub vaults: Vec<VaultEntry>,
}

/// A vault without its ciphertext.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct VaultEntry {
    /// The vault.
    pub vault_id: String,
    /// Its newest version.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647))]
    pub version: i32,
    /// The project's display name.
    #[serde(default)]
    pub name: Option<String>,
    /// When it was pushed, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub updated_at: String,
}

/// `GET /api/vaults/{vault}/versions?org=`: the newest and those kept before it.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<VersionEntry>,
}

/// A version of a vault.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct VersionEntry {
    /// Its number.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2147483647))]
    pub version: i32,
    /// When it was pushed, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub created_at: String,
    /// The handle of who pushed it, where that is still known.
    #[serde(default)]
    pub author: Option<String>,
    /// Whether pulls get this one.
    pub current: bool,
}

/// `POST /api/vaults/{vault}/restore`: brings a kept version back as the newest.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RestoreRequest {
    /// Which one.
    #[cfg_attr(feature = "openapi", schema(minimum = -2147483648, maximum = 2147483647))]
    pub version: i32,
    /// The newest version that the caller has seen; another one is there → 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = -2147483648, maximum = 2147483647))]
    pub expected_version: Option<i32>,
    /// The org whose vault it is; absent: the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "acme"))]
    pub org: Option<String>,
}

/// `GET /api/vaults/{vault}/audit?cursor=&org=`: 50 entries, newest first.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditReply {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// What to send as `cursor` for the entries before these; null where there are none.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Something that was done, or refused.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// A number, as text.
    pub id: String,
    /// `push`, `pull`, `share`, `ci_pull`, …
    pub action: String,
    /// The account that did it.
    #[serde(default)]
    pub user_id: Option<Uuid>,
    /// The org whose vault it is.
    #[serde(default)]
    pub org_id: Option<Uuid>,
    /// What else is known of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub metadata: serde_json::Value,
    /// When, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub created_at: String,
}
