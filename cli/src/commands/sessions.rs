//! `lpm sessions`: where the account is signed in, and the end of that.

use super::local::done;
use super::{Session, wait_for};
use crate::args::{EndArgs, SessionsCommand};
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::output::{self, note, printable};
use lpm_core::secret::Secret;
use lpm_core::wire::{Done, SessionEntry, SessionList};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

/// `lpm sessions`, `lpm sessions end`.
pub(crate) fn sessions(session: &Session, command: Option<SessionsCommand>) -> Result<()> {
    match command {
        None => show(session),
        Some(SessionsCommand::End(args)) => end(session, &args),
    }
}

async fn list(client: &Client, token: &Secret) -> Result<Vec<SessionEntry>> {
    let request = Request {
        method: Method::GET,
        path: &["api", "cli", "sessions"],
        query: &[],
        body: None,
        bearer: Bearer::Account(token),
        retry: Retry::Repeatable,
    };
    Ok(client.send::<SessionList>(&request).await?.sessions)
}

async fn end_by_id(client: &Client, token: &Secret, id: Uuid) -> Result<()> {
    let request = Request {
        method: Method::DELETE,
        path: &["api", "cli", "sessions", &id.to_string()],
        query: &[],
        body: None,
        bearer: Bearer::Account(token),
        retry: Retry::Unsent,
    };
    client.send::<Done>(&request).await.map(|_| ())
}

/// Ends the session that this token belongs to, and nothing else: revoking the token would unpair browsers, too.
pub(super) async fn end_own(client: &Client, token: &Secret) -> Result<()> {
    match list(client, token).await?.iter().find(|entry| entry.current) {
        Some(entry) => end_by_id(client, token, entry.id).await,
        None => Ok(()),
    }
}

fn show(session: &Session) -> Result<()> {
    let (token, client) = (session.token()?, session.client()?);
    let sessions = wait_for(list(&client, &token))?;
    if session.json() {
        return output::json(&json!({ "sessions": sessions }));
    }
    if sessions.is_empty() {
        note("no login sessions: `lpm login` begins one");
    }
    sessions.iter().try_for_each(|entry| described(entry).iter().try_for_each(output::line))
}

fn described(entry: &SessionEntry) -> [String; 2] {
    let this = if entry.current { "  (this one)" } else { "" };
    [
        format!("{}  {}{this}", entry.id, printable(&entry.device)),
        format!(
            "    since {}, last renewed {}, ends {} unless renewed",
            printable(&entry.created_at),
            printable(&entry.refreshed_at),
            printable(&entry.expires_at)
        ),
    ]
}

fn end(session: &Session, args: &EndArgs) -> Result<()> {
    // Not repeated: whoever takes the place of the id for that of a token has put one there.
    let id = Uuid::parse_str(args.id.trim())
        .map_err(|_| Error::usage("that is no session's id").hint("`lpm sessions` shows them"))?;
    let (token, client) = (session.token()?, session.client()?);
    let is_own = wait_for(async {
        let is_own = list(&client, &token).await?.iter().any(|entry| entry.id == id && entry.current);
        end_by_id(&client, &token, id).await.map(|()| is_own)
    })?;
    if is_own && super::given_token().is_none() {
        let store = session.login()?;
        let _lock = store.lock()?;
        store.remove()?;
    }
    done(session, json!({ "success": true, "id": id, "current": is_own }), || {
        let this = if is_own { ", which was this machine's: `lpm login` begins another" } else { "" };
        format!("ended the session {id}{this}")
    })
}
