//! GitLab CI's claims.
//!
//! The same issuer signs login tokens of people with the same keys: requiring `project_id`, `job_id` and
//! `pipeline_id` keeps those out (RFC 8725, section 3.12).
//! <https://docs.gitlab.com/ci/secrets/id_token_authentication/>

use super::GitLabJob;
use super::error::ClaimsError;
use super::reader::Reader;

/// Every claim that is read, for the search of look-alikes.
pub(super) const NAMES: &[&str] = &[
    "project_id",
    "project_path",
    "job_id",
    "pipeline_id",
    "namespace_id",
    "namespace_path",
    "job_project_id",
    "job_project_path",
    "source_project_id",
    "source_project_path",
    "pipeline_source",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "environment",
    "environment_protected",
    "ci_config_ref_uri",
    "ci_config_sha",
    "runner_environment",
    "sha",
    "user_id",
    "user_login",
];

pub(super) fn read(claims: &mut Reader) -> Result<GitLabJob, ClaimsError> {
    Ok(GitLabJob {
        project_id: claims.id("project_id")?,
        project_path: claims.project("project_path")?,
        job_id: claims.id("job_id")?,
        pipeline_id: claims.id("pipeline_id")?,
        namespace_id: claims.optional_id("namespace_id")?,
        namespace_path: claims.optional("namespace_path")?,
        job_project_id: claims.optional_id("job_project_id")?,
        job_project_path: claims.optional_project("job_project_path")?,
        source_project_id: claims.optional_id("source_project_id")?,
        source_project_path: claims.optional_project("source_project_path")?,
        pipeline_source: claims.optional("pipeline_source")?,
        git_ref: claims.optional("ref")?,
        ref_type: claims.optional("ref_type")?,
        ref_path: claims.optional("ref_path")?,
        ref_protected: claims.flag("ref_protected")?,
        environment: claims.optional("environment")?,
        environment_protected: claims.flag("environment_protected")?,
        ci_config_ref_uri: claims.optional("ci_config_ref_uri")?,
        ci_config_sha: claims.optional("ci_config_sha")?,
        runner_environment: claims.optional("runner_environment")?,
        sha: claims.optional("sha")?,
        user_id: claims.optional_id("user_id")?,
        user_login: claims.optional("user_login")?,
    })
}
