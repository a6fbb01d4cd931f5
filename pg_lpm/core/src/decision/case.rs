//! One request beside one policy, and the questions that several checks ask about them.

use super::facts::{Candidate, Facts, Pin};
use crate::claims::{Claims, GitLabJob, Job};
use crate::failure::{Code, Failure, presentable};
use crate::policy::{Policy, Subject};

/// Claims, facts and the one policy that is looked at.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) claims: &'a Claims,
    pub(super) facts: &'a Facts,
    pub(super) candidate: &'a Candidate,
}

impl<'a> Case<'a> {
    pub(super) fn new(claims: &'a Claims, facts: &'a Facts, candidate: &'a Candidate) -> Self {
        Self { claims, facts, candidate }
    }

    pub(super) fn policy(&self) -> &'a Policy {
        &self.candidate.policy
    }

    /// Whether the token bears the policy's name.
    pub(super) fn has_the_name(&self) -> bool {
        match (&self.policy().subject, &self.claims.job) {
            (Subject::Repository(name), Job::GitHub(job)) => job.repository.eq_ignore_ascii_case(name),
            (subject, Job::GitLab(job)) => {
                names_project(subject, &job.project_id, Some(&job.project_path))
                    || names_job_project(subject, job)
            }
            _ => false,
        }
    }

    /// Whether the token bears the id that was recorded for the policy's name.
    pub(super) fn has_the_pinned_id(&self) -> bool {
        self.pinned_id() == Some(self.claims.stable_id())
    }

    /// The name has changed, and the id says that it is the same repository or project.
    pub(super) fn is_renamed(&self) -> bool {
        !self.has_the_name()
    }

    /// The id that decides; an id that the policy names is its own pin.
    pub(super) fn pinned_id(&self) -> Option<&'a str> {
        match (&self.candidate.pin, &self.policy().subject) {
            (Some(pin), _) => Some(&pin.id),
            (None, Subject::ProjectId(id)) => Some(id),
            (None, _) => None,
        }
    }

    /// The id behind the policy's name in the token.
    ///
    /// For a fork's merge request GitLab's token holds two projects. The policy's is the one that runs
    /// the job, unless its name is the fork's.
    pub(super) fn current_id(&self) -> &'a str {
        match &self.claims.job {
            Job::GitLab(job) => {
                let subject = &self.policy().subject;
                let forks = names_project(subject, &job.project_id, Some(&job.project_path));
                if forks && !names_job_project(subject, job) {
                    &job.project_id
                } else {
                    self.claims.stable_id()
                }
            }
            Job::GitHub(_) => self.claims.stable_id(),
        }
    }

    /// What the first grant records, where something is missing.
    pub(super) fn pin_to_record(&self) -> Option<Pin> {
        let owner_id = self.claims.owner_id();
        let complete =
            self.candidate.pin.as_ref().is_some_and(|pin| pin.owner_id.is_some() || owner_id.is_none());
        (!complete).then(|| Pin { id: self.current_id().to_owned(), owner_id: owner_id.map(str::to_owned) })
    }

    /// What started the run.
    pub(super) fn event(&self) -> Option<&'a str> {
        match &self.claims.job {
            Job::GitHub(job) => job.event_name.as_deref(),
            Job::GitLab(job) => job.pipeline_source.as_deref(),
        }
    }

    pub(super) fn names_event(&self, event: &str) -> bool {
        self.policy().allowed_events.iter().flatten().any(|named| named == event)
    }

    /// GitLab: the code is another project's than the one that runs the job, so the ref is its word.
    pub(super) fn is_a_forks_ref(&self) -> bool {
        match &self.claims.job {
            Job::GitHub(_) => false,
            Job::GitLab(job) => {
                let runs = job.job_project_id.as_ref().unwrap_or(&job.project_id);
                job.project_id != *runs || job.source_project_id.as_ref().is_some_and(|source| source != runs)
            }
        }
    }

    /// GitLab: the policy is of the project that runs the job, by name or by recorded id.
    pub(super) fn is_of_the_job_project(&self, job: &GitLabJob) -> bool {
        names_job_project(&self.policy().subject, job)
            || job.job_project_id.as_deref().is_some_and(|id| self.pinned_id() == Some(id))
    }

    /// The environment asked for, and the one that it is an alias of.
    pub(super) fn names_of_environment(&self) -> Vec<String> {
        let asked = &self.facts.environment;
        let canonical = self
            .candidate
            .env_config
            .as_ref()
            .and_then(|config| config.get(asked)?.get("canonical")?.as_str())
            // `open` looks the name up in the audit row, as it is written there
            .filter(|canonical| canonical != asked && !canonical.is_empty() && presentable(asked) == *asked);
        let mut names = vec![asked.clone()];
        names.extend(canonical.map(str::to_owned));
        names
    }

    pub(super) fn permits_environment(&self, name: &String) -> bool {
        let allowed = &self.policy().allowed_environments;
        !name.is_empty() && (allowed.is_empty() || allowed.contains(name))
    }

    /// Whether both policies are answered from the same row of the vault.
    pub(super) fn reads_the_row_of(&self, other: &Case) -> bool {
        self.policy().scope == other.policy().scope && self.candidate.owner == other.candidate.owner
    }
}

/// `project:<id>` and `project:<path>` never look alike: a path has a slash.
fn names_project(subject: &Subject, id: &str, path: Option<&str>) -> bool {
    match subject {
        Subject::Repository(_) => false,
        Subject::ProjectId(named) => named == id,
        Subject::ProjectPath(named) => path == Some(named.as_str()),
    }
}

/// The path of the job's project counts only beside its id: the id is what every check relies on.
fn names_job_project(subject: &Subject, job: &GitLabJob) -> bool {
    job.job_project_id.as_ref().is_some_and(|id| names_project(subject, id, job.job_project_path.as_deref()))
}

/// The answer where no policy names the subject: the same whatever the vault is, or whether there is one.
pub(super) fn no_policy(claims: &Claims, facts: &Facts) -> Failure {
    let subject = claims.subject_text();
    let name = subject.split_once(':').map_or("", |(_, name)| name);
    let flag = match claims.job {
        Job::GitHub(_) => format!("--repo={name}"),
        Job::GitLab(_) => format!("--project={name}"),
    };
    Failure::new(Code::NoPolicy)
        .with("subject", &subject)
        .with("provider", claims.provider().as_str())
        .with("subject_flag", flag)
        .with("environment", &facts.environment)
}
