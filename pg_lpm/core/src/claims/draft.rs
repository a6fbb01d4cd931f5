//! Claims that a person typed, to ask what a token with them would meet.
//!
//! They are completed with what only a signed token has and no rule looks at, and with the ids that the vault
//! has pinned for the name, so that a question about a branch needs no ids. What was typed stands as it is,
//! and is read by the same strict parser as a token's.

use super::{Provider, github, gitlab};
use crate::failure::{Code, Failure};
use crate::json::{self, Limits};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a draft is completed from.
#[derive(Debug, Default, Deserialize)]
pub struct Known {
    /// The default issuer for GitHub's claims.
    pub github: Option<String>,
    /// The default issuer for GitLab's claims.
    pub gitlab: Option<String>,
    /// What the vault has pinned.
    pub pins: Vec<KnownPin>,
}

/// The ids that a vault has pinned for a subject.
#[derive(Debug, Deserialize)]
pub struct KnownPin {
    /// The subject, in its normal form.
    pub subject: String,
    /// GitHub's repository id, GitLab's project id.
    pub id: String,
    /// GitHub's owner id.
    pub owner_id: Option<String>,
}

/// A completed draft.
#[derive(Debug)]
pub struct Draft {
    /// `iss`.
    pub issuer: String,
    /// The payload.
    pub claims: Vec<u8>,
    /// Names that the provider does not document: typing errors, most likely.
    pub unknown: Vec<String>,
}

/// An id for a name that nothing is pinned for; any will do.
const SOME_ID: &str = "1";

/// Documented by the provider, but of no use to any rule.
const GITHUB_OTHERS: &[&str] = &[
    "repository_owner",
    "environment_node_id",
    "run_number",
    "check_run_id",
    "enterprise",
    "enterprise_id",
    "issuer_scope",
    "x5t",
];
const GITLAB_OTHERS: &[&str] = &[
    "job_namespace_id",
    "job_namespace_path",
    "source_namespace_id",
    "source_namespace_path",
    "deployment_tier",
    "environment_action",
    "job_source",
    "job_config",
    "runner_id",
    "project_visibility",
    "user_email",
    "user_access_level",
    "user_identities",
    "groups_direct",
    "target_audience",
];
const REGISTERED: &[&str] = &["iss", "sub", "aud", "jti", "iat", "exp", "nbf"];

/// Completes the JSON object that a person typed.
///
/// # Errors
///
/// `bad_request` when it is no object, or says too little to tell whose claims they are.
pub fn complete(typed: &[u8], known: &Known) -> Result<Draft, Failure> {
    let bad = |reason: &str| Failure::new(Code::BadRequest).with("reason", reason);
    let typed = json::parse(typed, &Limits::CLAIMS)
        .map_err(|problem| bad(&format!("the JSON of `claims` {problem}")))?;
    let Value::Object(mut claims) = typed.into() else {
        return Err(bad(
            r#"`claims` must be a JSON object, such as {"repository": "acme/web", "ref": "refs/heads/main"}"#,
        ));
    };
    let provider = if claims.contains_key("project_path") || claims.contains_key("project_id") {
        Provider::GitLab
    } else if claims.contains_key("repository") {
        Provider::GitHub
    } else {
        return Err(bad("`claims` need at least `repository` (GitHub) or `project_path` (GitLab)"));
    };
    let unknown = claims.keys().filter(|name| !is_documented(provider, name)).cloned().collect();
    let default_issuer = match provider {
        Provider::GitHub => &known.github,
        Provider::GitLab => &known.gitlab,
    };
    let issuer = match claims.get("iss") {
        Some(Value::String(issuer)) => issuer.clone(),
        Some(_) => return Err(bad("`iss` must be a string")),
        None => default_issuer
            .clone()
            .ok_or_else(|| bad("no issuer is trusted for these claims: name one as `iss`"))?,
    };
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (repository, project) = (text("repository"), text("project_path"));
    let subject = match provider {
        Provider::GitHub => format!("repo:{}", repository.to_ascii_lowercase()),
        Provider::GitLab => format!("project:{project}"),
    };
    let pin = known.pins.iter().find(|pin| pin.subject == subject);
    let id = pin.map_or(SOME_ID, |pin| &pin.id);
    let mut complete = |name: &str, value: Value| {
        claims.entry(name).or_insert(value);
    };
    for (name, value) in [
        ("iss", json!(issuer)),
        ("aud", json!("https://lpm.dev")),
        ("jti", json!("draft")),
        ("iat", json!(0)),
        ("exp", json!(1)),
    ] {
        complete(name, value);
    }
    match provider {
        Provider::GitHub => {
            complete("repository_id", json!(id));
            complete(
                "repository_owner_id",
                json!(pin.and_then(|pin| pin.owner_id.as_deref()).unwrap_or(SOME_ID)),
            );
            complete("repository_owner", json!(repository.split('/').next().unwrap_or_default()));
        }
        Provider::GitLab => {
            for (name, value) in [
                ("project_id", id),
                ("project_path", "unknown/project"),
                ("job_id", SOME_ID),
                ("pipeline_id", SOME_ID),
            ] {
                complete(name, json!(value));
            }
        }
    }
    Ok(Draft { issuer, claims: Value::Object(claims).to_string().into_bytes(), unknown })
}

