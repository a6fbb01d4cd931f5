//! Step 8: the optional rules that make a policy narrower. All are absent by default.

use super::case::Case;
use super::checks::{Check, Finding, NONE};
use crate::claims::Job;
use crate::failure::{Code, Failure};
use crate::policy::workflow;

pub(super) const CHECKS: &[Check] = &[
    Check { name: "ci_environment", find: ci_environment },
    Check { name: "workflow", find: workflow },
    Check { name: "reusable_workflow", find: reusable_workflow },
    Check { name: "protected_ref", find: protected_ref },
    Check { name: "runner", find: runner },
    Check { name: "audience", find: audience },
];

/// GitHub's environments are case-insensitive (only ASCII is folded here, so that nothing foreign folds
/// into it); GitLab's are exact.
fn ci_environment<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let expected = case.policy().ci_environment.as_deref()?;
    let (actual, ok) = match &case.claims.job {
        Job::GitHub(job) => {
            let actual = job.environment.as_deref();
            (actual, actual.is_some_and(|actual| actual.eq_ignore_ascii_case(expected)))
        }
        Job::GitLab(job) => (job.environment.as_deref(), job.environment.as_deref() == Some(expected)),
    };
    let actual = actual.unwrap_or(NONE);
    Some(Finding::new(expected, actual, ok, || {
        Failure::new(Code::CiEnvironmentNotAllowed).with("ci_environment", actual)
    }))
}

/// The file in the job's own repository: a ruleset's required workflow runs under our repository's name
/// out of another one.
fn workflow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let file = case.policy().workflow.as_deref()?;
    let (actual, ok) = match &case.claims.job {
        Job::GitHub(job) => {
            let refs = [job.git_ref.as_deref(), job.sha.as_deref()];
            let fits = |claim: &str| workflow::is_github_file(claim, &job.repository, file, refs);
            (job.workflow_ref.as_deref(), job.workflow_ref.as_deref().is_some_and(fits))
        }
        Job::GitLab(job) => {
            let refs = [job.ref_path.as_deref(), job.sha.as_deref()];
            let project = job.job_project_path.as_ref().unwrap_or(&job.project_path);
            let fits =
                |claim: &str| workflow::is_gitlab_file(claim, &case.claims.issuer, project, file, refs);
            // Of a fork's merge request the file is the fork's, whatever the claim calls it.
            let own = !case.is_a_forks_ref();
            let claim = job.ci_config_ref_uri.as_deref();
            (claim, own && claim.is_some_and(fits))
        }
    };
    let actual = actual.unwrap_or(NONE);
    Some(Finding::new(file, actual, ok, || Failure::new(Code::WorkflowNotAllowed).with("workflow", actual)))
}

/// File and ref of the workflow that holds the job; a commit must be what really ran.
fn reusable_workflow<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let expected = case.policy().reusable_workflow.as_deref()?;
    let (actual, ok) = match &case.claims.job {
        Job::GitHub(job) => {
            let claim = job.job_workflow_ref.as_deref();
            let fits = |claim| workflow::is_reusable(claim, job.job_workflow_sha.as_deref(), expected);
            (claim, claim.is_some_and(fits))
        }
        Job::GitLab(_) => (None, false),
    };
    let actual = actual.unwrap_or(NONE);
    Some(Finding::new(expected, actual, ok, || {
        Failure::new(Code::ReusableWorkflowNotAllowed).with("workflow", actual)
    }))
}

fn protected_ref<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    if !case.policy().protected_ref_only {
        return None;
    }
    let (protected, shown) = match &case.claims.job {
        Job::GitHub(job) => (job.ref_protected, job.git_ref.as_deref()),
        // A fork's ref is protected where the fork says so.
        Job::GitLab(job) if case.is_a_forks_ref() => (Some(false), job.ref_path.as_deref()),
        Job::GitLab(job) => (job.ref_protected, job.ref_path.as_deref()),
    };
    let actual = match protected {
        Some(true) => "protected",
        Some(false) => "not protected",
        None => NONE,
    };
    Some(Finding::new("protected", actual, protected == Some(true), || {
        Failure::new(Code::RefNotProtected).with("ref", shown.unwrap_or(NONE))
    }))
}

fn runner<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let expected = case.policy().runner?.claim(case.claims.provider());
    let actual = match &case.claims.job {
        Job::GitHub(job) => job.runner_environment.as_deref(),
        Job::GitLab(job) => job.runner_environment.as_deref(),
    };
    let ok = actual == Some(expected);
    let actual = actual.unwrap_or(NONE);
    Some(Finding::new(expected, actual, ok, || Failure::new(Code::RunnerNotAllowed).with("runner", actual)))
}

fn audience<'a>(case: &Case<'a>) -> Option<Finding<'a>> {
    let expected = case.policy().audience.as_deref()?;
    let actual = case.claims.audience.as_str();
    Some(Finding::new(expected, actual, actual == expected, || {
        Failure::new(Code::AudienceNotAllowed).with("audience", actual)
    }))
}
