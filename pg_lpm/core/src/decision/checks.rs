//! The checks of the decision, in its order: one function each, one table of all.
//!
//! A check says what was expected, what there was, and why that is refused. It never looks at another
//! check's outcome, so all can be shown side by side. Refusals name the caller's value, never the allowed
//! ones: those are for the vault's owner, who sees `expected`.
//!
//! An absent claim satisfies nothing: it is shown as [`NONE`] and refused.

use super::case::{Case, no_policy};
use super::facts::Plan;
use super::narrowing;
use super::refs::{self, GitRef};
use crate::claims::{GitHubJob, GitLabJob, Job, Provider};
use crate::failure::{Code, Failure};
use crate::policy::Scope;
use crate::policy::events::{self, Trust};
use std::borrow::Cow;

/// How an absent claim is shown.
pub(super) const NONE: &str = "none";

/// A policy whose subject was never pinned lapses after this long: otherwise whoever takes an abandoned
/// name years later would be the first, and so the pinned one.
pub(super) const LAPSE: i64 = 30 * 24 * 60 * 60;

/// What a check found.
pub(super) struct Finding<'a> {
    pub(super) expected: Cow<'a, str>,
    pub(super) actual: Cow<'a, str>,
    pub(super) refusal: Option<Failure>,
}

impl<'a> Finding<'a> {
    pub(super) fn new(
        expected: impl Into<Cow<'a, str>>,
        actual: impl Into<Cow<'a, str>>,
        ok: bool,
        refusal: impl FnOnce() -> Failure,
    ) -> Self {
        Self { expected: expected.into(), actual: actual.into(), refusal: (!ok).then(refusal) }
    }
}

/// A named check; `None` where the policy has no such rule.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) find: for<'a> fn(&Case<'a>) -> Option<Finding<'a>>,
}

impl Check {
    pub(super) fn run<'a>(&self, case: &Case<'a>) -> Option<Finding<'a>> {
        (self.find)(case)
    }

    pub(super) fn refusal(&self, case: &Case) -> Option<Failure> {
        self.run(case)?.refusal
    }
}

/// Every check, grouped by step.
pub(super) const STEPS: &[&[Check]] = &[
    // 2: a policy names issuer and subject.
    &[Check { name: "issuer", find: issuer }, Check { name: "subject", find: subject }],
    // 4: the ids behind the name.
    &[
        Check { name: "identity", find: identity },
        Check { name: "owner", find: owner },
        Check { name: "lapse", find: lapse },
    ],
    // 5: what started the run, and for whom.
    &[Check { name: "event", find: event }, Check { name: "fork", find: fork }],
    // 6
    &[Check { name: "ref", find: git_ref }],
    // 7
    &[Check { name: "environment", find: environment }],
    // 8
    narrowing::CHECKS,
    // 9
    &[Check { name: "plan", find: plan }],
    // 10
    &[Check { name: "escrow", find: escrow }],
    // 11
    &[Check { name: "pushed", find: pushed }],
    // 12
    &[Check { name: "escrow_key", find: escrow_key }],
    // 13, as far as it is known before anything is opened
    &[Check { name: "escrow_copy", find: escrow_copy }],
];

fn issuer<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let (policy, claims) = (case.policy(), case.claims);
    let ok = policy.issuer == claims.issuer && policy.provider == claims.provider();
    Some(Finding::new(policy.issuer.as_str(), claims.issuer.as_str(), ok, || no_policy(claims, case.facts)))
}

fn subject<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let ok = case.has_the_name() || case.has_the_pinned_id();
    let mut actual = case.claims.subject_text();
    if ok && case.is_renamed() {
        actual.push_str(" (renamed)");
    }
    Some(Finding::new(case.policy().subject_key(), actual, ok, || no_policy(case.claims, case.facts)))
}

fn identity<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let (id, pinned) = (case.current_id(), case.pinned_id()?);
    Some(Finding::new(pinned, id, id == pinned, || {
        Failure::new(Code::IdentityChanged).with("subject", case.claims.subject_text()).with("id", id)
    }))
}

fn owner<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let pinned = case.candidate.pin.as_ref()?.owner_id.as_deref()?;
    let id = case.claims.owner_id();
    Some(Finding::new(pinned, id.unwrap_or(NONE), id == Some(pinned), || {
        Failure::new(Code::OwnerChanged)
            .with("subject", case.claims.subject_text())
            .with("id", id.unwrap_or(NONE))
    }))
}

