//! `lpm env oidc allow`: opens the vault to CI escrow and makes a policy.
//!
//! What can be refused is refused before anything is created: the policy itself, this machine's key, the
//! server's escrow key.

use super::copy::{encode, fetch, key_of_copy, open_blob};
use super::escrow::{self, EscrowKey, check_fingerprint};
use super::local::done;
use super::oidc::subject;
use super::{Session, check_environment, check_org, org_sync, wait_for};
use crate::args::AllowArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::{Home, library};
use crate::output::{self, note, printable, warn};
use lpm_core::claims::Provider;
use lpm_core::envelope::escrow::EscrowKind;
use lpm_core::envelope::vault::{blob_sha256, open_wrapped_key};
use lpm_core::failure::{Code, Failure};
use lpm_core::policy::Policy;
use lpm_core::secret::Secret;
use lpm_core::wire::{EscrowReply, EscrowRequest};
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How often the server's copy is read again because somebody pushed in between.
const TRIES: u32 = 3;

/// `lpm env oidc allow`.
pub(crate) fn allow(session: &mut Session, args: &AllowArgs) -> Result<()> {
    let policy = policy(session, args)?;
    let org = args.org.org.as_deref();
    if org.is_some() && args.legacy_clients == Some(true) {
        return Err(Error::usage(
            "`--legacy-clients` is for your own vault: an org has no vault key of a machine",
        ));
    }
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault_or_new()?;
    let body = with_vault(policy, &id);
    let home = session.home()?;
    let _key = home.use_key()?;

    let made = wait_for(async {
        let mut copy = copy(&client, &token, &home, &id, org).await?;
        let status = escrow::status(&client, &token, &id, org).await?;
        let pinned = session.project.escrow_key().filter(|_| session.is_projects(&id));
        check_fingerprint(&status.key.fingerprint, pinned, args.escrow_key.accept_escrow_key.as_deref())?;
        let kind = match (org, args.legacy_clients) {
            (None, Some(true)) => EscrowKind::Wrapping,
            (None, None) if status.legacy_clients => EscrowKind::Wrapping,
            _ => EscrowKind::Aes,
        };
        let asked = Asked { id: &id, org, kind, legacy_clients: args.legacy_clients };
        // Sealed before anything is made: a key that cannot be sealed to makes no policy.
        let mut request = asked.escrow(&status.key, &home, &copy)?;
        let policy: Value =
            client.send(&post(&["api", "vault", "oidc", "policies"], encode(&body)?, &token)).await?;
        let mut tries = 1;
        loop {
            let sent = post(&["api", "vault", "oidc", "escrow"], encode(&request)?, &token);
            let error = match client.send::<EscrowReply>(&sent).await {
                Ok(_) => break,
                Err(error) => error,
            };
            if Code::parse(error.code()) != Some(Code::EscrowOtherBlob) || tries == TRIES {
                note("the policy is made, but the vault is not open to CI yet: run the same command again");
                return Err(error);
            }
            tries += 1;
            copy = self::copy(&client, &token, &home, &id, org).await?;
            request = asked.escrow(&status.key, &home, &copy)?;
        }
        let replaced = kind == EscrowKind::Aes && status.kind == Some(EscrowKind::Wrapping);
        Ok(Made { policy, escrow_key: status.key, kind, pushed: copy.is_some(), replaced })
    })?;
    pin(session, &id, org, &made)?;
    show(session, &id, &made)
}

/// What the server has made.
struct Made {
    policy: Value,
    escrow_key: EscrowKey,
    kind: EscrowKind,
    /// There was a copy, so CI can pull at once.
    pushed: bool,
    /// The escrow of the wrapping key is gone.
    replaced: bool,
}

/// The server's copy, as this machine opens it.
struct Copy {
    key: Secret,
    /// The wrapping key that opens it; an org's copy has none.
    wrapping_key: Option<Secret>,
    hash: [u8; 32],
}

/// The escrow that is asked for.
struct Asked<'a> {
    id: &'a str,
    org: Option<&'a str>,
    kind: EscrowKind,
    legacy_clients: Option<bool>,
}

