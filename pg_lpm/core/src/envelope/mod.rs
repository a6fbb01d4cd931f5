//! Envelopes: every encrypted form that crosses a boundary.
//!
//! | file | form |
//! | --- | --- |
//! | [`aead`] | AES-256-GCM, X25519, HKDF-SHA256: the only primitives |
//! | [`vault`] | `encryptedBlob` and personal `wrappedKey`, as the published client has them |
//! | [`keyring`] | escrow keys: ids, sub-keys, sources |
//! | [`escrow`] | stored escrow `v1.…` and sealed escrow `s1.…` |
//! | [`share`] | org `wrappedKey`, pairing, legacy wrapping key |
//!
//! Base64 is RFC 4648's standard alphabet with padding, canonical only. Functions take their randomness
//! as arguments; the `…_random` ones draw it.

pub mod aead;
pub mod escrow;
pub mod keyring;
pub mod share;
pub mod vault;

use crate::failure::{Code, Failure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

/// Why an envelope was refused. Never says anything about its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The text is not in the form that it should have.
    #[error("`{field}` is not {expected}")]
    Form {
        /// The field of the request or row.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// More than [`vault::MAX_BLOB`] bytes.
    #[error("the encrypted vault is larger than 10 MiB")]
    TooLarge,
    /// A public key that yields no secret.
    #[error("the public key is not acceptable")]
    PublicKey,
    /// The key, the context or the ciphertext is another one.
    #[error("the envelope does not open")]
    DoesNotOpen,
    /// The cryptographic library failed; nothing about the input.
    #[error("the cryptographic library failed")]
    Library,
}

impl EnvelopeError {
    /// The row of the failure table.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Form { field: "escrow", .. } | Self::PublicKey => {
                Failure::new(Code::EscrowInvalid).with("reason", self.to_string())
            }
            Self::Form { field, expected } => {
                Failure::new(Code::BlobInvalid).with("field", field).with("expected", expected)
            }
            Self::TooLarge => Code::BlobTooLarge.into(),
            Self::DoesNotOpen => Failure::new(Code::EscrowInvalid).with("reason", "it does not open"),
            Self::Library => Code::Internal.into(),
        }
    }
}

impl From<openssl::error::ErrorStack> for EnvelopeError {
    /// Drops the stack: it may quote input, and the caller can do nothing with it.
    fn from(_: openssl::error::ErrorStack) -> Self {
        Self::Library
    }
}

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
pub fn fingerprint(public: &[u8; 32]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(public)))
}

/// `X-LPM-Signature`: base64 of HMAC-SHA256 over the body's bytes, keyed by SHA-256 of the bearer token.
#[must_use]
pub fn signature(bearer_token: &[u8], body: &[u8]) -> String {
    let key = PKey::hmac(&sha256(bearer_token)).expect("any 32 bytes are an HMAC key");
    let mac = Signer::new(MessageDigest::sha256(), &key)
        .and_then(|mut signer| signer.sign_oneshot_to_vec(body))
        .expect("HMAC-SHA256 accepts any input");
    STANDARD.encode(mac)
}

/// Whether `header` is the signature of `body`; compared in constant time.
#[must_use]
pub fn signature_holds(bearer_token: &[u8], body: &[u8], header: &str) -> bool {
    let (expected, given) = (signature(bearer_token, body), header.trim());
    expected.len() == given.len() && openssl::memcmp::eq(expected.as_bytes(), given.as_bytes())
}

/// Canonical base64 of exactly `N` bytes.
fn decode_array<const N: usize>(
    text: &str,
    field: &'static str,
    expected: &'static str,
) -> Result<[u8; N], EnvelopeError> {
    let wrong = EnvelopeError::Form { field, expected };
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)
}

/// Canonical base64 of any length.
fn decode(text: &str, field: &'static str, expected: &'static str) -> Result<Vec<u8>, EnvelopeError> {
    STANDARD.decode(text).map_err(|_| EnvelopeError::Form { field, expected })
}

fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
