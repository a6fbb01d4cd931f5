//! `POST /api/vault/oidc/policies`: from a request to a policy in its normal form.
//!
//! Strict where a mistake would widen access: the three fields that decide how wide a policy is must be
//! there, an unknown key is refused, and an empty list where only absence has a meaning as well. Texts
//! name the field and the value, and the next step where there is one.

use super::events::{self, Trust};
use super::subject::is_id;
use super::{Policy, Runner, Scope, Subject, workflow};
use crate::claims::Provider;
use crate::failure::{Code, Failure};
use crate::json::{self, Limits, Value};
use crate::pattern::Pattern;
use std::fmt::Display;

/// Longest vault id, in bytes: as the tables have it.
const MAX_VAULT_ID: usize = 256;
/// Longest issuer, audience and deployment environment, in bytes.
const MAX_TEXT: usize = 512;
/// Most items of one list.
const MAX_ITEMS: usize = 100;
/// Longest name of an environment, an event or an org.
const MAX_NAME: usize = 64;

/// A policy to be created, and what belongs beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPolicy {
    /// The vault.
    pub vault_id: String,
    /// The policy in its normal form.
    pub policy: Policy,
    /// Ids that are known already.
    pub pins: Pins,
}

/// The ids behind the subject's name, where the request knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// GitHub's `repository_id`.
    pub repository_id: Option<String>,
    /// GitHub's `repository_owner_id`.
    pub owner_id: Option<String>,
    /// GitLab's `project_id`; a subject `project:<id>` is its own pin.
    pub project_id: Option<String>,
}

impl Pins {
    /// The id that decides, on either provider.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.repository_id.as_deref().or(self.project_id.as_deref())
    }
}

/// Every key of a request.
const KEYS: &[&str] = &[
    "vaultId",
    "provider",
    "issuer",
    "subject",
    "allowedBranches",
    "allowedEnvironments",
    "allowForks",
    "scope",
    "org",
    "allowedTags",
    "allowedEvents",
    "ciEnvironment",
    "workflow",
    "reusableWorkflow",
    "protectedRefOnly",
    "runner",
    "audience",
    "repositoryId",
    "ownerId",
    "projectId",
];

pub(super) fn read(
    body: &[u8],
    default_issuer: impl Fn(Provider) -> Option<String>,
) -> Result<NewPolicy, Failure> {
    let body = json::parse(body, &Limits::BODY).map_err(|error| error.failure())?;
    let Some(members) = body.as_object() else {
        return Err(Failure::new(Code::BadRequest).with("reason", "the request's body must be a JSON object"));
    };
    if let Some((key, _)) = members.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
        return Err(invalid(key, "is not known", ""));
    }
    let fields = Fields(&body);

    let provider = Provider::parse(fields.required("provider")?)?;
    let subject = Subject::parse(provider, fields.required("subject")?)
        .map_err(|error| invalid("subject", &error.reason, &error.next))?;
    let issuer = match fields.text("issuer")? {
        Some(issuer) => issuer.to_owned(),
        None => default_issuer(provider).ok_or_else(|| {
            let reason = format!("is needed: `{}` has no default issuer here", provider.as_str());
            invalid("issuer", &reason, "name it: `--issuer=https://…`")
        })?,
    };
    let (scope, org) = fields.scope()?;
    let allow_forks = fields.flag("allowForks")?;
    let mut policy = Policy {
        provider,
        issuer,
        allowed_branches: fields.patterns("allowedBranches")?.ok_or_else(|| missing("allowedBranches"))?,
        allowed_environments: fields.environments()?,
        allow_forks,
        scope,
        org,
        allowed_tags: fields.patterns("allowedTags")?.map(|tags| named("allowedTags", tags)).transpose()?,
        allowed_events: fields.events(provider, allow_forks)?,
        ci_environment: fields.text("ciEnvironment")?.map(str::to_owned),
        workflow: fields.workflow(&subject)?,
        reusable_workflow: fields.reusable_workflow(provider)?,
        protected_ref_only: fields.flag("protectedRefOnly")?,
        runner: fields.runner()?,
        audience: fields.text("audience")?.map(str::to_owned),
        subject,
    };
    policy.sort();
    Ok(NewPolicy { vault_id: fields.vault_id()?.to_owned(), pins: fields.pins(&policy.subject)?, policy })
}

