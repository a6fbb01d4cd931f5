//! `lpm env push`, `pull` and `log`: the vault between this machine and the server, as ciphertext.

use super::local::{Changes, done};
use super::{Session, wait_for};
use crate::args::{LogArgs, PullArgs, PushArgs};
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::library;
use crate::output::{self, Sink, note, variables, warn};
use lpm_core::envelope::share::legacy_wrapping_key;
use lpm_core::envelope::{aead, vault};
use lpm_core::environment::Environments;
use lpm_core::failure::{exit, presentable};
use lpm_core::secret::Secret;
use lpm_core::wire::{PullReply, PushReply, PushRequest};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

/// `lpm env push`: encrypts everything under a fresh key and uploads it.
pub(crate) fn push(session: &mut Session, args: &PushArgs) -> Result<()> {
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault()?;
    let home = session.home()?;
    let local = home.vault(&id);
    let all = local.load()?;
    if all.count() == 0 {
        return Err(Error::failure("the vault is empty on this machine, nothing to push")
            .hint("`lpm env set KEY` begins it"));
    }
    let (encrypted_blob, wrapped_key) = seal(&all, &home.wrapping_key_or_new()?)?;
    let of_project = session.is_projects(&id);
    let expected = if args.force { None } else { local.version()? };
    let request = PushRequest {
        encrypted_blob,
        wrapped_key,
        expected_version: expected,
        force: args.force,
        name: session.project.name().filter(|_| of_project),
        schema: if of_project { Some(session.project.schema()?) } else { None },
        escrow: None,
    };
    let reply: PushReply = wait_for(client.send(&Request {
        method: Method::POST,
        path: &["api", "vaults", &id, "sync"],
        query: &[],
        body: Some(encode(&request)?),
        bearer: Bearer::Signed(&token),
        retry: Retry::Unsent,
    }))?;
    local.set_version(reply.version)?;
    remember(session, &id, reply.version, reply.owner)?;
    let (environments, count) = (all.0.values().filter(|vars| !vars.is_empty()).count(), all.count());
    let document = json!({ "success": true, "vaultId": id, "version": reply.version, "status": reply.status,
                           "environments": environments, "count": count });
    done(session, document, || {
        format!("pushed {} as version {} of vault {id}", variables(count), reply.version)
    })
}

/// The payload under a key of its own, and that key under the wrapping key.
fn seal(all: &Environments, wrapping_key: &Secret) -> Result<(String, String)> {
    let key = Zeroizing::new(aead::random::<32>().map_err(library)?);
    let key = Secret::new(key.to_vec());
    let payload = all.to_payload();
    let blob =
        vault::seal_blob(&key, &aead::random().map_err(library)?, payload.expose()).map_err(library)?;
    let wrapped = vault::wrap_key(wrapping_key, &aead::random().map_err(library)?, &key).map_err(library)?;
    Ok((blob, wrapped))
}

/// `lpm env pull`: replaces the variables of this machine by the server's.
pub(crate) fn pull(session: &mut Session, args: &PullArgs) -> Result<()> {
    let wants_output = args.output.output.is_some() || args.output.format.is_some();
    let sink = if wants_output {
        Some((Sink::new(&args.output, session.json())?, session.environment(&args.environment)?))
    } else {
        None
    };
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault()?;
    let reply = wait_for(fetch(&client, &token, &id))?;
    let home = session.home()?;
    let new = open(&reply, home.wrapping_key()?.as_ref(), &token, args.accept_legacy_key)?;

    let local = home.vault(&id);
    let lock = local.lock()?;
    let old = match local.load() {
        Err(_) if args.force => Environments::default(),
        old => old?,
    };
    if new.count() == 0 && old.count() > 0 && !args.force {
        return Err(Error::failure(format!(
            "the server's vault is empty and this machine has {}, so nothing was replaced",
            variables(old.count())
        ))
        .hint("`lpm env pull --force` deletes them here, `lpm env push --force` uploads them"));
    }
    let changes = Changes::of_vault(&old, &new);
    local.save(&new)?;
    local.set_version(reply.version)?;
    drop(lock);
    remember(session, &id, reply.version, reply.owner)?;

    let count = new.count();
    if !session.json() {
        note(format!("pulled version {} of vault {id}, {}: {changes}", reply.version, variables(count)));
    }
    match sink {
        Some((sink, environment)) => {
            sink.write(&environment, "Pulled from the vault", &super::local::vars(session, &environment)?)
        }
        None if session.json() => {
            let environments: serde_json::Map<_, _> =
                new.0.iter().map(|(name, vars)| (name.clone(), vars.len().into())).collect();
            output::json(
                &json!({ "success": true, "vaultId": id, "version": reply.version, "environments": environments,
                                  "count": count, "added": changes.added, "changed": changes.changed, "removed": changes.removed }),
            )
        }
        None => Ok(()),
    }
}

