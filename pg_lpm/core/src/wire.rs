//! The bodies of the HTTP interface, one type each, shared by gateway and command line.
//!
//! Requests that the published client sends are read leniently where it is free (unknown fields are
//! ignored) and strictly where it matters (types). Key material and bearer tokens that stand in a body
//! are read by the handler into [`crate::secret::Secret`] at once.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// `POST /api/vaults/{id}/sync`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushRequest {
    /// `b64(iv):b64(ciphertext ‖ tag)`.
    pub encrypted_blob: String,
    /// `b64(iv):b64(wrapped AES key ‖ tag)`.
    pub wrapped_key: String,
    /// The version that the caller has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<i32>,
    /// Replace whatever is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// The project's display name; absent keeps the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The non-secret part of `lpm.json`, opaque except for `envConfig`; absent keeps the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<RawValue>>,
}

/// The answer to a push.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushReply {
    /// The new version.
    pub version: i32,
    /// `created` or `updated`.
    pub status: String,
    /// The account or org that owns the row.
    pub owner: Uuid,
}

/// `GET /api/vaults/{id}/sync`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullReply {
    /// The vault.
    pub vault_id: String,
    /// As it was pushed, byte for byte.
    pub encrypted_blob: String,
    /// As it was pushed, byte for byte.
    pub wrapped_key: String,
    /// The version of both.
    pub version: i32,
    /// The account or org that owns the row.
    pub owner: Uuid,
}

/// `POST /api/vault/oidc` and `POST /api/vault/oidc/pull`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// The compact JWT.
    pub oidc_token: String,
    /// The vault.
    pub vault_id: String,
    /// The environment; null means `default`.
    #[serde(default)]
    pub env: Option<String>,
    /// The owner that the caller's `lpm.json` names; a mismatch answers as for an unknown vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// `POST /api/vault/oidc/explain`: claims or a token, and the environment asked for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainRequest {
    /// The vault.
    pub vault_id: String,
    /// The environment; null means `default`.
    #[serde(default)]
    pub env: Option<String>,
    /// A compact JWT; verified like one that pulls, but never counted as a use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_token: Option<String>,
    /// A JSON object of claims, where there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Box<RawValue>>,
}

/// `POST /api/vault/oidc/escrow` as the published client sends it, or sealed by ours.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EscrowRequest {
    /// The vault.
    pub vault_id: String,
    /// The machine's wrapping key, 64 hex digits (published client): sealed by the gateway at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrapping_key_hex: Option<String>,
    /// `s1.<key id>.<epk>.<iv>.<ciphertext>`: sealed by our client to the escrow public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// `GET /api/vault/oidc/escrow-key`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EscrowKeyReply {
    /// The key's id.
    pub key_id: String,
    /// The X25519 public key, base64 of 32 bytes.
    pub public_key: String,
    /// What people compare: see [`crate::envelope::fingerprint`].
    pub fingerprint: String,
}

/// Every error.
#[derive(Debug, Deserialize)]
pub struct ErrorReply {
    /// The sentence for people.
    pub error: String,
    /// The machine code of [`crate::failure::Code`].
    #[serde(default)]
    pub code: Option<String>,
    /// The next step.
    #[serde(default)]
    pub hint: Option<String>,
}
