//! Shared vaults: ciphertext for the members of an org, and one wrapped key for each.

use super::{Gateway, ORG, Outcome, VAULT};
use crate::openapi::parameters::{OrgPath, VaultPath};
use crate::openapi::refusals::{Conflict, NotFound};
use crate::request::{PUSH_BODY, Request, SMALL_BODY, Segment, typed};
use lpm_core::wire::{
    Done, MemberKey, OrgPullReply, PublicKeyBody, PublicKeyReply, PushReply, ShareRequest, VaultList,
};
use std::sync::Arc;

/// Shows the caller's own public key.
#[utoipa::path(
    get,
    path = "/api/users/me/public-key",
    responses((status = 200, body = PublicKeyReply)),
    security(("account" = []))
)]
pub(crate) async fn public_key(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.public_key(&request.origin, &account).await?)
}

/// Registers the caller's public key in place of the one before.
#[utoipa::path(
    post,
    path = "/api/users/me/public-key",
    request_body = PublicKeyBody,
    responses((status = 200, body = Done)),
    security(("account" = []))
)]
pub(crate) async fn put_public_key(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let body: PublicKeyBody = typed(&body)?;
    Ok(gateway.db.put_public_key(&request.origin, &account, &body.public_key).await?)
}

/// Shows the public keys of an org's members, the caller's own included.
#[utoipa::path(
    get,
    path = "/api/orgs/{org}/members/public-keys",
    params(OrgPath),
    responses((status = 200, body = Vec<MemberKey>), NotFound),
    security(("account" = []))
)]
pub(crate) async fn member_keys(gateway: Arc<Gateway>, request: Request, org: Segment) -> Outcome {
    let account = request.account()?;
    let org = org.decode(ORG)?;
    Ok(gateway.db.member_keys(&request.origin, &account, &org).await?)
}

/// Stores a new version of an org's vault, with a key for each recipient.
///
/// The recipients replace those before.
#[utoipa::path(
    post,
    path = "/api/orgs/{org}/vaults/{vault}",
    params(OrgPath, VaultPath),
    request_body = ShareRequest,
    responses(
        (status = 200, description = "A newer version", body = PushReply, headers(("X-LPM-Signature"))),
        (status = 201, description = "The first version", body = PushReply, headers(("X-LPM-Signature"))),
        NotFound,
        Conflict,
    ),
    security(("account" = []))
)]
pub(crate) async fn share(
    gateway: Arc<Gateway>,
    mut request: Request,
    org: Segment,
    vault: Segment,
) -> Outcome {
    let account = request.sender(PUSH_BODY).await?;
    if request.is_large() {
        // Nobody fills our memory with a token that he made up.
        let known = gateway.db.check_account(&account).await?;
        if known.status != 200 {
            return Ok(known);
        }
    }
    let body = request.body(PUSH_BODY).await?;
    let (org, vault) = (org.decode(ORG)?, vault.decode(VAULT)?);
    let share: ShareRequest = typed(&body)?;
    drop(body);
    Ok(gateway.db.share(&request.origin, &account, &org, &vault, &share).await?.signed_for(&account))
}

/// Returns an org's vault as it was shared, with the caller's own copy of its key.
#[utoipa::path(
    get,
    path = "/api/orgs/{org}/vaults/{vault}",
    params(OrgPath, VaultPath),
    responses((status = 200, body = OrgPullReply, headers(("X-LPM-Signature"))), NotFound),
    security(("account" = []))
)]
pub(crate) async fn org_pull(
    gateway: Arc<Gateway>,
    request: Request,
    org: Segment,
    vault: Segment,
) -> Outcome {
    let account = request.account()?;
    let (org, vault) = (org.decode(ORG)?, vault.decode(VAULT)?);
    Ok(gateway.db.org_pull(&request.origin, &account, &org, &vault).await?.signed_for(&account))
}

/// Lists an org's vaults.
#[utoipa::path(
    get,
    path = "/api/orgs/{org}/vaults",
    params(OrgPath),
    responses((status = 200, body = VaultList), NotFound),
    security(("account" = []))
)]
pub(crate) async fn list_org_vaults(gateway: Arc<Gateway>, request: Request, org: Segment) -> Outcome {
    let account = request.account()?;
    let org = org.decode(ORG)?;
    Ok(gateway.db.list_org_vaults(&request.origin, &account, &org).await?)
}
