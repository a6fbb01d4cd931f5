//! Policies: requests in, canonical documents out; and what is wrong with an issuer.

use crate::answer::{Answer, refusal};
use lpm_core::claims::Provider;
use lpm_core::failure::{Code, Failure};
use lpm_core::policy::Policy;
use lpm_core::token::{KeySet, algorithm};
use pgrx::prelude::*;

/// The policy that a request's body asks for, or why it cannot be.
#[pg_extern(immutable, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn parse_policy(
    body: Option<&str>,
    github_issuer: Option<&str>,
    gitlab_issuer: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(vault_id, Option<String>),
        name!(provider, Option<String>),
        name!(issuer, Option<String>),
        name!(subject, Option<String>),
        name!(scope, Option<String>),
        name!(org, Option<String>),
        name!(document, Option<String>),
        name!(warnings, Option<Vec<String>>),
        name!(pin_id, Option<String>),
        name!(pin_owner_id, Option<String>),
    ),
> {
    let default_issuer = |provider| match provider {
        Provider::GitHub => github_issuer.map(str::to_owned),
        Provider::GitLab => gitlab_issuer.map(str::to_owned),
    };
    TableIterator::once(match Policy::from_request(body.unwrap_or_default().as_bytes(), default_issuer) {
        Err(failure) => {
            let refusal: Answer = refusal(&failure);
            (Some(refusal), None, None, None, None, None, None, None, None, None, None)
        }
        Ok(asked) => (
            None,
            Some(asked.vault_id),
            Some(asked.policy.provider.as_str().to_owned()),
            Some(asked.policy.issuer.clone()),
            Some(asked.policy.subject_key()),
            Some(asked.policy.scope.as_str().to_owned()),
            asked.policy.org.clone(),
            Some(asked.policy.canonical()),
            Some(asked.policy.warnings()),
            asked.pins.repository_id.or(asked.pins.project_id),
            asked.pins.owner_id,
        ),
    })
}

/// What a policy permits, in one line.
#[pg_extern(immutable, strict, parallel_safe)]
pub(crate) fn describe_policy(document: &str) -> String {
    Policy::from_canonical(document).map_or_else(|problem| problem.to_string(), |policy| policy.describe())
}

/// Why these cannot be an issuer's settings; null where they can.
#[pg_extern(immutable, parallel_safe)]
fn issuer_problem(
    issuer: Option<&str>,
    jwks_uri: Option<&str>,
    allow_private_addresses: bool,
    algorithms: Option<Vec<Option<String>>>,
    jwks: Option<&str>,
) -> Option<String> {
    let Some(issuer) = issuer else {
        return Some("an issuer is needed: its `iss`, such as https://gitlab.example.com".to_owned());
    };
    for (name, url) in [("issuer", Some(issuer)), ("jwks_uri", jwks_uri)] {
        let Some(url) = url else { continue };
        if !(url.starts_with("https://") || allow_private_addresses && url.starts_with("http://")) {
            return Some(format!(
                "the {name} must start with https:// (http:// only with allow_private_addresses => true, for tests)"
            ));
        }
        if url.contains(['?', '#', '@', ' ']) || url.len() > 512 {
            return Some(format!(
                "the {name} must be a plain URL without user, query or fragment, at most 512 bytes"
            ));
        }
    }
    if let Some(algorithms) = algorithms {
        if algorithms.is_empty() {
            return Some("algorithms must name at least one, such as {RS256}".to_owned());
        }
        let unknown = |name: &&Option<String>| name.as_deref().and_then(algorithm).is_none();
        if let Some(name) = algorithms.iter().find(unknown) {
            let name = name.as_deref().unwrap_or("null");
            return Some(format!(
                "`{name}` is no signature algorithm that can be trusted: use RS256, or another of RS, PS, ES or EdDSA"
            ));
        }
    }
    match jwks.map(|jwks| KeySet::parse(jwks.as_bytes())) {
        Some(Err(problem)) => Some(format!("jwks: {problem}")),
        _ => None,
    }
}

/// A failure of our own making: a stored document that no longer parses.
pub(crate) fn stored_badly(what: &str) -> Failure {
    pgrx::log!("pg_lpm: {what} could not be read");
    Failure::new(Code::Internal)
}
