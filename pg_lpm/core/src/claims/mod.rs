//! Claims: what a CI job's token says, typed strictly per provider.
//!
//! The extension and the gateway read the same bytes with this one parser. A claim of an unexpected type
//! refuses the token: nothing is converted, cut or guessed. An absent, null or empty claim is `None`, so
//! that it can never satisfy a rule. `sub` is kept for texts only and never taken apart: it is
//! customisable on both providers.

pub mod draft;
mod error;
mod github;
mod gitlab;
mod reader;
#[cfg(test)]
mod tests;

pub use error::ClaimsError;

use crate::failure::{Code, Failure};
use crate::json;
use openssl::sha::Sha256;
use reader::Reader;
use serde::{Deserialize, Serialize};

/// Longest `jti`; the known issuers send UUIDs.
pub const MAX_JTI: usize = 256;

/// Whose claims a token carries. Other CI systems work where their tokens carry one of these profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
}

impl Provider {
    /// Every provider: the one list for validation, forms and exchange.
    pub const ALL: [Provider; 2] = [Provider::GitHub, Provider::GitLab];

    /// The name in requests, rows and texts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::GitHub => "github",
            Provider::GitLab => "gitlab",
        }
    }

    /// The provider of this name.
    ///
    /// # Errors
    ///
    /// `provider_unsupported` for any other name; for `bitbucket` it also says why.
    pub fn parse(name: &str) -> Result<Self, Failure> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name).ok_or_else(|| {
            let why = match name {
                "bitbucket" => "Bitbucket's tokens do not carry the identity that a policy needs",
                _ => "",
            };
            Failure::new(Code::ProviderUnsupported).with("provider", name).with("why", why)
        })
    }
}

/// The claims of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`, for texts only.
    pub subject: Option<String>,
    /// `aud`: always exactly one string.
    pub audience: String,
    /// `jti`.
    pub jti: String,
    /// `iat`, seconds since 1970.
    pub issued_at: i64,
    /// `exp`, seconds since 1970.
    pub expires_at: i64,
    /// `nbf`, seconds since 1970.
    pub not_before: Option<i64>,
    /// The provider's own claims.
    pub job: Job,
}

/// What the provider says about the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// GitHub Actions.
    GitHub(GitHubJob),
    /// GitLab CI.
    GitLab(GitLabJob),
}

/// GitHub's claims, each under its own name (`ref` is a keyword, so `git_ref`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the claims, documented by GitHub")]
pub struct GitHubJob {
    /// `owner/name` as GitHub spells it: changes with a rename.
    pub repository: String,
    /// Never reused: the anchor of a policy.
    pub repository_id: String,
    pub repository_owner: String,
    pub repository_owner_id: String,
    pub event_name: Option<String>,
    /// `refs/heads/x`, `refs/tags/x`, `refs/pull/N/merge`; absent for a deployment of a bare commit.
    pub git_ref: Option<String>,
    /// `branch` also for `refs/pull/N/merge`: never enough alone.
    pub ref_type: Option<String>,
    /// Some protection rule applies; not "review required".
    pub ref_protected: Option<bool>,
    /// Written by whoever opened the pull request, without an owner.
    pub head_ref: Option<String>,
    pub base_ref: Option<String>,
    pub environment: Option<String>,
    /// A display name, written by whoever wrote the workflow.
    pub workflow: Option<String>,
    /// The caller's workflow file: `owner/repo/.github/workflows/f.yml@refs/…`.
    pub workflow_ref: Option<String>,
    pub workflow_sha: Option<String>,
    /// The file that contains the job: equal to `workflow_ref` unless a reusable workflow is called.
    pub job_workflow_ref: Option<String>,
    pub job_workflow_sha: Option<String>,
    pub runner_environment: Option<String>,
    pub sha: Option<String>,
    pub run_id: Option<String>,
    pub run_attempt: Option<String>,
    pub actor: Option<String>,
    pub actor_id: Option<String>,
    pub repository_visibility: Option<String>,
}

/// GitLab's claims, each under its own name (`ref` is a keyword, so `git_ref`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the claims, documented by GitLab")]
pub struct GitLabJob {
    /// For a fork's merge request: the fork since 18.2.2, the parent before.
    pub project_id: String,
    pub project_path: String,
    pub job_id: String,
    pub pipeline_id: String,
    pub namespace_id: Option<String>,
    pub namespace_path: Option<String>,
    /// The project that really runs the job; absent before 18.4 and its backports.
    pub job_project_id: Option<String>,
    pub job_project_path: Option<String>,
    pub source_project_id: Option<String>,
    pub source_project_path: Option<String>,
    pub pipeline_source: Option<String>,
    /// A short name; for merge requests a name in the source project, so possibly in a fork.
    pub git_ref: Option<String>,
    pub ref_type: Option<String>,
    pub ref_path: Option<String>,
    pub ref_protected: Option<bool>,
    pub environment: Option<String>,
    pub environment_protected: Option<bool>,
    pub ci_config_ref_uri: Option<String>,
    pub ci_config_sha: Option<String>,
    pub runner_environment: Option<String>,
    pub sha: Option<String>,
    pub user_id: Option<String>,
    pub user_login: Option<String>,
}

