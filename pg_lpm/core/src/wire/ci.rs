//! CI: exchange, pull, explain.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use uuid::Uuid;

/// `POST /api/vault/oidc` and `POST /api/vault/oidc/pull`.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeRequest {
    /// The compact JWT.
    pub oidc_token: String,
    /// The vault.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "web"))]
    pub vault_id: String,
    /// The environment; null means `default`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub env: Option<String>,
    /// The owner that the caller's `lpm.json` names; a mismatch answers as for an unknown vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// The answer to an exchange.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExchangeReply {
    /// A bearer token for `ci-pull`.
    pub token: String,
    /// When it ends, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
}

/// The answer to both ways of pulling in CI.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CiPullReply {
    /// The environment's canonical name.
    pub env: String,
    /// Its variables.
    pub vars: BTreeMap<String, String>,
}

/// `POST /api/vault/oidc/explain`: claims or a token, and the environment asked for.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExplainRequest {
    /// The vault.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "web"))]
    pub vault_id: String,
    /// The environment; null means `default`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 256))]
    pub env: Option<String>,
    /// A compact JWT; verified like one that pulls, but never counted as a use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc_token: Option<String>,
    /// A JSON object of claims, where there is no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>, example = json!({"repository": "acme/web"})))]
    pub claims: Option<Box<RawValue>>,
}
