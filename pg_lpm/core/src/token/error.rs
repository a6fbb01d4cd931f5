//! Why a token was refused.

use super::header::{MAX_HEADER, MAX_KEY_ID};
use crate::claims::ClaimsError;
use crate::failure::{Code, Failure};
use crate::json::JsonError;

/// Why a token was refused: one variant per rule.
///
/// The values that some carry are the caller's own and no secret: algorithm, issuer, audience.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Larger than [`super::MAX_TOKEN`].
    #[error("it is larger than 16 KiB")]
    TooLarge,
    /// Not `header.payload.signature`: an encrypted token, JSON serialisation, or something else.
    #[error("it is not `header.payload.signature`")]
    Parts,
    /// The third part is empty.
    #[error("it has no signature")]
    Unsigned,
    /// Padding, another alphabet, white space or stray bits.
    #[error("its {part} is not canonical base64url")]
    Base64 {
        /// `header`, `payload` or `signature`.
        part: &'static str,
    },
    /// The payload is no JSON object with one string `iss`.
    #[error("its payload is not a JSON object that names one issuer")]
    NoIssuer,
    /// A longer header than any issuer sends.
    #[error("it is larger than {MAX_HEADER} bytes")]
    HeaderTooLarge,
    /// The header breaks a rule of strict JSON.
    #[error("it {0}")]
    HeaderJson(#[source] JsonError),
    /// The header is JSON, but no object.
    #[error("it must be an object")]
    HeaderNotAnObject,
    /// A parameter is no string.
    #[error("its parameters must be strings")]
    HeaderType,
    /// A parameter outside the allow-list.
    #[error("it has a parameter other than `alg`, `kid`, `typ` and `x5t`")]
    HeaderParameter,
    /// `typ` is something else than `JWT`.
    #[error("its `typ` must be `JWT`")]
    NotAJwt,
    /// No `alg`.
    #[error("its `alg` is missing")]
    NoAlgorithm,
    /// No `kid`, an empty or a huge one.
    #[error("its `kid` must be there, with 1 to {MAX_KEY_ID} bytes")]
    KeyId,
    /// An algorithm that this issuer, or any, is not trusted with.
    #[error("the algorithm is not allowed")]
    Algorithm {
        /// `alg` as the token spells it.
        algorithm: String,
    },
    /// Not the issuer that the rules are for.
    #[error("the issuer is not trusted")]
    UntrustedIssuer {
        /// `iss` as the token spells it.
        issuer: String,
    },
    /// The issuer publishes no usable key of that id.
    #[error("the issuer publishes no key with the token's key id")]
    UnknownKey,
    /// The signature does not hold, or the key is for another algorithm.
    #[error("the signature does not hold")]
    Signature,
    /// The claims are not acceptable.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// For another server.
    #[error("the audience is not this server")]
    Audience {
        /// `aud` as the token spells it.
        audience: String,
        /// What to ask the issuer for.
        expected: String,
    },
    /// `exp` is not after `iat`.
    #[error("the claim `exp` is not after `iat`")]
    EndsBeforeItStarts,
    /// `exp - iat` is above the issuer's limit.
    #[error("the token lives longer than this issuer is trusted with")]
    Lifetime,
    /// `iat` or `nbf` lies in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `iat` is above the issuer's age limit.
    #[error("the token was issued too long ago")]
    TooOld,
}

impl TokenError {
    /// The row of the failure table.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let with_reason = |code: Code| Failure::new(code).with("reason", self.to_string());
        match self {
            Self::TooLarge => Code::TokenTooLarge.into(),
            Self::Parts | Self::Unsigned | Self::Base64 { .. } | Self::NoIssuer => {
                with_reason(Code::TokenMalformed)
            }
            Self::HeaderTooLarge
            | Self::HeaderJson(_)
            | Self::HeaderNotAnObject
            | Self::HeaderType
            | Self::HeaderParameter
            | Self::NotAJwt
            | Self::NoAlgorithm
            | Self::KeyId => with_reason(Code::TokenHeader),
            Self::Algorithm { algorithm } => Failure::new(Code::TokenAlgorithm).with("algorithm", algorithm),
            Self::UntrustedIssuer { issuer } => Failure::new(Code::TokenIssuer).with("issuer", issuer),
            Self::UnknownKey => Code::TokenKey.into(),
            Self::Signature => Code::TokenSignature.into(),
            Self::Claims(error) => error.failure(),
            Self::Audience { audience, expected } => {
                Failure::new(Code::TokenAudience).with("audience", audience).with("expected", expected)
            }
            Self::EndsBeforeItStarts => {
                Failure::new(Code::TokenClaims).with("claim", "exp").with("reason", "is not after `iat`")
            }
            Self::Lifetime => Code::TokenLifetime.into(),
            Self::NotYetValid => Code::TokenNotYetValid.into(),
            Self::Expired => Code::TokenExpired.into(),
            Self::TooOld => Code::TokenTooOld.into(),
        }
    }
}
