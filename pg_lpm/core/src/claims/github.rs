//! GitHub Actions' claims: strings throughout, also ids and booleans.
//!
//! <https://docs.github.com/en/actions/reference/security/oidc>

use super::GitHubJob;
use super::error::ClaimsError;
use super::reader::Reader;

/// Every claim that is read, for the search of look-alikes.
pub(super) const NAMES: &[&str] = &[
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "event_name",
    "ref",
    "ref_type",
    "ref_protected",
    "head_ref",
    "base_ref",
    "environment",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "job_workflow_ref",
    "job_workflow_sha",
    "runner_environment",
    "sha",
    "run_id",
    "run_attempt",
    "actor",
    "actor_id",
    "repository_visibility",
];

pub(super) fn read(claims: &mut Reader) -> Result<GitHubJob, ClaimsError> {
    Ok(GitHubJob {
        repository: claims.repository("repository")?,
        repository_id: claims.id("repository_id")?,
        repository_owner: claims.name("repository_owner")?,
        repository_owner_id: claims.id("repository_owner_id")?,
        event_name: claims.optional("event_name")?,
        git_ref: claims.optional("ref")?,
        ref_type: claims.optional("ref_type")?,
        ref_protected: claims.flag("ref_protected")?,
        head_ref: claims.optional("head_ref")?,
        base_ref: claims.optional("base_ref")?,
        environment: claims.optional("environment")?,
        workflow: claims.optional("workflow")?,
        workflow_ref: claims.optional("workflow_ref")?,
        workflow_sha: claims.optional("workflow_sha")?,
        job_workflow_ref: claims.optional("job_workflow_ref")?,
        job_workflow_sha: claims.optional("job_workflow_sha")?,
        runner_environment: claims.optional("runner_environment")?,
        sha: claims.optional("sha")?,
        run_id: claims.optional_id("run_id")?,
        run_attempt: claims.optional_id("run_attempt")?,
        actor: claims.optional("actor")?,
        actor_id: claims.optional_id("actor_id")?,
        repository_visibility: claims.optional("repository_visibility")?,
    })
}
