//! Claims as the providers send them, for a job that a test describes by a few of them.
//!
//! What a test leaves out is derived from what it says (owner from repository, subject from ref, …), so
//! that tokens stay as consistent as real ones; what it says stands, consistent or not.

use super::{DEFAULT_AUDIENCE, Provider};
use openssl::sha::sha256;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A commit, as good as any.
const SHA: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334";

/// The claims of a token that `issuer` would send now; `said` are the ones that the test gave.
pub(super) fn defaults(
    provider: Provider,
    issuer: &str,
    said: &Map<String, Value>,
    now: u64,
) -> Map<String, Value> {
    let said = Said(said);
    let claims = match provider {
        Provider::GitHub => github(issuer, &said, now),
        Provider::GitLab => gitlab(issuer, &said, now),
    };
    match claims {
        Value::Object(claims) => claims,
        _ => unreachable!("both are written as objects"),
    }
}

/// The claims that a test gave, read as strings.
struct Said<'a>(&'a Map<String, Value>);

impl Said<'_> {
    fn or(&self, name: &str, default: impl Into<String>) -> String {
        self.0.get(name).and_then(Value::as_str).map_or_else(|| default.into(), str::to_owned)
    }
}

/// A decimal id that belongs to `name`, the same in every token.
fn id_of(name: &str) -> String {
    let hash = sha256(name.to_ascii_lowercase().as_bytes());
    let number = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    (100_000_000 + u64::from(number)).to_string()
}

fn github(issuer: &str, said: &Said<'_>, now: u64) -> Value {
    let repository = said.or("repository", "octo-org/octo-repo");
    let owner = said.or("repository_owner", repository.split('/').next().unwrap_or_default());
    let repository_id = said.or("repository_id", known(&repository, "octo-org/octo-repo", "456789"));
    let owner_id = said.or("repository_owner_id", known(&owner, "octo-org", "123456"));
    let event = said.or("event_name", "push");
    let pull_request = event.starts_with("pull_request");
    let git_ref =
        said.or("ref", if event == "pull_request" { "refs/pull/57/merge" } else { "refs/heads/main" });
    let protected = git_ref == "refs/heads/main";
    let workflow_ref =
        said.or("workflow_ref", format!("{repository}/.github/workflows/deploy.yml@{git_ref}"));
    let short_repository = repository.split_once('/').map_or(repository.as_str(), |(_, name)| name);
    let context = match said.0.get("environment").and_then(Value::as_str) {
        Some(environment) if !environment.is_empty() => {
            format!("environment:{}", environment.replace(':', "%3A"))
        }
        _ if pull_request => "pull_request".to_owned(),
        _ => format!("ref:{git_ref}"),
    };
    json!({
        "jti": Uuid::new_v4().to_string(),
        "iss": issuer,
        "aud": DEFAULT_AUDIENCE,
        "sub": format!("repo:{owner}@{owner_id}/{short_repository}@{repository_id}:{context}"),
        "iat": now, "nbf": now - 600, "exp": now + 300,
        "ref": git_ref,
        // GitHub says `branch` for refs/pull/N/merge too
        "ref_type": if git_ref.starts_with("refs/tags/") { "tag" } else { "branch" },
        "ref_protected": protected.to_string(),
        "sha": SHA,
        "repository": repository, "repository_id": repository_id,
        "repository_owner": owner, "repository_owner_id": owner_id,
        "repository_visibility": "private",
        "event_name": event,
        "head_ref": if pull_request { "feature/login" } else { "" },
        "base_ref": if pull_request { "main" } else { "" },
        "workflow": "deploy",
        "workflow_ref": workflow_ref, "workflow_sha": SHA,
        "job_workflow_ref": workflow_ref, "job_workflow_sha": SHA,
        "actor": "monalisa", "actor_id": "583231",
        "run_id": "17654321098", "run_number": "412", "run_attempt": "1", "check_run_id": "50123456789",
        "runner_environment": "github-hosted",
        "enterprise": "octo-inc", "enterprise_id": "1203",
        "repo_property_data_classification": "restricted",
    })
}

fn gitlab(issuer: &str, said: &Said<'_>, now: u64) -> Value {
    let path = said.or("project_path", "my-group/my-project");
    let namespace =
        said.or("namespace_path", path.rsplit_once('/').map_or(path.as_str(), |(group, _)| group));
    let project_id = said.or("project_id", known(&path, "my-group/my-project", "20"));
    let namespace_id = said.or("namespace_id", known(&namespace, "my-group", "72"));
    let git_ref = said.or("ref", "main");
    let ref_type = said.or("ref_type", "branch");
    let kind = if ref_type == "tag" { "tags" } else { "heads" };
    let source = said.or("pipeline_source", "push");
    let host = issuer.split_once("://").map_or(issuer, |(_, host)| host);
    json!({
        "jti": Uuid::new_v4().to_string(),
        "iss": issuer,
        "aud": DEFAULT_AUDIENCE,
        "sub": format!("project_path:{path}:ref_type:{ref_type}:ref:{git_ref}"),
        "iat": now, "nbf": now - 5, "exp": now + 3600,
        "project_id": project_id, "project_path": path,
        "namespace_id": namespace_id, "namespace_path": namespace,
        "job_project_id": project_id, "job_project_path": path,
        "job_namespace_id": namespace_id, "job_namespace_path": namespace,
        "user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com", "user_access_level": "maintainer",
        "user_identities": [{ "provider": "github", "extern_uid": "2435223452345" }],
        "pipeline_id": "574", "pipeline_source": source, "job_id": "302", "job_source": source,
        "ref": git_ref, "ref_type": ref_type, "ref_path": format!("refs/{kind}/{git_ref}"),
        "ref_protected": (git_ref == "main" && source == "push").to_string(),
        "groups_direct": ["my-group/sub"],
        "runner_id": 12_270_840, "runner_environment": "gitlab-hosted",
        "sha": SHA, "project_visibility": "private",
        "ci_config_ref_uri": format!("{host}/{path}//.gitlab-ci.yml@refs/{kind}/{git_ref}"),
        "ci_config_sha": SHA,
    })
}

/// The id of the sample that the documentation uses, or a derived one.
fn known(name: &str, sample: &str, id: &str) -> String {
    if name.eq_ignore_ascii_case(sample) { id.to_owned() } else { id_of(name) }
}
