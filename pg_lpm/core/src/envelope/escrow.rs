//! Escrow: a wrapping key (or a vault's AES key) that the server can open for CI.
//!
//! *Stored*: `v1.<kid>.<b64 iv>.<b64 ct+tag>`, AES-256-GCM under the sub-key `aead`, AAD =
//! lp('lpm-escrow-v1') lp(kind) lp(vault id) lp('user'|'org') lp(owner uuid) lp(kid) lp(blob hash or '').
//! So a stored escrow opens only in the row that it was made for. The uuid is its 36 characters in lower
//! case, the blob hash its 32 bytes.
//!
//! *Sealed on the way in*: `s1.<kid>.<b64 epk>.<b64 iv>.<b64 ct+tag>`, K = HKDF(ikm = X25519(e, R), salt =
//! epk ‖ rpk, info `lpm-ci-seal-v1`), AAD = lp(kind) lp(vault id) lp(kid) lp(blob hash or '').

use super::aead::{self, IV, KEY, TAG};
use super::keyring::{EscrowKey, KeyId};
use super::recipient::{self, Purpose};
use super::{EnvelopeError, decode_array, encode, key_bytes, lp};
use crate::secret::Secret;
use uuid::Uuid;
use zeroize::Zeroizing;

const STORED_LABEL: &[u8] = b"lpm-escrow-v1";
const SEAL_INFO: &[u8] = b"lpm-ci-seal-v1";
/// How errors name an escrow, stored or sealed.
pub(super) const FIELD: &str = "escrow";
const STORED_FORM: &str = "`v1.<key id>.<iv>.<ciphertext>`";
const SEALED_FORM: &str = "`s1.<key id>.<ephemeral key>.<iv>.<ciphertext>`";

/// What is escrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscrowKind {
    /// The machine's wrapping key.
    Wrapping,
    /// The vault's AES key, one per push.
    Aes,
}

impl EscrowKind {
    /// The name in rows and in the AAD.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wrapping => "wrapping",
            Self::Aes => "aes",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Wrapping, Self::Aes].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Whose row the escrow stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An account's.
    User(Uuid),
    /// An org's.
    Org(Uuid),
}

/// The row that a stored escrow is bound to.
#[derive(Clone, Copy, Debug)]
pub struct EscrowContext<'a> {
    /// What is escrowed.
    pub kind: EscrowKind,
    /// The vault.
    pub vault_id: &'a str,
    /// The row's owner.
    pub owner: Owner,
    /// The blob that the key opens, where it opens only one (kind `aes`).
    pub blob_hash: Option<[u8; 32]>,
}

impl EscrowContext<'_> {
    fn aad(&self, kid: &KeyId) -> Vec<u8> {
        let (scope, owner) = match self.owner {
            Owner::User(id) => ("user", id),
            Owner::Org(id) => ("org", id),
        };
        lp(&[
            STORED_LABEL,
            self.kind.as_str().as_bytes(),
            self.vault_id.as_bytes(),
            scope.as_bytes(),
            owner.hyphenated().to_string().as_bytes(),
            kid.as_str().as_bytes(),
            self.blob_hash.as_ref().map_or(&[], |hash| &hash[..]),
        ])
    }
}

/// Seals a key for storage.
///
/// # Errors
///
/// When the secret has not 32 bytes, or the library fails.
pub fn store_escrow(
    key: &EscrowKey,
    context: &EscrowContext<'_>,
    secret: &Secret,
    iv: &[u8; IV],
) -> Result<String, EnvelopeError> {
    let sealed = aead::seal(key.aead(), iv, &context.aad(key.id()), key_bytes(secret)?)?;
    Ok(format!("v1.{}.{}.{}", key.id(), encode(iv), encode(&sealed)))
}

/// [`store_escrow`] with a fresh IV.
///
/// # Errors
///
/// As there.
pub fn store_escrow_random(
    key: &EscrowKey,
    context: &EscrowContext<'_>,
    secret: &Secret,
) -> Result<String, EnvelopeError> {
    store_escrow(key, context, secret, &aead::random()?)
}

/// The key behind a stored escrow, in the row that it was made for.
///
/// # Errors
///
/// When the text has the wrong form, names another key, or stands in another row.
pub fn open_stored_escrow(
    key: &EscrowKey,
    context: &EscrowContext<'_>,
    text: &str,
) -> Result<Secret, EnvelopeError> {
    let [kid, iv, sealed] = fields(text, "v1", STORED_FORM)?;
    check_key_id(kid, key, STORED_FORM)?;
    let iv = decode_array(iv, FIELD, STORED_FORM)?;
    let sealed: [u8; KEY + TAG] = decode_array(sealed, FIELD, STORED_FORM)?;
    aead::open(key.aead(), &iv, &context.aad(key.id()), &sealed)
}

