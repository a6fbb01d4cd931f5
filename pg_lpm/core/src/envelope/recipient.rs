//! Sealing to an X25519 public key: ephemeral key, HKDF-SHA256, AES-256-GCM.
//!
//! K = HKDF(ikm = X25519(e, R), salt = epk ‖ rpk, info). Both public keys in the salt bind the ciphertext to
//! this pair, `info` to one purpose, and the AAD to the place where it is meant to stand.

use super::EnvelopeError;
use super::aead::{self, IV, KEY};
use crate::secret::Secret;
use zeroize::Zeroizing;

/// What it is sealed for: one label per format.
pub(super) struct Purpose<'a> {
    pub(super) info: &'a [u8],
    pub(super) aad: &'a [u8],
}

/// The ephemeral public key, and ciphertext with tag.
pub(super) fn seal(
    recipient: &[u8; KEY],
    purpose: &Purpose<'_>,
    plaintext: &[u8],
    ephemeral: &[u8; KEY],
    iv: &[u8; IV],
) -> Result<([u8; KEY], Vec<u8>), EnvelopeError> {
    let public = aead::public_key(ephemeral)?;
    let key = derive(&aead::agree(ephemeral, recipient)?, &public, recipient, purpose)?;
    Ok((public, aead::seal(&*key, iv, purpose.aad, plaintext)?))
}

/// The plaintext, for the holder of the recipient's `private` key.
pub(super) fn open(
    (private, public): (&[u8; KEY], &[u8; KEY]),
    purpose: &Purpose<'_>,
    ephemeral: &[u8; KEY],
    iv: &[u8; IV],
    sealed: &[u8],
) -> Result<Secret, EnvelopeError> {
    let key = derive(&aead::agree(private, ephemeral)?, ephemeral, public, purpose)?;
    aead::open(&*key, iv, purpose.aad, sealed)
}

fn derive(
    shared: &Secret,
    ephemeral: &[u8; KEY],
    recipient: &[u8; KEY],
    purpose: &Purpose<'_>,
) -> Result<Zeroizing<[u8; KEY]>, EnvelopeError> {
    aead::hkdf(shared.expose(), &[*ephemeral, *recipient].concat(), purpose.info)
}
