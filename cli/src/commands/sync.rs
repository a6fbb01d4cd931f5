//! `lpm env push` and `pull`: the vault between this machine and the server, as ciphertext.

pub(crate) use super::copy::encode;
use super::copy::{self, Upload, upload};
use super::escrow::{self, Ci};
use super::local::{Changes, done};
use super::{Session, check_org, org_sync, wait_for};
use crate::args::{PullArgs, PushArgs};
use crate::client::Client;
use crate::error::{Error, Result};
use crate::output::{self, Sink, note, variables, warn};
use lpm_core::environment::Environments;
use lpm_core::secret::Secret;
use serde_json::json;
use uuid::Uuid;

/// `lpm env push`: encrypts everything under a fresh key and uploads it.
pub(crate) fn push(session: &mut Session, args: &PushArgs) -> Result<()> {
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault()?;
    let home = session.home()?;
    let _key = home.use_key()?;
    let local = home.vault(&id);
    let all = local.load()?;
    if all.count() == 0 {
        return Err(Error::failure("the vault is empty on this machine, nothing to push")
            .hint("`lpm env set KEY` begins it"));
    }
    let of_project = session.is_projects(&id);
    let about = if of_project { Some((session.project.name(), session.project.schema()?)) } else { None };
    let expected = if args.force { None } else { local.version(None)? };
    let accepted = args.escrow_key.accept_escrow_key.as_deref();
    let trusted = session.trusted_escrow_key(&id, None);
    let wrapping_key = home.wrapping_key_or_new()?;
    let payload = all.to_payload();
    let (reply, ci) = wait_for(async {
        let ci = escrow::for_push((&client, &token), (&id, None), trusted, accepted).await?;
        let (payload, wrapping_key) = (&payload, &wrapping_key);
        let push = Upload { id: &id, payload, wrapping_key, expected, force: args.force, about, ci: &ci };
        Ok((upload(&client, &token, push).await?, ci))
    })?;
    local.set_version(None, reply.version)?;
    if let Ci::Sealed(key) = &ci {
        local.set_escrow_key(Some(&key.fingerprint))?;
    }
    session.keep_escrow_key(&id, None, ci.accepted(accepted))?;
    remember(session, &id, reply.version, reply.owner)?;
    ci.warn("lpm env push", None);
    let (environments, count) = (all.0.values().filter(|vars| !vars.is_empty()).count(), all.count());
    let document = json!({ "success": true, "vaultId": id, "version": reply.version, "status": reply.status,
                           "environments": environments, "count": count, "ci": ci.as_str() });
    done(session, document, || {
        format!("pushed {} as version {} of vault {id}", variables(count), reply.version)
    })
}

/// What a pull brings.
pub(super) struct Pulled {
    pub(super) all: Environments,
    pub(super) version: i32,
    pub(super) owner: Uuid,
    /// Anybody with the token can have made it.
    pub(super) legacy: bool,
}

/// `lpm env pull`: replaces the variables of this machine by the server's, or adds an org's to them.
pub(crate) fn pull(session: &mut Session, args: &PullArgs) -> Result<()> {
    let wants_output = args.output.output.is_some() || args.output.format.is_some();
    let sink = if wants_output {
        Some((Sink::new(&args.output, session.json())?, session.environment(&args.environment)?))
    } else {
        None
    };
    let org = args.org.as_deref().map(check_org).transpose()?;
    if org.is_some() && args.accept_legacy_key {
        return Err(Error::usage("`--accept-legacy-key` is for your own vault: an org's has no such key"));
    }
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault()?;
    let home = session.home()?;
    let key_in_use = home.use_key()?;
    let pulled = match org {
        None => own(session, &client, &token, &id, args.accept_legacy_key)?,
        Some(org) => org_sync::receive(session, &client, &token, &id, org)?,
    };
    let merges = org.is_some() && !args.replace;

    let local = home.vault(&id);
    let lock = local.lock()?;
    let old = match local.load() {
        Err(_) if args.force => Environments::default(),
        old => old?,
    };
    if pulled.all.count() == 0 && old.count() > 0 && !args.force && !merges {
        return Err(Error::failure(format!(
            "the server's vault is empty and this machine has {}, so nothing was replaced",
            variables(old.count())
        ))
        .hint("`lpm env pull --force` deletes them here, `lpm env push --force` uploads them"));
    }
    let changes = Changes::of_vault(&old, &pulled.all, !merges);
    let all = if merges { merged(old, pulled.all) } else { pulled.all };
    local.save(&all)?;
    local.set_version(org, pulled.version)?;
    drop(lock);
    let mut version = pulled.version;
    match org {
        None => remember(session, &id, version, pulled.owner)?,
        Some(org) => remember_org(session, &id, org, version)?,
    }
    if pulled.legacy {
        version = replace_legacy_key(session, &client, &token, &id, &all, version)?;
    }
    drop(key_in_use);

    let count = all.count();
    if !session.json() {
        let (did, whose) = match org {
            Some(org) if merges => ("merged", format!(" of `{org}` into this machine's")),
            Some(org) => ("pulled", format!(" of `{org}`")),
            None => ("pulled", String::new()),
        };
        note(format!("{did} version {version} of vault {id}{whose}, {}: {changes}", variables(count)));
    }
    match sink {
        Some((sink, environment)) => {
            sink.write(&environment, "Pulled from the vault", &super::local::vars(session, &environment)?)
        }
        None if session.json() => {
            let environments: serde_json::Map<_, _> =
                all.0.iter().map(|(name, vars)| (name.clone(), vars.len().into())).collect();
            let mut document = json!({ "success": true, "vaultId": id, "version": version, "environments": environments,
                                       "count": count, "added": changes.added, "changed": changes.changed, "removed": changes.removed });
            if let Some(org) = org {
                document["org"] = org.into();
            }
            output::json(&document)
        }
        None => Ok(()),
    }
}

