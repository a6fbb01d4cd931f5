//! The versions of a vault that are kept: which there are, and bringing one back.

use super::{Gateway, ORG, Outcome, VAULT};
use crate::openapi::parameters::{OrgQuery, VaultPath};
use crate::openapi::refusals::{Conflict, NotFound};
use crate::request::{Request, SMALL_BODY, Segment, name, typed};
use lpm_core::wire::{PushReply, RestoreRequest, VersionList};
use std::sync::Arc;

/// Lists the versions of the caller's vault, or of an org's.
#[utoipa::path(
    get,
    path = "/api/vaults/{vault}/versions",
    tag = "vaults",
    params(VaultPath, OrgQuery),
    responses((status = 200, body = VersionList), NotFound),
    security(("account" = []))
)]
pub(crate) async fn list_versions(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let (vault, org) = (vault.decode(VAULT)?, request.optional("org")?);
    Ok(gateway.db.list_versions(&request.origin, &account, &vault, org.as_deref()).await?)
}

/// Brings a kept version back as the newest.
#[utoipa::path(
    post,
    path = "/api/vaults/{vault}/restore",
    tag = "vaults",
    params(VaultPath),
    request_body = RestoreRequest,
    responses((status = 200, body = PushReply), NotFound, Conflict),
    security(("account" = []))
)]
pub(crate) async fn restore_version(gateway: Arc<Gateway>, mut request: Request, vault: Segment) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let vault = vault.decode(VAULT)?;
    let restore: RestoreRequest = typed(&body)?;
    restore.org.as_deref().map(|org| name(ORG, org)).transpose()?;
    Ok(gateway.db.restore_version(&request.origin, &account, &vault, &restore).await?)
}