fn lapse<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if case.pinned_id().is_some() {
        return None;
    }
    let waited = case.facts.now.saturating_sub(case.candidate.waiting_since);
    let actual = match waited.max(0) / (24 * 60 * 60) {
        1 => "none for 1 day".to_owned(),
        days => format!("none for {days} days"),
    };
    Some(Finding::new("a grant within 30 days", actual, waited <= LAPSE, || {
        Failure::new(Code::PolicyLapsed).with("subject", case.claims.subject_text())
    }))
}

fn event<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let event = case.event();
    let provider = case.claims.provider();
    let named = event.is_some_and(|event| case.names_event(event));
    let (expected, ok): (Cow<str>, bool) = match (&case.policy().allowed_events, provider) {
        (Some(events), Provider::GitLab) => (events.join(", ").into(), named),
        (None, Provider::GitLab) => ("any pipeline source".into(), event.is_some()),
        // A name alone does not make an unknown event a known one.
        (Some(events), Provider::GitHub) => {
            (events.join(", ").into(), named && event.map(events::trust) != Some(Trust::Unknown))
        }
        // Whether `pull_request` is acceptable is the next check's question.
        (None, Provider::GitHub) => (
            format!("{}; {} where forks are allowed", events::DEFAULT.join(", "), events::PULL_REQUEST)
                .into(),
            matches!(event.map(events::trust), Some(Trust::Default | Trust::PullRequest)),
        ),
    };
    Some(Finding::new(expected, event.unwrap_or(NONE), ok, || {
        let next = match (event, event.map(events::trust), provider) {
            (None, ..) | (_, Some(Trust::Unknown), Provider::GitHub) => "pull from a push".to_owned(),
            (Some(event), Some(Trust::Untrusted), Provider::GitHub) => format!(
                "pull from a push; outsiders can start a `{event}`, so it must be allowed by name and for forks: `lpm env oidc allow … --event={event} --allow-forks`"
            ),
            (Some(event), ..) => {
                let event = crate::failure::shell_word(event);
                format!(
                    "pull from a push, or allow the event by name: `lpm env oidc allow … --event={event}`"
                )
            }
        };
        Failure::new(Code::EventNotAllowed).with("event", event.unwrap_or(NONE)).with("next", next)
    }))
}

fn fork<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let problem = match &case.claims.job {
        Job::GitHub(job) => github_fork(case, job),
        Job::GitLab(job) => gitlab_fork(case, job),
    };
    let expected = if case.policy().allow_forks { "forks are allowed" } else { "no fork's run" };
    let actual = problem
        .as_ref()
        .map_or("no sign of a fork that is not allowed".into(), |problem| Cow::Owned(problem.what.clone()));
    Some(Finding::new(expected, actual, problem.is_none(), || {
        let (what, next) = problem.map(|problem| (problem.what, problem.next)).unwrap_or_default();
        Failure::new(Code::ForkNotAllowed).with("what", what).with("next", next)
    }))
}

/// Why a run must be taken for a fork's.
struct ForkProblem {
    what: String,
    next: &'static str,
}

const OWN_BRANCH: &str = "pull from a run on the repository's own branch";
const OR_ALLOW_FORKS: &str =
    "pull from a run on the repository's own branch, or allow forks: `lpm env oidc allow … --allow-forks`";

/// GitHub's token never says "fork"; the event is the evidence, and pull-request refs beside an event
/// that has none are no state that GitHub documents.
fn github_fork(case: &Case, job: &GitHubJob) -> Option<ForkProblem> {
    let event = job.event_name.as_deref().unwrap_or(NONE);
    let allow_forks = case.policy().allow_forks;
    let trusted = match events::trust(event) {
        Trust::Default => {
            let carried = [("head_ref", &job.head_ref), ("base_ref", &job.base_ref)];
            return carried.into_iter().find_map(|(claim, value)| {
                let value = value.as_ref()?;
                Some(ForkProblem {
                    what: format!("a `{event}` with the {claim} `{value}`"),
                    next: OWN_BRANCH,
                })
            });
        }
        Trust::Named => true,
        Trust::PullRequest => allow_forks || case.names_event(event),
        Trust::Untrusted | Trust::Unknown => allow_forks,
    };
    (!trusted).then(|| ForkProblem { what: format!("its event is `{event}`"), next: OR_ALLOW_FORKS })
}

