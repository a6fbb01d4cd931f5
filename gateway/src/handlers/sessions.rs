//! Login sessions, who one is, and tokens that replace or end themselves.
//!
//! Tokens are made here and only their hashes go on, so the database answers when they end and the tokens
//! join its answer on the way out.

use super::{Gateway, Outcome};
use crate::db::PairHashes;
use crate::openapi::parameters::SessionPath;
use crate::openapi::refusals::{NotFound, Unauthorized};
use crate::reply::Answer;
use crate::request::{Request, SMALL_BODY, Segment, typed};
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::aead;
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::wire::{
    CodeRequest, Done, Empty, RefreshRequest, RevokeTokenRequest, RotateReply, SessionList, SessionReply,
    WhoamiReply,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A fresh token of this kind.
pub(super) fn fresh(kind: Kind) -> Result<Secret, Failure> {
    Ok(bearer::token(kind, &aead::random().map_err(|error| error.failure())?))
}

/// What is sent to SQL in place of something of this kind; anything else is refused without asking.
fn hash_of(text: String, kind: Kind, otherwise: Code) -> Result<[u8; 32], Failure> {
    let secret = Secret::from(text);
    match secret.expose_str().and_then(bearer::kind) {
        Some(found) if found == kind => Ok(bearer::hash(secret.expose())),
        _ => Err(otherwise.into()),
    }
}

/// What the database says of new tokens.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    expires_at: String,
}

/// The database's answer about new tokens, with the tokens in it.
fn with_tokens<T: Serialize>(answer: Answer, reply: impl FnOnce(String) -> Option<T>) -> Outcome {
    if !answer.is_success() {
        return Ok(answer);
    }
    let issued: Issued = serde_json::from_str(answer.body()).map_err(|_| Code::Internal)?;
    let reply = reply(issued.expires_at).ok_or(Code::Internal)?;
    let body = serde_json::to_string(&reply).map_err(|_| Code::Internal)?;
    Ok(Answer::new(answer.status, body))
}

/// The two tokens of a session.
struct Pair {
    access: Secret,
    refresh: Secret,
}

impl Pair {
    fn fresh() -> Result<Self, Failure> {
        Ok(Self { access: fresh(Kind::Session)?, refresh: fresh(Kind::Refresh)? })
    }

    fn hashes(&self) -> PairHashes {
        PairHashes {
            access: bearer::hash(self.access.expose()),
            refresh: bearer::hash(self.refresh.expose()),
        }
    }

    fn reply(self, answer: Answer) -> Outcome {
        with_tokens(answer, |expires_at| {
            Some(SessionReply {
                token: self.access.expose_str()?.to_owned(),
                refresh_token: self.refresh.expose_str()?.to_owned(),
                expires_at,
            })
        })
    }
}

/// Turns the code of the sign-in page into a session.
#[utoipa::path(
    post,
    path = "/api/cli/exchange",
    operation_id = "exchange_login_code",
    request_body = CodeRequest,
    responses((status = 200, body = SessionReply), Unauthorized)
)]
pub(crate) async fn exchange(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let body = request.body(SMALL_BODY).await?;
    let CodeRequest { code } = typed(&body)?;
    drop(body);
    let code = hash_of(code, Kind::LoginCode, Code::LoginCodeInvalid)?;
    let pair = Pair::fresh()?;
    let answer = gateway.db.exchange_code(&request.origin, &code, &pair.hashes()).await?;
    pair.reply(answer)
}

/// Turns a refresh token into the session's next two tokens.
///
/// Several at once with the same token each get two, and for 30 seconds it may be repeated. One that was replaced for
/// longer ends the session. The device's fingerprint decides nothing: the published client's differs between a shell
/// and a desktop of the same machine.
#[utoipa::path(
    post,
    path = "/api/cli/refresh",
    operation_id = "refresh_session",
    request_body = RefreshRequest,
    responses((status = 200, body = SessionReply), Unauthorized)
)]
pub(crate) async fn refresh(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let body = request.body(SMALL_BODY).await?;
    let RefreshRequest { refresh_token, .. } = typed(&body)?;
    drop(body);
    let shown = hash_of(refresh_token, Kind::Refresh, Code::SessionEnded)?;
    let pair = Pair::fresh()?;
    let answer = gateway.db.refresh_session(&request.origin, &shown, &pair.hashes()).await?;
    pair.reply(answer)
}

