//! Pairing: a browser gets the wrapping key that a command line has sealed for it. Nothing here can open it.

use super::{Gateway, Outcome};
use crate::openapi::parameters::CodePath;
use crate::openapi::refusals::{Gone, TooMany};
use crate::request::{Request, SMALL_BODY, Segment, bad, short, typed};
use lpm_core::envelope::{EnvelopeError, aead, pairing};
use lpm_core::failure::Failure;
use lpm_core::wire::{
    ApprovePairingRequest, ConsumePairingReply, Done, Empty, PairingReply, StartPairingReply,
    StartPairingRequest,
};
use std::sync::Arc;

/// Of so many codes one is free, unless a billion people pair at once.
const CANDIDATES: usize = 3;

/// The code in a path, as it was shown.
fn code(segment: &Segment) -> Result<String, Failure> {
    let text = segment.decode("the pairing code")?;
    pairing::parse_code(&text).ok_or_else(|| bad("a pairing code has six letters and digits"))
}

/// Starts a pairing, for a browser.
#[utoipa::path(
    post,
    path = "/api/vault/pair",
    operation_id = "start_pairing",
    request_body = StartPairingRequest,
    responses((status = 201, body = StartPairingReply)),
    security(("session" = []))
)]
pub(crate) async fn start(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let asked: StartPairingRequest = typed(&body)?;
    pairing::public_key(&asked.browser_public_key, "browserPublicKey").map_err(|error| error.failure())?;
    short("`deviceLabel`", asked.device_label.as_deref().unwrap_or_default())?;
    let codes: Result<Vec<String>, EnvelopeError> =
        (0..CANDIDATES).map(|_| Ok(pairing::code(&aead::random()?))).collect();
    let codes = codes.map_err(|error| error.failure())?;
    Ok(gateway.db.start_pairing(&request.origin, &account, &codes, &asked).await?)
}

/// Shows the browser's key, for a command line.
///
/// Five wrong codes of an account in ten minutes are too many, and codes of other accounts are wrong ones.
#[utoipa::path(
    get,
    path = "/api/vault/pair/{code}",
    operation_id = "show_pairing",
    params(CodePath),
    responses((status = 200, body = PairingReply), TooMany),
    security(("session" = []))
)]
pub(crate) async fn show(gateway: Arc<Gateway>, request: Request, segment: Segment) -> Outcome {
    let account = request.account()?;
    let code = code(&segment)?;
    Ok(gateway.db.show_pairing(&request.origin, &account, &code).await?)
}

/// Takes what the command line sealed for the browser, once.
#[utoipa::path(
    post,
    path = "/api/vault/pair/{code}",
    operation_id = "approve_pairing",
    params(CodePath),
    request_body = ApprovePairingRequest,
    responses((status = 200, body = Done), Gone, TooMany),
    security(("session" = []))
)]
pub(crate) async fn approve(gateway: Arc<Gateway>, mut request: Request, segment: Segment) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let sealed: ApprovePairingRequest = typed(&body)?;
    let code = code(&segment)?;
    pairing::check_sealed_key(&sealed.encrypted_wrapping_key)
        .and_then(|()| pairing::public_key(&sealed.ephemeral_public_key, "ephemeralPublicKey"))
        .map_err(|error| error.failure())?;
    Ok(gateway.db.approve_pairing(&request.origin, &account, &code, &sealed).await?)
}

/// Hands it to the browser that asked, once.
#[utoipa::path(
    post,
    path = "/api/vault/pair/{code}/consume",
    operation_id = "consume_pairing",
    params(CodePath),
    request_body = Empty,
    responses((status = 200, body = ConsumePairingReply)),
    security(("session" = []))
)]
pub(crate) async fn consume(gateway: Arc<Gateway>, mut request: Request, segment: Segment) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let Empty {} = typed(&body)?;
    let code = code(&segment)?;
    Ok(gateway.db.consume_pairing(&request.origin, &account, &code).await?)
}

/// Unpairs every browser of the account, and ends their sessions.
#[utoipa::path(
    post,
    path = "/api/vault/pair/revoke-all",
    operation_id = "revoke_pairings",
    request_body = Empty,
    responses((status = 200, body = Done)),
    security(("session" = []))
)]
pub(crate) async fn revoke_all(gateway: Arc<Gateway>, mut request: Request) -> Outcome {
    let (account, body) = request.account_and_body(SMALL_BODY).await?;
    let Empty {} = typed(&body)?;
    Ok(gateway.db.revoke_pairings(&request.origin, &account).await?)
}
