//! The tokens of a login session: read, and renewed before they end or when the server says that they have.

use crate::client::{Bearer, Client, Request, Retry};
use crate::commands::wait_for;
use crate::credentials::{Login, Store};
use crate::error::{Error, Result};
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::wire::{RefreshRequest, SessionReply};
use reqwest::Method;
use std::time::{Duration, SystemTime};

/// Renewed are tokens that end within this: a request takes a while, and clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// The access token of the stored login, renewed first where it is about to end.
pub(crate) fn token(client: &Client, store: &Store) -> Result<Secret> {
    let login = store.load()?.ok_or_else(|| not_signed_in(store.address()))?;
    if !login.is_session() || !login.ends_within(MARGIN, SystemTime::now()) {
        return Ok(login.access);
    }
    match wait_for(renew(client, store, &login.access)) {
        // Nobody answered, but the token is good for some seconds more.
        Err(error)
            if error.status() != Some(401) && !login.ends_within(Duration::ZERO, SystemTime::now()) =>
        {
            Ok(login.access)
        }
        token => token,
    }
}

/// The access token after `used`, which is refused or about to end.
///
/// Of several processes that need it at once, one asks for it: the others wait for the lock and find it.
pub(crate) async fn renew(client: &Client, store: &Store, used: &Secret) -> Result<Secret> {
    let _lock = store.lock()?;
    let login = store.load()?.ok_or_else(|| not_signed_in(store.address()))?;
    if login.access.expose() != used.expose() {
        return Ok(login.access);
    }
    let Some(refresh) = &login.refresh else { return Err(Failure::new(Code::Unauthorized).into()) };
    let body = RefreshRequest {
        refresh_token: refresh.expose_str().unwrap_or_default().to_owned(),
        device_fingerprint: Some(super::fingerprint()),
    };
    let request = Request {
        method: Method::POST,
        path: &["api", "cli", "refresh"],
        query: &[],
        body: Some(crate::commands::sync::encode(&body)?),
        bearer: Bearer::Nobody,
        // The server answers the same refresh token again for half a minute.
        retry: Retry::Repeatable,
    };
    match client.send::<SessionReply>(&request).await {
        Ok(reply) => {
            let login = from_reply(reply, login.handle)?;
            store.update(&login)?;
            Ok(login.access)
        }
        Err(error) if error.status() == Some(401) => {
            store.remove()?;
            Err(ended(error, store.address()))
        }
        Err(error) => Err(error),
    }
}

/// The login that the server's tokens make.
pub(crate) fn from_reply(reply: SessionReply, handle: String) -> Result<Login> {
    if reply.token.is_empty() || reply.refresh_token.is_empty() {
        return Err(Error::failure("the server's answer is not what this lpm expects: it holds no tokens"));
    }
    Ok(Login {
        handle,
        access: Secret::from(reply.token),
        refresh: Some(Secret::from(reply.refresh_token)),
        expires_at: Some(reply.expires_at),
    })
}

/// There is no token.
pub(crate) fn not_signed_in(address: &str) -> Error {
    let failure = Failure::new(Code::Unauthorized);
    let message = format!("you are not signed in at `{address}`, and LPM_TOKEN is not set");
    Error::answered(message, Some(failure.code.as_str().to_owned()), failure.code.exit_code())
        .hint(failure.hint())
}

/// The server does not know the session any more; its own words where it says why.
fn ended(error: Error, address: &str) -> Error {
    let reused = Code::SessionReused;
    if error.code() == reused.as_str() {
        return error;
    }
    let failure = Failure::new(Code::SessionEnded);
    Error::answered(
        format!("the login session at `{address}` has ended, and was removed from this machine"),
        Some(failure.code.as_str().to_owned()),
        failure.code.exit_code(),
    )
    .hint(failure.hint())
    .with_status(401)
}
