//! The vault as the published client encrypts it: `encryptedBlob` under a fresh AES key, `wrappedKey` that
//! AES key under the machine's wrapping key. AES-256-GCM without AAD, `b64(iv):b64(ciphertext ‖ tag)`.

use super::aead::{self, IV, KEY, TAG};
use super::{EnvelopeError, decode, decode_array, encode, key_bytes};
use crate::secret::Secret;
use openssl::sha::Sha256;

/// Largest `iv ‖ ciphertext ‖ tag`, in bytes.
pub const MAX_BLOB: usize = 10 * 1024 * 1024;

const BLOB_FORM: &str = "`base64(iv):base64(ciphertext)`, canonical and padded";
const WRAPPED_FORM: &str = "`base64(iv):base64(wrapped key)` of 81 characters";

/// Encrypts a payload under an AES key of its own.
///
/// # Errors
///
/// When the key has not 32 bytes, the payload is larger than a blob may be, or the library fails.
pub fn seal_blob(aes_key: &Secret, iv: &[u8; IV], payload: &[u8]) -> Result<String, EnvelopeError> {
    if payload.len() > MAX_BLOB - IV - TAG {
        return Err(EnvelopeError::TooLarge);
    }
    Ok(join(iv, &aead::seal(aes_key.expose(), iv, b"", payload)?))
}

/// Decrypts a payload.
///
/// # Errors
///
/// When the blob has the wrong form or the key is another one.
pub fn open_blob(aes_key: &Secret, blob: &str) -> Result<Secret, EnvelopeError> {
    let (iv, sealed) = split_blob(blob)?;
    aead::open_owned(aes_key.expose(), &iv, b"", sealed)
}

/// SHA-256 of the decoded `iv ‖ ciphertext ‖ tag`: what a blob is recognised by.
///
/// # Errors
///
/// When the blob has the wrong form or is larger than [`MAX_BLOB`].
pub fn blob_sha256(blob: &str) -> Result<[u8; 32], EnvelopeError> {
    let (iv, sealed) = split_blob(blob)?;
    let mut hasher = Sha256::new();
    hasher.update(&iv);
    hasher.update(&sealed);
    Ok(hasher.finish())
}

/// Encrypts the AES key under the wrapping key.
///
/// # Errors
///
/// When a key has not 32 bytes, or the library fails.
pub fn wrap_key(wrapping_key: &Secret, iv: &[u8; IV], aes_key: &Secret) -> Result<String, EnvelopeError> {
    Ok(join(iv, &aead::seal(wrapping_key.expose(), iv, b"", key_bytes(aes_key)?)?))
}

/// The AES key behind a wrapped key.
///
/// # Errors
///
/// When the text has the wrong form or the wrapping key is another one.
pub fn open_wrapped_key(wrapping_key: &Secret, wrapped: &str) -> Result<Secret, EnvelopeError> {
    let (iv, sealed) = split_wrapped_key(wrapped)?;
    aead::open(wrapping_key.expose(), &iv, b"", &sealed)
}

/// Whether the text has the form of a wrapped key.
///
/// # Errors
///
/// When it has not.
pub fn check_wrapped_key(wrapped: &str) -> Result<(), EnvelopeError> {
    split_wrapped_key(wrapped).map(|_| ())
}

/// `b64(iv):b64(ciphertext ‖ tag)`.
pub(super) fn join(iv: &[u8; IV], sealed: &[u8]) -> String {
    format!("{}:{}", encode(iv), encode(sealed))
}

fn split_blob(blob: &str) -> Result<([u8; IV], Vec<u8>), EnvelopeError> {
    const FIELD: &str = "encryptedBlob";
    if blob.len() > MAX_BLOB.div_ceil(3) * 4 + 32 {
        return Err(EnvelopeError::TooLarge);
    }
    let (iv, sealed) =
        blob.split_once(':').ok_or(EnvelopeError::Form { field: FIELD, expected: BLOB_FORM })?;
    let iv = decode_array(iv, FIELD, BLOB_FORM)?;
    let sealed = decode(sealed, FIELD, BLOB_FORM)?;
    if sealed.len() < TAG {
        return Err(EnvelopeError::Form { field: FIELD, expected: BLOB_FORM });
    }
    if IV + sealed.len() > MAX_BLOB {
        return Err(EnvelopeError::TooLarge);
    }
    Ok((iv, sealed))
}

fn split_wrapped_key(wrapped: &str) -> Result<([u8; IV], [u8; KEY + TAG]), EnvelopeError> {
    split_sealed_key(wrapped, "wrappedKey", WRAPPED_FORM)
}

/// The 81 characters of a sealed 32-byte key: 16 for the IV, the colon, 64 for key and tag.
pub(super) fn split_sealed_key(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<([u8; IV], [u8; KEY + TAG]), EnvelopeError> {
    let (iv, sealed) = text.split_once(':').ok_or(EnvelopeError::Form { field, expected })?;
    Ok((decode_array(iv, field, expected)?, decode_array(sealed, field, expected)?))
}
