//! `lpm env rotate-key`: a new wrapping key, and every vault that the old one opens encrypted anew.
//!
//! In this order, so that at no moment a vault is openable by no key of this machine:
//!
//! 1. the next key lies beside the present one (`rotation`);
//! 2. each vault on the server that the present key opens is encrypted anew and pushed under the next one, with the
//!    version that was pulled, so that nobody's push is lost; what the next key opens already is done;
//! 3. the list is read again until nothing new stands in it;
//! 4. the variables on this machine are encrypted anew;
//! 5. the next key takes the present one's place.
//!
//! Whatever ends it before step 5, both keys are there and the same command goes on.

use super::copy::{self, Upload, encode, upload};
use super::escrow::{self, Ci, check_fingerprint};
use super::{Session, confirm, remote, wait_for};
use crate::args::RotateKeyArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::Home;
use crate::output::{self, note, printable, warn};
use lpm_core::envelope::escrow::EscrowKind;
use lpm_core::envelope::vault::open_wrapped_key;
use lpm_core::failure::Code;
use lpm_core::secret::Secret;
use lpm_core::wire::{EscrowReply, EscrowRequest, PullReply, VaultEntry};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;

/// How often a vault is pulled again because somebody else pushed in between.
const TRIES: u32 = 5;

/// What became of a vault.
enum Outcome {
    /// It is under the next key, and CI is as it was.
    Rotated { ci: CiOutcome },
    /// It is under a key that this machine does not have.
    Left { why: &'static str },
}

/// What became of a vault's CI escrow.
enum CiOutcome {
    Closed,
    Renewed,
    /// It fails until `allow` is run again.
    LeftOut,
}

struct Rotation<'a> {
    session: &'a Session,
    client: &'a Client,
    token: &'a Secret,
    home: &'a Home,
    old: &'a Secret,
    next: &'a Secret,
    accepted: Option<&'a str>,
}

/// `lpm env rotate-key`.
pub(crate) fn rotate(session: &mut Session, args: &RotateKeyArgs) -> Result<()> {
    let (token, client) = (session.token()?, session.client()?);
    let home = session.home()?;
    let _key = home.own_key()?;
    let old = home.wrapping_key()?.ok_or_else(|| {
        Error::failure("this machine has no vault key, so there is nothing to replace")
            .hint("`lpm env set KEY` makes one")
    })?;
    let resumed = home.next_key()?.is_some();
    let listed = wait_for(remote::vaults(&client, &token, None))?;
    let candidates: Vec<String> =
        listed.iter().map(|entry| entry.vault_id.clone()).chain(session.vault()).collect();
    let local = known_vaults(&home, &candidates)?;
    if resumed {
        note("going on with a rotation that was not finished");
    } else {
        let count = listed.len();
        confirm(
            &format!(
                "Replace this machine's vault key, and encrypt anew what it opens ({count} on the server)?"
            ),
            args.yes,
        )?;
    }

    let next = home.next_key_or_new()?;
    let accepted = args.escrow_key.accept_escrow_key.as_deref();
    let outcomes = {
        let (session, client, token, home, old, next) = (&*session, &client, &token, &home, &old, &next);
        let rotation = Rotation { session, client, token, home, old, next, accepted };
        wait_for(rotation.everything(listed)).inspect_err(|_| {
            note(
                "the rotation is not finished: both keys are kept, and `lpm env rotate-key` goes on with it",
            );
        })?
    };
    refuse_unreached(&home, &local, &outcomes, args.forget_unreachable)?;
    {
        // All vaults share the lock.
        let _lock = home.vault("").lock()?;
        // Those that were made in the meantime, too.
        for id in known_vaults(&home, &candidates)? {
            home.vault(&id).seal_anew(&next)?;
        }
        home.finish_rotation()?;
    }
    for id in local.iter().chain(outcomes.keys()) {
        home.vault(id).set_rotated(false)?;
    }
    if let Ok(id) = session.vault()
        && session.is_projects(&id)
        && let Some(version) = home.vault(&id).version(None)?
        && session.project.version().is_some_and(|known| known < version)
    {
        session.project.set_version(version);
        session.project.save()?;
    }
    report(session, &outcomes, local.len())
}

