//! The header: an allow-list of four parameters.

use super::error::TokenError;
use super::{decode, rules};
use crate::json::{self, Limits, Value};
use jsonwebtoken::Algorithm;

/// Longest header, in bytes after base64.
pub(super) const MAX_HEADER: usize = 2048;

/// Longest key id. GitHub's is a UUID, GitLab's a thumbprint.
pub(super) const MAX_KEY_ID: usize = 256;

/// What a header may say.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
}

impl Header {
    /// Reads the first part of a token.
    ///
    /// A parameter that is not listed is refused, because each one that standards add changes what is
    /// verified: `jku`, `jwk`, `x5u` and `x5c` bring the attacker's key, `crit`, `b64`, `zip` and `cty`
    /// another meaning of the payload.
    pub(super) fn parse(part: &str) -> Result<Self, TokenError> {
        if part.len() > MAX_HEADER.div_ceil(3) * 4 {
            return Err(TokenError::HeaderTooLarge);
        }
        let bytes = decode(part, "header")?;
        if bytes.len() > MAX_HEADER {
            return Err(TokenError::HeaderTooLarge);
        }
        let header = json::parse(&bytes, &Limits::HEADER).map_err(TokenError::HeaderJson)?;
        let Value::Object(members) = header else { return Err(TokenError::HeaderNotAnObject) };
        let (mut algorithm, mut key_id) = (None, None);
        for (name, value) in members {
            let Value::String(text) = value else { return Err(TokenError::HeaderType) };
            match name.as_str() {
                "alg" => algorithm = Some(text),
                "kid" => key_id = Some(text),
                "typ" if text.eq_ignore_ascii_case("JWT") => {}
                "typ" => return Err(TokenError::NotAJwt),
                // GitHub sends a certificate's thumbprint; the key is chosen by `kid` alone.
                "x5t" => {}
                _ => return Err(TokenError::HeaderParameter),
            }
        }
        let algorithm = algorithm.ok_or(TokenError::NoAlgorithm)?;
        let Some(algorithm) = rules::algorithm(&algorithm) else {
            return Err(TokenError::Algorithm { algorithm });
        };
        match key_id {
            Some(key_id) if !key_id.is_empty() && key_id.len() <= MAX_KEY_ID => {
                Ok(Self { algorithm, key_id })
            }
            // Without an id all keys would have to be tried.
            _ => Err(TokenError::KeyId),
        }
    }
}
