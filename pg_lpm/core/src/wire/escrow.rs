//! CI escrow.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/vault/oidc/escrow` as the published client sends it, or sealed by ours.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EscrowRequest {
    /// The vault.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "web"))]
    pub vault_id: String,
    /// The machine's wrapping key, 64 hex digits (published client): sealed by the gateway at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-fA-F]{64}$"))]
    pub wrapping_key_hex: Option<String>,
    /// `aes` (the key of the vault's present ciphertext) or `wrapping` (the machine's wrapping key). Absent
    /// means `wrapping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^(aes|wrapping)$"))]
    pub kind: Option<String>,
    /// `s1.<key id>.<epk>.<iv>.<ciphertext>`: sealed by our client to the escrow public key. Absent with kind
    /// `aes` where nothing was pushed yet: the first push brings it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// SHA-256 of the decoded iv ‖ ciphertext that the key of kind `aes` opens, 64 lower-case hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{64}$"))]
    pub blob_sha256: Option<String>,
    /// Whether the vault keeps kind `wrapping` for teams with published clients; absent keeps what is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_clients: Option<bool>,
    /// The org whose vault it is; absent: the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "acme"))]
    pub org: Option<String>,
}

/// The answer to `POST` and `DELETE /api/vault/oidc/escrow`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EscrowReply {
    /// Always `true`.
    pub success: bool,
    /// `on` or `off`.
    pub escrow: String,
    /// `aes` or `wrapping`.
    #[serde(default)]
    pub kind: Option<String>,
    /// The escrow key that it is stored under.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The account or org that owns the row.
    #[serde(default)]
    pub owner: Option<Uuid>,
}

/// The key of the ciphertext that a push or share brings, for CI.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PushedEscrow {
    /// The escrow key that it is sealed to.
    pub key_id: String,
    /// `s1.<key id>.<epk>.<iv>.<ciphertext>`, kind `aes`.
    pub sealed: String,
    /// SHA-256 of the decoded iv ‖ ciphertext, 64 lower-case hex digits.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{64}$"))]
    pub blob_sha256: String,
}

/// `GET /api/vault/oidc/escrow-key?vaultId=&org=`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EscrowKeyReply {
    /// The key's id.
    pub key_id: String,
    /// The X25519 public key, base64 of 32 bytes.
    pub public_key: String,
    /// What people compare.
    pub fingerprint: String,
    /// With `vaultId`: `off`, `aes` or `wrapping`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<String>,
    /// With `vaultId`: whether the vault is kept readable for published clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy_clients: Option<bool>,
}
