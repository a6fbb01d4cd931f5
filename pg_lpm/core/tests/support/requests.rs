//! Requests to create a policy, for tests: a good one with fields changed.

use lpm_core::claims::Provider;
use lpm_core::failure::Failure;
use lpm_core::policy::{NewPolicy, Policy};
use serde_json::{Value, json};

/// What the published client sends.
pub(crate) fn request() -> Value {
    json!({
        "vaultId": "vault-abc", "provider": "github", "subject": "repo:acme/web",
        "allowedBranches": ["main", "release/*"], "allowedEnvironments": ["development", "production"],
        "allowForks": false
    })
}

pub(crate) fn gitlab() -> Value {
    with(&[("provider", json!("gitlab")), ("subject", json!("project:my-group/my-project"))])
}

pub(crate) fn with(changes: &[(&str, Value)]) -> Value {
    changed(request(), changes)
}

pub(crate) fn changed(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (key, value) in changes {
        body[*key] = value.clone();
    }
    body
}

pub(crate) fn read(body: &Value) -> Result<NewPolicy, Failure> {
    Policy::from_request(body.to_string().as_bytes(), |provider| match provider {
        Provider::GitHub => Some("https://token.actions.githubusercontent.com".to_owned()),
        Provider::GitLab => Some("https://gitlab.com".to_owned()),
    })
}

pub(crate) fn policy(body: &Value) -> Policy {
    read(body).unwrap().policy
}