impl Asked<'_> {
    /// The request with the key sealed in it. Of kind `aes` there is none before the first push, which brings it.
    fn escrow(&self, to: &EscrowKey, home: &Home, copy: &Option<Copy>) -> Result<EscrowRequest> {
        let (sealed, hash) = match (self.kind, copy) {
            (EscrowKind::Aes, Some(copy)) => {
                (Some(to.seal(self.kind, self.id, Some(copy.hash), &copy.key)?), Some(copy.hash))
            }
            (EscrowKind::Aes, None) => {
                // Whether it can be sealed to is better known now than at the first push.
                to.seal(self.kind, self.id, None, &Secret::new(vec![0; 32]))?;
                (None, None)
            }
            (EscrowKind::Wrapping, copy) => {
                let of_copy = copy.as_ref().and_then(|copy| copy.wrapping_key.as_ref());
                let new = if of_copy.is_none() { Some(home.wrapping_key_or_new()?) } else { None };
                let key = of_copy.or(new.as_ref());
                (key.map(|key| to.seal(self.kind, self.id, None, key)).transpose()?, None)
            }
        };
        Ok(EscrowRequest {
            vault_id: self.id.to_owned(),
            wrapping_key_hex: None,
            kind: Some(self.kind.as_str().to_owned()),
            sealed,
            blob_sha256: hash.map(hex::encode),
            legacy_clients: self.legacy_clients,
            org: self.org.map(str::to_owned),
        })
    }
}

/// The policy that the flags describe, checked by the rules of the server.
fn policy(session: &Session, args: &AllowArgs) -> Result<Map<String, Value>> {
    let provider = Provider::parse(args.provider.trim())?;
    let texts = |list: &[String]| list.iter().map(|text| Value::from(text.trim())).collect::<Vec<_>>();
    let environments: Vec<String> =
        args.env.iter().map(|name| session.project.canonical(name.trim())).collect();
    for (at, name) in environments.iter().enumerate() {
        check_environment(name, &format!("environment {} of `--env`", at + 1))?;
    }
    let branches = match (args.branch.as_slice(), args.all_branches, args.tag.is_empty()) {
        ([], false, true) => vec![Value::from("main")],
        (branches, ..) => texts(branches),
    };
    if args.all_branches && !args.tag.is_empty() {
        return Err(Error::usage("`--all-branches` beside `--tag` would mean tags only")
            .hint("`--branch='**' --tag=…` allows every branch and these tags"));
    }
    let mut body = Map::new();
    if let Some(org) = args.org.org.as_deref() {
        body.insert("scope".into(), "org".into());
        body.insert("org".into(), check_org(org)?.into());
    }
    body.insert("provider".into(), provider.as_str().into());
    body.insert("subject".into(), subject(args.repo.as_deref(), args.project.as_deref()).into());
    body.insert("allowedBranches".into(), branches.into());
    body.insert("allowedEnvironments".into(), environments.into());
    body.insert("allowForks".into(), args.allow_forks.into());
    for (field, list) in [("allowedTags", &args.tag), ("allowedEvents", &args.event)] {
        if !list.is_empty() {
            body.insert(field.into(), texts(list).into());
        }
    }
    for (field, value) in [
        ("ciEnvironment", &args.ci_environment),
        ("workflow", &args.workflow),
        ("reusableWorkflow", &args.reusable_workflow),
        ("runner", &args.runner),
        ("audience", &args.audience),
        ("issuer", &args.issuer),
        ("repositoryId", &args.repository_id),
        ("ownerId", &args.owner_id),
        ("projectId", &args.project_id),
    ] {
        if let Some(value) = value {
            body.insert(field.into(), value.as_str().into());
        }
    }
    if args.protected_only {
        body.insert("protectedRefOnly".into(), true.into());
    }
    // The server decides; but what it would refuse need not leave this machine, nor make a vault.
    let probe = encode(&with_vault(body.clone(), "probe"))?;
    Policy::from_request(probe.expose(), |_| Some("https://default.invalid".to_owned()))?;
    Ok(body)
}

fn with_vault(mut body: Map<String, Value>, id: &str) -> Value {
    body.insert("vaultId".into(), id.into());
    Value::Object(body)
}

fn post<'a>(path: &'a [&'a str], body: Secret, token: &'a Secret) -> Request<'a> {
    // The same policy or escrow twice is the same as once.
    let (method, bearer, retry) = (Method::POST, Bearer::Account(token), Retry::Repeatable);
    Request { method, path, query: &[], body: Some(body), bearer, retry }
}

