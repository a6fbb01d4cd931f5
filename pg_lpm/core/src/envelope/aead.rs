//! The only primitives: AES-256-GCM (NIST SP 800-38D), X25519 (RFC 7748), HKDF-SHA256 (RFC 5869).

use super::EnvelopeError;
use crate::secret::Secret;
use openssl::derive::Deriver;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead, encrypt_aead};
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY: usize = 32;
/// Bytes of an initialisation vector.
pub const IV: usize = 12;
/// Bytes of an authentication tag, which stands at the end of the ciphertext.
pub const TAG: usize = 16;

/// Fresh random bytes.
///
/// # Errors
///
/// When the operating system has none.
pub fn random<const N: usize>() -> Result<[u8; N], EnvelopeError> {
    let mut bytes = [0; N];
    openssl::rand::rand_bytes(&mut bytes)?;
    Ok(bytes)
}

/// Ciphertext and tag. The IV must never repeat under a key.
///
/// # Errors
///
/// When the key has not 32 bytes, or the library fails.
pub fn seal(key: &[u8], iv: &[u8; IV], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    check_key(key)?;
    let mut tag = [0; TAG];
    let mut out = encrypt_aead(Cipher::aes_256_gcm(), key, Some(iv), aad, plaintext, &mut tag)?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// The plaintext behind ciphertext and tag.
///
/// # Errors
///
/// `DoesNotOpen` when key, IV, AAD, ciphertext or tag is another one, or there is no whole tag.
pub fn open(key: &[u8], iv: &[u8; IV], aad: &[u8], sealed: &[u8]) -> Result<Secret, EnvelopeError> {
    check_key(key)?;
    let split = sealed.len().checked_sub(TAG).ok_or(EnvelopeError::DoesNotOpen)?;
    let (ciphertext, tag) = sealed.split_at(split);
    decrypt_aead(Cipher::aes_256_gcm(), key, Some(iv), aad, ciphertext, tag)
        .map(Secret::new)
        .map_err(|_| EnvelopeError::DoesNotOpen)
}

/// OpenSSL would panic on a key of another length.
fn check_key(key: &[u8]) -> Result<(), EnvelopeError> {
    if key.len() == KEY { Ok(()) } else { Err(EnvelopeError::DoesNotOpen) }
}

/// The shared secret of X25519; an all-zero one (a public key of small order) is refused (RFC 7748, 6.1).
///
/// # Errors
///
/// `PublicKey` when the result is all zero.
pub fn agree(private: &[u8; KEY], public: &[u8; KEY]) -> Result<Secret, EnvelopeError> {
    let private = PKey::private_key_from_raw_bytes(private, Id::X25519)?;
    let public = PKey::public_key_from_raw_bytes(public, Id::X25519)?;
    let mut deriver = Deriver::new(&private)?;
    deriver.set_peer(&public)?;
    let shared = deriver.derive_to_vec().map(Secret::new).map_err(|_| EnvelopeError::PublicKey)?;
    if shared.expose().iter().fold(0, |all, byte| all | byte) == 0 {
        return Err(EnvelopeError::PublicKey);
    }
    Ok(shared)
}

/// The X25519 public key of a private one.
///
/// # Errors
///
/// When the library fails.
pub fn public_key(private: &[u8; KEY]) -> Result<[u8; KEY], EnvelopeError> {
    let raw = PKey::private_key_from_raw_bytes(private, Id::X25519)?.raw_public_key()?;
    raw.try_into().map_err(|_| EnvelopeError::Library)
}

/// HKDF-SHA256 with 32 bytes of output: extract with `salt`, expand with `info`.
///
/// One block of output is HMAC(PRK, info ‖ 0x01), so no loop is needed.
///
/// # Errors
///
/// When the library fails.
pub fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; KEY]>, EnvelopeError> {
    // RFC 5869: an absent salt is HashLen zeros, which HMAC's padding makes of an empty one.
    let salt = if salt.is_empty() { &[0; KEY] } else { salt };
    let prk = hmac(salt, &[ikm])?;
    hmac(&*prk, &[info, &[1]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<Zeroizing<[u8; KEY]>, EnvelopeError> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    for part in parts {
        signer.update(part)?;
    }
    let mut out = Zeroizing::new([0; KEY]);
    signer.sign(&mut *out)?;
    Ok(out)
}
