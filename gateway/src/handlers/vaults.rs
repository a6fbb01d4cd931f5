//! Personal vaults: ciphertext in, ciphertext out.

use super::{Gateway, Outcome, VAULT};
use crate::openapi::parameters::{CursorQuery, OrgQuery, VaultPath};
use crate::openapi::refusals::{Conflict, NotFound};
use crate::request::{PUSH_BODY, Request, Segment, typed};
use lpm_core::wire::{AuditReply, PullReply, PushReply, PushRequest, VaultList};
use std::sync::Arc;

/// Stores a new version of a vault.
#[utoipa::path(
    post,
    path = "/api/vaults/{vault}/sync",
    params(VaultPath),
    request_body = PushRequest,
    responses(
        (status = 200, description = "A newer version", body = PushReply, headers(("X-LPM-Signature"))),
        (status = 201, description = "The first version", body = PushReply, headers(("X-LPM-Signature"))),
        Conflict,
    ),
    security(("account" = []))
)]
pub(crate) async fn push(gateway: Arc<Gateway>, mut request: Request, vault: Segment) -> Outcome {
    let account = request.sender(PUSH_BODY).await?;
    if request.is_large() {
        // Nobody fills our memory with a token that he made up.
        let known = gateway.db.check_account(&account).await?;
        if known.status != 200 {
            return Ok(known);
        }
    }
    let body = request.body(PUSH_BODY).await?;
    let vault = vault.decode(VAULT)?;
    let push: PushRequest = typed(&body)?;
    drop(body);
    Ok(gateway.db.push(&request.origin, &account, &vault, &push).await?.signed_for(&account))
}

/// Returns the caller's vault as it was pushed.
#[utoipa::path(
    get,
    path = "/api/vaults/{vault}/sync",
    params(VaultPath),
    responses((status = 200, body = PullReply, headers(("X-LPM-Signature"))), NotFound),
    security(("account" = []))
)]
pub(crate) async fn pull(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let vault = vault.decode(VAULT)?;
    Ok(gateway.db.pull(&request.origin, &account, &vault).await?.signed_for(&account))
}

/// Lists the caller's vaults.
#[utoipa::path(
    get,
    path = "/api/vaults",
    responses((status = 200, body = VaultList)),
    security(("account" = []))
)]
pub(crate) async fn list_vaults(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.list_vaults(&request.origin, &account).await?)
}

/// Shows what happened to a vault.
///
/// With an org also who came and went there; that is for its owners, admins and maintainers.
#[utoipa::path(
    get,
    path = "/api/vaults/{vault}/audit",
    params(VaultPath, CursorQuery, OrgQuery),
    responses((status = 200, body = AuditReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn audit(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let (vault, cursor, org) = (vault.decode(VAULT)?, request.parameter("cursor")?, request.optional("org")?);
    Ok(gateway.db.audit(&request.origin, &account, &vault, cursor.as_deref(), org.as_deref()).await?)
}