/// What the server has, opened: CI could not open what this machine does not. `None` where nothing was pushed yet:
/// whatever this machine pushes, it opens.
async fn copy(
    client: &Client,
    token: &Secret,
    home: &Home,
    id: &str,
    org: Option<&str>,
) -> Result<Option<Copy>> {
    let fetched = match org {
        None => of_account(client, token, home, id).await,
        Some(org) => of_org(client, token, home, id, org).await,
    };
    match fetched {
        Ok(copy) => Ok(Some(copy)),
        Err(error) => match Code::parse(error.code()) {
            Some(Code::VaultUnknown | Code::OrgVaultUnknown | Code::NeverPushed) => Ok(None),
            // The plan that forbids to sync forbids this, too: said in the words for this.
            Some(Code::PlanSync) if org.is_none() => {
                Err(error.replaced_by(&Failure::new(Code::PlanCiEscrow)))
            }
            _ => Err(error),
        },
    }
}

async fn of_account(client: &Client, token: &Secret, home: &Home, id: &str) -> Result<Copy> {
    let reply = fetch(client, token, id).await?;
    let keys = home.opening_keys()?;
    let key = key_of_copy(&reply, &keys, token, false)?.key;
    let wrapping_key = keys.into_iter().find(|key| open_wrapped_key(key, &reply.wrapped_key).is_ok());
    checked(key, wrapping_key, &reply.encrypted_blob)
}

async fn of_org(client: &Client, token: &Secret, home: &Home, id: &str, org: &str) -> Result<Copy> {
    let reply = org_sync::fetch(client, token, id, org).await?;
    let identity = home.identity_or_new()?;
    let key = org_sync::key_of_copy(&reply, &identity)
        .ok_or_else(|| org_sync::not_for_this_key(&reply, &identity, org, &[]))?;
    checked(key, None, &reply.encrypted_blob)
}

/// The copy, where the key really opens it.
fn checked(key: Secret, wrapping_key: Option<Secret>, blob: &str) -> Result<Copy> {
    open_blob(&key, blob)?;
    Ok(Copy { key, wrapping_key, hash: blob_sha256(blob).map_err(library)? })
}

/// Keeps in `lpm.json` whose vault it is now known to be, and which escrow key was accepted.
fn pin(session: &mut Session, id: &str, org: Option<&str>, made: &Made) -> Result<()> {
    let fingerprint = &made.escrow_key.fingerprint;
    if org.is_none() {
        session.home()?.vault(id).set_escrow_key(Some(fingerprint))?;
    }
    if !session.is_projects(id) {
        warn("no lpm.json is about this vault, so the escrow key's fingerprint is not pinned");
        return Ok(());
    }
    if let Some(owner) = made.policy["owner"].as_str().and_then(|owner| Uuid::parse_str(owner).ok()) {
        if let Some(org) = org
            && session.project.owner()?.is_some_and(|before| before != owner)
        {
            note(format!(
                "lpm.json names `{org}` as the vault's owner now: CI pulls with it get the org's variables"
            ));
        }
        session.project.set_owner(owner);
    }
    session.project.set_escrow_key(fingerprint);
    session.project.set_open_to_ci(org, true);
    session.project.save()
}

fn show(session: &Session, id: &str, made: &Made) -> Result<()> {
    let fingerprint = &made.escrow_key.fingerprint;
    let warnings: Vec<&str> =
        made.policy["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    warnings.iter().for_each(|text| warn(printable(text)));
    if session.json() {
        let mut document = made.policy.clone();
        document["escrow"] = json!("on");
        document["escrowKind"] = json!(made.kind.as_str());
        document["escrowKey"] = json!({ "id": made.escrow_key.id.as_str(), "fingerprint": fingerprint });
        return output::json(&document);
    }
    let policy = made.policy["id"].as_str().unwrap_or("?");
    done(session, Value::Null, || {
        let sealed = match (made.kind, made.pushed) {
            (EscrowKind::Wrapping, _) => "this machine's vault key is sealed",
            (EscrowKind::Aes, true) => "the key of this vault is sealed",
            (EscrowKind::Aes, false) => "the first push or share brings the key of this vault, sealed",
        };
        format!("policy {} is in force; {sealed} to the escrow key {fingerprint}", printable(policy))
    })?;
    if made.replaced {
        note("this machine's vault key is no longer escrowed for this vault: the server has deleted it");
    }
    if made.kind == EscrowKind::Wrapping {
        note(
            "kept so for published clients: the escrow key opens every vault that is under this machine's key. `--legacy-clients=false` ends that",
        );
    }
    output::line(format!("Vault {} now permits:", printable(id)))?;
    let permits = made.policy["permits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    permits.into_iter().try_for_each(|line| output::line(format!("  {}", printable(line))))
}
