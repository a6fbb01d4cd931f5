//! Policies: which jobs may pull which environments of a vault.
//!
//! A policy grants on its own or not at all; there are no deny rules, no order and no regular
//! expressions, so adding one only ever adds. [`Policy::canonical`] is its one encoding: what is stored,
//! compared and, one day, signed.

mod describe;
pub mod events;
mod request;
mod subject;
#[cfg(test)]
mod tests;
pub(crate) mod workflow;

pub use request::{NewPolicy, Pins};
pub use subject::{Subject, SubjectError};

use crate::claims::Provider;
use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};

/// One policy of a vault. The fields stand in the order of the canonical encoding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Whose claims the job's token carries.
    pub provider: Provider,
    /// The token's `iss`, byte for byte: two servers of one kind may use the same names and ids.
    pub issuer: String,
    /// The repository or project.
    pub subject: Subject,
    /// Branches, by their short names; none means every branch, or no branch where tags are named.
    pub allowed_branches: Vec<Pattern>,
    /// Environments of the vault; none means every one.
    pub allowed_environments: Vec<String>,
    /// Also what cannot be told from a fork's run.
    pub allow_forks: bool,
    /// Whose row of the vault is read.
    pub scope: Scope,
    /// The org's slug, where `scope` is [`Scope::Org`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Tags, by their short names; a branch pattern never matches one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tags: Option<Vec<Pattern>>,
    /// Exactly these events or pipeline sources, in place of the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_events: Option<Vec<String>>,
    /// The provider's deployment environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_environment: Option<String>,
    /// The file of the calling workflow, as a path in the subject's repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The reusable workflow that holds the job: `owner/repo/.github/workflows/file.yml@ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reusable_workflow: Option<String>,
    /// Only refs that the provider protects.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected_ref_only: bool,
    /// Only this kind of runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
    /// Only tokens for this audience, out of those that the issuer is trusted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// Whose row of the vault a policy reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The row of the account that owns the vault id.
    Personal,
    /// The row of the org.
    Org,
}

impl Scope {
    /// The name in requests and rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Personal => "personal",
            Scope::Org => "org",
        }
    }
}

/// Who runs the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Runner {
    /// The provider.
    Hosted,
    /// Whoever registered it.
    SelfHosted,
}

impl Runner {
    /// The name in requests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Runner::Hosted => "hosted",
            Runner::SelfHosted => "self-hosted",
        }
    }

    /// What the claim `runner_environment` says on such a runner.
    #[must_use]
    pub fn claim(self, provider: Provider) -> &'static str {
        match (self, provider) {
            (Runner::Hosted, Provider::GitHub) => "github-hosted",
            (Runner::Hosted, Provider::GitLab) => "gitlab-hosted",
            (Runner::SelfHosted, _) => "self-hosted",
        }
    }
}

/// Why a stored document is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not a policy at all.
    #[error("the stored policy cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The same policy has another encoding, so nobody wrote this one.
    #[error("the stored policy is not in its canonical encoding")]
    NotCanonical,
}

impl Policy {
    /// The one encoding of this policy: keys in a fixed order, absent ones left out, lists sorted and
    /// without repetitions, because their order has no meaning.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut normal = self.clone();
        normal.sort();
        serde_json::to_string(&normal).expect("strings, lists and booleans always serialize")
    }

    /// Reads what [`Policy::canonical`] wrote.
    ///
    /// # Errors
    ///
    /// For anything else, also for another encoding of a policy.
    pub fn from_canonical(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = serde_json::from_str(text)?;
        if policy.canonical() == text { Ok(policy) } else { Err(PolicyError::NotCanonical) }
    }

    /// Reads a request to create a policy; `default_issuer` knows the issuer of a provider.
    ///
    /// # Errors
    ///
    /// `provider_unsupported`, `bad_request` or `policy_invalid`, naming the field and the value.
    pub fn from_request(
        body: &[u8],
        default_issuer: impl Fn(Provider) -> Option<String>,
    ) -> Result<NewPolicy, crate::failure::Failure> {
        request::read(body, default_issuer)
    }

    /// The key under which the policy is found: see [`crate::claims::Claims::subjects`].
    #[must_use]
    pub fn subject_key(&self) -> String {
        self.subject.to_string()
    }

    /// Whether only tags are allowed: tags are named and no branches are.
    #[must_use]
    pub fn tags_only(&self) -> bool {
        self.allowed_tags.is_some() && self.allowed_branches.is_empty()
    }

    /// What the policy permits, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        crate::failure::visible(&describe::line(self))
    }

    /// The branches and tags that it allows, in words.
    pub(crate) fn describe_refs(&self) -> String {
        describe::refs(self)
    }

    /// What is broad about it, one sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        describe::warnings(self)
    }

    fn sort(&mut self) {
        sort(&mut self.allowed_branches);
        sort(&mut self.allowed_environments);
        if let Some(tags) = &mut self.allowed_tags {
            sort(tags);
        }
        if let Some(events) = &mut self.allowed_events {
            sort(events);
        }
    }
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}
