//! Payloads for tests: a real-looking one with one thing changed.

use lpm_core::claims::{Claims, ClaimsError, Provider};
use serde_json::{Map, Value};

/// A payload on its way to become claims.
#[derive(Clone)]
pub(crate) struct Payload {
    provider: Provider,
    members: Map<String, Value>,
}

/// One of `tests/fixtures/claims`, by its name without `.json`.
pub(crate) fn payload(name: &str) -> Payload {
    let path = format!("{}/tests/fixtures/claims/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let provider = if name.starts_with("gitlab") { Provider::GitLab } else { Provider::GitHub };
    Payload { provider, members: serde_json::from_str(&text).expect("fixtures are JSON objects") }
}

/// A push to the protected branch `main` of `octo-org/octo-repo`.
pub(crate) fn github() -> Payload {
    payload("github-push")
}

/// A push to the protected branch `main` of `my-group/my-project`.
pub(crate) fn gitlab() -> Payload {
    payload("gitlab-push")
}

impl Payload {
    /// With `claim` set to any JSON value.
    pub(crate) fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.members.insert(claim.to_owned(), value.into());
        self
    }

    /// Without `claim`.
    pub(crate) fn without(mut self, claim: &str) -> Self {
        self.members.remove(claim).unwrap_or_else(|| panic!("the fixture has no `{claim}`"));
        self
    }

    /// How many members it has: the place of the first one that [`Payload::bytes_with`] adds.
    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// The bytes, as an issuer would sign them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.members).expect("a JSON object serializes")
    }

    /// The bytes with raw JSON members added at the end, also ones that no JSON library would write.
    pub(crate) fn bytes_with(&self, raw_members: impl AsRef<[u8]>) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.pop();
        bytes.push(b',');
        bytes.extend_from_slice(raw_members.as_ref());
        bytes.push(b'}');
        bytes
    }

    /// The claims, or why they are refused.
    pub(crate) fn parse(&self) -> Result<Claims, ClaimsError> {
        Claims::parse(self.provider, &self.bytes())
    }

    /// The claims of a payload that must be good.
    pub(crate) fn claims(&self) -> Claims {
        self.parse().expect("the payload is acceptable")
    }
}
