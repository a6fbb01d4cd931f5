//! Envelopes: every encrypted or authenticated form that crosses a boundary.
//!
//! | file | form |
//! | --- | --- |
//! | [`aead`] | AES-256-GCM, X25519, HKDF-SHA256: the only primitives |
//! | [`vault`] | `encryptedBlob` and personal `wrappedKey`, as the published client has them |
//! | [`keyring`] | escrow keys: ids, sub-keys, sources |
//! | [`escrow`] | stored escrow `v1.…` and sealed escrow `s1.…` |
//! | [`share`] | org `wrappedKey`, the pairing's sealed key, legacy wrapping key |
//! | [`pairing`] | pairing codes, browser keys, the check number |
//! | [`signature()`] | `X-LPM-Signature` |
//!
//! Base64 is RFC 4648's standard alphabet with padding, canonical only: no white space, no missing or
//! surplus `=`, no stray bits in the last character, so that a form has one spelling. Functions take their
//! randomness as arguments; the `…_random` ones draw it. Known answers made by a second implementation are
//! in `docs/vectors`.

pub mod aead;
pub mod escrow;
pub mod keyring;
pub mod pairing;
pub mod share;
pub mod vault;

mod error;
mod recipient;
mod signature;
#[cfg(test)]
mod tests;

pub use error::EnvelopeError;
pub use signature::{signature, signature_holds};

use crate::secret::Secret;
use aead::KEY;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use openssl::sha::sha256;

/// `lp(x)`: 4-byte big-endian length, then the bytes. No two lists of parts share an encoding.
#[must_use]
pub fn lp(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("an identifier is shorter than 4 GiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// What people compare: `SHA256:` and the unpadded base64 of the public key's SHA-256, as ssh shows keys.
#[must_use]
pub fn fingerprint(public: &[u8; KEY]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(public)))
}

/// Canonical base64 of exactly `N` bytes; text of another length is not even decoded.
fn decode_array<const N: usize>(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<[u8; N], EnvelopeError> {
    let wrong = EnvelopeError::Form { field, expected };
    if text.len() != N.div_ceil(3) * 4 {
        return Err(wrong);
    }
    decode(text, field, expected)?.try_into().map_err(|_| wrong)
}

/// Canonical base64 of any length.
fn decode(text: &str, field: &'static str, expected: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::Form { field, expected })
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a secret that is a key: exactly 32.
fn key_bytes(secret: &Secret) -> Result<&[u8; KEY], EnvelopeError> {
    secret.expose().try_into().map_err(|_| EnvelopeError::KeyLength)
}
