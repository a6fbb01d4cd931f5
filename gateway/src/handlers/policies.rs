//! Policies: who may pull what in CI.

use super::ci::environment;
use super::{Gateway, Outcome, VAULT};
use crate::openapi::parameters::{OrgQuery, PolicyPath, VaultQuery};
use crate::openapi::refusals::{Conflict, NotFound, TooMany};
use crate::request::{Request, SMALL_BODY, Segment, bad, name, object, typed};
use lpm_core::wire::{
    CreatePolicyReply, CreatePolicyRequest, ExplainReply, ExplainRequest, PolicyList, RepinReply,
    RepinRequest, RevokePolicyReply,
};
use std::sync::Arc;

/// Creates a policy.
///
/// The same policy twice is one; the answer has the first one's id.
// The extension reads the body: there is one parser of policies.
#[utoipa::path(
    post,
    path = "/api/vault/oidc/policies",
    request_body = CreatePolicyRequest,
    responses((status = 201, description = "Created, or there already", body = CreatePolicyReply), NotFound, Conflict, TooMany),
    security(("account" = []))
)]
pub(crate) async fn create_policy(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    object(&body)?;
    let body = body.expose_str().ok_or_else(|| bad("the request's body is not UTF-8"))?;
    Ok(gateway.db.create_policy(&request.origin, &account, body).await?)
}

/// Lists a vault's policies.
#[utoipa::path(
    get,
    path = "/api/vault/oidc/policies",
    params(VaultQuery, OrgQuery),
    responses((status = 200, body = PolicyList), NotFound),
    security(("account" = []))
)]
pub(crate) async fn list_policies(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let (vault, org) = (request.required("vaultId")?, request.optional("org")?);
    Ok(gateway.db.list_policies(&request.origin, &account, &vault, org.as_deref()).await?)
}

/// Revokes a policy, and with it every token that was exchanged under it.
#[utoipa::path(
    delete,
    path = "/api/vault/oidc/policies/{policy}",
    params(PolicyPath),
    responses((status = 200, body = RevokePolicyReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn revoke_policy(gateway: Arc<Gateway>, request: Request, policy: Segment) -> Outcome {
    let account = request.account()?;
    let policy = policy.decode("the policy's id")?;
    Ok(gateway.db.revoke_policy(&request.origin, &account, &policy).await?)
}

/// Forgets which repository ids a subject was pinned to.
#[utoipa::path(
    post,
    path = "/api/vault/oidc/repin",
    request_body = RepinRequest,
    responses((status = 200, body = RepinReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn repin(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let repin: RepinRequest = typed(&body)?;
    let vault = name(VAULT, &repin.vault_id)?;
    Ok(gateway.db.repin(&request.origin, &account, vault, &repin.subject).await?)
}

/// Tells a vault's owner what would be decided, policy by policy; nothing is used up.
#[utoipa::path(
    post,
    path = "/api/vault/oidc/explain",
    request_body = ExplainRequest,
    responses((status = 200, body = ExplainReply), NotFound),
    security(("account" = []))
)]
pub(crate) async fn explain(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let asked: ExplainRequest = typed(&body)?;
    let vault = name(VAULT, &asked.vault_id)?;
    let environment = environment(asked.env.as_deref())?;
    let (issuer, claims) = match (asked.oidc_token, asked.claims) {
        (Some(token), None) => {
            let verified = gateway.oidc.verify(&token).await?;
            (Some(verified.claims.issuer), verified.payload)
        }
        (None, Some(claims)) => (None, claims.get().as_bytes().to_vec()),
        _ => return Err(bad("one of `oidcToken` and `claims` is needed").into()),
    };
    Ok(gateway.db.explain(&request.origin, &account, vault, issuer.as_deref(), &claims, environment).await?)
}