fn gitlab_fork(case: &Case, job: &GitLabJob) -> Option<ForkProblem> {
    let problem = |what: String, next| Some(ForkProblem { what, next });
    match &job.job_project_id {
        // Before 18.2.2 a fork's merge request looked like the parent's own.
        None if !case.facts.without_job_project => problem(
            "the token has no `job_project_id`".to_owned(),
            "update GitLab to 18.4, 18.3 or 18.2 with its patches; for an older server a DBA can accept `without_job_project`",
        ),
        None => {
            let source = job.pipeline_source.as_deref().unwrap_or(NONE);
            let safe = events::GITLAB_WITHOUT_JOB_PROJECT.contains(&source);
            if safe && !case.is_a_forks_ref() {
                return None;
            }
            problem(
                format!("a pipeline of the source `{source}`, and the token has no `job_project_id`"),
                OWN_BRANCH,
            )
        }
        Some(_) if !case.is_a_forks_ref() => None,
        Some(runs) if !case.is_of_the_job_project(job) => {
            problem(format!("the job runs in the project `{runs}`"), "pull from a job of the project itself")
        }
        Some(_) if case.policy().allow_forks => None,
        Some(_) => {
            let source = job.source_project_path.as_ref().unwrap_or(&job.project_path);
            problem(format!("its code is of the project `{source}`"), OR_ALLOW_FORKS)
        }
    }
}

fn git_ref<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let policy = case.policy();
    let expected = policy.describe_refs();
    let fork = case.is_a_forks_ref();
    Some(match refs::of(case) {
        GitRef::Branch(name) => {
            let shown = match (&case.claims.job, fork) {
                (Job::GitLab(job), true) => {
                    format!("{}:{name}", job.source_project_path.as_ref().unwrap_or(&job.project_path))
                }
                _ => name.to_owned(),
            };
            // A fork can call its branch what it likes, so it satisfies a rule about all branches only.
            let own_rule = !policy.allowed_branches.is_empty() || policy.allowed_tags.is_some();
            let ok = refs::allows_branch(policy, name) && !(fork && own_rule);
            let actual = format!("the branch {shown}");
            Finding::new(expected, actual, ok, || Failure::new(Code::BranchNotAllowed).with("branch", shown))
        }
        GitRef::Tag(name) => {
            let ok = refs::allows_tag(policy, name) && !fork;
            Finding::new(expected, format!("the tag {name}"), ok, || {
                Failure::new(Code::TagNotAllowed).with("tag", name)
            })
        }
        GitRef::Neither(shown) => {
            let shown = shown.unwrap_or(NONE);
            Finding::new(expected, shown, false, || Failure::new(Code::RefNotAllowed).with("ref", shown))
        }
    })
}

fn environment<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let names = case.names_of_environment();
    let expected: Cow<str> = match case.policy().allowed_environments.as_slice() {
        [] => "every environment".into(),
        allowed => allowed.join(", ").into(),
    };
    let actual = match names.as_slice() {
        [asked, canonical] => format!("{asked} (an alias of {canonical})"),
        _ => case.facts.environment.clone(),
    };
    let ok = names.iter().any(|name| case.permits_environment(name));
    Some(Finding::new(expected, actual, ok, || {
        Failure::new(Code::EnvironmentNotAllowed).with("environment", &case.facts.environment)
    }))
}

fn plan<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let plan = case.candidate.plan;
    let (expected, ok, code) = match case.policy().scope {
        Scope::Personal => ("pro or org", plan != Plan::Free, Code::PlanCiPull),
        Scope::Org => ("org", plan == Plan::Org, Code::PlanOrgPolicy),
    };
    Some(Finding::new(expected, plan.as_str(), ok, || {
        Failure::new(code).with("owner", &case.candidate.owner)
    }))
}

fn escrow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let kind = case.candidate.escrow;
    Some(Finding::new("on", kind.map_or("off", |_| "on"), kind.is_some(), || Failure::new(Code::EscrowOff)))
}

fn pushed<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let version = case.candidate.version;
    Some(Finding::new("version 1 or later", format!("version {version}"), version > 0, || {
        Failure::new(Code::NeverPushed)
    }))
}

/// Only where something is opened at once: an exchange opens nothing yet.
fn escrow_key<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let loaded = case.candidate.escrow_key_loaded;
    case.facts.pull.then(|| {
        Finding::new("loaded", if loaded { "loaded" } else { "not loaded" }, loaded, || {
            Failure::new(Code::NoEscrowKey)
        })
    })
}

/// Whether CI has a key of the last push at all. Whether it opens the vault, only opening it tells.
fn escrow_copy<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let there = case.candidate.escrow_copy;
    case.facts.pull.then(|| {
        let actual = if there { "there" } else { "left behind by the last push" };
        Finding::new("there", actual, there, || match case.policy().scope {
            Scope::Personal => Failure::new(Code::EscrowMismatch),
            Scope::Org => Failure::new(Code::OrgShareWithoutEscrow).with("org", &case.candidate.owner),
        })
    })
}
