//! What an issuer is trusted with: algorithms, audiences, times.

use super::error::TokenError;
use crate::claims::{Claims, Provider};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// How far the clocks of issuer and gateway may differ, in seconds. Uses of a token are remembered for
/// longer than that behind its end.
pub const LEEWAY: i64 = 30;

/// One configured issuer, as `lpm_api.issuers()` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRules {
    /// `iss`, byte for byte.
    pub issuer: String,
    /// Whose claims its tokens carry.
    pub provider: Provider,
    /// Accepted audiences, the server's own included. Texts recommend the first.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms.
    #[serde(deserialize_with = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Longest `exp - iat`, in seconds.
    pub max_lifetime: i64,
    /// Oldest `iat`, in seconds, whatever `exp` says.
    pub max_age: i64,
}

impl IssuerRules {
    /// Checks lifetime and age; every time in claims is within 2^53, so their differences cannot overflow.
    pub(super) fn check_times(&self, claims: &Claims, now: i64) -> Result<(), TokenError> {
        let Claims { issued_at, expires_at, not_before, .. } = *claims;
        if expires_at <= issued_at {
            return Err(TokenError::EndsBeforeItStarts);
        }
        if expires_at - issued_at > self.max_lifetime {
            return Err(TokenError::Lifetime);
        }
        let latest_start = now.saturating_add(LEEWAY);
        if issued_at > latest_start || not_before.is_some_and(|start| start > latest_start) {
            return Err(TokenError::NotYetValid);
        }
        let earliest_end = now.saturating_sub(LEEWAY);
        if expires_at <= earliest_end {
            return Err(TokenError::Expired);
        }
        if earliest_end.saturating_sub(issued_at) > self.max_age {
            return Err(TokenError::TooOld);
        }
        Ok(())
    }
}

/// The algorithm of this exact name, where a token may use it at all.
///
/// Only signatures by a private key: with HMAC, whoever can verify can sign.
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "RS384" => Some(Algorithm::RS384),
        "RS512" => Some(Algorithm::RS512),
        "PS256" => Some(Algorithm::PS256),
        "PS384" => Some(Algorithm::PS384),
        "PS512" => Some(Algorithm::PS512),
        "ES256" => Some(Algorithm::ES256),
        "ES384" => Some(Algorithm::ES384),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// The one place that judges audiences: `claim` must be one of `bases`, byte for byte.
///
/// `<base>/sealed/…` is reserved for a job that commits to a key in its audience. It is refused even
/// where it is listed, so that no issuer row gives it another meaning meanwhile.
///
/// # Errors
///
/// Any other audience.
pub fn audience<'a>(bases: &'a [String], claim: &str) -> Result<&'a str, TokenError> {
    let reserved = |base: &str| claim.strip_prefix(base).is_some_and(|rest| rest.starts_with("/sealed/"));
    match bases.iter().find(|base| *base == claim) {
        Some(base) if !bases.iter().any(|base| reserved(base)) => Ok(base),
        _ => Err(TokenError::Audience {
            audience: claim.to_owned(),
            expected: bases.first().cloned().unwrap_or_default(),
        }),
    }
}

fn algorithms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Algorithm>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names
        .iter()
        .map(|name| algorithm(name).ok_or_else(|| D::Error::custom("an unsupported signature algorithm")))
        .collect()
}