/// The server's copy of a vault.
pub(crate) async fn fetch(client: &Client, token: &Secret, id: &str) -> Result<PullReply> {
    let request = Request {
        method: Method::GET,
        path: &["api", "vaults", id, "sync"],
        query: &[],
        body: None,
        bearer: Bearer::Signed(token),
        retry: Retry::Repeatable,
    };
    client.send(&request).await
}

/// Opens the server's copy.
fn open(
    reply: &PullReply,
    wrapping_key: Option<&Secret>,
    token: &Secret,
    accept_legacy: bool,
) -> Result<Environments> {
    let key = key_of_copy(reply, wrapping_key, token, accept_legacy)?;
    let damaged =
        |_| Error::failure("the server's copy of the vault is damaged: it does not open with its own key");
    let payload = vault::open_blob(&key, &reply.encrypted_blob).map_err(damaged)?;
    Environments::parse(&payload).map_err(|error| error.failure().into())
}

/// The key of the server's copy, with this machine's key.
///
/// Only that key shows that the copy comes from one of the account's machines. The one that very old clients
/// derived shows that somebody had the token, whoever that is, so it counts only where the user says so.
pub(crate) fn key_of_copy(
    reply: &PullReply,
    wrapping_key: Option<&Secret>,
    token: &Secret,
    accept_legacy: bool,
) -> Result<Secret> {
    let opened = |key: &Secret| vault::open_wrapped_key(key, &reply.wrapped_key).ok();
    if let Some(key) = wrapping_key.and_then(opened) {
        return Ok(key);
    }
    let key = opened(&legacy_wrapping_key(token)).ok_or_else(|| does_not_open(wrapping_key.is_some()))?;
    if !accept_legacy {
        return Err(anybody_with_the_token());
    }
    warn(
        "the vault is encrypted under the old key, which anybody with the token can make: `lpm env push` ends that",
    );
    Ok(key)
}

/// The key of the server's copy proves nothing about who made it.
fn anybody_with_the_token() -> Error {
    let message = "the server's copy of the vault is sealed under the old key, which anybody with the token can make, so it may be forged";
    Error::answered(message, Some("legacy_key".to_owned()), exit::DENIED).hint(
        "if an older client of yours pushed it on purpose: `lpm env pull --accept-legacy-key`; if none did, the token is in other hands: have it revoked, then `lpm env push --force` from a machine whose variables are right",
    )
}

/// Another machine's key has encrypted the vault.
fn does_not_open(has_key: bool) -> Error {
    let what = if has_key {
        "this machine's vault key does not open the server's copy"
    } else {
        "this machine has no vault key"
    };
    Error::failure(what).hint("copy ~/.lpm/.vault-key from the machine that pushed last, or push from there")
}

