//! Token: a compact JWT becomes [`Verified`] claims, or an error that names the rule it broke.
//!
//! Keys, rules and time are arguments, so gateway and extension can both verify. Until the signature
//! holds, a token answers two questions only: which configured issuer and which of its keys to try.
//! No address is ever taken from a token.

mod error;
mod header;
mod keys;
mod rules;
#[cfg(test)]
mod tests;

pub use error::TokenError;
pub use keys::{KeyError, KeySet, KeySetError, MAX_KEY_SET, MAX_KEYS};
pub use rules::{IssuerRules, LEEWAY, algorithm, audience};

use crate::claims::Claims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use header::Header;
use serde::Deserialize;
use std::borrow::Cow;

/// Longest token, in bytes. GitLab's grow with the groups of whoever started the job.
pub const MAX_TOKEN: usize = 16 * 1024;

/// A token whose form is right and whose signature nobody has checked.
pub struct UnverifiedToken<'a> {
    /// `header.payload`, what the signature covers.
    signed: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
    header: Header,
    issuer: String,
}

/// Claims whose signature, issuer, audience and times hold, with the very bytes that were signed.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The claims.
    pub claims: Claims,
    /// The payload as the issuer signed it, for the extension to read again.
    pub payload: Vec<u8>,
}

/// The one claim that is read before the signature: without it there is no key to check with.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
}

impl<'a> UnverifiedToken<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// Anything but three parts of canonical base64url with an acceptable header and an issuer.
    pub fn read(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLarge);
        }
        // From the right, so that what the signature covers needs no copy.
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Parts)?;
        if payload.contains('.') {
            return Err(TokenError::Parts);
        }
        if signature.is_empty() {
            return Err(TokenError::Unsigned);
        }
        let header = Header::parse(header)?;
        let payload = decode(payload, "payload")?;
        let signature = decode(signature, "signature")?;
        // serde would take the items of a list for the members of an object.
        if !payload.trim_ascii_start().starts_with(b"{") {
            return Err(TokenError::NoIssuer);
        }
        let peek: Peek<'_> = serde_json::from_slice(&payload).map_err(|_| TokenError::NoIssuer)?;
        let issuer = peek.iss.into_owned();
        Ok(Self { signed, signature, payload, header, issuer })
    }

    /// The issuer that the token claims: good for a lookup among configured issuers, for nothing else.
    #[must_use]
    pub fn unverified_issuer(&self) -> &str {
        &self.issuer
    }

    /// The id of the key that the token claims: good for a lookup among that issuer's keys.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.header.key_id
    }

    /// Checks signature, issuer, audience and times, in this order.
    ///
    /// # Errors
    ///
    /// The first rule that the token breaks.
    pub fn verify(&self, rules: &IssuerRules, keys: &KeySet, now: i64) -> Result<Verified, TokenError> {
        // Byte for byte: never a prefix, a pattern or a normalised address.
        if self.issuer != rules.issuer {
            return Err(TokenError::UntrustedIssuer { issuer: self.issuer.clone() });
        }
        let algorithm = self.header.algorithm;
        if !rules.algorithms.contains(&algorithm) {
            return Err(TokenError::Algorithm { algorithm: format!("{algorithm:?}") });
        }
        let key = keys.get(&self.header.key_id).ok_or(TokenError::UnknownKey)?;
        if !key.verifies(algorithm, self.signed.as_bytes(), &self.signature) {
            return Err(TokenError::Signature);
        }
        let claims = Claims::parse(rules.provider, &self.payload)?;
        // The peek and the strict parser read the same bytes; this keeps it true should one change.
        if claims.issuer != rules.issuer {
            return Err(TokenError::UntrustedIssuer { issuer: claims.issuer });
        }
        audience(&rules.audiences, &claims.audience)?;
        rules.check_times(&claims, now)?;
        Ok(Verified { claims, payload: self.payload.clone() })
    }
}

/// Canonical base64url without padding: one token has one spelling.
fn decode(part: &str, name: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Base64 { part: name })
}
