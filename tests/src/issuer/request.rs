//! What a test asks the issuer to sign.

use super::{Algorithm, Provider};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token to be made: the provider's usual claims, header and key, with what is said here changed.
///
/// This is also the body of `POST /mint`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRequest {
    /// Whose token.
    pub provider: Provider,
    /// Claims to set, whatever their type; null is set as null.
    pub claims: Map<String, Value>,
    /// Claims to leave out.
    pub without: Vec<String>,
    /// Header members to set.
    pub header: Map<String, Value>,
    /// Header members to leave out.
    pub without_header: Vec<String>,
    /// What the header says and the signature is, when it is not the key's own algorithm.
    pub algorithm: Option<Algorithm>,
    /// The key that signs.
    pub key: SignWith,
    /// The exact payload, instead of any claims.
    pub payload: Option<String>,
    /// The exact header, instead of any members.
    pub header_text: Option<String>,
}

/// The key that signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignWith {
    /// The current one.
    #[default]
    Current,
    /// The one before the last rotation.
    Previous,
    /// One that was never published, under the current one's id.
    Stranger,
    /// The published public key as PEM, as an HMAC secret: for the confusion of HS256 with RS256.
    PublicPem,
    /// The same as DER.
    PublicDer,
}

impl TokenRequest {
    /// A push to `main` of `octo-org/octo-repo`.
    #[must_use]
    pub fn github() -> Self {
        Self::default()
    }

    /// A push to `main` of `my-group/my-project`.
    #[must_use]
    pub fn gitlab() -> Self {
        Self { provider: Provider::GitLab, ..Self::default() }
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }

    /// Sets a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a member of the header out.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.without_header.push(name.to_owned());
        self
    }

    /// Signs with another algorithm.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Signs with another key.
    #[must_use]
    pub fn key(mut self, key: SignWith) -> Self {
        self.key = key;
        self
    }

    /// Signs exactly this payload.
    #[must_use]
    pub fn payload(mut self, text: impl Into<String>) -> Self {
        self.payload = Some(text.into());
        self
    }

    /// Signs under exactly this header.
    #[must_use]
    pub fn header_text(mut self, text: impl Into<String>) -> Self {
        self.header_text = Some(text.into());
        self
    }

    /// The repository, as `owner/name`.
    #[must_use]
    pub fn repository(self, name: &str) -> Self {
        self.claim("repository", name)
    }

    /// The branch: the provider's own spelling of it.
    #[must_use]
    pub fn branch(self, name: &str) -> Self {
        let git_ref = match self.provider {
            Provider::GitHub => format!("refs/heads/{name}"),
            Provider::GitLab => name.to_owned(),
        };
        self.claim("ref", git_ref)
    }

    /// The event: GitHub's `event_name`, GitLab's `pipeline_source`.
    #[must_use]
    pub fn event(self, name: &str) -> Self {
        let claim = match self.provider {
            Provider::GitHub => "event_name",
            Provider::GitLab => "pipeline_source",
        };
        self.claim(claim, name)
    }

    /// The audience.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }
}