/// Notes in `lpm.json` what the server said about its vault.
pub(crate) fn remember(session: &mut Session, id: &str, version: i32, owner: Uuid) -> Result<()> {
    if !session.is_projects(id) {
        return Ok(());
    }
    let before = (session.project.version(), session.project.owner()?);
    session.project.set_version(version);
    match before.1 {
        // The id may be somebody else's, of whom a colleague committed it: only `allow` proves whose it is.
        Some(known) if known != owner => {
            warn(format!("lpm.json says that the vault belongs to {known}; this copy is your own ({owner})"));
        }
        _ => session.project.set_owner(owner),
    }
    if before == (Some(version), session.project.owner()?) { Ok(()) } else { session.project.save() }
}

/// `lpm env log`.
pub(crate) fn log(session: &Session, args: &LogArgs) -> Result<()> {
    let (token, client, id) = (session.token()?, session.client()?, session.vault()?);
    let (entries, next) = wait_for(async {
        let mut entries: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let request = Request {
                method: Method::GET,
                path: &["api", "vaults", &id, "audit"],
                query: &query,
                body: None,
                bearer: Bearer::Account(&token),
                retry: Retry::Repeatable,
            };
            let page: Value = client.send(&request).await?;
            entries.extend(page["entries"].as_array().cloned().unwrap_or_default());
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || !args.all {
                return Ok((entries, cursor));
            }
        }
    })?;
    if session.json() {
        return output::json(&json!({ "entries": entries, "nextCursor": next }));
    }
    if next.is_some() {
        note("these are the last 50 entries; `--all` shows the others");
    }
    entries.iter().try_for_each(|entry| output::line(described(entry)))
}