/// Lists the account's sessions.
#[utoipa::path(
    get,
    path = "/api/cli/sessions",
    responses((status = 200, body = SessionList)),
    security(("account" = []))
)]
pub(crate) async fn list_sessions(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.list_sessions(&request.origin, &account).await?)
}

/// Ends a session of the account, or the caller's own.
#[utoipa::path(
    delete,
    path = "/api/cli/sessions/{id}",
    params(SessionPath),
    responses((status = 200, body = Done), NotFound),
    security(("account" = []))
)]
pub(crate) async fn end_session(gateway: Arc<Gateway>, request: Request, session: Segment) -> Outcome {
    let account = request.account()?;
    let session = session.decode("the session's id")?;
    Ok(gateway.db.end_session(&request.origin, &account, &session).await?)
}

/// Says whose token it is.
#[utoipa::path(
    get,
    path = "/api/registry/-/whoami",
    responses((status = 200, body = WhoamiReply)),
    security(("account" = []))
)]
pub(crate) async fn whoami(gateway: Arc<Gateway>, request: Request) -> Outcome {
    let account = request.account()?;
    Ok(gateway.db.whoami(&request.origin, &account).await?)
}

/// Replaces the bearer by a successor with the same rights and the same end.
///
/// The bearer is dead at once. For 30 seconds it may be presented here again, by somebody who lost the answer: then there
/// is another successor, and the first one is dead.
#[utoipa::path(
    post,
    path = "/api/registry/-/token/rotate",
    request_body = Empty,
    responses((status = 200, body = RotateReply)),
    security(("account" = []))
)]
pub(crate) async fn rotate_token(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let Empty {} = typed(&body)?;
    let successor = fresh(account.kind().ok_or(Code::Internal)?)?;
    let hash = bearer::hash(successor.expose());
    let answer = gateway.db.rotate_token(&request.origin, &account, &hash).await?;
    with_tokens(answer, |expires_at| {
        Some(RotateReply { token: successor.expose_str()?.to_owned(), expires_at })
    })
}

/// Ends a token of the account with its sessions, and unpairs the account's browsers.
///
/// A session's access or refresh token ends the whole session. The published client names the bearer itself.
#[utoipa::path(
    post,
    path = "/api/registry/tokens/revoke",
    request_body = RevokeTokenRequest,
    responses((status = 200, body = Done), NotFound),
    security(("account" = []))
)]
pub(crate) async fn revoke_token(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let RevokeTokenRequest { token } = typed(&body)?;
    drop(body);
    // one that cannot be a token is one that nobody knows, and the bearer is to be looked at first
    let revoked = bearer::hash(Secret::from(token).expose());
    Ok(gateway.db.revoke_token(&request.origin, &account, &revoked).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_kind_is_refused_before_the_database_is_asked() {
        let text =
            |kind| fresh(kind).ok().and_then(|token| token.expose_str().map(str::to_owned)).expect("ASCII");
        assert!(hash_of(text(Kind::Refresh), Kind::Refresh, Code::SessionEnded).is_ok());
        for other in [text(Kind::Session), text(Kind::PersonalAccess), text(Kind::LoginCode), String::new()] {
            let refused = hash_of(other, Kind::Refresh, Code::SessionEnded).expect_err("another kind");
            assert_eq!(refused.code, Code::SessionEnded);
        }
    }

    #[test]
    fn the_tokens_join_the_answer_of_a_success_only() {
        let pair = Pair::fresh().expect("random bytes");
        let refused = pair.reply(Answer::from(&Failure::new(Code::SessionEnded))).expect("an answer");
        assert!(!refused.body().contains("lpm_"), "{}", refused.body());
        let pair = Pair::fresh().expect("random bytes");
        let issued = Answer::new(200, r#"{"expiresAt":"2026-01-01T00:00:00Z"}"#);
        let reply = pair.reply(issued).expect("an answer");
        let reply: SessionReply = serde_json::from_str(reply.body()).expect("a session");
        assert_eq!(bearer::kind(&reply.token), Some(Kind::Session));
        assert_eq!(bearer::kind(&reply.refresh_token), Some(Kind::Refresh));
        assert_eq!(reply.expires_at, "2026-01-01T00:00:00Z");
    }
}
