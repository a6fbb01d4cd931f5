//! `lpm login`: the browser signs in, and this machine gets a session of its own.

use super::account::identity;
use super::local::done;
use super::sessions::end_own;
use super::{Session, given_token, wait_for};
use crate::args::LoginArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::credentials::{Login, Place, Store};
use crate::error::{Error, Result};
use crate::login::{Listener, device_name, fingerprint, from_reply, open};
use crate::output::{note, warn};
use lpm_core::failure::presentable;
use lpm_core::secret::Secret;
use lpm_core::wire::{CodeRequest, SessionReply, WhoamiReply};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{IsTerminal, Read};
use std::time::Duration;
use zeroize::Zeroizing;

/// `lpm login`.
pub(crate) fn login(session: &Session, args: &LoginArgs) -> Result<()> {
    let (client, store) = (session.plain_client()?, session.login()?);
    let (login, who) =
        if args.with_token { with_token(&client)? } else { wait_for(with_browser(&client, args))? };
    let _lock = store.lock()?;
    // Whoever was signed in here before cannot be any more, so that session is of no use to anybody.
    let before = store.load().ok().flatten();
    let place = match keep(&store, &login) {
        Ok(place) => place,
        Err(error) => {
            forget(&client, &login);
            return Err(error);
        }
    };
    if let Some(before) = before.filter(Login::is_session) {
        forget(&client, &before);
    }
    if given_token().is_some() {
        warn("LPM_TOKEN is set and wins over this login: unset it");
    }
    let kept = match place {
        Place::Keychain => "keychain",
        Place::File => "file",
    };
    let document = json!({ "success": true, "registry": session.registry_url(), "username": who.username,
                           "session": login.is_session(), "expiresAt": login.expires_at, "keptIn": kept });
    done(session, document, || {
        format!("signed in at {} as {}", session.registry_url(), presentable(&who.username))
    })
}

/// Keeps the login; afterwards it can be read.
fn keep(store: &Store, login: &Login) -> Result<Place> {
    // One that cannot be read (its mode, its content) would stay in the way.
    if store.load().is_err() {
        store.remove()?;
    }
    store.begin(login)
}

/// Ends a session that nobody will use.
fn forget(client: &Client, login: &Login) {
    if login.is_session() {
        // It ends by itself in a month.
        let _ = wait_for(end_own(client, &login.access));
    }
}

/// The page, the browser, the code, the session, and who that is.
async fn with_browser(client: &Client, args: &LoginArgs) -> Result<(Login, WhoamiReply)> {
    reachable(client).await?;
    let listener = Listener::bind().await?;
    let (port, device, fingerprint) = (listener.port().to_string(), device_name(), fingerprint());
    let query = [("port", port.as_str()), ("state", listener.state()), ("fp", &fingerprint), ("dn", &device)];
    let page = client.page(&["cli", "login"], &query)?;
    if args.no_browser || !open(page.as_str()) {
        note(format!("to sign in, open this address in a browser on this machine:\n\n    {page}\n"));
    } else {
        note(format!("to sign in, continue in the browser; if none has opened:\n\n    {page}\n"));
    }
    let code = listener.code(Duration::from_secs(args.wait)).await?;
    let login = exchange(client, &code).await?;
    match identity(client, &login.access).await {
        Ok((who, _)) => Ok((Login { handle: who.username.clone(), ..login }, who)),
        Err(error) => {
            let _ = end_own(client, &login.access).await;
            Err(error)
        }
    }
}

/// Whether a gateway is there at all, before anybody is sent to it and waited for.
async fn reachable(client: &Client) -> Result<()> {
    const PATH: [&str; 4] = ["api", "registry", "-", "whoami"];
    let request = Request {
        method: Method::GET,
        path: &PATH,
        query: &[],
        body: None,
        bearer: Bearer::Nobody,
        retry: Retry::Repeatable,
    };
    match client.send::<Value>(&request).await {
        Err(error) if error.status() == Some(401) => Ok(()),
        Err(error) if error.status() == Some(404) => {
            Err(Error::failure("the server is no gateway that one can sign in at")
                .hint("is LPM_REGISTRY_URL a gateway of this version?"))
        }
        Err(error) => Err(error),
        // It knows somebody without a token: not our business.
        Ok(_) => Ok(()),
    }
}

/// The session that the code buys.
async fn exchange(client: &Client, code: &Secret) -> Result<Login> {
    let body = CodeRequest { code: code.expose_str().unwrap_or_default().to_owned() };
    let request = Request {
        method: Method::POST,
        path: &["api", "cli", "exchange"],
        query: &[],
        body: Some(super::sync::encode(&body)?),
        bearer: Bearer::Nobody,
        // A code is good once: an answer that was lost has used it up.
        retry: Retry::Undone,
    };
    from_reply(client.send::<SessionReply>(&request).await?, String::new())
}

/// A personal access token, as it is.
fn with_token(client: &Client) -> Result<(Login, WhoamiReply)> {
    let access = read_token()?;
    let (who, _) = wait_for(identity(client, &access))?;
    if who.session {
        return Err(Error::usage("that is the token of a login session, which ends within the hour")
            .hint("use a personal access token, or `lpm login`"));
    }
    Ok((Login { handle: who.username.clone(), access, refresh: None, expires_at: None }, who))
}

/// A token from the terminal, without being shown, or from standard input.
fn read_token() -> Result<Secret> {
    let failed = |error: std::io::Error| Error::failure(format!("cannot read the token: {error}"));
    let mut stdin = std::io::stdin();
    let text = if stdin.is_terminal() {
        Zeroizing::new(rpassword::prompt_password("personal access token: ").map_err(failed)?)
    } else {
        let mut text = Zeroizing::new(String::new());
        stdin.read_to_string(&mut text).map_err(failed)?;
        text
    };
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(Error::usage("standard input holds no token, or more than one")
            .hint("a DBA makes one with `select lpm.create_token('you', name => 'laptop')`"));
    }
    Ok(Secret::from(token.to_owned()))
}
