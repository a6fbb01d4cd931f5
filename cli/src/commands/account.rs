//! `lpm whoami` and `lpm token-rotate`.

use super::local::done;
use super::{Session, given_token, wait_for};
use crate::client::{Bearer, Client, Request, Retry, typed};
use crate::credentials::Login;
use crate::error::{Error, Result};
use crate::login;
use crate::output::{self, note, printable};
use lpm_core::secret::Secret;
use lpm_core::wire::{RotateReply, WhoamiReply};
use reqwest::Method;
use serde_json::{Value, json};

/// Who the holder of this token is, and the answer as it came.
pub(super) async fn identity(client: &Client, token: &Secret) -> Result<(WhoamiReply, Value)> {
    let request = Request {
        method: Method::GET,
        path: &["api", "registry", "-", "whoami"],
        query: &[],
        body: None,
        bearer: Bearer::Account(token),
        retry: Retry::Repeatable,
    };
    let reply: Value = client.send(&request).await?;
    Ok((typed(&super::sync::encode(&reply)?)?, reply))
}

/// `lpm whoami`.
pub(crate) fn whoami(session: &Session) -> Result<()> {
    let (token, client) = (session.token()?, session.client()?);
    let (who, reply) = wait_for(identity(&client, &token))?;
    if session.json() {
        return output::json(&reply);
    }
    described(&who, session.registry_url(), given_token().is_some()).iter().try_for_each(output::line)
}

fn described(who: &WhoamiReply, registry: &str, given: bool) -> Vec<String> {
    let by = match (given, who.session) {
        (true, _) => "the token of LPM_TOKEN",
        (false, true) => "a login session",
        (false, false) => "a personal access token",
    };
    let mut lines = vec![
        format!("{} at {registry}", printable(&who.username)),
        format!("  plan: {}", printable(&who.plan_tier)),
        format!("  signed in with {by}"),
        format!("  account id: {}", who.id),
    ];
    lines.extend(
        who.organizations.iter().map(|org| format!("  {} of {}", printable(&org.role), printable(&org.slug))),
    );
    lines
}

/// `lpm token-rotate`: the new token goes where the old one came from.
pub(crate) fn rotate(session: &Session) -> Result<()> {
    let client = session.plain_client()?;
    if let Some(token) = given_token() {
        let reply = wait_for(ask(&client, &token))?;
        return print(session, &reply);
    }
    let store = session.login()?;
    // Renewed first where it has ended; that takes the lock, too.
    login::token(&client, &store)?;
    let _lock = store.lock()?;
    let login = store.load()?.ok_or_else(|| login::not_signed_in(store.address()))?;
    // Where nothing can be kept, nothing is replaced.
    store.update(&login)?;
    let reply = wait_for(ask(&client, &login.access))?;
    let (access, expires_at) = (Secret::from(reply.token), reply.expires_at);
    let kept = login.is_session().then(|| expires_at.clone());
    store.update(&Login { access, expires_at: kept, ..login })?;
    done(session, json!({ "success": true, "registry": store.address(), "expiresAt": expires_at }), || {
        format!("the token was replaced; the new one ends {}", printable(&expires_at))
    })
}

async fn ask(client: &Client, token: &Secret) -> Result<RotateReply> {
    let request = Request {
        method: Method::POST,
        path: &["api", "registry", "-", "token", "rotate"],
        query: &[],
        body: Some(Secret::new(b"{}".to_vec())),
        bearer: Bearer::Account(token),
        // For half a minute the server takes the old token again, if its answer was lost.
        retry: Retry::Repeatable,
    };
    let reply: RotateReply = client.send(&request).await?;
    if reply.token.is_empty() {
        return Err(Error::failure("the server's answer is not what this lpm expects: it holds no token"));
    }
    Ok(reply)
}

/// Nobody but the caller can put a new token where `LPM_TOKEN` comes from.
fn print(session: &Session, reply: &RotateReply) -> Result<()> {
    if session.json() {
        return output::json(
            &json!({ "success": true, "token": reply.token, "expiresAt": reply.expires_at }),
        );
    }
    note(format!(
        "the token of LPM_TOKEN has ended; its successor, which ends {}, is on standard output: put it where LPM_TOKEN comes from",
        printable(&reply.expires_at)
    ));
    output::line(&reply.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_who_they_are_and_by_what() {
        let reply = json!({"id": "0192f0c4-0000-4000-8000-000000000001", "username": "alice", "profile_username": "alice",
            "plan_tier": "org", "session": true, "mfa_enabled": false, "has_pool_access": false,
            "organizations": [{"id": "0192f0c4-0000-4000-8000-000000000002", "slug": "ac\u{1b}me", "name": "acme",
                               "role": "admin", "require_2fa": false}],
            "available_scopes": ["alice", "acme"], "usage": {"storage_bytes": 1, "private_packages": 0},
            "limits": {"storageBytes": 0, "privatePackages": 0}});
        let who: WhoamiReply = serde_json::from_value(reply).expect("an answer");
        assert_eq!(
            described(&who, "https://x", false),
            [
                "alice at https://x",
                "  plan: org",
                "  signed in with a login session",
                "  account id: 0192f0c4-0000-4000-8000-000000000001",
                "  admin of ac\\u{1b}me",
            ]
        );
        assert_eq!(described(&who, "https://x", true)[2], "  signed in with the token of LPM_TOKEN");
    }
}
