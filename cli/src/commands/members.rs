//! The keys of an org's members: this machine's registered, the others' looked at before a vault is shared to them.
//!
//! The server says which key is whose, and could say its own. So what is new or changed since this machine's last
//! share is shown and asked about; fingerprints are compared by other means than this server.

use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::identity::{Identity, public_key};
use crate::output::{note, printable, warn};
use crate::recipients::{Recipient, Recipients};
use lpm_core::envelope::fingerprint;
use lpm_core::secret::Secret;
use lpm_core::wire::{Done, MemberKey, PublicKeyBody, PublicKeyReply};
use reqwest::Method;

/// Registers this machine's org key with the account, where another or none is.
pub(super) async fn register(client: &Client, token: &Secret, identity: &Identity) -> Result<()> {
    const PATH: [&str; 4] = ["api", "users", "me", "public-key"];
    let bearer = Bearer::Account(token);
    let registered: PublicKeyReply = client.send(&Request::read(&PATH, &[], bearer)).await?;
    if registered.public_key.as_deref() == Some(&identity.public()) {
        return Ok(());
    }
    let body = super::copy::encode(&PublicKeyBody { public_key: identity.public() })?;
    // The same key twice is the same as once.
    let request = Request::change(Method::POST, &PATH, Some(body), bearer).retried(Retry::Repeatable);
    client.send::<Done>(&request).await?;
    let own = identity.fingerprint();
    match registered.public_key.as_deref().and_then(public_key) {
        None => note(format!("registered this machine's org key {own}")),
        Some(old) => warn(format!(
            "this machine's org key {own} is now your account's, in place of another machine's ({}). Vaults that were shared before open there; the next share is for this machine only. To open orgs' vaults on both, copy ~/.lpm/.x25519_key",
            fingerprint(&old)
        )),
    }
    Ok(())
}

/// The members of an org with their keys, as the server has them.
pub(super) async fn of_org(client: &Client, token: &Secret, org: &str) -> Result<Vec<MemberKey>> {
    let path = ["api", "orgs", org, "members", "public-keys"];
    client.send(&Request::read(&path, &[], Bearer::Account(token))).await
}

/// A member's name for people.
pub(super) fn name(member: &MemberKey) -> String {
    member.handle.as_deref().map_or_else(|| member.user_id.to_string(), printable)
}

/// What this machine knows of a member's key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is this machine's own.
    Own,
    /// The last share was for it.
    Known,
    /// The last share was not for this member.
    New,
    /// The last share was for another key of this member.
    Changed { before: String },
}

/// A member that a share is for.
pub(super) struct Keyed {
    pub(super) member: MemberKey,
    pub(super) public: [u8; 32],
    pub(super) fingerprint: String,
    pub(super) standing: Standing,
}

/// Whom a share is for, and whom it cannot be for.
pub(super) struct Review {
    pub(super) keyed: Vec<Keyed>,
    pub(super) keyless: Vec<MemberKey>,
}

impl Review {
    /// The members beside what is known of them.
    pub(super) fn of(members: Vec<MemberKey>, known: &Recipients, own: &Identity) -> Result<Self> {
        let (keyed, keyless): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.has_public_key && member.public_key.is_some());
        let keyed: Vec<Keyed> =
            keyed.into_iter().map(|member| Keyed::of(member, known, own)).collect::<Result<_>>()?;
        if !keyed.iter().any(|keyed| keyed.standing == Standing::Own) {
            return Err(Error::failure(
                "the server's list of members does not have this machine's org key, so the share would lock you out",
            )
            .hint("somebody, or another machine of yours, registers another key for your account: find out who"));
        }
        Ok(Self { keyed, keyless })
    }

    /// Those that people have to look at.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &Keyed> {
        self.keyed.iter().filter(|keyed| !matches!(keyed.standing, Standing::Own | Standing::Known))
    }

    /// Shows what is new or changed. `known` is what the last share was for.
    pub(super) fn show(&self, known: &Recipients) {
        for Keyed { member, fingerprint, standing, .. } in self.unknown() {
            let (name, role) = (name(member), printable(&member.role));
            match standing {
                Standing::Changed { before } => warn(format!(
                    "the key of {name} ({role}) has changed: it was {}, it is {fingerprint}",
                    printable(before)
                )),
                _ => {
                    note(format!("new: {name} ({role}), key {fingerprint}"));
                    let other = |(id, old): (&uuid::Uuid, &Recipient)| {
                        *id != member.user_id && Some(old.handle.as_str()) == member.handle.as_deref()
                    };
                    if known.iter().any(other) {
                        warn(format!("another account than the one of the last share is now called {name}"));
                    }
                }
            }
        }
    }

    /// Says whom the share leaves out, and what they have to do.
    pub(super) fn name_keyless(&self, org: &str) {
        for member in &self.keyless {
            note(format!(
                "{} ({}) has no org key yet, so this share is not for them: they run `lpm env pull --org={org}`, then you share again",
                name(member),
                printable(&member.role)
            ));
        }
    }

    /// What is kept of it, once the share is made.
    pub(super) fn recipients(&self) -> Recipients {
        let recipient = |keyed: &Keyed| Recipient {
            handle: keyed.member.handle.clone().unwrap_or_default(),
            fingerprint: keyed.fingerprint.clone(),
        };
        self.keyed.iter().map(|keyed| (keyed.member.user_id, recipient(keyed))).collect()
    }
}

impl Keyed {
    fn of(member: MemberKey, known: &Recipients, own: &Identity) -> Result<Self> {
        let text = member.public_key.as_deref().unwrap_or_default();
        let public = public_key(text).ok_or_else(|| {
            Error::failure(format!(
                "the server's key of {} is not an X25519 key, so nothing was shared",
                name(&member)
            ))
        })?;
        let fingerprint = fingerprint(&public);
        let standing = match known.get(&member.user_id) {
            _ if text == own.public() => Standing::Own,
            None => Standing::New,
            Some(known) if known.fingerprint == fingerprint => Standing::Known,
            Some(known) => Standing::Changed { before: known.fingerprint.clone() },
        };
        Ok(Self { member, public, fingerprint, standing })
    }
}

impl Standing {
    /// For JSON.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Known => "known",
            Self::New => "new",
            Self::Changed { .. } => "changed",
        }
    }
}