/// One entry in one line: when, what, and what else is known.
fn described(entry: &Value) -> String {
    const FIRST: [&str; 2] = ["decision", "reason"];
    let text = |value: &Value| match value {
        Value::String(text) => Some(presentable(text)),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let mut line: Vec<String> =
        ["createdAt", "action"].iter().filter_map(|name| text(&entry[*name])).collect();
    let metadata = &entry["metadata"];
    line.extend(FIRST.iter().filter_map(|name| text(&metadata[*name])));
    let rest = metadata.as_object().into_iter().flatten().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    line.extend(rest.filter_map(|(name, value)| Some(format!("{}={}", presentable(name), text(value)?))));
    line.join("  ")
}

/// A body as JSON.
pub(crate) fn encode(body: &impl serde::Serialize) -> Result<Secret> {
    serde_json::to_vec(body).map(Secret::new).map_err(|error| Error::failure(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::environment::Text;

    // Known answers of the published client's formats.
    const WRAPPING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BLOB: &str = "AAECAwQFBgcICQoL:J3A4yTxcmYPSlKyoUgB8BmhSjQEMcNN9UC/pwZnAm9FzlVdkOSVmloFWy8r/6QaTdkuythUAo6ecH2DGRtwPxyq0/ziL8Z6pIQ7yBjoNkvrpH6XJ4lwCUjSUWFKhY9kyLAs15VMHbvCDJkDi/30SHadPmoLYEpQytCs=";
    const WRAPPED: &str = "DA0ODxAREhMUFRYX:uN9L+1tT2nQfA2L+vaYIyGUy393CSA2do5vA29id/sVYYvcCMp7I31GyTfZG581N";

    fn key(hex_digits: &str) -> Secret {
        Secret::new(hex::decode(hex_digits).expect("hex"))
    }

    fn reply(blob: &str, wrapped: &str) -> PullReply {
        PullReply {
            vault_id: "v".into(),
            encrypted_blob: blob.into(),
            wrapped_key: wrapped.into(),
            version: 1,
            owner: Uuid::nil(),
        }
    }

    fn token() -> Secret {
        Secret::from("lpm_test_token_abc123".to_owned())
    }

    #[test]
    fn the_published_clients_vault_opens() {
        let all = open(&reply(BLOB, WRAPPED), Some(&key(WRAPPING_KEY)), &token(), false).expect("it opens");
        assert_eq!(all.0["production"]["API_KEY"].expose(), "sk-live");
        assert_eq!(all.count(), 3);
    }

    #[test]
    fn what_is_sealed_opens_and_every_push_encrypts_anew() {
        let mut all = Environments::default();
        all.0.entry("production".into()).or_default().insert("A".into(), Text::from("s3cret"));
        let (blob, wrapped) = seal(&all, &key(WRAPPING_KEY)).expect("sealed");
        assert!(!blob.contains("s3cret"));
        let opened =
            open(&reply(&blob, &wrapped), Some(&key(WRAPPING_KEY)), &token(), false).expect("it opens");
        assert_eq!(opened.0["production"]["A"].expose(), "s3cret");
        let (again, wrapped_again) = seal(&all, &key(WRAPPING_KEY)).expect("sealed");
        assert!(again != blob && wrapped_again != wrapped);
        assert!(
            open(&reply(&again, &wrapped), Some(&key(WRAPPING_KEY)), &token(), false).is_err(),
            "another push's key"
        );
    }

    // The published client's key for this token.
    const LEGACY: &str = "b1cbf2700ebc4414a501b5ddb9614926b5e7e1ea41c17e9d17b1a9744937eb1a";

    #[test]
    fn a_vault_under_the_old_derived_key_opens_only_where_that_is_accepted() {
        let (blob, wrapped) = seal(&Environments::default(), &key(LEGACY)).expect("sealed");
        let copy = reply(&blob, &wrapped);
        for (case, own) in [("beside an own key", Some(key(WRAPPING_KEY))), ("without one", None)] {
            let error = open(&copy, own.as_ref(), &token(), false).err().expect(case);
            assert_eq!((error.exit_code(), error.code()), (exit::DENIED, "legacy_key"), "{case}");
            let said = error.lines().join("; ");
            for part in
                ["sealed under the old key", "anybody with the token", "lpm env pull --accept-legacy-key"]
            {
                assert!(said.contains(part), "{case}: {said}");
            }
            assert!(open(&copy, own.as_ref(), &token(), true).is_ok(), "{case}");
            let other = Secret::from("lpm_test_token_other".to_owned());
            let error = open(&copy, own.as_ref(), &other, true).err().expect(case);
            assert_eq!(error.code(), "failure", "{case}: another token's key is nobody's");
        }
    }

    #[test]
    fn another_machines_vault_is_refused_with_what_to_do() {
        let other = key(&"ab".repeat(32));
        let damaged = BLOB.replace("J3A4", "J3A5");
        for accept_legacy in [false, true] {
            let refused = |blob: &str, wrapped: &str, key: Option<&Secret>| {
                let error = open(&reply(blob, wrapped), key, &token(), accept_legacy).err();
                error.expect("it does not open").lines().join("; ")
            };
            let own = key(WRAPPING_KEY);
            assert!(refused(BLOB, WRAPPED, Some(&other)).contains("copy ~/.lpm/.vault-key"));
            assert!(refused(BLOB, WRAPPED, None).contains("has no vault key"));
            assert!(refused(BLOB, "nonsense", Some(&own)).contains("does not open the server's copy"));
            assert!(refused(&damaged, WRAPPED, Some(&own)).contains("is damaged"));
        }
    }

    #[test]
    fn an_entry_is_one_line_without_control_characters() {
        let entry = json!({"id": "1", "action": "ci_pull", "createdAt": "2026-01-01T00:00:00Z",
            "metadata": {"repo": "acme/web", "branch": "a\nb", "decision": "denied", "reason": "branch_not_allowed", "x": null}});
        assert_eq!(
            described(&entry),
            "2026-01-01T00:00:00Z  ci_pull  denied  branch_not_allowed  branch=a\\u{a}b  repo=acme/web"
        );
        assert_eq!(described(&json!({"action": "push", "createdAt": "t", "metadata": null})), "t  push");
    }
}
