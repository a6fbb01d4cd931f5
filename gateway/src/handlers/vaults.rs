//! Personal vaults: ciphertext in, ciphertext out.

use super::{Gateway, Outcome, VAULT};
use crate::request::{PUSH_BODY, Request, Segment, typed};
use lpm_core::wire::PushRequest;
use std::sync::Arc;

/// Stores a new version of a vault.
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
pub(crate) async fn pull(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let vault = vault.decode(VAULT)?;
    Ok(gateway.db.pull(&request.origin, &account, &vault).await?.signed_for(&account))
}

/// Lists the caller's vaults.
pub(crate) async fn list_vaults(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.list_vaults(&request.origin, &account).await?)
}

/// Shows what happened to a vault.
pub(crate) async fn audit(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let account = request.account()?;
    let (vault, cursor) = (vault.decode(VAULT)?, request.parameter("cursor")?);
    Ok(gateway.db.audit(&request.origin, &account, &vault, cursor.as_deref()).await?)
}
