//! `lpm env restore`: brings a version that the server has kept back as the newest one.
//!
//! Nobody can look into a kept version before it is restored, so it is opened right afterwards; where this
//! machine cannot, what was there before is brought back.

use super::copy::{self, encode};
use super::local::done;
use super::{Session, check_org, confirm, org_sync, wait_for};
use crate::args::RestoreArgs;
use crate::client::{Bearer, Client, Request};
use crate::error::{Error, Result};
use crate::local::Home;
use crate::output::{self, note, printable};
use lpm_core::failure::{Code, Failure};
use lpm_core::secret::Secret;
use lpm_core::wire::{PushReply, RestoreRequest, VersionEntry, VersionList};
use reqwest::Method;
use serde_json::json;

/// `lpm env restore`.
pub(crate) fn restore(session: &Session, args: &RestoreArgs) -> Result<()> {
    let org = args.org.org.as_deref().map(check_org).transpose()?;
    let (token, client, id) = (session.token()?, session.client()?, session.vault()?);
    let versions = wait_for(versions(&client, &token, &id, org))?;
    let Some(wanted) = args.version else { return list(session, &id, org, &versions) };
    let current = versions.iter().find(|entry| entry.current).map(|entry| entry.version);
    let kept = versions.iter().find(|entry| entry.version == wanted).ok_or_else(|| {
        Error::from(Failure::new(Code::VersionUnknown).with("version", wanted.to_string()).with("vault", &id))
    })?;
    if kept.current {
        return Err(Error::failure(format!("version {wanted} is the one that the server has now")));
    }
    let whose = org.map(|org| format!(" of `{org}`")).unwrap_or_default();
    confirm(
        &format!(
            "Replace version {} of vault {id}{whose} by version {wanted} of {}?",
            current.unwrap_or_default(),
            printable(&kept.created_at)
        ),
        args.yes,
    )?;

    let home = session.home()?;
    let reply = wait_for(async {
        let reply = send(&client, &token, &id, org, wanted, current).await?;
        let Err(unopened) = opens(&client, &token, &home, &id, org).await else { return Ok(reply) };
        // Whatever else opens it: this machine cannot, and nobody has asked for that.
        let Some(before) = current else { return Err(unopened) };
        let back = send(&client, &token, &id, org, before, Some(reply.version)).await;
        Err(match back {
            Ok(back) => Error::failure(format!(
                "version {wanted} does not open on this machine ({unopened}), so version {before} was brought back as {}",
                back.version
            ))
            .hint("restore it on the machine that pushed it"),
            Err(error) => Error::failure(format!(
                "version {wanted} was restored as {}, but it does not open on this machine ({unopened}), and version {before} could not be brought back: {error}",
                reply.version
            ))
            .hint(format!("`lpm env restore {before} --yes` brings it back")),
        })
    })?;
    let next = org.map_or("lpm env pull".to_owned(), |org| format!("lpm env pull --org={org}"));
    let document =
        json!({ "success": true, "vaultId": id, "org": org, "restored": wanted, "version": reply.version });
    done(session, document, || {
        format!(
            "version {wanted} of vault {id}{whose} is back as version {}; `{next}` brings it to this machine",
            reply.version
        )
    })
}

fn list(session: &Session, id: &str, org: Option<&str>, versions: &[VersionEntry]) -> Result<()> {
    if session.json() {
        return output::json(&json!({ "vaultId": id, "org": org, "versions": versions }));
    }
    let line = |entry: &VersionEntry| {
        let author = entry.author.as_deref().map(|author| format!("  by {}", printable(author)));
        let current = if entry.current { "  (current)" } else { "" };
        format!(
            "version {}  {}{}{current}",
            entry.version,
            printable(&entry.created_at),
            author.unwrap_or_default()
        )
    };
    versions.iter().try_for_each(|entry| output::line(line(entry)))?;
    if versions.len() < 2 {
        note("the server has kept no version before this one");
    }
    Ok(())
}

async fn versions(client: &Client, token: &Secret, id: &str, org: Option<&str>) -> Result<Vec<VersionEntry>> {
    let query: Vec<(&str, &str)> = org.iter().map(|org| ("org", *org)).collect();
    let path = ["api", "vaults", id, "versions"];
    let list: VersionList = client.send(&Request::read(&path, &query, Bearer::Account(token))).await?;
    Ok(list.versions)
}

async fn send(
    client: &Client,
    token: &Secret,
    id: &str,
    org: Option<&str>,
    version: i32,
    expected_version: Option<i32>,
) -> Result<PushReply> {
    let body = encode(&RestoreRequest { version, expected_version, org: org.map(str::to_owned) })?;
    let path = ["api", "vaults", id, "restore"];
    client.send(&Request::change(Method::POST, &path, Some(body), Bearer::Account(token))).await
}

/// Whether this machine opens what the server has now.
async fn opens(client: &Client, token: &Secret, home: &Home, id: &str, org: Option<&str>) -> Result<()> {
    let (key, blob) = match org {
        None => {
            let reply = copy::fetch(client, token, id).await?;
            (copy::key_of_copy(&reply, &home.opening_keys()?, token, false)?.key, reply.encrypted_blob)
        }
        Some(org) => {
            let reply = org_sync::fetch(client, token, id, org).await?;
            let identity = home.identity()?;
            let key = identity.and_then(|identity| org_sync::key_of_copy(&reply, &identity));
            (
                key.ok_or_else(|| Error::failure("it was not shared with this machine's org key"))?,
                reply.encrypted_blob,
            )
        }
    };
    copy::read_blob(&key, &blob).map(drop)
}
