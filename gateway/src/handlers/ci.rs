//! CI: verify the job's token, let the database decide, hand on what it answers.

use super::{Gateway, Outcome, VAULT};
use crate::db::{CiRequest, DbError, Place};
use crate::openapi::parameters::{EnvironmentQuery, VaultPath};
use crate::openapi::refusals::{Conflict, Forbidden, NotFound, TooMany, Unauthorized, Unprocessable};
use crate::reply::{Answer, Refusal};
use crate::request::{Limit, Request, SMALL_BODY, Segment, name, short, typed};
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::aead;
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::token::Verified;
use lpm_core::wire::{CiPullReply, ExchangeReply, ExchangeRequest};
use std::sync::Arc;
use uuid::Uuid;

/// A CI request whose token has been verified.
struct Asked {
    vault: String,
    environment: Option<String>,
    owner: Option<Uuid>,
    verified: Verified,
    place: Place,
}

impl Asked {
    /// Reads the body and verifies the token in it. Nothing is asked of the database before that, and nothing is
    /// verified for whom the database has no time. Whoever waits for an issuer's keys takes nobody's place.
    async fn read(gateway: &Gateway, request: &mut Request, limit: Limit) -> Result<Self, Refusal> {
        let body = request.body(limit).await?;
        let asked: ExchangeRequest = typed(&body)?;
        name(VAULT, &asked.vault_id)?;
        environment(asked.env.as_deref())?;
        let failed = |failure| gateway.limits.failed(request.origin.client, failure);
        let verifiable = gateway.oidc.verifiable(&asked.oidc_token).await.map_err(failed)?;
        let place = gateway.db.admit()?;
        let verified = verifiable.verify().map_err(failed)?;
        gateway.limits.may_ask(&verified.claims)?;
        Ok(Self { vault: asked.vault_id, environment: asked.env, owner: asked.owner, verified, place })
    }

    /// What the database says.
    async fn decided(
        self,
        gateway: &Gateway,
        ask: impl AsyncFnOnce(Place, &CiRequest<'_>) -> Result<Answer, DbError>,
    ) -> Outcome {
        let ci = CiRequest {
            issuer: &self.verified.claims.issuer,
            claims: &self.verified.payload,
            vault: &self.vault,
            environment: self.environment.as_deref(),
            owner: self.owner,
        };
        let answer = ask(self.place, &ci).await?;
        gateway.limits.answered(&self.verified.claims, answer.status);
        Ok(answer)
    }
}

/// Checks the name of an environment that is asked for.
pub(super) fn environment(text: Option<&str>) -> Result<Option<&str>, Failure> {
    text.map(|text| short("the environment's name", text)).transpose()
}

/// Exchanges an OIDC token for a token that is good for one vault and environment.
#[utoipa::path(
    post,
    path = "/api/vault/oidc",
    request_body = ExchangeRequest,
    responses((status = 200, body = ExchangeReply), Unauthorized, Forbidden, NotFound, TooMany)
)]
pub(crate) async fn exchange(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let asked = Asked::read(&gateway, &mut request, SMALL_BODY).await?;
    let token = bearer::token(Kind::Ci, &aead::random().map_err(|error| error.failure())?);
    let (db, origin, hash) = (&gateway.db, &request.origin, bearer::hash(token.expose()));
    let answer =
        asked.decided(&gateway, async |place, ci| db.exchange(place, origin, ci, &hash).await).await?;
    if !answer.is_success() {
        return Ok(answer);
    }
    Ok(Answer::new(answer.status, with_token(answer.body(), &token)?))
}

/// The database's answer, and in it the token that only the gateway has.
fn with_token(body: &str, token: &Secret) -> Result<String, Failure> {
    let mut body: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(body).map_err(|_| Code::Internal)?;
    let token = token.expose_str().ok_or(Code::Internal)?;
    body.insert("token".to_owned(), token.into());
    serde_json::to_string(&body).map_err(|_| Code::Internal.into())
}

/// Answers the environment that an exchanged token is good for.
#[utoipa::path(
    get,
    path = "/api/vaults/{vault}/ci-pull",
    params(VaultPath, EnvironmentQuery),
    responses((status = 200, body = CiPullReply), NotFound, Conflict, Unprocessable),
    security(("ci" = []))
)]
pub(crate) async fn ci_pull(gateway: Arc<Gateway>, request: Request, vault: Segment) -> Outcome {
    let ci_token = request.ci_token()?;
    let (vault, environment) = (vault.decode(VAULT)?, request.parameter("env")?);
    Ok(gateway.db.ci_pull(&request.origin, &ci_token, &vault, environment.as_deref()).await?)
}

/// Answers the environment that an OIDC token is granted, in one step.
#[utoipa::path(
    post,
    path = "/api/vault/oidc/pull",
    request_body = ExchangeRequest,
    responses((status = 200, body = CiPullReply), Unauthorized, Forbidden, NotFound, Conflict, Unprocessable, TooMany)
)]
pub(crate) async fn one_step_pull(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let asked = Asked::read(&gateway, &mut request, SMALL_BODY).await?;
    let (db, origin) = (&gateway.db, &request.origin);
    asked.decided(&gateway, async |place, ci| db.one_step_pull(place, origin, ci).await).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_joins_the_answer() {
        let body =
            with_token(r#"{"expiresAt":"2026-01-01T00:00:00Z"}"#, &Secret::from("lpm_ci_x".to_owned()));
        assert_eq!(body.expect("an object"), r#"{"expiresAt":"2026-01-01T00:00:00Z","token":"lpm_ci_x"}"#);
        assert!(with_token("[]", &Secret::from("x".to_owned())).is_err());
    }
}