/// The account's own copy.
fn own(session: &Session, client: &Client, token: &Secret, id: &str, accept_legacy: bool) -> Result<Pulled> {
    let reply = wait_for(copy::fetch(client, token, id))?;
    let opened = copy::key_of_copy(&reply, &session.home()?.opening_keys()?, token, accept_legacy)?;
    let all = copy::read_blob(&opened.key, &reply.encrypted_blob)?;
    Ok(Pulled { all, version: reply.version, owner: reply.owner, legacy: opened.legacy })
}

/// What was here, with what came over it: per environment and variable, as the published client merges.
fn merged(mut old: Environments, new: Environments) -> Environments {
    for (environment, vars) in new.0 {
        old.0.entry(environment).or_default().extend(vars);
    }
    old
}

/// Pushes what was just accepted under the old key again, under this machine's: the new version.
///
/// What was pulled stays pulled when that fails.
fn replace_legacy_key(
    session: &mut Session,
    client: &Client,
    token: &Secret,
    id: &str,
    all: &Environments,
    version: i32,
) -> Result<i32> {
    let home = session.home()?;
    let (wrapping_key, payload) = (home.wrapping_key_or_new()?, all.to_payload());
    let trusted = session.trusted_escrow_key(id, None);
    let pushed = wait_for(async {
        let ci = escrow::for_push((client, token), (id, None), trusted, None).await?;
        let (payload, wrapping_key, expected) = (&payload, &wrapping_key, Some(version));
        let push = Upload { id, payload, wrapping_key, expected, force: false, about: None, ci: &ci };
        Ok((upload(client, token, push).await?, ci))
    });
    match pushed {
        Ok((reply, ci)) => {
            home.vault(id).set_version(None, reply.version)?;
            remember(session, id, reply.version, reply.owner)?;
            note(format!(
                "the vault was encrypted under the old key, which anybody with the token can make; version {} is under this machine's",
                reply.version
            ));
            ci.warn("lpm env push", None);
            Ok(reply.version)
        }
        Err(error) => {
            warn(format!(
                "the vault is still encrypted under the old key, which anybody with the token can make ({error}): `lpm env push` ends that"
            ));
            Ok(version)
        }
    }
}

/// Notes in `lpm.json` what the server said about its vault.
pub(super) fn remember(session: &mut Session, id: &str, version: i32, owner: Uuid) -> Result<()> {
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

/// Notes in `lpm.json` which version of an org's vault this checkout has seen.
pub(super) fn remember_org(session: &mut Session, id: &str, org: &str, version: i32) -> Result<()> {
    if !session.is_projects(id) {
        return Ok(());
    }
    session.project.set_org_version(org, version);
    session.project.save()
}

impl Session {
    /// Pins an escrow key that the user has accepted for a vault (of an org), in `lpm.json` and on this machine.
    pub(super) fn keep_escrow_key(
        &mut self,
        id: &str,
        org: Option<&str>,
        accepted: Option<&str>,
    ) -> Result<()> {
        let Some(fingerprint) = accepted else { return Ok(()) };
        if !self.is_projects(id) {
            warn("no lpm.json is about this vault, so the escrow key's fingerprint is not pinned");
            return Ok(());
        }
        self.project.set_escrow_key(fingerprint);
        self.project.set_open_to_ci(org, true);
        self.project.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::environment::Text;

    fn all(pairs: &[(&str, &str, &str)]) -> Environments {
        let mut all = Environments::default();
        for &(environment, name, value) in pairs {
            all.0.entry(environment.into()).or_default().insert(name.into(), Text::from(value));
        }
        all
    }

    #[test]
    fn merging_keeps_what_only_this_machine_has() {
        let old = all(&[("default", "A", "1"), ("default", "B", "1"), ("mine", "C", "1")]);
        let new = all(&[("default", "B", "2"), ("theirs", "D", "2")]);
        let changes = Changes::of_vault(&old, &new, false);
        assert_eq!((changes.added, changes.changed, changes.removed), (1, 1, 0));
        let merged = merged(old, new);
        let value = |environment: &str, name: &str| merged.0[environment][name].expose().to_owned();
        assert_eq!(value("default", "A"), "1");
        assert_eq!(value("default", "B"), "2");
        assert_eq!(value("mine", "C"), "1");
        assert_eq!(value("theirs", "D"), "2");
    }
}