/// The vaults with variables on this machine; refused where one cannot be named, and so not encrypted anew.
fn known_vaults(home: &Home, candidates: &[String]) -> Result<Vec<String>> {
    match home.local_vaults(candidates)? {
        (ids, 0) => Ok(ids),
        (_, unknown) => Err(Error::failure(format!(
            "{unknown} of the vaults on this machine do not say which they are, so the key that opens them stays"
        ))
        .hint("run `lpm env list` once in each of their projects, or remove them from ~/.lpm/secrets")),
    }
}

/// Refuses to give up the old key while a vault that this machine has synced was not seen under the next one: it may
/// be another account's, or on another server.
fn refuse_unreached(
    home: &Home,
    local: &[String],
    outcomes: &BTreeMap<String, Outcome>,
    forget: bool,
) -> Result<()> {
    let mut unreached = Vec::new();
    for id in local.iter().filter(|id| !outcomes.contains_key(*id)) {
        let vault = home.vault(id);
        if vault.version(None)?.is_some() && !vault.is_rotated() {
            unreached.push(printable(id));
        }
    }
    if unreached.is_empty() || forget {
        return Ok(());
    }
    Err(Error::failure(format!(
        "this machine has pushed or pulled {}, which this account does not have on this server: the old key still opens what is there, so both keys are kept",
        unreached.join(", ")
    ))
    .hint("run `lpm env rotate-key` with that LPM_REGISTRY_URL or login, too; if the vault is gone for good: `lpm env rotate-key --forget-unreachable`"))
}

