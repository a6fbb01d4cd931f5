//! The server's escrow key, and what a push gives to it.
//!
//! Where CI escrow of a vault is of kind `aes`, each push brings the key of its ciphertext, sealed. It does so only
//! where `allow` pinned the escrow key and opened the vault, which `lpm.json` says, *and* the server says that the
//! vault is open: neither a server nor a checkout alone makes it send one.

use super::Session;
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::library;
use crate::output::{printable, warn};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::escrow::{EscrowKind, seal_escrow_random};
use lpm_core::envelope::keyring::KeyId;
use lpm_core::envelope::{fingerprint, vault};
use lpm_core::failure::{Code, exit};
use lpm_core::secret::Secret;
use lpm_core::wire::{EscrowKeyReply, PushedEscrow};

/// The server's escrow key.
pub(super) struct EscrowKey {
    pub(super) id: KeyId,
    pub(super) public: [u8; 32],
    /// Computed here, not taken from the server's words.
    pub(super) fingerprint: String,
}

impl EscrowKey {
    /// Seals a key for CI; of kind `aes` to the ciphertext with this hash.
    pub(super) fn seal(
        &self,
        kind: EscrowKind,
        id: &str,
        hash: Option<[u8; 32]>,
        key: &Secret,
    ) -> Result<String> {
        seal_escrow_random(&self.id, &self.public, kind, id, hash, key).map_err(library)
    }
}

/// What the server says about a vault's escrow.
pub(super) struct Status {
    pub(super) key: EscrowKey,
    /// `None` where the vault is closed to CI.
    pub(super) kind: Option<EscrowKind>,
    /// It is kept of kind `wrapping`, for teams with published clients.
    pub(super) legacy_clients: bool,
}

/// Asks for the server's escrow key, and for the escrow of the vault (of an org).
pub(super) async fn status(client: &Client, token: &Secret, id: &str, org: Option<&str>) -> Result<Status> {
    let mut query = vec![("vaultId", id)];
    query.extend(org.map(|org| ("org", org)));
    // Without a loaded key the server answers 503 at once, and a push can do without the answer.
    let request = Request::read(&["api", "vault", "oidc", "escrow-key"], &query, Bearer::Account(token));
    let reply: EscrowKeyReply = client.send(&request.retried(Retry::Unsent)).await?;
    let key = read_escrow_key(&reply)
        .ok_or_else(|| Error::failure("the server's escrow key is not an X25519 key with an id"))?;
    let kind = reply.escrow.as_deref().and_then(EscrowKind::parse);
    Ok(Status { key, kind, legacy_clients: reply.legacy_clients.unwrap_or(false) })
}

fn read_escrow_key(reply: &EscrowKeyReply) -> Option<EscrowKey> {
    let public: [u8; 32] = STANDARD.decode(&reply.public_key).ok()?.try_into().ok()?;
    let fingerprint = fingerprint(&public);
    (fingerprint == reply.fingerprint).then_some(EscrowKey {
        id: KeyId::parse(&reply.key_id)?,
        public,
        fingerprint,
    })
}

/// Whether the server's escrow key is the one that this project trusts.
pub(super) fn check_fingerprint(shown: &str, pinned: Option<&str>, accepted: Option<&str>) -> Result<()> {
    let (known, source) = match (accepted, pinned) {
        // Whoever takes the flag for the place of a key has put a secret there.
        (Some(accepted), _) => (accepted.trim(), "`--accept-escrow-key` names another".to_owned()),
        (None, Some(pinned)) => (pinned, format!("lpm.json has pinned {}", printable(pinned))),
        (None, None) => return Ok(()),
    };
    if known == shown {
        return Ok(());
    }
    let message = format!("the server's escrow key is {shown}, but {source}");
    let hint = format!("ask whoever runs the server; if they changed it: `--accept-escrow-key={shown}`");
    Err(Error::answered(message, Some("escrow_key_changed".to_owned()), exit::DENIED).hint(hint))
}

/// What a push does about CI.
pub(super) enum Ci {
    /// The vault is not open to CI, or its escrow does not change with a push.
    Unchanged,
    /// The vault is open, but nothing here says that it should be: CI gets 409 until that is settled.
    LeftOut(EscrowKey),
    /// The server has no escrow key at hand.
    NoKey,
    /// The key of the ciphertext goes along.
    Sealed(EscrowKey),
}

