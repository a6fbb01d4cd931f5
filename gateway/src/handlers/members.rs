//! Members of an org: who they are, what they may do, how they come and go.

use super::{Gateway, ORG, Outcome};
use crate::openapi::parameters::{HandlePath, OrgPath, RevokePoliciesQuery};
use crate::openapi::refusals::{Conflict, NotFound};
use crate::request::{Request, SMALL_BODY, Segment, bad, name, typed};
use lpm_core::wire::{
    Done, Invitation, InvitationList, InviteRequest, Member, MemberList, OrgSettings, RemoveMemberReply,
    RoleRequest,
};
use std::sync::Arc;

/// How refusals name a member, or who is to be one.
const HANDLE: &str = "the handle";

/// Lists an org's members.
#[utoipa::path(
    get,
    path = "/api/orgs/{org}/members",
    params(OrgPath),
    responses((status = 200, body = MemberList), NotFound),
    security(("account" = []))
)]
pub(crate) async fn list(gateway: Arc<Gateway>, request: Request, org: Segment) -> Outcome {
    let account = request.account()?;
    let org = org.decode(ORG)?;
    Ok(gateway.db.members(&request.origin, &account, &org).await?)
}

/// Changes what a member may do.
#[utoipa::path(
    put,
    path = "/api/orgs/{org}/members/{handle}",
    params(OrgPath, HandlePath),
    request_body = RoleRequest,
    responses((status = 200, body = Member), NotFound, Conflict),
    security(("account" = []))
)]
pub(crate) async fn set_role(
    gateway: Arc<Gateway>,
    mut request: Request,
    org: Segment,
    handle: Segment,
) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let (org, handle) = (org.decode(ORG)?, handle.decode(HANDLE)?);
    let body: RoleRequest = typed(&body)?;
    Ok(gateway.db.set_role(&request.origin, &account, &org, &handle, &body.role).await?)
}

/// Ends a membership: somebody's, or the caller's own.
///
/// With it end all copies of vaults' keys that the member had, and with `revokePolicies` the policies that they wrote.
#[utoipa::path(
    delete,
    path = "/api/orgs/{org}/members/{handle}",
    params(OrgPath, HandlePath, RevokePoliciesQuery),
    responses((status = 200, body = RemoveMemberReply), NotFound, Conflict),
    security(("account" = []))
)]
pub(crate) async fn remove(
    gateway: Arc<Gateway>,
    request: Request,
    org: Segment,
    handle: Segment,
) -> Outcome {
    let account = request.account()?;
    let (org, handle) = (org.decode(ORG)?, handle.decode(HANDLE)?);
    let revoke_policies = match request.parameter("revokePolicies")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        // A typo must not leave policies behind that somebody meant to end.
        Some(_) => return Err(bad("the parameter `revokePolicies` is neither `true` nor `false`").into()),
    };
    Ok(gateway.db.remove_member(&request.origin, &account, &org, &handle, revoke_policies).await?)
}

/// Sets what the org leaves to whom.
#[utoipa::path(
    put,
    path = "/api/orgs/{org}/settings",
    params(OrgPath),
    request_body = OrgSettings,
    responses((status = 200, body = OrgSettings), NotFound),
    security(("account" = []))
)]
pub(crate) async fn settings(gateway: Arc<Gateway>, mut request: Request, org: Segment) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let org = org.decode(ORG)?;
    let body: OrgSettings = typed(&body)?;
    Ok(gateway.db.org_settings(&request.origin, &account, &org, &body.may_share).await?)
}

/// Invites somebody by handle.
///
/// The answer does not tell whether there is such an account. An invitation of the same handle replaces the one before.
#[utoipa::path(
    post,
    path = "/api/orgs/{org}/invitations",
    params(OrgPath),
    request_body = InviteRequest,
    responses((status = 201, body = Invitation), NotFound, Conflict),
    security(("account" = []))
)]
pub(crate) async fn invite(gateway: Arc<Gateway>, mut request: Request, org: Segment) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let org = org.decode(ORG)?;
    let body: InviteRequest = typed(&body)?;
    let handle = name(HANDLE, &body.handle)?;
    Ok(gateway.db.invite(&request.origin, &account, &org, handle, &body.role).await?)
}

/// Lists an org's open invitations.
#[utoipa::path(
    get,
    path = "/api/orgs/{org}/invitations",
    params(OrgPath),
    responses((status = 200, body = InvitationList), NotFound),
    security(("account" = []))
)]
pub(crate) async fn list_invitations(gateway: Arc<Gateway>, request: Request, org: Segment) -> Outcome {
    let account = request.account()?;
    let org = org.decode(ORG)?;
    Ok(gateway.db.org_invitations(&request.origin, &account, &org).await?)
}

/// Takes an invitation back, or declines the caller's own.
#[utoipa::path(
    delete,
    path = "/api/orgs/{org}/invitations/{handle}",
    params(OrgPath, HandlePath),
    responses((status = 200, body = Done), NotFound),
    security(("account" = []))
)]
pub(crate) async fn end_invitation(
    gateway: Arc<Gateway>,
    request: Request,
    org: Segment,
    handle: Segment,
) -> Outcome {
    let account = request.account()?;
    let (org, handle) = (org.decode(ORG)?, handle.decode(HANDLE)?);
    Ok(gateway.db.end_invitation(&request.origin, &account, &org, &handle).await?)
}

/// Makes the caller a member of an org that has invited them.
#[utoipa::path(
    post,
    path = "/api/orgs/{org}/invitations/accept",
    params(OrgPath),
    responses((status = 200, body = Member), NotFound),
    security(("account" = []))
)]
pub(crate) async fn accept_invitation(gateway: Arc<Gateway>, request: Request, org: Segment) -> Outcome {
    let account = request.account()?;
    let org = org.decode(ORG)?;
    Ok(gateway.db.accept_invitation(&request.origin, &account, &org).await?)
}

/// Lists the invitations that wait for the caller.
#[utoipa::path(
    get,
    path = "/api/invitations",
    responses((status = 200, body = InvitationList)),
    security(("account" = []))
)]
pub(crate) async fn own_invitations(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.own_invitations(&request.origin, &account).await?)
}
