//! Policies: who may pull what in CI.

use super::ci::environment;
use super::{Gateway, Outcome, VAULT};
use crate::request::{Request, SMALL_BODY, Segment, bad, name, object, typed};
use lpm_core::wire::ExplainRequest;
use serde::Deserialize;
use std::sync::Arc;

/// Creates a policy. The extension reads the body: there is one parser of policies.
pub(crate) async fn create_policy(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    object(&body)?;
    let body = body.expose_str().ok_or_else(|| bad("the request's body is not UTF-8"))?;
    Ok(gateway.db.create_policy(&request.origin, &account, body).await?)
}

/// Lists a vault's policies.
pub(crate) async fn list_policies(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    let vault = request.required("vaultId")?;
    Ok(gateway.db.list_policies(&request.origin, &account, &vault).await?)
}

/// Revokes a policy, and with it every token that was exchanged under it.
pub(crate) async fn revoke_policy(gateway: Arc<Gateway>, request: Request, policy: Segment) -> Outcome {
    let account = request.account()?;
    let policy = policy.decode("the policy's id")?;
    Ok(gateway.db.revoke_policy(&request.origin, &account, &policy).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RepinRequest {
    vault_id: String,
    subject: String,
}

/// Forgets which repository ids a subject was pinned to.
pub(crate) async fn repin(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let repin: RepinRequest = typed(&body)?;
    let vault = name(VAULT, &repin.vault_id)?;
    Ok(gateway.db.repin(&request.origin, &account, vault, &repin.subject).await?)
}

/// Tells a vault's owner what would be decided, policy by policy; nothing is used up.
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
