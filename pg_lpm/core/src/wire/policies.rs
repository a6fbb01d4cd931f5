//! Policies: which CI jobs may pull which environments.

use crate::claims::Provider;
use crate::policy::{Runner, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `POST /api/vault/oidc/policies`. Unknown members are refused, because a mistyped restriction would restrict
/// nothing; null and absent are the same.
// Read by `policy::Policy::from_request`, which has the last word.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatePolicyRequest {
    /// The vault.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "web"))]
    pub vault_id: String,
    /// Whose claims the job's token carries.
    pub provider: Provider,
    /// The token's `iss`; absent: the provider's default issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub issuer: Option<String>,
    /// `repo:owner/repo` (GitHub), `project:id`, `project:group/project` or `repo:group/project` (GitLab).
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512, example = "repo:acme/web"))]
    pub subject: String,
    /// Branches by their short names, with `*` and `**`; none means every branch, or no branch where tags are named.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub allowed_branches: Vec<String>,
    /// Environments of the vault; none means every one.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub allowed_environments: Vec<String>,
    /// Also what cannot be told from a fork's run; absent means `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_forks: Option<bool>,
    /// Whose row of the vault is read; absent means `personal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The org's slug, with the scope `org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 64))]
    pub org: Option<String>,
    /// Tags by their short names; a branch pattern never matches one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 100))]
    pub allowed_tags: Option<Vec<String>>,
    /// Exactly these events or pipeline sources, in place of the default ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 100))]
    pub allowed_events: Option<Vec<String>>,
    /// The provider's deployment environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub ci_environment: Option<String>,
    /// The file of the calling workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub workflow: Option<String>,
    /// GitHub: the reusable workflow that holds the job, `owner/repo/.github/workflows/file.yml@ref`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub reusable_workflow: Option<String>,
    /// Only refs that the provider protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_ref_only: Option<bool>,
    /// Only this kind of runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<Runner>,
    /// Only tokens for this audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 512))]
    pub audience: Option<String>,
    /// GitHub: pins the subject to this `repository_id` at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]+$"))]
    pub repository_id: Option<String>,
    /// GitHub: and to this `repository_owner_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]+$"))]
    pub owner_id: Option<String>,
    /// GitLab: pins the subject to this `project_id` at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9]+$"))]
    pub project_id: Option<String>,
}

/// A policy in its normal form, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyDocument {
    /// `github` or `gitlab`.
    pub provider: String,
    /// The token's `iss`.
    pub issuer: String,
    /// The repository or project.
    pub subject: String,
    /// Branches by their short names; none means every branch, or no branch where tags are named.
    pub allowed_branches: Vec<String>,
    /// Environments of the vault; none means every one.
    pub allowed_environments: Vec<String>,
    /// Also what cannot be told from a fork's run.
    pub allow_forks: bool,
    /// `personal` or `org`.
    pub scope: String,
    /// The org's slug, with the scope `org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Tags by their short names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tags: Option<Vec<String>>,
    /// Exactly these events or pipeline sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_events: Option<Vec<String>>,
    /// The provider's deployment environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_environment: Option<String>,
    /// The file of the calling workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The reusable workflow that holds the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reusable_workflow: Option<String>,
    /// Only refs that the provider protects; absent means `false`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected_ref_only: bool,
    /// `hosted` or `self-hosted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Only tokens for this audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
}

/// The answer to `POST /api/vault/oidc/policies`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatePolicyReply {
    /// Always `true`.
    pub success: bool,
    /// The policy's id; the first one's where there was such a policy.
    pub id: Uuid,
    /// The vault.
    pub vault_id: String,
    /// The account or org whose row the policy reads.
    pub owner: Uuid,
    /// What the vault now permits, a line per policy.
    pub permits: Vec<String>,
    /// What is broad about this policy, a sentence each.
    pub warnings: Vec<String>,
    /// The policy.
    #[serde(flatten)]
    pub policy: PolicyDocument,
}

/// `GET /api/vault/oidc/policies?vaultId=`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyList {
    /// Oldest first.
    pub policies: Vec<PolicyEntry>,
    /// Whether the caller's own row is open to CI: `on` or `off`.
    pub escrow: String,
    /// The caller's account.
    pub owner: Uuid,
}

/// A policy of a vault.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyEntry {
    /// Its id.
    pub id: Uuid,
    /// The handle of who wrote it, where that account still exists.
    #[serde(default)]
    pub author: Option<String>,
    /// When it was created, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub created_at: String,
    /// What it permits, in a line.
    pub permits: String,
    /// The ids behind the subject's name; null where none is recorded yet.
    #[serde(default)]
    pub pinned: Option<PolicyPin>,
    /// When it lapses unless it grants something before, RFC 3339; null once the subject is pinned.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub lapses_at: Option<String>,
    /// The policy.
    #[serde(flatten)]
    pub policy: PolicyDocument,
}

/// The ids that a subject is pinned to.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyPin {
    /// GitHub's `repository_id`, GitLab's `project_id`.
    pub id: String,
    /// GitHub's `repository_owner_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Since when, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub at: String,
}

/// The answer to `DELETE /api/vault/oidc/policies/{policy}`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RevokePolicyReply {
    /// Always `true`.
    pub success: bool,
    /// The policy's id.
    pub id: Uuid,
    /// Whom it let in.
    pub subject: String,
    /// The vault that it opened.
    pub vault_id: String,
}

/// `POST /api/vault/oidc/repin`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct RepinRequest {
    /// The vault.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256, example = "web"))]
    pub vault_id: String,
    /// The subject as policies name it.
    #[cfg_attr(feature = "openapi", schema(example = "repo:acme/web"))]
    pub subject: String,
}

/// The answer to `POST /api/vault/oidc/repin`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RepinReply {
    /// Always `true`.
    pub success: bool,
    /// The subject as it was named.
    pub subject: String,
    /// How many pins are forgotten.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub pins: i32,
}

/// The answer to `POST /api/vault/oidc/explain`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExplainReply {
    /// Whether a pull would be granted.
    pub granted: bool,
    /// The machine code of the denial.
    #[serde(default)]
    pub reason: Option<String>,
    /// What the denial would say.
    #[serde(default)]
    pub error: Option<String>,
    /// The next step that it would name.
    #[serde(default)]
    pub hint: Option<String>,
    /// Members of `claims` that no claim is called.
    #[serde(default)]
    pub unknown_claims: Option<Vec<String>>,
    /// Every check of every policy, and a last one with the outcome.
    pub checks: Vec<ExplainCheck>,
}

/// One check of one policy.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExplainCheck {
    /// The policy; null for the outcome.
    #[serde(default)]
    pub policy: Option<Uuid>,
    /// What is checked.
    pub check: String,
    /// What the policy asks for.
    pub expected: String,
    /// What the job has.
    pub actual: String,
    /// Whether they fit.
    pub ok: bool,
}
