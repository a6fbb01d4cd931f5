//! The only primitives: AES-256-GCM (NIST SP 800-38D), X25519 (RFC 7748), HKDF-SHA256 (RFC 5869).

use super::EnvelopeError;
use crate::secret::Secret;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use openssl::derive::Deriver;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
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
/// `KeyLength` when the key has not 32 bytes; otherwise when the library fails.
pub fn seal(key: &[u8], iv: &[u8; IV], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let mut context = CipherCtx::new()?;
    context.encrypt_init(Some(Cipher::aes_256_gcm()), Some(exact(key)?), Some(iv))?;
    // One allocation: growing would leave a copy of the plaintext behind. Wiped where encryption fails.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG));
    buffer.extend_from_slice(plaintext);
    in_place(&mut context, aad, &mut buffer)?;
    context.cipher_final(&mut [])?;
    let mut tag = [0; TAG];
    context.tag(&mut tag)?;
    buffer.extend_from_slice(&tag);
    Ok(std::mem::take(&mut *buffer))
}

/// The plaintext behind ciphertext and tag.
///
/// # Errors
///
/// `DoesNotOpen` when key, IV, AAD, ciphertext or tag is another one, or there is no whole tag;
/// `KeyLength` when the key has not 32 bytes.
pub fn open(key: &[u8], iv: &[u8; IV], aad: &[u8], sealed: &[u8]) -> Result<Secret, EnvelopeError> {
    open_owned(key, iv, aad, sealed.to_vec())
}

/// [`open`] in the ciphertext's own memory. GCM decrypts before it knows whether the tag holds, so the
/// buffer is wiped when it does not: nobody may find unauthenticated plaintext in freed memory.
pub(super) fn open_owned(
    key: &[u8],
    iv: &[u8; IV],
    aad: &[u8],
    sealed: Vec<u8>,
) -> Result<Secret, EnvelopeError> {
    let mut buffer = Zeroizing::new(sealed);
    let mut context = CipherCtx::new()?;
    context.decrypt_init(Some(Cipher::aes_256_gcm()), Some(exact(key)?), Some(iv))?;
    let ciphertext = buffer.len().checked_sub(TAG).ok_or(EnvelopeError::DoesNotOpen)?;
    // A whole tag always: OpenSSL would compare a shorter one for as many bytes as it gets.
    context.set_tag(&buffer[ciphertext..])?;
    buffer.truncate(ciphertext);
    in_place(&mut context, aad, &mut buffer)?;
    context.cipher_final(&mut []).map_err(|_| EnvelopeError::DoesNotOpen)?;
    Ok(Secret::new(std::mem::take(&mut *buffer)))
}

/// Feeds the AAD, then turns the buffer into its other form.
fn in_place(context: &mut CipherCtx, aad: &[u8], buffer: &mut [u8]) -> Result<(), EnvelopeError> {
    // The crate panics on more than a C int can count.
    if i32::try_from(aad.len().max(buffer.len())).is_err() {
        return Err(EnvelopeError::TooLarge);
    }
    context.cipher_update(aad, None)?;
    context.cipher_update_inplace(buffer, buffer.len())?;
    Ok(())
}

/// The key, where it has exactly 32 bytes: the crate would panic on fewer and ignore the rest of more.
fn exact(key: &[u8]) -> Result<&[u8], EnvelopeError> {
    if key.len() == KEY { Ok(key) } else { Err(EnvelopeError::KeyLength) }
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
    // OpenSSL 3 refuses it in `derive`; this does not depend on the library. No early exit: it is secret.
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
