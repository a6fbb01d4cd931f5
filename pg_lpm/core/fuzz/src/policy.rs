//! Policies as requests bring them, and as they are stored.

use crate::doc::Doc;
use crate::failure::{self, is_harmless};
use lpm_core::claims::Provider;
use lpm_core::failure::Code;
use lpm_core::policy::{NewPolicy, Policy, Scope};
use std::collections::BTreeSet;

/// The members of a request that are optional texts, kept as they are.
const TEXTS: &[&str] = &["ciEnvironment", "audience", "org"];

/// Every other member that a request may have.
const OTHERS: &[&str] = &[
    "vaultId",
    "provider",
    "issuer",
    "subject",
    "allowedBranches",
    "allowedEnvironments",
    "allowForks",
    "scope",
    "allowedTags",
    "allowedEvents",
    "workflow",
    "reusableWorkflow",
    "protectedRefOnly",
    "runner",
    "repositoryId",
    "ownerId",
    "projectId",
];

/// The body of a request; also as a stored policy.
pub fn policy(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(policy) = Policy::from_canonical(text)
    {
        assert_eq!(policy.canonical(), text, "one policy, one encoding");
    }
    match requested(data) {
        Ok(new) => {
            let request = Doc::parse(data).expect("an accepted request is JSON");
            says_what_was_asked(&new, &request);
            has_one_encoding(&new, &request);
            reads_well(&new.policy);
        }
        Err(refusal) => {
            assert!(matches!(
                refusal.code,
                Code::BadRequest | Code::PolicyInvalid | Code::ProviderUnsupported
            ));
            failure::holds(&refusal);
        }
    }
}

/// Reads a request as the extension does, GitLab without a default issuer.
pub(crate) fn requested(body: &[u8]) -> Result<NewPolicy, lpm_core::failure::Failure> {
    Policy::from_request(body, |provider| match provider {
        Provider::GitHub => Some("https://token.actions.githubusercontent.com".to_owned()),
        Provider::GitLab => None,
    })
}

/// Nothing is guessed, dropped or widened.
fn says_what_was_asked(new: &NewPolicy, request: &Doc) {
    let NewPolicy { vault_id, policy, pins } = new;
    let is_known = |name: &str| TEXTS.contains(&name) || OTHERS.contains(&name);
    assert!(request.members().iter().all(|(name, _)| is_known(name)), "an unknown member is ignored");
    assert_eq!(request.text("vaultId"), Some(vault_id.as_str()));
    assert_eq!(request.text("provider"), Some(policy.provider.as_str()));
    assert_eq!(policy.subject.provider(), policy.provider);
    let issuer = request.text("issuer").unwrap_or("https://token.actions.githubusercontent.com");
    assert_eq!(policy.issuer, issuer);
    assert!(policy.provider == Provider::GitHub || !request.lacks("issuer"));

    // The three that decide how wide it is must be there.
    for (field, list) in [
        ("allowedBranches", Some(policy.allowed_branches.iter().map(|p| p.as_str()).collect())),
        ("allowedEnvironments", Some(policy.allowed_environments.iter().map(String::as_str).collect())),
        ("allowedTags", policy.allowed_tags.as_ref().map(|tags| tags.iter().map(|p| p.as_str()).collect())),
        (
            "allowedEvents",
            policy.allowed_events.as_ref().map(|events| events.iter().map(String::as_str).collect()),
        ),
    ] {
        let list: Option<Vec<&str>> = list;
        let asked: Option<BTreeSet<&str>> = request.texts(field).map(|items| items.into_iter().collect());
        assert_eq!(list.as_ref().map(|list| list.iter().copied().collect()), asked, "{field}");
        assert!(list.is_none_or(|list| list.is_sorted()), "{field}");
    }
    // An empty list could be read as none or as all.
    assert!(policy.allowed_tags.as_ref().is_none_or(|tags| !tags.is_empty()));
    assert!(policy.allowed_events.as_ref().is_none_or(|events| !events.is_empty()));
    for (field, flag) in [("allowForks", policy.allow_forks), ("protectedRefOnly", policy.protected_ref_only)]
    {
        assert_eq!(flag, request.get(field) == Some(&Doc::Bool(true)), "{field}");
    }
    let texts = [&policy.ci_environment, &policy.audience, &policy.org];
    for (field, text) in TEXTS.iter().zip(texts) {
        assert_eq!(text.as_deref(), request.text(field), "{field}");
    }
    assert_eq!(policy.scope == Scope::Org, request.text("scope") == Some("org"));
    assert_eq!(policy.scope == Scope::Org, policy.org.is_some());
    assert_eq!(policy.runner.map(|runner| runner.as_str()), request.text("runner"));
    for (field, set) in
        [("workflow", policy.workflow.is_some()), ("reusableWorkflow", policy.reusable_workflow.is_some())]
    {
        assert_eq!(set, !request.lacks(field), "{field}");
    }
    assert_eq!(pins.repository_id.as_deref(), request.text("repositoryId"));
    assert_eq!(pins.owner_id.as_deref(), request.text("ownerId"));
    assert!(request.lacks("projectId") || pins.project_id.as_deref() == request.text("projectId"));
}

/// The stored policy is the same one, and what it says can be asked for again.
fn has_one_encoding(new: &NewPolicy, request: &Doc) {
    let policy = &new.policy;
    let canonical = policy.canonical();
    assert_eq!(Policy::from_canonical(&canonical).ok().as_ref(), Some(policy));

    let reversed = requested(&request.reversed().to_bytes()).expect("order has no meaning");
    assert_eq!(reversed.policy.canonical(), canonical);
    let Some(Doc::Object(mut members)) = Doc::parse(canonical.as_bytes()) else { panic!("no object") };
    members.push(("vaultId".to_owned(), Doc::String(new.vault_id.clone())));
    let again = requested(&Doc::Object(members).to_bytes()).expect("a policy's own words are a request");
    assert_eq!(again.policy.canonical(), canonical);
}

fn reads_well(policy: &Policy) {
    let line = policy.describe();
    assert!(is_harmless(&line), "{line:?}");
    assert!(line.starts_with(&format!("{} may pull ", policy.subject_key())));
    assert_eq!(line.ends_with("forks too"), policy.allow_forks);
    for warning in policy.warnings() {
        assert!(!warning.is_empty() && is_harmless(&warning), "{warning:?}");
    }
}
