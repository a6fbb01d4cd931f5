//! `lpm env oidc allow`: opens the vault to CI escrow and makes a policy.
//!
//! What can be refused is refused before anything is created: the policy itself, this machine's key, the
//! server's escrow key.

use super::copy::{encode, fetch, key_of_copy};
use super::escrow::{self, EscrowKey, check_fingerprint};
use super::local::done;
use super::oidc::subject;
use super::{Session, check_environment, wait_for};
use crate::args::AllowArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::library;
use crate::output::{self, note, printable, warn};
use lpm_core::claims::Provider;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::failure::{Code, Failure};
use lpm_core::policy::Policy;
use lpm_core::secret::Secret;
use lpm_core::wire::EscrowRequest;
use reqwest::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// `lpm env oidc allow`.
pub(crate) fn allow(session: &mut Session, args: &AllowArgs) -> Result<()> {
    let policy = policy(session, args)?;
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault_or_new()?;
    let body = with_vault(policy, &id);
    let wrapping_key = session.home()?.wrapping_key()?;

    let made = wait_for(async {
        check_key(&client, &token, &id, wrapping_key.as_slice()).await?;
        let escrow_key = escrow::status(&client, &token, &id, None).await?.key;
        let pinned = session.project.escrow_key().filter(|_| session.is_projects(&id));
        check_fingerprint(&escrow_key.fingerprint, pinned, args.escrow_key.accept_escrow_key.as_deref())?;
        let wrapping_key = match wrapping_key {
            Some(key) => key,
            None => session.home()?.wrapping_key_or_new()?,
        };
        let sealed = seal_escrow_random(
            &escrow_key.id,
            &escrow_key.public,
            EscrowKind::Wrapping,
            &id,
            None,
            &wrapping_key,
        )
        .map_err(library)?;
        let policy: Value =
            client.send(&post(&["api", "vault", "oidc", "policies"], encode(&body)?, &token)).await?;
        let escrow = EscrowRequest {
            vault_id: id.clone(),
            wrapping_key_hex: None,
            kind: None,
            sealed: Some(sealed),
            blob_sha256: None,
            legacy_clients: None,
            org: None,
        };
        let request = post(&["api", "vault", "oidc", "escrow"], encode(&escrow)?, &token);
        client.send::<Value>(&request).await.inspect_err(|_| {
            note("the policy is made, but the vault is not open to CI yet: run the same command again");
        })?;
        Ok(Made { policy, escrow_key })
    })?;
    pin(session, &id, &made)?;
    show(session, &id, &made)
}

/// What the server has made.
struct Made {
    policy: Value,
    escrow_key: EscrowKey,
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

/// Refuses when this machine's key does not open what the server has: CI could not open it either.
async fn check_key(client: &Client, token: &Secret, id: &str, wrapping_keys: &[Secret]) -> Result<()> {
    let reply = match fetch(client, token, id).await {
        Ok(reply) => reply,
        Err(error) => {
            return match Code::parse(error.code()) {
                // Nothing pushed yet: whatever this machine pushes, its key opens.
                Some(Code::VaultUnknown | Code::NeverPushed) => Ok(()),
                // The plan that forbids to sync forbids this, too: said in the words for this.
                Some(Code::PlanSync) => Err(error.replaced_by(&Failure::new(Code::PlanCiEscrow))),
                _ => Err(error),
            };
        }
    };
    key_of_copy(&reply, wrapping_keys, token, false).map(drop)
}

/// Keeps in `lpm.json` whose vault it is now known to be, and which escrow key was accepted.
fn pin(session: &mut Session, id: &str, made: &Made) -> Result<()> {
    if !session.is_projects(id) {
        warn("no lpm.json is about this vault, so the escrow key's fingerprint is not pinned");
        return Ok(());
    }
    if let Some(owner) = made.policy["owner"].as_str().and_then(|owner| Uuid::parse_str(owner).ok()) {
        session.project.set_owner(owner);
    }
    session.project.set_escrow_key(&made.escrow_key.fingerprint);
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
        document["escrowKey"] = json!({ "id": made.escrow_key.id.as_str(), "fingerprint": fingerprint });
        return output::json(&document);
    }
    let policy = made.policy["id"].as_str().unwrap_or("?");
    done(session, Value::Null, || {
        format!(
            "policy {} is in force, the vault's key is sealed to the escrow key {fingerprint}",
            printable(policy)
        )
    })?;
    output::line(format!("Vault {} now permits:", printable(id)))?;
    let permits = made.policy["permits"].as_array().into_iter().flatten().filter_map(Value::as_str);
    permits.into_iter().try_for_each(|line| output::line(format!("  {}", printable(line))))
}