impl Rotation<'_> {
    /// Every vault of the account, until the list shows nothing that was not seen.
    async fn everything(&self, mut listed: Vec<VaultEntry>) -> Result<BTreeMap<String, Outcome>> {
        let (mut outcomes, mut seen) = (BTreeMap::new(), BTreeMap::new());
        loop {
            // Version 0 is an `allow` before the first push: there is nothing to encrypt.
            let new: Vec<VaultEntry> = listed
                .into_iter()
                .filter(|entry| entry.version > 0 && seen.get(&entry.vault_id) != Some(&entry.version))
                .collect();
            if new.is_empty() {
                return Ok(outcomes);
            }
            for entry in new {
                let (outcome, version) = self.one(&entry.vault_id).await?;
                seen.insert(entry.vault_id.clone(), version);
                outcomes.insert(entry.vault_id, outcome);
            }
            listed = remote::vaults(self.client, self.token, None).await?;
        }
    }

    /// One vault, and the version of it that the outcome is about.
    async fn one(&self, id: &str) -> Result<(Outcome, i32)> {
        let mut tries = 0;
        loop {
            tries += 1;
            let reply = copy::fetch(self.client, self.token, id).await?;
            if open_wrapped_key(self.next, &reply.wrapped_key).is_ok() {
                let ci = self.renew(id).await?;
                self.home.vault(id).set_rotated(true)?;
                return Ok((Outcome::Rotated { ci }, reply.version));
            }
            let Ok(key) = open_wrapped_key(self.old, &reply.wrapped_key) else {
                let why = "it is under another machine's key";
                return Ok((Outcome::Left { why }, reply.version));
            };
            let Ok(payload) = copy::open_blob(&key, &reply.encrypted_blob) else {
                return Ok((Outcome::Left { why: "it does not open with its own key" }, reply.version));
            };
            match self.push(id, &reply, &payload).await {
                Ok((ci, version)) => return Ok((Outcome::Rotated { ci }, version)),
                // Somebody pushed in between: what they pushed counts.
                Err(error) if tries < TRIES && Code::parse(error.code()) == Some(Code::VersionConflict) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The same payload under the next key, with its escrow.
    async fn push(&self, id: &str, reply: &PullReply, payload: &Secret) -> Result<(CiOutcome, i32)> {
        let trusted = self.trusted(id)?;
        let ci = escrow::for_push((self.client, self.token), (id, None), trusted.as_deref(), self.accepted)
            .await?;
        let (wrapping_key, expected) = (self.next, Some(reply.version));
        let push = Upload { id, payload, wrapping_key, expected, force: false, about: None, ci: &ci };
        let pushed = upload(self.client, self.token, push).await?;
        let local = self.home.vault(id);
        if local.version(None)? == Some(reply.version) {
            local.set_version(None, pushed.version)?;
        }
        let outcome = match ci {
            Ci::Sealed(_) => CiOutcome::Renewed,
            Ci::LeftOut(_) | Ci::NoKey => CiOutcome::LeftOut,
            Ci::Unchanged => self.renew(id).await?,
        };
        local.set_rotated(true)?;
        Ok((outcome, pushed.version))
    }

    /// Renews an escrow of kind `wrapping`, which holds the old key.
    async fn renew(&self, id: &str) -> Result<CiOutcome> {
        let status = match escrow::status(self.client, self.token, id, None).await {
            Ok(status) => status,
            Err(error) => {
                return match Code::parse(error.code()) {
                    Some(Code::NoEscrowKey) if self.trusted(id)?.is_some() => Ok(CiOutcome::LeftOut),
                    Some(Code::NoEscrowKey | Code::PlanCiEscrow) => Ok(CiOutcome::Closed),
                    _ => Err(error),
                };
            }
        };
        match status.kind {
            None => return Ok(CiOutcome::Closed),
            Some(kind) => {
                if self.trusted(id)?.is_none() && self.accepted.is_none() {
                    return Ok(CiOutcome::LeftOut);
                }
                // Of kind `aes` it went along with the push.
                if kind == EscrowKind::Aes {
                    return Ok(CiOutcome::Renewed);
                }
            }
        }
        let trusted = self.trusted(id)?;
        check_fingerprint(&status.key.fingerprint, trusted.as_deref(), self.accepted)?;
        let request = EscrowRequest {
            vault_id: id.to_owned(),
            wrapping_key_hex: None,
            kind: Some(EscrowKind::Wrapping.as_str().to_owned()),
            sealed: Some(status.key.seal(EscrowKind::Wrapping, id, None, self.next)?),
            blob_sha256: None,
            legacy_clients: None,
            org: None,
        };
        let (path, bearer) = (["api", "vault", "oidc", "escrow"], Bearer::Account(self.token));
        let request = Request::change(Method::POST, &path, Some(encode(&request)?), bearer);
        self.client.send::<EscrowReply>(&request.retried(Retry::Repeatable)).await?;
        Ok(CiOutcome::Renewed)
    }

    /// The escrow key that was accepted for this vault, here or in the project's `lpm.json`.
    fn trusted(&self, id: &str) -> Result<Option<String>> {
        let noted = self.home.vault(id).escrow_key()?;
        Ok(noted.or_else(|| self.session.trusted_escrow_key(id, None).map(str::to_owned)))
    }
}

fn report(session: &Session, outcomes: &BTreeMap<String, Outcome>, local: usize) -> Result<()> {
    let (mut rotated, mut left, mut renewed, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, outcome) in outcomes {
        match outcome {
            Outcome::Left { why } => left.push((id, why)),
            Outcome::Rotated { ci } => {
                rotated.push(id);
                match ci {
                    CiOutcome::Renewed => renewed.push(id),
                    CiOutcome::LeftOut => left_out.push(id),
                    CiOutcome::Closed => {}
                }
            }
        }
    }
    for (id, why) in &left {
        warn(format!("vault {} was left as it is: {why}", printable(id)));
    }
    for id in &left_out {
        warn(format!(
            "CI pulls of vault {} fail until `lpm env oidc allow` is run in its project",
            printable(id)
        ));
    }
    if session.json() {
        let left: Vec<_> = left.iter().map(|(id, why)| json!({ "vaultId": id, "why": why })).collect();
        return output::json(
            &json!({ "success": true, "rotated": rotated, "leftAlone": left, "local": local,
                                     "ci": { "renewed": renewed, "leftOut": left_out } }),
        );
    }
    note(format!(
        "this machine has a new vault key; {} on the server and {local} here are encrypted under it",
        rotated.len()
    ));
    note(
        "your other machines need it: copy ~/.lpm/.vault-key. Paired browsers have the old one: pair them again",
    );
    note("versions that the server keeps from before do not open any more, here or after `lpm env restore`");
    Ok(())
}
