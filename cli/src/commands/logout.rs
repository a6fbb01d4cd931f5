//! `lpm logout`: the server ends the session, and this machine forgets it, whatever the server says.

use super::local::done;
use super::sessions::end_own;
use super::{Session, given_token, wait_for};
use crate::args::LogoutArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::credentials::{Login, Store};
use crate::error::Result;
use crate::login;
use crate::output::{note, warn};
use lpm_core::secret::Secret;
use lpm_core::wire::{Done, RevokeTokenRequest};
use reqwest::Method;
use serde_json::json;

/// `lpm logout`.
pub(crate) fn logout(session: &Session, args: &LogoutArgs) -> Result<()> {
    let store = session.login()?;
    let login = store.load();
    let ended = match &login {
        Ok(None) => false,
        Ok(Some(login)) => ends_on_server(session, &store, login, args.revoke),
        Err(error) => {
            warn(format!("{error}: what the server knows of it was not ended"));
            false
        }
    };
    let _lock = store.lock()?;
    // One that the server had ended already is gone by now.
    let removed = store.remove()? || matches!(login, Ok(Some(_)));
    if given_token().is_some() {
        note("LPM_TOKEN is still set, and is no login: unset it");
    }
    let registry = session.registry_url();
    done(
        session,
        json!({ "success": true, "registry": registry, "removed": removed, "ended": ended }),
        || {
            if removed {
                format!("signed out at {registry}")
            } else {
                format!("nobody was signed in at {registry}")
            }
        },
    )
}

/// Ends what the server knows of the login; where that fails there is a warning, and nothing else.
fn ends_on_server(session: &Session, store: &Store, login: &Login, revoke: bool) -> bool {
    if !login.is_session() && !revoke {
        note("the token that was kept here goes on: `lpm logout --revoke` ends it, too");
        return false;
    }
    let ended = session.plain_client().and_then(|client| {
        // An access token that has ended ends nothing.
        let token = login::token(&client, store)?;
        wait_for(async {
            match (login.is_session(), revoke) {
                (true, false) => end_own(&client, &token).await,
                (true, true) => {
                    unpair(&client, &token).await?;
                    revoke_token(&client, &token).await
                }
                (false, _) => revoke_token(&client, &token).await,
            }
        })
    });
    match ended {
        Ok(()) => true,
        // The server does not know it any more.
        Err(error) if error.status() == Some(401) => false,
        Err(error) => {
            warn(format!("the session could not be ended on the server: {error}"));
            note("hint: `lpm sessions`, where you are signed in, shows what is left of it");
            false
        }
    }
}

/// Ends a token, and the session that it belongs to.
async fn revoke_token(client: &Client, token: &Secret) -> Result<()> {
    let body = RevokeTokenRequest { token: token.expose_str().unwrap_or_default().to_owned() };
    let request = Request {
        method: Method::POST,
        path: &["api", "registry", "tokens", "revoke"],
        query: &[],
        body: Some(super::sync::encode(&body)?),
        bearer: Bearer::Account(token),
        retry: Retry::Repeatable,
    };
    client.send::<Done>(&request).await.map(|_| ())
}

/// Unpairs every browser of the account.
pub(crate) async fn unpair(client: &Client, token: &Secret) -> Result<()> {
    let request = Request {
        method: Method::POST,
        path: &["api", "vault", "pair", "revoke-all"],
        query: &[],
        body: Some(Secret::new(b"{}".to_vec())),
        bearer: Bearer::Account(token),
        retry: Retry::Repeatable,
    };
    client.send::<Done>(&request).await.map(|_| ())
}
