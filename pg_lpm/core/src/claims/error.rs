//! Why claims were refused.

use crate::failure::{Code, Failure};
use crate::json::JsonError;

/// Why claims were refused: one variant per rule, with the claim's name and never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// The payload breaks a rule of strict JSON.
    #[error("the payload {0}")]
    Json(#[from] JsonError),
    /// The payload is JSON, but no object.
    #[error("the payload must be an object")]
    NotAnObject,
    /// A member's name equals the claim's only after case folding, so parsers disagree on what it is.
    #[error("the claim `{claim}` is given under a look-alike name")]
    LookAlike {
        /// The claim.
        claim: &'static str,
    },
    /// A required claim is absent or null.
    #[error("the claim `{claim}` is missing")]
    Missing {
        /// The claim.
        claim: &'static str,
    },
    /// A required claim is the empty string.
    #[error("the claim `{claim}` is empty")]
    Empty {
        /// The claim.
        claim: &'static str,
    },
    /// A claim is of another type or form.
    #[error("the claim `{claim}` must be {expected}")]
    Type {
        /// The claim.
        claim: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A claim is longer than anything that an issuer sends.
    #[error("the claim `{claim}` is longer than {max} bytes")]
    TooLong {
        /// The claim.
        claim: &'static str,
        /// What is allowed.
        max: usize,
    },
}

impl ClaimsError {
    /// The row of the failure table.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let claims = |claim: &str, reason: String| {
            Failure::new(Code::TokenClaims).with("claim", claim).with("reason", reason)
        };
        match self {
            Self::Json(_) | Self::NotAnObject => {
                Failure::new(Code::TokenMalformed).with("reason", self.to_string())
            }
            Self::LookAlike { claim } => claims(claim, "is given under a look-alike name".to_owned()),
            Self::Missing { claim } => claims(claim, "is missing".to_owned()),
            Self::Empty { claim } => claims(claim, "is empty".to_owned()),
            Self::Type { claim, expected } => claims(claim, format!("must be {expected}")),
            Self::TooLong { claim, max } => claims(claim, format!("is longer than {max} bytes")),
        }
    }
}
