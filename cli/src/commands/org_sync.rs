//! `lpm env share`, and what `lpm env pull --org` brings: the vault between this machine and an org's members.
//!
//! A share encrypts everything under a fresh key and wraps that key for each member's own key (X25519). The org's
//! vault counts its versions apart from everybody's own.

use super::copy::{self, Sealed, encode};
use super::local::done;
use super::members::{self, Keyed, Review};
use super::sync::{Pulled, remember_org};
use super::{Session, check_org, confirm, escrow, wait_for};
use crate::args::ShareArgs;
use crate::client::{Bearer, Client, Request};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::local::library;
use crate::output::variables;
use lpm_core::envelope::{aead, share};
use lpm_core::failure::{Code, exit};
use lpm_core::secret::Secret;
use lpm_core::wire::{OrgPullReply, PushReply, ShareRequest, WrappedKey};
use reqwest::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// `lpm env share`: encrypts everything for the members of an org.
pub(crate) fn share(session: &mut Session, args: &ShareArgs) -> Result<()> {
    let org = check_org(&args.org)?;
    let (token, client) = (session.token()?, session.client()?);
    let id = session.vault()?;
    let home = session.home()?;
    let local = home.vault(&id);
    let all = local.load()?;
    if all.count() == 0 {
        return Err(Error::failure("the vault is empty on this machine, nothing to share")
            .hint(format!("`lpm env set KEY` begins it, `lpm env pull --org={org}` brings the org's")));
    }
    let of_project = session.is_projects(&id);
    let schema = if of_project { Some(session.project.schema()?) } else { None };
    let accepted = args.escrow_key.accept_escrow_key.as_deref();
    let identity = home.identity_or_new()?;
    let known = home.recipients(session.registry_url(), org)?;

    let trusted = session.trusted_escrow_key(&id, Some(org));
    let (review, ci) = wait_for(async {
        members::register(&client, &token, &identity).await?;
        let review = Review::of(members::of_org(&client, &token, org).await?, &known, &identity)?;
        let ci = escrow::for_push((&client, &token), (&id, Some(org)), trusted, accepted).await?;
        Ok((review, ci))
    })?;
    review.show(&known);
    review.name_keyless(org);
    if review.unknown().next().is_some() {
        confirm("Share the vault with these keys?", args.yes)?;
    }

    let Sealed { blob, key } = copy::seal(&all.to_payload())?;
    let request = ShareRequest {
        wrapped_keys: review.keyed.iter().map(|keyed| wrap(keyed, &key)).collect::<Result<_>>()?,
        expected_version: if args.force { None } else { local.version(Some(org))? },
        force: args.force,
        name: session.project.name().filter(|_| of_project),
        schema,
        escrow: ci.seal(&id, &blob, &key)?,
        encrypted_blob: blob,
    };
    let (path, body) = (["api", "orgs", org, "vaults", &id], encode(&request)?);
    let reply: PushReply =
        wait_for(client.send(&Request::change(Method::POST, &path, Some(body), Bearer::Signed(&token))))?;

    local.set_version(Some(org), reply.version)?;
    home.set_recipients(session.registry_url(), org, review.recipients())?;
    session.keep_escrow_key(&id, Some(org), ci.accepted(accepted))?;
    remember_org(session, &id, org, reply.version)?;
    ci.warn("lpm env share", Some(org));
    let (count, members) = (all.count(), review.keyed.len());
    let keyless: Vec<String> = review.keyless.iter().map(members::name).collect();
    let document = json!({ "success": true, "vaultId": id, "org": org, "version": reply.version, "status": reply.status,
                           "count": count, "recipients": review.keyed.iter().map(shown).collect::<Vec<_>>(),
                           "withoutKey": keyless, "ci": ci.as_str() });
    done(session, document, || {
        let members = if members == 1 { "1 member".to_owned() } else { format!("{members} members") };
        format!(
            "shared {} with {members} of `{org}` as version {} of vault {id}",
            variables(count),
            reply.version
        )
    })
}

/// The key of a share for one member.
fn wrap(keyed: &Keyed, key: &Secret) -> Result<WrappedKey> {
    let ephemeral = Zeroizing::new(aead::random().map_err(library)?);
    let wrapped_key =
        share::wrap_for_member(&keyed.public, &ephemeral, &aead::random().map_err(library)?, key).map_err(
            |_| {
                let name = members::name(&keyed.member);
                Error::failure(format!("the key of {name} yields no secret, so nothing was shared"))
            },
        )?;
    Ok(WrappedKey { user_id: keyed.member.user_id, wrapped_key })
}

fn shown(keyed: &Keyed) -> Value {
    json!({ "userId": keyed.member.user_id, "handle": keyed.member.handle, "role": keyed.member.role,
            "fingerprint": keyed.fingerprint, "key": keyed.standing.as_str() })
}

/// An org's copy of a vault, opened with this machine's org key, which is registered on the way.
pub(super) fn receive(
    session: &Session,
    client: &Client,
    token: &Secret,
    id: &str,
    org: &str,
) -> Result<Pulled> {
    let identity = session.home()?.identity_or_new()?;
    wait_for(async {
        members::register(client, token, &identity).await?;
        let reply = fetch(client, token, id, org).await?;
        let Some(key) = key_of_copy(&reply, &identity) else {
            let sharers = members::of_org(client, token, org).await.unwrap_or_default();
            return Err(not_for_this_key(&reply, &identity, org, &sharers));
        };
        let all = copy::read_blob(&key, &reply.encrypted_blob)?;
        Ok(Pulled { all, version: reply.version, owner: reply.owner, legacy: false })
    })
}

/// An org's copy of a vault.
pub(super) async fn fetch(client: &Client, token: &Secret, id: &str, org: &str) -> Result<OrgPullReply> {
    let path = ["api", "orgs", org, "vaults", id];
    client.send(&Request::read(&path, &[], Bearer::Signed(token))).await.map_err(|error: Error| {
        if Code::parse(error.code()) == Some(Code::VaultUnknown) {
            return error
                .hint(format!("nobody has shared it yet: `lpm env share --org={org}` where the vault is"));
        }
        error
    })
}

/// The key of an org's copy, where it was wrapped for this machine.
pub(super) fn key_of_copy(reply: &OrgPullReply, identity: &Identity) -> Option<Secret> {
    identity.open(reply.wrapped_key.as_deref()?)
}

/// Why an org's copy does not open here, and who can change that.
pub(super) fn not_for_this_key(
    reply: &OrgPullReply,
    identity: &Identity,
    org: &str,
    members: &[lpm_core::wire::MemberKey],
) -> Error {
    let message = if reply.wrapped_key.is_some() {
        format!(
            "version {} of the vault was shared with another org key of yours than this machine's",
            reply.version
        )
    } else {
        format!("version {} of the vault was not shared with you", reply.version)
    };
    let others = members
        .iter()
        .filter(|member| member.has_public_key && member.public_key.as_deref() != Some(&identity.public()));
    let others: Vec<String> = others
        .map(|member| format!("{} ({})", members::name(member), crate::output::printable(&member.role)))
        .collect();
    let who = match others.as_slice() {
        [] => "somebody who has it must share it again".to_owned(),
        [only] => format!("{only} must share it again, now that your key is registered"),
        [first @ .., last] => {
            format!("{} or {last} must share it again, now that your key is registered", first.join(", "))
        }
    };
    Error::answered(message, Some("not_shared_with_you".to_owned()), exit::DENIED)
        .hint(format!("{who}: `lpm env share --org={org}`"))
}
