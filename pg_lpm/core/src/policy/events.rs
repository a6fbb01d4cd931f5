//! What starts a run, sorted by how far it can be trusted.
//!
//! GitHub's tokens do not say whether a run serves a fork. The event is the best evidence there is, so
//! what is not known to be started by the repository's own people needs a name and `allowForks`.

/// Allowed unless `allowedEvents` says otherwise: only people who can write to the repository, or the
/// repository itself, start these.
pub const DEFAULT: &[&str] =
    &["push", "workflow_dispatch", "schedule", "release", "repository_dispatch", "deployment"];

/// Its queue holds approved code only, a fork's included, so it is allowed by name.
pub const MERGE_GROUP: &str = "merge_group";

/// A fork's pull request gets no token from a public repository; from a private one it may, and then
/// looks the same as one of the repository's own.
pub const PULL_REQUEST: &str = "pull_request";

/// Started by outsiders, or chained to what outsiders started, on the default branch: apart from the
/// event they look like a push to it.
pub const UNTRUSTED: &[&str] = &[
    "pull_request_target",
    "workflow_run",
    "issue_comment",
    "branch_protection_rule",
    "check_run",
    "check_suite",
    "create",
    "delete",
    "deployment_status",
    "discussion",
    "discussion_comment",
    "fork",
    "gollum",
    "image_version",
    "issues",
    "label",
    "member",
    "milestone",
    "page_build",
    "project",
    "project_card",
    "project_column",
    "public",
    "pull_request_review",
    "pull_request_review_comment",
    "registry_package",
    "status",
    "watch",
    "workflow_call",
];

/// The pipeline sources of GitLab that no fork's merge request can start, for servers whose tokens do
/// not say which project runs the job.
pub const GITLAB_WITHOUT_JOB_PROJECT: &[&str] = &["push", "web", "schedule", "api", "trigger"];

/// How far an event of GitHub can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Allowed by default.
    Default,
    /// Allowed by name.
    Named,
    /// `pull_request`: allowed by name or with `allowForks`.
    PullRequest,
    /// Allowed by name together with `allowForks`.
    Untrusted,
    /// No event that this version knows: never allowed.
    Unknown,
}

/// How far GitHub's `event` can be trusted.
#[must_use]
pub fn trust(event: &str) -> Trust {
    match event {
        _ if DEFAULT.contains(&event) => Trust::Default,
        MERGE_GROUP => Trust::Named,
        PULL_REQUEST => Trust::PullRequest,
        _ if UNTRUSTED.contains(&event) => Trust::Untrusted,
        _ => Trust::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_one_trust_and_what_is_new_has_none() {
        for event in DEFAULT {
            assert_eq!(trust(event), Trust::Default, "{event}");
        }
        for event in UNTRUSTED {
            assert_eq!(trust(event), Trust::Untrusted, "{event}");
        }
        assert_eq!(trust("merge_group"), Trust::Named);
        assert_eq!(trust("pull_request"), Trust::PullRequest);
        for event in ["", "Push", "push ", "PUSH", "next_years_event", "dynamic", "*"] {
            assert_eq!(trust(event), Trust::Unknown, "{event:?}");
        }
    }
}
