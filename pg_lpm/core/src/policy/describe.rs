//! What a policy permits and what is broad about it, for the people who write and read policies.

use super::{Policy, Runner, events, workflow};
use crate::claims::Provider;
use std::fmt::Display;

/// One line, complete: whoever reads it knows every field that is set.
pub(super) fn line(policy: &Policy) -> String {
    let mut line = format!("{} may pull {} from {}", policy.subject, environments(policy), refs(policy));
    if policy.protected_ref_only {
        line.push_str(" if protected");
    }
    if let Some(events) = &policy.allowed_events {
        line.push_str(&format!(", on {}", list(events)));
    }
    if let Some(name) = &policy.ci_environment {
        line.push_str(&format!(", in the deployment environment {name}"));
    }
    if let Some(file) = &policy.workflow {
        line.push_str(&format!(", by the workflow {file}"));
    }
    if let Some(file) = &policy.reusable_workflow {
        line.push_str(&format!(", through the reusable workflow {file}"));
    }
    match policy.runner {
        Some(Runner::Hosted) => line.push_str(", on the provider's runners"),
        Some(Runner::SelfHosted) => line.push_str(", on self-hosted runners"),
        None => {}
    }
    if let Some(audience) = &policy.audience {
        line.push_str(&format!(", with the audience {audience}"));
    }
    if let Some(org) = &policy.org {
        line.push_str(&format!(", from the vault of the org {org}"));
    }
    line.push_str(if policy.allow_forks { "; forks too" } else { "; no forks" });
    line
}

fn environments(policy: &Policy) -> String {
    match policy.allowed_environments.as_slice() {
        [] => "every environment".to_owned(),
        names => list(names),
    }
}

pub(super) fn refs(policy: &Policy) -> String {
    let branches = match policy.allowed_branches.as_slice() {
        [] => "every branch".to_owned(),
        [one] => format!("the branch {one}"),
        many => format!("the branches {}", list(many)),
    };
    match policy.allowed_tags.as_deref() {
        None => branches,
        Some(tags) if policy.tags_only() => format!("the tags {}", list(tags)),
        Some(tags) => format!("{branches} and the tags {}", list(tags)),
    }
}

/// What a reader might not expect to be permitted.
pub(super) fn warnings(policy: &Policy) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(text.to_owned());
    if policy.allowed_environments.is_empty() {
        warn("all environments of the vault are allowed, also those that are added later");
    }
    let patterns = || policy.allowed_branches.iter().chain(policy.allowed_tags.iter().flatten());
    let every_branch = policy.allowed_branches.is_empty() && !policy.tags_only();
    if every_branch || policy.allowed_branches.iter().any(|pattern| pattern.as_str() == "**") {
        warn("every branch is allowed: whoever may push any branch can read these environments");
    }
    if !policy.protected_ref_only && patterns().any(|p| p.has_wildcard() && p.as_str() != "**") {
        warn(
            "a wildcard without `protectedRefOnly` (`--protected-only`) also allows a branch or tag that anyone with write access creates",
        );
    }
    if policy.allow_forks {
        warn(match policy.provider {
            Provider::GitHub => {
                "forks are allowed: pull requests can run code that nobody has reviewed with these environments"
            }
            Provider::GitLab => {
                "forks are allowed: a member who starts a pipeline for a fork's merge request runs its code with these environments"
            }
        });
        let narrow = policy.protected_ref_only || !policy.allowed_branches.is_empty() || policy.tags_only();
        if policy.provider == Provider::GitLab && narrow {
            warn(
                "a fork's branch counts as none of the project's: only a policy for every branch, without tags and `protectedRefOnly`, lets forks in",
            );
        }
    }
    for event in policy.allowed_events.iter().flatten() {
        if policy.provider == Provider::GitHub && event == events::PULL_REQUEST {
            warn(
                "`pull_request` is allowed: the token cannot tell a fork's pull request from one of the repository's own",
            );
        }
    }
    let moving = |file: &String| file.split_once('@').is_some_and(|(_, at)| !workflow::is_commit(at));
    if policy.reusable_workflow.as_ref().is_some_and(moving) {
        warn(
            "the reusable workflow is named at a branch or tag, which its owner can move: 40 hexadecimal digits cannot be moved",
        );
    }
    warnings
}

/// `a`, `a and b`, `a, b and c`.
fn list<T: Display>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}
