//! Who may pull, a second time: from the raw claims, as the documentation of policies says it.

use crate::doc::Doc;
use crate::patterns::defined;
use lpm_core::claims::Provider;
use lpm_core::decision::{Candidate, Facts, Plan};
use lpm_core::pattern::Pattern;
use lpm_core::policy::{Policy, Runner, Scope, Subject, events};

/// Steps that a pattern's definition may take.
const BUDGET: u32 = 1_000_000;

/// A request beside one policy.
pub(crate) struct Request<'a> {
    pub(crate) provider: Provider,
    pub(crate) claims: &'a Doc,
    pub(crate) facts: &'a Facts,
    pub(crate) candidate: &'a Candidate,
}

/// Longest name that a rule looks at, in bytes.
const LONGEST_NAME: usize = 512;

/// Where the job's code is from.
enum Code<'a> {
    Branch(&'a str),
    Tag(&'a str),
    Unknown,
}

impl<'a> Request<'a> {
    /// Whether the policy grants the request on its own.
    pub(crate) fn is_granted(&self) -> bool {
        self.claim("iss") == Some(&self.policy().issuer)
            && self.policy().provider == self.provider
            && self.identity_holds()
            && self.event_is_allowed()
            && self.fork_is_allowed()
            && self.code_is_allowed()
            && self.environments().iter().any(|name| self.permits(name))
            && self.narrowing_holds()
            && self.row_is_ready()
    }

    /// The environment asked for, and the one that it is another name of.
    pub(crate) fn environments(&self) -> Vec<String> {
        let asked = &self.facts.environment;
        let alias = self.candidate.env_config.as_ref().and_then(|config| config.get(asked));
        let canonical = alias.and_then(|alias| alias.get("canonical")).and_then(|name| name.as_str());
        let canonical = canonical.filter(|name| !name.is_empty() && *name != asked);
        [Some(asked.as_str()), canonical].into_iter().flatten().map(str::to_owned).collect()
    }

    pub(crate) fn permits(&self, environment: &str) -> bool {
        let allowed = &self.policy().allowed_environments;
        !environment.is_empty() && (allowed.is_empty() || allowed.iter().any(|name| name == environment))
    }

    /// Whether the token bears the policy's name.
    pub(crate) fn is_named(&self) -> bool {
        match &self.policy().subject {
            Subject::Repository(name) => {
                self.claim("repository").map(str::to_ascii_lowercase).as_ref() == Some(name)
            }
            Subject::ProjectId(_) | Subject::ProjectPath(_) => {
                self.names("project_id", "project_path")
                    || (self.claim("job_project_id").is_some()
                        && self.names("job_project_id", "job_project_path"))
            }
        }
    }

    fn policy(&self) -> &'a Policy {
        &self.candidate.policy
    }

    /// An absent, null or empty claim is none.
    fn claim(&self, name: &str) -> Option<&'a str> {
        self.claims.text(name).filter(|text| !text.is_empty())
    }

    fn is_github(&self) -> bool {
        self.provider == Provider::GitHub
    }

    /// Whether these two GitLab claims are what the policy names.
    fn names(&self, id: &str, path: &str) -> bool {
        match &self.policy().subject {
            Subject::Repository(_) => false,
            Subject::ProjectId(named) => self.claim(id) == Some(named),
            Subject::ProjectPath(named) => self.claim(path) == Some(named),
        }
    }

    /// The id of what the policy names, or of what runs the job.
    fn id(&self) -> Option<&'a str> {
        if self.is_github() {
            return self.claim("repository_id");
        }
        let runs = self.claim("job_project_id");
        let names_only_the_code = self.names("project_id", "project_path")
            && !(runs.is_some() && self.names("job_project_id", "job_project_path"));
        if names_only_the_code { self.claim("project_id") } else { runs.or(self.claim("project_id")) }
    }

    /// Once pinned, ids decide; before, the name does, for thirty days.
    fn identity_holds(&self) -> bool {
        let own_pin = match &self.policy().subject {
            Subject::ProjectId(id) => Some(id.as_str()),
            Subject::Repository(_) | Subject::ProjectPath(_) => None,
        };
        let pin = self.candidate.pin.as_ref();
        let runs = match self.provider {
            Provider::GitHub => self.claim("repository_id"),
            Provider::GitLab => self.claim("job_project_id").or(self.claim("project_id")),
        };
        match pin.map(|pin| pin.id.as_str()).or(own_pin) {
            Some(pinned) => {
                let owner = pin.and_then(|pin| pin.owner_id.as_deref());
                (self.is_named() || runs == Some(pinned))
                    && self.id() == Some(pinned)
                    && (owner.is_none() || (self.is_github() && self.claim("repository_owner_id") == owner))
            }
            None => {
                let waited = i128::from(self.facts.now) - i128::from(self.candidate.waiting_since);
                self.is_named() && waited <= 30 * 24 * 3600
            }
        }
    }

    fn event_is_allowed(&self) -> bool {
        let policy = self.policy();
        let named = |event: &str| policy.allowed_events.as_ref().map(|list| list.iter().any(|e| e == event));
        if !self.is_github() {
            return self.claim("pipeline_source").is_some_and(|source| named(source).unwrap_or(true));
        }
        let Some(event) = self.claim("event_name") else { return false };
        let known = events::DEFAULT.contains(&event)
            || events::UNTRUSTED.contains(&event)
            || ["merge_group", "pull_request"].contains(&event);
        match named(event) {
            Some(named) => known && named,
            None => events::DEFAULT.contains(&event) || event == "pull_request",
        }
    }

    fn fork_is_allowed(&self) -> bool {
        let policy = self.policy();
        if self.is_github() {
            return match self.claim("event_name") {
                Some("merge_group") => true,
                Some("pull_request") => {
                    policy.allow_forks || policy.allowed_events.iter().flatten().any(|e| e == "pull_request")
                }
                Some(event) if events::DEFAULT.contains(&event) => {
                    self.claim("head_ref").is_none() && self.claim("base_ref").is_none()
                }
                _ => policy.allow_forks,
            };
        }
        match self.claim("job_project_id") {
            Some(runs) => {
                let pinned = self.candidate.pin.as_ref().map(|pin| &pin.id);
                let is_ours = self.names("job_project_id", "job_project_path")
                    || match (pinned, &policy.subject) {
                        (Some(pinned), _) | (None, Subject::ProjectId(pinned)) => pinned == runs,
                        _ => false,
                    };
                !self.is_foreign() || (policy.allow_forks && is_ours)
            }
            None => {
                let sources = ["push", "web", "schedule", "api", "trigger"];
                self.facts.without_job_project
                    && !self.is_foreign()
                    && self.claim("pipeline_source").is_some_and(|source| sources.contains(&source))
            }
        }
    }

    /// GitLab: the code is of another project than the one that runs the job.
    fn is_foreign(&self) -> bool {
        let code = self.claim("project_id");
        let runs = self.claim("job_project_id").or(code);
        !self.is_github()
            && (code != runs || self.claim("source_project_id").is_some_and(|id| Some(id) != runs))
    }

    fn code(&self) -> Code<'a> {
        let full = if self.is_github() { self.claim("ref") } else { self.claim("ref_path") };
        let name =
            |prefix: &str| full.and_then(|full| full.strip_prefix(prefix)).filter(|name| !name.is_empty());
        let (branch, tag) = (name("refs/heads/"), name("refs/tags/"));
        let ref_type = self.claim("ref_type");
        if !self.is_github() {
            return match (branch, tag, ref_type) {
                (Some(branch), _, Some("branch")) if self.claim("ref") == Some(branch) => {
                    Code::Branch(branch)
                }
                (_, Some(tag), Some("tag")) if self.claim("ref") == Some(tag) => Code::Tag(tag),
                _ => Code::Unknown,
            };
        }
        let event = self.claim("event_name");
        match (branch, tag, ref_type) {
            _ if event == Some("pull_request") => self.claim("base_ref").map_or(Code::Unknown, Code::Branch),
            (Some(branch), _, None | Some("branch")) if event == Some("merge_group") => {
                merge_base(branch).map_or(Code::Unknown, Code::Branch)
            }
            _ if event == Some("merge_group") => Code::Unknown,
            (Some(branch), _, None | Some("branch")) => Code::Branch(branch),
            (_, Some(tag), None | Some("tag")) => Code::Tag(tag),
            _ => Code::Unknown,
        }
    }

    fn code_is_allowed(&self) -> bool {
        let policy = self.policy();
        let (branches, tags) = (&policy.allowed_branches, &policy.allowed_tags);
        match self.code() {
            Code::Unknown => false,
            Code::Branch(name) | Code::Tag(name) if name.len() > LONGEST_NAME => false,
            Code::Branch(_) if self.is_foreign() && !(branches.is_empty() && tags.is_none()) => false,
            Code::Branch(name) => {
                let machine = ["gh-readonly-queue/", "dependabot/"].into_iter().find(|p| name.starts_with(p));
                let spelt_out =
                    |pattern: &Pattern| machine.is_none_or(|prefix| pattern.as_str().starts_with(prefix));
                if branches.is_empty() {
                    tags.is_none() && machine.is_none()
                } else {
                    branches.iter().any(|pattern| fits(pattern, name) && spelt_out(pattern))
                }
            }
            Code::Tag(name) => !self.is_foreign() && tags.iter().flatten().any(|pattern| fits(pattern, name)),
        }
    }

    fn narrowing_holds(&self) -> bool {
        let policy = self.policy();
        let environment = self
            .claim("environment")
            .map(|name| if self.is_github() { name.to_ascii_lowercase() } else { name.to_owned() });
        let wanted = policy
            .ci_environment
            .as_ref()
            .map(|name| if self.is_github() { name.to_ascii_lowercase() } else { name.clone() });
        let runner = policy.runner.map(|runner| match (runner, self.is_github()) {
            (Runner::Hosted, true) => "github-hosted",
            (Runner::Hosted, false) => "gitlab-hosted",
            (Runner::SelfHosted, _) => "self-hosted",
        });
        (wanted.is_none() || wanted == environment)
            && (runner.is_none() || runner == self.claim("runner_environment"))
            && (!policy.protected_ref_only
                || (self.claim("ref_protected") == Some("true") && !self.is_foreign()))
            && policy.audience.as_deref().is_none_or(|audience| Some(audience) == self.claim("aud"))
            && policy.workflow.as_deref().is_none_or(|file| self.workflow_is(file))
            && policy.reusable_workflow.as_deref().is_none_or(|named| self.reusable_workflow_is(named))
    }

    fn workflow_is(&self, file: &str) -> bool {
        let sha = self.claim("sha");
        if self.is_github() {
            let Some(repository) = self.claim("repository") else { return false };
            return [self.claim("ref"), sha].into_iter().flatten().any(|git_ref| {
                self.claim("workflow_ref")
                    .is_some_and(|claim| is_file_of(claim, repository, &format!("/{file}@{git_ref}")))
            });
        }
        let project = self.claim("job_project_path").or(self.claim("project_path")).unwrap_or_default();
        let own_host = self.policy().issuer.split_once("://").map_or("", |(_, host)| host);
        !self.is_foreign()
            && [self.claim("ref_path"), sha].into_iter().flatten().any(|git_ref| {
                let host = self
                    .claim("ci_config_ref_uri")
                    .and_then(|claim| claim.strip_suffix(&format!("/{project}//{file}@{git_ref}")));
                host.is_some_and(|host| host == own_host || (!host.is_empty() && !host.contains('/')))
            })
    }

    fn reusable_workflow_is(&self, named: &str) -> bool {
        let Some(at) = named.find("/.github/workflows/") else { return false };
        let git_ref = named.split_once('@').map_or("", |(_, git_ref)| git_ref);
        let is_commit = !git_ref.starts_with("refs/");
        self.is_github()
            && self
                .claim("job_workflow_ref")
                .is_some_and(|claim| is_file_of(claim, &named[..at], &named[at..]))
            && (!is_commit || self.claim("job_workflow_sha") == Some(git_ref))
    }

    fn row_is_ready(&self) -> bool {
        let candidate = self.candidate;
        let paid = match self.policy().scope {
            Scope::Personal => matches!(candidate.plan, Plan::Pro | Plan::Org),
            Scope::Org => candidate.plan == Plan::Org,
        };
        paid && candidate.escrow.is_some()
            && candidate.version >= 1
            && (candidate.escrow_key_loaded && candidate.escrow_copy || !self.facts.pull)
    }
}

/// Whether `claim` is `repository`, in any case, and then exactly `rest`.
fn is_file_of(claim: &str, repository: &str, rest: &str) -> bool {
    claim.strip_suffix(rest).is_some_and(|named| named.eq_ignore_ascii_case(repository))
}

/// `main` of `gh-readonly-queue/main/pr-<number>-<commit>`.
fn merge_base(branch: &str) -> Option<&str> {
    let (base, entry) = branch.strip_prefix("gh-readonly-queue/")?.rsplit_once('/')?;
    let mut parts = entry.splitn(3, '-');
    let (pr, number, commit) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
    let is_commit = commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    (pr == "pr" && is_number && is_commit && !base.is_empty()).then_some(base)
}

/// By the definition, where that comes to an end in time.
fn fits(pattern: &Pattern, name: &str) -> bool {
    let mut budget = BUDGET;
    defined(pattern.as_str().as_bytes(), name.as_bytes(), &mut budget)
        .unwrap_or_else(|| pattern.matches(name))
}
