//! Is anybody there?

use super::{Gateway, Outcome};
use crate::openapi::SERVED;
use crate::reply::Answer;
use lpm_core::failure::Code;
use lpm_core::wire::{AliveReply, ReadyReply};
use std::sync::Arc;

/// Tells that the process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = AliveReply)))]
pub(crate) async fn alive() -> Outcome {
    Ok(Answer::new(200, r#"{"status":"ok"}"#))
}

/// Tells a load balancer whether to send requests: the database takes writes and has an escrow key, and the gateway stays.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = ReadyReply)))]
pub(crate) async fn ready(gateway: Arc<Gateway>) -> Outcome {
    if gateway.lifecycle.is_ending() {
        return Err(Code::Stopping.into());
    }
    let answer = gateway.db.ready_for_anybody().await;
    if answer.is_success() {
        let ready: ReadyReply = serde_json::from_str(answer.body()).map_err(|_| Code::Internal)?;
        if !ready.escrow_key {
            return Err(Code::NoEscrowKey.into());
        }
    }
    Ok(answer)
}

/// Tells the published client whether requests can be answered. Developers need no escrow key.
#[utoipa::path(get, path = "/api/registry/health", responses((status = 200, body = ReadyReply)))]
pub(crate) async fn registry_health(gateway: Arc<Gateway>) -> Outcome {
    Ok(gateway.db.ready_for_anybody().await)
}

/// Shows this document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(crate) async fn document() -> Outcome {
    Ok(Answer::new(200, SERVED.json.as_str()))
}