/// The members of the body; null and absent are the same.
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn required(&self, field: &str) -> Result<&'a str, Failure> {
        self.text(field)?.ok_or_else(|| missing(field))
    }

    fn vault_id(&self) -> Result<&'a str, Failure> {
        let id = self.required("vaultId")?;
        if id.len() > MAX_VAULT_ID {
            return Err(invalid_value("vaultId", id, "is longer than 256 bytes"));
        }
        Ok(id)
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, Failure> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| wrong_type(field, "a string", value))?;
        if text.is_empty() || text.trim() != text {
            return Err(invalid_value(field, text, "must neither be empty nor begin or end with a space"));
        }
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(invalid_value(field, text, "is too long or holds control characters"));
        }
        Ok(Some(text))
    }

    fn flag(&self, field: &str) -> Result<bool, Failure> {
        match self.get(field) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong_type(field, "true or false", value)),
        }
    }

    fn list(&self, field: &str) -> Result<Option<Vec<&'a str>>, Failure> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let items = value.as_array().ok_or_else(|| wrong_type(field, "a list of strings", value))?;
        if items.len() > MAX_ITEMS {
            return Err(invalid(field, &format!("has more than {MAX_ITEMS} items"), ""));
        }
        let texts = items
            .iter()
            .map(|item| item.as_str().ok_or_else(|| wrong_type(field, "a list of strings", item)));
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// Patterns of short names. `refs/heads/main` is what the patterns match against, not with.
    fn patterns(&self, field: &str) -> Result<Option<Vec<Pattern>>, Failure> {
        let Some(items) = self.list(field)? else { return Ok(None) };
        let read = |text: &str| {
            if let Some(short) = text.strip_prefix("refs/heads/").or_else(|| text.strip_prefix("refs/tags/"))
            {
                return Err(invalid_value(field, text, format!("must be a short name, such as `{short}`")));
            }
            Pattern::parse(text).map_err(|error| invalid_value(field, text, error))
        };
        items.into_iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    fn environments(&self) -> Result<Vec<String>, Failure> {
        let field = "allowedEnvironments";
        let items = self.list(field)?.ok_or_else(|| missing(field))?;
        match items.iter().find(|name| !is_name(name, b"._-")) {
            Some(name) => Err(invalid_value(
                field,
                name,
                format!("is no environment's name: 1 to {MAX_NAME} of `A-Z a-z 0-9 . _ -`"),
            )),
            None => Ok(items.into_iter().map(str::to_owned).collect()),
        }
    }

    fn scope(&self) -> Result<(Scope, Option<String>), Failure> {
        let org = self.text("org")?;
        match (self.text("scope")?, org) {
            (None | Some("personal"), None) => Ok((Scope::Personal, None)),
            (Some("org"), Some(slug)) if is_name(slug, b"._-") => Ok((Scope::Org, Some(slug.to_owned()))),
            (Some("org"), Some(slug)) => Err(invalid_value("org", slug, "is no org's name")),
            (Some("org"), None) => Err(invalid("org", "is missing: the scope is `org`", "")),
            (None | Some("personal"), Some(slug)) => Err(invalid_value("org", slug, "needs the scope `org`")),
            (Some(other), _) => Err(invalid_value("scope", other, "must be `personal` or `org`")),
        }
    }

    fn events(&self, provider: Provider, allow_forks: bool) -> Result<Option<Vec<String>>, Failure> {
        let field = "allowedEvents";
        let Some(items) = self.list(field)? else { return Ok(None) };
        for event in &items {
            if !is_name(event, b"_") {
                return Err(invalid_value(field, event, "is no event's name"));
            }
            match (provider, events::trust(event)) {
                (Provider::GitHub, Trust::Untrusted) if !allow_forks => {
                    return Err(invalid(
                        field,
                        &format!("names `{event}`, which outsiders can start"),
                        "leave it out, or set `allowForks` as well (`--allow-forks`)",
                    ));
                }
                (Provider::GitHub, Trust::Unknown) => {
                    return Err(invalid_value(field, event, "is no event of GitHub Actions known here"));
                }
                // GitLab's sources only ever narrow, so one that does not exist merely never fits.
                _ => {}
            }
        }
        named(field, items.into_iter().map(str::to_owned).collect()).map(Some)
    }

    fn workflow(&self, subject: &Subject) -> Result<Option<String>, Failure> {
        let Some(text) = self.text("workflow")? else { return Ok(None) };
        let file = match subject {
            Subject::Repository(repository) => workflow::github_file(text, repository),
            Subject::ProjectId(_) | Subject::ProjectPath(_) => workflow::gitlab_file(text),
        };
        file.map(Some).map_err(|reason| invalid_value("workflow", text, reason))
    }

    fn reusable_workflow(&self, provider: Provider) -> Result<Option<String>, Failure> {
        let field = "reusableWorkflow";
        match (self.text(field)?, provider) {
            (None, _) => Ok(None),
            (Some(_), Provider::GitLab) => Err(only_for(field, Provider::GitHub)),
            (Some(text), Provider::GitHub) => {
                workflow::reusable(text).map(Some).map_err(|reason| invalid_value(field, text, reason))
            }
        }
    }

    fn runner(&self) -> Result<Option<Runner>, Failure> {
        match self.text("runner")? {
            None => Ok(None),
            Some("hosted") => Ok(Some(Runner::Hosted)),
            Some("self-hosted") => Ok(Some(Runner::SelfHosted)),
            Some(other) => Err(invalid_value("runner", other, "must be `hosted` or `self-hosted`")),
        }
    }

    fn pins(&self, subject: &Subject) -> Result<Pins, Failure> {
        let (repository_id, owner_id) = (self.id("repositoryId")?, self.id("ownerId")?);
        let mut project_id = self.id("projectId")?;
        match subject {
            Subject::Repository(_) if project_id.is_some() => {
                return Err(only_for("projectId", Provider::GitLab));
            }
            // An owner has many repositories, and a repository's name can be taken by a new one of them.
            Subject::Repository(_) if owner_id.is_some() && repository_id.is_none() => {
                return Err(invalid("ownerId", "pins nothing without `repositoryId`", ""));
            }
            Subject::Repository(_) => {}
            Subject::ProjectId(_) | Subject::ProjectPath(_) if repository_id.is_some() => {
                return Err(only_for("repositoryId", Provider::GitHub));
            }
            Subject::ProjectId(_) | Subject::ProjectPath(_) if owner_id.is_some() => {
                return Err(only_for("ownerId", Provider::GitHub));
            }
            Subject::ProjectId(id) if project_id.as_ref().is_some_and(|given| given != id) => {
                return Err(invalid("projectId", &format!("is not the subject's, `{id}`"), ""));
            }
            Subject::ProjectId(id) => project_id = Some(id.clone()),
            Subject::ProjectPath(_) => {}
        }
        Ok(Pins { repository_id, owner_id, project_id })
    }

    fn id(&self, field: &str) -> Result<Option<String>, Failure> {
        match self.text(field)? {
            Some(text) if !is_id(text) => Err(invalid_value(field, text, "must be a decimal id")),
            text => Ok(text.map(str::to_owned)),
        }
    }
}

fn is_name(text: &str, others: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

/// An empty list here could be read as none or as all.
fn named<T>(field: &str, items: Vec<T>) -> Result<Vec<T>, Failure> {
    if items.is_empty() {
        return Err(invalid(field, "is empty", "name at least one, or leave the field out"));
    }
    Ok(items)
}

fn invalid(field: &str, reason: &str, next: &str) -> Failure {
    Failure::new(Code::PolicyInvalid).with("field", field).with("reason", reason).with("next", next)
}

/// Refuses one value; the argument's length limit cuts the value before it could cut the reason.
fn invalid_value(field: &str, value: &str, reason: impl Display) -> Failure {
    let mut shown: String = value.chars().take(64).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    invalid(field, &format!("is refused: `{shown}` {reason}"), "")
}

fn missing(field: &str) -> Failure {
    invalid(field, "is missing", "")
}

fn wrong_type(field: &str, expected: &str, value: &Value) -> Failure {
    invalid(field, &format!("must be {expected}, not {}", value.type_name()), "")
}

fn only_for(field: &str, provider: Provider) -> Failure {
    invalid(field, &format!("exists for the provider `{}` only", provider.as_str()), "")
}