impl Claims {
    /// Reads a payload whose signature holds, or that an owner wants explained.
    ///
    /// # Errors
    ///
    /// Any deviation from the provider's types, any missing required claim, and any name that is a
    /// look-alike of a claim that is read.
    pub fn parse(provider: Provider, payload: &[u8]) -> Result<Self, ClaimsError> {
        let names = match provider {
            Provider::GitHub => github::NAMES,
            Provider::GitLab => gitlab::NAMES,
        };
        let mut claims = Reader::new(json::parse(payload, &json::Limits::CLAIMS)?, names)?;
        Ok(Self {
            issuer: claims.required("iss")?,
            subject: claims.optional("sub")?,
            audience: claims.audience()?,
            jti: claims.at_most("jti", MAX_JTI)?,
            issued_at: claims.time("iat")?,
            expires_at: claims.time("exp")?,
            not_before: claims.optional_time("nbf")?,
            job: match provider {
                Provider::GitHub => Job::GitHub(github::read(&mut claims)?),
                Provider::GitLab => Job::GitLab(gitlab::read(&mut claims)?),
            },
        })
    }

    /// Whose profile the claims follow.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self.job {
            Job::GitHub(_) => Provider::GitHub,
            Job::GitLab(_) => Provider::GitLab,
        }
    }

    /// The keys under which a policy for this job may be stored.
    ///
    /// GitHub: `repo:owner/name` in ASCII lower case. GitLab: `project:` with the id and with the exact
    /// path, of the project and of the project that runs the job, because a policy that admits a fork's
    /// merge request names the latter.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        match &self.job {
            Job::GitHub(job) => vec![format!("repo:{}", job.repository.to_ascii_lowercase())],
            Job::GitLab(job) => {
                let parts = [
                    Some(&job.project_id),
                    Some(&job.project_path),
                    job.job_project_id.as_ref(),
                    job.job_project_path.as_ref(),
                ];
                let mut subjects: Vec<String> = Vec::with_capacity(parts.len());
                for subject in parts.into_iter().flatten().map(|part| format!("project:{part}")) {
                    if !subjects.contains(&subject) {
                        subjects.push(subject);
                    }
                }
                subjects
            }
        }
    }

    /// The subject as people write it; on GitLab the project that runs the job.
    #[must_use]
    pub fn subject_text(&self) -> String {
        match &self.job {
            Job::GitHub(job) => format!("repo:{}", job.repository),
            Job::GitLab(job) => {
                format!("project:{}", job.job_project_path.as_ref().unwrap_or(&job.project_path))
            }
        }
    }

    /// The id that outlives every rename: what a pin records.
    #[must_use]
    pub fn stable_id(&self) -> &str {
        match &self.job {
            Job::GitHub(job) => &job.repository_id,
            Job::GitLab(job) => job.job_project_id.as_ref().unwrap_or(&job.project_id),
        }
    }

    /// The owner's id, which a pin records as well (GitHub only).
    #[must_use]
    pub fn owner_id(&self) -> Option<&str> {
        match &self.job {
            Job::GitHub(job) => Some(&job.repository_owner_id),
            Job::GitLab(_) => None,
        }
    }

    /// SHA-256(lp(`iss`) lp(`jti`)), the key under which uses of the token are counted.
    ///
    /// lp is the 4-byte big-endian length and then the bytes, so no two pairs share a key.
    #[must_use]
    pub fn use_key(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        for part in [&self.issuer, &self.jti] {
            let length = u32::try_from(part.len()).expect("claims are at most 4 KiB");
            hasher.update(&length.to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finish()
    }

    /// The branch, or the full ref of what is no branch.
    #[must_use]
    pub fn branch_text(&self) -> Option<String> {
        let full = match &self.job {
            Job::GitHub(job) => job.git_ref.clone()?,
            Job::GitLab(job) => match (&job.ref_path, &job.git_ref, job.ref_type.as_deref()) {
                (Some(path), _, _) => path.clone(),
                (None, Some(tag), Some("tag")) => format!("refs/tags/{tag}"),
                (None, name, _) => return name.clone(),
            },
        };
        let branch = full.strip_prefix("refs/heads/").filter(|branch| !branch.is_empty());
        Some(branch.map_or_else(|| full.clone(), str::to_owned))
    }

    /// What started the run: GitHub's event, GitLab's pipeline source.
    #[must_use]
    pub fn event_text(&self) -> Option<String> {
        match &self.job {
            Job::GitHub(job) => job.event_name.clone(),
            Job::GitLab(job) => job.pipeline_source.clone(),
        }
    }

    /// The file that defines the run.
    #[must_use]
    pub fn workflow_text(&self) -> Option<String> {
        match &self.job {
            Job::GitHub(job) => job.workflow_ref.clone(),
            Job::GitLab(job) => job.ci_config_ref_uri.clone(),
        }
    }

    /// The run: GitHub's run id, GitLab's pipeline and job.
    #[must_use]
    pub fn run_text(&self) -> Option<String> {
        match &self.job {
            Job::GitHub(job) => job.run_id.clone(),
            Job::GitLab(job) => Some(format!("{}/{}", job.pipeline_id, job.job_id)),
        }
    }

    /// The commit.
    #[must_use]
    pub fn sha_text(&self) -> Option<String> {
        match &self.job {
            Job::GitHub(job) => job.sha.clone(),
            Job::GitLab(job) => job.sha.clone(),
        }
    }

    /// Who started the run.
    #[must_use]
    pub fn actor_text(&self) -> Option<String> {
        match &self.job {
            Job::GitHub(job) => job.actor.clone(),
            Job::GitLab(job) => job.user_login.clone(),
        }
    }
}
