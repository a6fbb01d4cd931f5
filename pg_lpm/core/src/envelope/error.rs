//! Why an envelope was refused.

use super::keyring::KeyId;
use crate::failure::{Code, Failure};

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
    /// More than [`super::vault::MAX_BLOB`] bytes.
    #[error("the encrypted vault is larger than 10 MiB")]
    TooLarge,
    /// A key of another length.
    #[error("a key must have exactly 32 bytes")]
    KeyLength,
    /// A public key that is not on its curve, or of small order: it yields no secret.
    #[error("the public key is not acceptable")]
    PublicKey,
    /// The escrow was sealed to another key than the one at hand.
    #[error("it was sealed to the key `{0}`")]
    OtherKey(KeyId),
    /// The key, the context or the ciphertext is another one.
    #[error("it does not open")]
    DoesNotOpen,
    /// The cryptographic library failed; nothing about the input.
    #[error("the cryptographic library failed")]
    Library,
}

impl EnvelopeError {
    /// The row of the failure table, for something that a caller sent. What was stored and no longer opens
    /// is [`Code::EscrowMismatch`] instead, whatever the reason: the caller cannot mend it in the request.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Form { field, expected } if *field != super::escrow::FIELD => {
                Failure::new(Code::BlobInvalid).with("field", field).with("expected", expected)
            }
            Self::Form { .. } | Self::KeyLength | Self::PublicKey | Self::DoesNotOpen => {
                Failure::new(Code::EscrowInvalid).with("reason", self.to_string())
            }
            Self::TooLarge => Code::BlobTooLarge.into(),
            Self::OtherKey(id) => Failure::new(Code::EscrowKeyUnknown).with("key", id.as_str()),
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
