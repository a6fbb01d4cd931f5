//! Health.

use serde::{Deserialize, Serialize};

/// `GET /healthz`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AliveReply {
    /// Always `ok`.
    pub status: String,
}

/// `GET /readyz` and `GET /api/registry/health`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReadyReply {
    /// Always `ready`.
    pub status: String,
    /// Whether the database has an escrow key, without which CI gets 503.
    pub escrow_key: bool,
}