/// The id of the key that a stored escrow names.
///
/// # Errors
///
/// When the text has the wrong form.
pub fn stored_key_id(text: &str) -> Result<KeyId, EnvelopeError> {
    let [kid, _, _] = fields(text, "v1", STORED_FORM)?;
    key_id(kid, STORED_FORM)
}

/// Seals a key to the server's escrow key `recipient`, on the machine that has it.
///
/// # Errors
///
/// When the public key yields no secret, the secret has not 32 bytes, or the library fails.
#[expect(clippy::too_many_arguments, reason = "two of them are the randomness")]
pub fn seal_escrow(
    recipient_id: &KeyId,
    recipient: &[u8; KEY],
    kind: EscrowKind,
    vault_id: &str,
    blob_hash: Option<[u8; 32]>,
    secret: &Secret,
    ephemeral: &[u8; KEY],
    iv: &[u8; IV],
) -> Result<String, EnvelopeError> {
    let aad = sealed_aad(kind, vault_id, recipient_id, blob_hash);
    let purpose = Purpose { info: SEAL_INFO, aad: &aad };
    let (public, sealed) = recipient::seal(recipient, &purpose, key_bytes(secret)?, ephemeral, iv)?;
    Ok(format!("s1.{recipient_id}.{}.{}.{}", encode(&public), encode(iv), encode(&sealed)))
}

/// [`seal_escrow`] with a fresh ephemeral key and IV.
///
/// # Errors
///
/// As there.
pub fn seal_escrow_random(
    recipient_id: &KeyId,
    recipient: &[u8; KEY],
    kind: EscrowKind,
    vault_id: &str,
    blob_hash: Option<[u8; 32]>,
    secret: &Secret,
) -> Result<String, EnvelopeError> {
    let ephemeral = Zeroizing::new(aead::random()?);
    seal_escrow(recipient_id, recipient, kind, vault_id, blob_hash, secret, &ephemeral, &aead::random()?)
}

/// The key behind a sealed escrow.
///
/// # Errors
///
/// When the text has the wrong form, was sealed to another key or for another vault, or its ephemeral key
/// yields no secret.
pub fn open_sealed_escrow(
    key: &EscrowKey,
    kind: EscrowKind,
    vault_id: &str,
    blob_hash: Option<[u8; 32]>,
    text: &str,
) -> Result<Secret, EnvelopeError> {
    let [kid, public, iv, sealed] = fields(text, "s1", SEALED_FORM)?;
    check_key_id(kid, key, SEALED_FORM)?;
    let public = decode_array(public, FIELD, SEALED_FORM)?;
    let iv = decode_array(iv, FIELD, SEALED_FORM)?;
    let sealed: [u8; KEY + TAG] = decode_array(sealed, FIELD, SEALED_FORM)?;
    let aad = sealed_aad(kind, vault_id, key.id(), blob_hash);
    let purpose = Purpose { info: SEAL_INFO, aad: &aad };
    recipient::open((key.private(), key.public()), &purpose, &public, &iv, &sealed)
}

/// The id of the key that an escrow was sealed to.
///
/// # Errors
///
/// When the text has the wrong form.
pub fn sealed_key_id(text: &str) -> Result<KeyId, EnvelopeError> {
    let [kid, _, _, _] = fields(text, "s1", SEALED_FORM)?;
    key_id(kid, SEALED_FORM)
}

fn sealed_aad(kind: EscrowKind, vault_id: &str, kid: &KeyId, blob_hash: Option<[u8; 32]>) -> Vec<u8> {
    let hash = blob_hash.as_ref().map_or(&[][..], |hash| hash);
    lp(&[kind.as_str().as_bytes(), vault_id.as_bytes(), kid.as_str().as_bytes(), hash])
}

fn key_id(text: &str, expected: &'static str) -> Result<KeyId, EnvelopeError> {
    KeyId::parse(text).ok_or(EnvelopeError::Form { field: FIELD, expected })
}

/// The id in the text is that of the key; it is in the AAD too, but this tells a lost key from a wrong row.
fn check_key_id(text: &str, key: &EscrowKey, expected: &'static str) -> Result<(), EnvelopeError> {
    let id = key_id(text, expected)?;
    if id == *key.id() { Ok(()) } else { Err(EnvelopeError::OtherKey(id)) }
}

/// Exactly `N` fields after the version.
fn fields<'a, const N: usize>(
    text: &'a str,
    version: &str,
    expected: &'static str,
) -> Result<[&'a str; N], EnvelopeError> {
    let wrong = EnvelopeError::Form { field: FIELD, expected };
    let mut parts = text.split('.');
    if parts.next() != Some(version) {
        return Err(wrong);
    }
    // One more than expected is enough to see that there are too many.
    parts.take(N + 1).collect::<Vec<_>>().try_into().map_err(|_| wrong)
}
