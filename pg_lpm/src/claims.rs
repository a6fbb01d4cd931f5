//! Claims: what the audit and the lookups need of them, read by the core's one strict parser.

use crate::answer::{Answer, refusal};
use lpm_core::claims::{Claims, Provider};
use lpm_core::failure::{Code, Failure};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

/// The claims of a token that this issuer signed.
pub(crate) fn parse(provider: &str, issuer: &str, claims: &[u8]) -> Result<Claims, Failure> {
    let claims = Claims::parse(Provider::parse(provider)?, claims).map_err(|problem| problem.failure())?;
    if claims.issuer != issuer {
        return Err(Failure::new(Code::TokenIssuer).with("issuer", &claims.issuer));
    }
    Ok(claims)
}

/// Everything that deciding, counting and auditing need of a token's claims, as one row; `refusal` alone
/// where the claims are not acceptable. Texts are cut and escaped for the audit.
#[pg_extern(immutable, strict, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn read_claims(
    provider: &str,
    issuer: &str,
    claims: &[u8],
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(subjects, Option<Vec<String>>),
        name!(subject, Option<String>),
        name!(subject_id, Option<String>),
        name!(owner_id, Option<String>),
        name!(use_key, Option<Vec<u8>>),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(token_name, Option<String>),
        name!(repository, Option<String>),
        name!(branch, Option<String>),
        name!(workflow, Option<String>),
        name!(event, Option<String>),
        name!(run, Option<String>),
        name!(sha, Option<String>),
        name!(actor, Option<String>),
    ),
> {
    let row = match parse(provider, issuer, claims) {
        Err(failure) => {
            let refusal: Answer = refusal(&failure);
            (
                Some(refusal),
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
                None,
            )
        }
        Ok(claims) => {
            let audit = |text: Option<String>| text.map(|text| lpm_core::failure::presentable(&text));
            let branch = audit(claims.branch_text());
            let name = format!(
                "oidc:{provider}:{}:{}",
                claims.subject_text(),
                branch.as_deref().unwrap_or_default()
            );
            (
                None,
                Some(claims.subjects()),
                audit(Some(claims.subject_text())),
                Some(claims.stable_id().to_owned()),
                claims.owner_id().map(str::to_owned),
                Some(claims.use_key().to_vec()),
                Some(to_timestamp(claims.expires_at as f64)),
                Some(name),
                audit(claims.subject_text().split_once(':').map(|(_, name)| name.to_owned())),
                branch,
                audit(claims.workflow_text()),
                audit(claims.event_text()),
                audit(claims.run_text()),
                audit(claims.sha_text()),
                audit(claims.actor_text()),
            )
        }
    };
    TableIterator::once(row)
}

/// Claims that a person typed, completed with what only a signed token has and no rule looks at.
///
/// `iss` defaults to the default issuer of the provider that the claims look like (`repository`: GitHub,
/// `project_path` or `project_id`: GitLab). Ids that are left out become `unknown`: a check of a pinned id
/// then shows that it was not given, and fails.
#[pg_extern(immutable, parallel_safe)]
#[expect(clippy::type_complexity, reason = "the columns of one row")]
fn complete_claims(
    claims: &[u8],
    github_issuer: Option<&str>,
    gitlab_issuer: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(refusal, Option<pgrx::composite_type!('static, "lpm_api.answer")>),
        name!(issuer, Option<String>),
        name!(claims, Option<Vec<u8>>),
    ),
> {
    TableIterator::once(match complete(claims, github_issuer, gitlab_issuer) {
        Ok((issuer, claims)) => (None, Some(issuer), Some(claims)),
        Err(failure) => (Some(refusal(&failure)), None, None),
    })
}

fn complete(claims: &[u8], github: Option<&str>, gitlab: Option<&str>) -> Result<(String, Vec<u8>), Failure> {
    use serde_json::{Map, Value, json};
    let bad = |reason: &str| Failure::new(Code::BadRequest).with("reason", reason);
    // The strict parser has the last word, in `read_claims`; here duplicate names are refused with it.
    lpm_core::json::parse(claims, &lpm_core::json::Limits::CLAIMS)
        .map_err(|problem| bad(&format!("claims: {problem}")))?;
    let mut claims: Map<String, Value> = serde_json::from_slice(claims)
        .map_err(|_| bad("claims must be a JSON object, such as '{\"repository\": \"acme/web\"}'"))?;
    let is_gitlab = claims.contains_key("project_path") || claims.contains_key("project_id");
    if !is_gitlab && !claims.contains_key("repository") {
        return Err(bad("claims need at least `repository` (GitHub) or `project_path` (GitLab)"));
    }
    let issuer = match claims.get("iss") {
        Some(Value::String(issuer)) => issuer.clone(),
        Some(_) => return Err(bad("`iss` must be a string")),
        None => (if is_gitlab { gitlab } else { github })
            .ok_or_else(|| bad("no issuer is trusted for these claims; name one as `iss`"))?
            .to_owned(),
    };
    let owner = claims
        .get("repository")
        .and_then(Value::as_str)
        .and_then(|name| name.split_once('/'))
        .map(|(owner, _)| owner.to_owned());
    let mut complete = |name: &str, value: Value| {
        claims.entry(name).or_insert(value);
    };
    complete("iss", json!(issuer));
    complete("aud", json!("https://lpm.dev"));
    complete("jti", json!("explained"));
    complete("iat", json!(0));
    complete("exp", json!(1));
    let required: &[&str] = if is_gitlab {
        &["project_id", "project_path", "job_id", "pipeline_id"]
    } else {
        &["repository_id", "repository_owner_id"]
    };
    for name in required {
        complete(name, json!("unknown"));
    }
    if let Some(owner) = owner {
        complete("repository_owner", json!(owner));
    }
    Ok((issuer, Value::Object(claims).to_string().into_bytes()))
}