/// What a push of this vault (to an org) does about CI. `trusted` is the fingerprint that was pinned when the vault
/// was opened to CI, `accepted` the one that the user names now.
pub(super) async fn for_push(
    (client, token): (&Client, &Secret),
    (id, org): (&str, Option<&str>),
    trusted: Option<&str>,
    accepted: Option<&str>,
) -> Result<Ci> {
    let status = match status(client, token, id, org).await {
        Ok(status) => status,
        Err(error) => {
            return match Code::parse(error.code()) {
                Some(Code::NoEscrowKey) if trusted.is_some() => Ok(Ci::NoKey),
                // Nothing can be open to CI there, and what else is wrong the push itself will say.
                Some(
                    Code::NoEscrowKey
                    | Code::OrgUnknown
                    | Code::VaultUnknown
                    | Code::NeverPushed
                    | Code::PlanCiEscrow
                    | Code::PlanSync,
                ) => Ok(Ci::Unchanged),
                _ => Err(error),
            };
        }
    };
    if status.kind != Some(EscrowKind::Aes) {
        return Ok(Ci::Unchanged);
    }
    if trusted.is_none() && accepted.is_none() {
        return Ok(Ci::LeftOut(status.key));
    }
    check_fingerprint(&status.key.fingerprint, trusted, accepted)?;
    Ok(Ci::Sealed(status.key))
}

impl Session {
    /// The escrow key that was pinned when the vault (of an org) was opened to CI.
    pub(super) fn trusted_escrow_key(&self, id: &str, org: Option<&str>) -> Option<&str> {
        let opened = self.is_projects(id) && self.project.is_open_to_ci(org);
        self.project.escrow_key().filter(|_| opened)
    }
}

impl Ci {
    /// What goes along with this ciphertext.
    pub(super) fn seal(&self, id: &str, blob: &str, key: &Secret) -> Result<Option<PushedEscrow>> {
        let Self::Sealed(escrow_key) = self else { return Ok(None) };
        let hash = vault::blob_sha256(blob).map_err(library)?;
        let sealed = escrow_key.seal(EscrowKind::Aes, id, Some(hash), key)?;
        Ok(Some(PushedEscrow { key_id: escrow_key.id.to_string(), sealed, blob_sha256: hex::encode(hash) }))
    }

    /// For JSON: what CI gets of the version that was pushed.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::LeftOut(_) | Self::NoKey => "left_out",
            Self::Sealed(_) => "included",
        }
    }

    /// Says where CI was left out; `command` is the push or share that was run.
    pub(super) fn warn(&self, command: &str, org: Option<&str>) {
        let org = org.map(|org| format!(" --org={org}")).unwrap_or_default();
        match self {
            Self::LeftOut(key) => warn(format!(
                "this version leaves CI out, and its pulls fail: the vault is open to CI, but nothing here has accepted the escrow key {0}. If it is the server's: `{command}{org} --accept-escrow-key={0}`, or `lpm env oidc allow{org} …` here",
                key.fingerprint
            )),
            Self::NoKey => warn(format!(
                "this version leaves CI out, and its pulls fail: the server has no escrow key loaded right now. Once it has: `{command}{org}`"
            )),
            Self::Unchanged | Self::Sealed(_) => {}
        }
    }

    /// The key that the user has just accepted for this vault, to be pinned.
    pub(super) fn accepted(&self, accepted: Option<&str>) -> Option<&str> {
        match self {
            Self::Sealed(key) if accepted.is_some() => Some(&key.fingerprint),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "SHA256:new";

    #[test]
    fn a_first_key_is_accepted_and_a_known_one_stays() {
        assert!(check_fingerprint(SHOWN, None, None).is_ok());
        assert!(check_fingerprint(SHOWN, Some(SHOWN), None).is_ok());
        assert!(check_fingerprint(SHOWN, Some("SHA256:old"), Some(SHOWN)).is_ok());
        assert!(check_fingerprint(SHOWN, None, Some(" SHA256:new ")).is_ok());
    }

    #[test]
    fn another_key_is_refused_with_both_fingerprints() {
        for (pinned, accepted) in [
            (Some("SHA256:old"), None),
            (Some(SHOWN), Some("SHA256:old")),
            (None, Some("SHA256:old")),
            (Some("SHA256:NEW"), None),
            (Some(""), None),
            (None, Some("")),
        ] {
            let error = check_fingerprint(SHOWN, pinned, accepted).expect_err("it is another key");
            assert_eq!(error.exit_code(), exit::DENIED);
            assert!(error.lines().join("; ").contains("--accept-escrow-key=SHA256:new"));
        }
    }

    #[test]
    fn the_fingerprint_is_computed_from_the_key() {
        let public = [7; 32];
        let reply = |key: &str, fingerprint: String| EscrowKeyReply {
            key_id: "k1".into(),
            public_key: key.into(),
            fingerprint,
            escrow: None,
            legacy_clients: None,
        };
        let encoded = STANDARD.encode(public);
        assert!(read_escrow_key(&reply(&encoded, fingerprint(&public))).is_some());
        assert!(
            read_escrow_key(&reply(&encoded, fingerprint(&[8; 32]))).is_none(),
            "another key's fingerprint"
        );
        assert!(read_escrow_key(&reply(&STANDARD.encode([7; 31]), fingerprint(&public))).is_none());
        assert!(read_escrow_key(&reply("no base64", fingerprint(&public))).is_none());
        let mut nameless = reply(&encoded, fingerprint(&public));
        nameless.key_id = "a b".into();
        assert!(read_escrow_key(&nameless).is_none());
    }
}