fn is_documented(provider: Provider, name: &str) -> bool {
    let (read, others) = match provider {
        Provider::GitHub => (github::NAMES, GITHUB_OTHERS),
        Provider::GitLab => (gitlab::NAMES, GITLAB_OTHERS),
    };
    REGISTERED.contains(&name)
        || read.contains(&name)
        || others.contains(&name)
        || name.starts_with("repo_property_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claims;

    fn known() -> Known {
        let pin = |subject: &str, id: &str, owner: Option<&str>| KnownPin {
            subject: subject.to_owned(),
            id: id.to_owned(),
            owner_id: owner.map(str::to_owned),
        };
        Known {
            github: Some("https://github.example".to_owned()),
            gitlab: Some("https://gitlab.example".to_owned()),
            pins: vec![pin("repo:acme/web", "42", Some("7")), pin("project:group/app", "20", None)],
        }
    }

    fn claims(provider: Provider, typed: &str) -> Claims {
        let draft = complete(typed.as_bytes(), &known()).expect("completes");
        Claims::parse(provider, &draft.claims).expect("is complete")
    }

    #[test]
    fn a_name_is_enough_and_brings_its_pinned_ids() {
        let web = claims(Provider::GitHub, r#"{"repository": "Acme/Web"}"#);
        assert_eq!(
            (web.issuer.as_str(), web.stable_id(), web.owner_id()),
            ("https://github.example", "42", Some("7"))
        );
        let app = claims(Provider::GitLab, r#"{"project_path": "group/app"}"#);
        assert_eq!((app.issuer.as_str(), app.stable_id()), ("https://gitlab.example", "20"));
        assert_eq!(claims(Provider::GitHub, r#"{"repository": "acme/other"}"#).stable_id(), "1");
    }

    #[test]
    fn what_was_typed_stands() {
        let web = claims(
            Provider::GitHub,
            r#"{"repository": "acme/web", "repository_id": "9", "iss": "https://x.example", "exp": 5}"#,
        );
        assert_eq!((web.issuer.as_str(), web.stable_id(), web.expires_at), ("https://x.example", "9", 5));
    }

    #[test]
    fn what_says_too_little_or_is_no_object_is_refused() {
        for typed in [
            "",
            "{",
            "[]",
            "7",
            "{}",
            r#"{"repositry": "acme/web"}"#,
            r#"{"repository": "a/b", "repository": "c/d"}"#,
            r#"{"repository": "a/b", "iss": 7}"#,
        ] {
            assert_eq!(complete(typed.as_bytes(), &known()).expect_err(typed).code, Code::BadRequest);
        }
        assert!(complete(br#"{"repository": "a/b"}"#, &Known::default()).is_err(), "no issuer");
    }

    #[test]
    fn names_that_nobody_documents_are_reported() {
        let draft = complete(
            br#"{"repository": "a/b", "brunch": "main", "repo_property_x": "1", "enterprise": "e"}"#,
            &known(),
        )
        .expect("completes");
        assert_eq!(draft.unknown, ["brunch"]);
    }
}
