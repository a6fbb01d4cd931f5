//! Platforms: what the published client offers and this server does not.

use super::Outcome;
use crate::openapi::refusals::NotOffered;
use crate::request::Request;
use lpm_core::failure::{Code, Failure};

/// Connects a hosting platform: not offered.
#[utoipa::path(
    post,
    path = "/api/vault/platforms/connect",
    operation_id = "platforms_connect",
    operation_id = "platforms_connect",
    responses(NotOffered)
)]
pub(crate) async fn connect(request: Request) -> Outcome {
    not_offered(request).await
}

/// Pushes a vault's plaintext to a platform: not offered.
#[utoipa::path(
    post,
    path = "/api/vault/platforms/push",
    operation_id = "platforms_push",
    responses(NotOffered)
)]
pub(crate) async fn push(request: Request) -> Outcome {
    not_offered(request).await
}

/// Pulls plaintext from a platform: not offered.
#[utoipa::path(
    post,
    path = "/api/vault/platforms/pull",
    operation_id = "platforms_pull",
    responses(NotOffered)
)]
pub(crate) async fn pull(request: Request) -> Outcome {
    not_offered(request).await
}

/// Compares a vault's plaintext with platforms: not offered.
#[utoipa::path(
    post,
    path = "/api/vault/platforms/status",
    operation_id = "platforms_status",
    responses(NotOffered)
)]
pub(crate) async fn status(request: Request) -> Outcome {
    not_offered(request).await
}

/// The same answer for everyone. What was sent is plaintext, so it is neither kept nor looked at.
async fn not_offered(mut request: Request) -> Outcome {
    request.drain().await;
    let failure = Failure::new(Code::NotImplemented)
        .with("reason", "platforms are not offered here, because they would send plaintext secrets to the server")
        .with("next", "let the platform's build pull as a CI job: `lpm env oidc allow` (published 0.28: `lpm use vars oidc allow`)");
    Err(failure.into())
}
