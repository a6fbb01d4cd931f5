//! Claims of both profiles against a table of what each claim may be.

use crate::doc::Doc;
use crate::failure;
use crate::json::refused_for_a_reason;
use lpm_core::claims::draft::{Known, KnownPin, complete};
use lpm_core::claims::{Claims, ClaimsError, Job, Provider};
use lpm_core::json::Limits;

/// A payload, as one of either provider and as a draft that a person typed.
pub fn claims(data: &[u8]) {
    let doc = Doc::parse(data);
    for provider in Provider::ALL {
        match Claims::parse(provider, data) {
            Ok(claims) => {
                let doc = doc.as_ref().expect("accepted claims are JSON");
                assert_eq!(problem(provider, doc), None, "accepted");
                reads_every_claim(&claims, doc);
                has_sound_texts(&claims);
                let reversed = Claims::parse(provider, &doc.reversed().to_bytes());
                assert_eq!(reversed.as_ref(), Ok(&claims), "order has no meaning");
            }
            Err(error) => {
                failure::holds(&error.failure());
                match (&error, &doc) {
                    (ClaimsError::Json(error), doc) => {
                        refused_for_a_reason(error, doc.as_ref(), &Limits::CLAIMS);
                    }
                    (_, None) => panic!("no JSON, but refused as {error:?}"),
                    (_, Some(doc)) => assert!(problem(provider, doc).is_some(), "refused: {error:?}"),
                }
            }
        }
    }
    draft(data, doc.as_ref());
}

/// What was typed stands, and what is added is read by the parser of tokens.
fn draft(typed: &[u8], doc: Option<&Doc>) {
    let pin = KnownPin { subject: "repo:octo-org/octo-repo".into(), id: "42".into(), owner_id: None };
    let known = Known { github: Some("https://github.example".into()), gitlab: None, pins: vec![pin] };
    let draft = match complete(typed, &known) {
        Ok(draft) => draft,
        Err(refusal) => return failure::holds(&refusal),
    };
    let completed = Doc::parse(&draft.claims).expect("a draft is JSON");
    let typed = doc.expect("an accepted draft is JSON");
    for (name, value) in typed.members() {
        let kept = completed.get(name).expect("what was typed is kept");
        assert!(!matches!(value, Doc::String(_) | Doc::Bool(_) | Doc::Null) || kept == value, "{name}");
    }
    assert_eq!(completed.text("iss"), Some(draft.issuer.as_str()));
    assert!(draft.unknown.iter().all(|name| typed.get(name).is_some()));
    let _ = Claims::parse(Provider::GitHub, &draft.claims);
}

/// What a claim may be.
#[derive(Clone, Copy)]
enum Kind {
    /// A string that is not empty.
    Text,
    /// Absent, null or a string.
    OptText,
    /// A decimal number without leading zeros, in a string.
    Id,
    OptId,
    /// `true` or `false`, in a string.
    OptFlag,
    /// `[A-Za-z0-9._-]+`.
    Name,
    /// Exactly two names with a slash between.
    Repository,
    /// Two or more names with slashes between.
    Project,
    OptProject,
    /// Seconds since 1970 that every parser reads exactly.
    Time,
    OptTime,
}

use Kind::{Id, Name, OptFlag, OptId, OptProject, OptText, OptTime, Project, Repository, Text, Time};

const REGISTERED: &[(&str, Kind)] = &[
    ("iss", Text),
    ("sub", OptText),
    ("aud", Text),
    ("jti", Text),
    ("iat", Time),
    ("exp", Time),
    ("nbf", OptTime),
];

const GITHUB: &[(&str, Kind)] = &[
    ("repository", Repository),
    ("repository_id", Id),
    ("repository_owner", Name),
    ("repository_owner_id", Id),
    ("event_name", OptText),
    ("ref", OptText),
    ("ref_type", OptText),
    ("ref_protected", OptFlag),
    ("head_ref", OptText),
    ("base_ref", OptText),
    ("environment", OptText),
    ("workflow", OptText),
    ("workflow_ref", OptText),
    ("workflow_sha", OptText),
    ("job_workflow_ref", OptText),
    ("job_workflow_sha", OptText),
    ("runner_environment", OptText),
    ("sha", OptText),
    ("run_id", OptId),
    ("run_attempt", OptId),
    ("actor", OptText),
    ("actor_id", OptId),
    ("repository_visibility", OptText),
];

const GITLAB: &[(&str, Kind)] = &[
    ("project_id", Id),
    ("project_path", Project),
    ("job_id", Id),
    ("pipeline_id", Id),
    ("namespace_id", OptId),
    ("namespace_path", OptText),
    ("job_project_id", OptId),
    ("job_project_path", OptProject),
    ("source_project_id", OptId),
    ("source_project_path", OptProject),
    ("pipeline_source", OptText),
    ("ref", OptText),
    ("ref_type", OptText),
    ("ref_path", OptText),
    ("ref_protected", OptFlag),
    ("environment", OptText),
    ("environment_protected", OptFlag),
    ("ci_config_ref_uri", OptText),
    ("ci_config_sha", OptText),
    ("runner_environment", OptText),
    ("sha", OptText),
    ("user_id", OptId),
    ("user_login", OptText),
];

fn table(provider: Provider) -> impl Iterator<Item = (&'static str, Kind)> {
    let own = match provider {
        Provider::GitHub => GITHUB,
        Provider::GitLab => GITLAB,
    };
    REGISTERED.iter().chain(own).copied()
}

/// The first claim that is not what it may be, or is given under another spelling of its name.
fn problem(provider: Provider, doc: &Doc) -> Option<&'static str> {
    let Doc::Object(members) = doc else { return Some("no object") };
    let look_alike = |claim: &str| members.iter().any(|(name, _)| name != claim && folds_to(name, claim));
    let wrong = |(claim, kind): (&'static str, Kind)| {
        let ok = fits(kind, doc.get(claim))
            && !look_alike(claim)
            && (claim != "jti" || doc.text(claim).is_none_or(|text| text.len() <= 256));
        (!ok).then_some(claim)
    };
    table(provider).find_map(wrong)
}

fn fits(kind: Kind, value: Option<&Doc>) -> bool {
    let optional = matches!(kind, OptText | OptId | OptFlag | OptProject | OptTime);
    match value {
        None | Some(Doc::Null) => optional,
        Some(Doc::String(text)) if text.is_empty() => optional && !matches!(kind, OptTime),
        Some(Doc::String(text)) => match kind {
            Text | OptText => true,
            Id | OptId => text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit()) && text[..1] != *"0",
            OptFlag => text == "true" || text == "false",
            Name => is_name(text),
            Repository => text.split('/').count() == 2 && text.split('/').all(is_name),
            Project | OptProject => text.split('/').count() >= 2 && text.split('/').all(is_name),
            Time | OptTime => false,
        },
        Some(Doc::Number(number)) => {
            matches!(kind, Time | OptTime) && number.as_u64().is_some_and(|time| time <= 1 << 53)
        }
        Some(_) => false,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.' | '_' | '-'))
}

/// Whether a reader that ignores case, by any of Unicode's rules, takes `name` for `claim`.
fn folds_to(name: &str, claim: &str) -> bool {
    // The dotted capital I is an `i` in Turkish only.
    name.replace('\u{130}', "i").to_lowercase().to_uppercase() == claim.to_uppercase()
}

/// Every claim of the table stands in its own field, and an empty or null one in none.
fn reads_every_claim(claims: &Claims, doc: &Doc) {
    let text = |claim: &str| doc.text(claim).filter(|text| !text.is_empty());
    let flag = |claim: &str| text(claim).map(|text| text == "true");
    let time = |claim: &str| {
        let Some(Doc::Number(number)) = doc.get(claim) else { return None };
        number.as_i64()
    };
    assert_eq!(Some(claims.issuer.as_str()), text("iss"));
    assert_eq!(claims.subject.as_deref(), text("sub"));
    assert_eq!(Some(claims.audience.as_str()), text("aud"));
    assert_eq!(Some(claims.jti.as_str()), text("jti"));
    assert_eq!(Some(claims.issued_at), time("iat"));
    assert_eq!(Some(claims.expires_at), time("exp"));
    assert_eq!(claims.not_before, time("nbf"));
    let strings: Vec<(&str, Option<&String>)> = match &claims.job {
        Job::GitHub(job) => {
            assert_eq!(job.ref_protected, flag("ref_protected"));
            vec![
                ("repository", Some(&job.repository)),
                ("repository_id", Some(&job.repository_id)),
                ("repository_owner", Some(&job.repository_owner)),
                ("repository_owner_id", Some(&job.repository_owner_id)),
                ("event_name", job.event_name.as_ref()),
                ("ref", job.git_ref.as_ref()),
                ("ref_type", job.ref_type.as_ref()),
                ("head_ref", job.head_ref.as_ref()),
                ("base_ref", job.base_ref.as_ref()),
                ("environment", job.environment.as_ref()),
                ("workflow", job.workflow.as_ref()),
                ("workflow_ref", job.workflow_ref.as_ref()),
                ("workflow_sha", job.workflow_sha.as_ref()),
                ("job_workflow_ref", job.job_workflow_ref.as_ref()),
                ("job_workflow_sha", job.job_workflow_sha.as_ref()),
                ("runner_environment", job.runner_environment.as_ref()),
                ("sha", job.sha.as_ref()),
                ("run_id", job.run_id.as_ref()),
                ("run_attempt", job.run_attempt.as_ref()),
                ("actor", job.actor.as_ref()),
                ("actor_id", job.actor_id.as_ref()),
                ("repository_visibility", job.repository_visibility.as_ref()),
            ]
        }
        Job::GitLab(job) => {
            assert_eq!(job.ref_protected, flag("ref_protected"));
            assert_eq!(job.environment_protected, flag("environment_protected"));
            vec![
                ("project_id", Some(&job.project_id)),
                ("project_path", Some(&job.project_path)),
                ("job_id", Some(&job.job_id)),
                ("pipeline_id", Some(&job.pipeline_id)),
                ("namespace_id", job.namespace_id.as_ref()),
                ("namespace_path", job.namespace_path.as_ref()),
                ("job_project_id", job.job_project_id.as_ref()),
                ("job_project_path", job.job_project_path.as_ref()),
                ("source_project_id", job.source_project_id.as_ref()),
                ("source_project_path", job.source_project_path.as_ref()),
                ("pipeline_source", job.pipeline_source.as_ref()),
                ("ref", job.git_ref.as_ref()),
                ("ref_type", job.ref_type.as_ref()),
                ("ref_path", job.ref_path.as_ref()),
                ("environment", job.environment.as_ref()),
                ("ci_config_ref_uri", job.ci_config_ref_uri.as_ref()),
                ("ci_config_sha", job.ci_config_sha.as_ref()),
                ("runner_environment", job.runner_environment.as_ref()),
                ("sha", job.sha.as_ref()),
                ("user_id", job.user_id.as_ref()),
                ("user_login", job.user_login.as_ref()),
            ]
        }
    };
    for (claim, value) in strings {
        assert_eq!(value.map(String::as_str), text(claim), "{claim}");
    }
}

/// What is stored, looked up or proposed as a command.
fn has_sound_texts(claims: &Claims) {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b));
    let subjects = claims.subjects();
    assert!(!subjects.is_empty() && subjects.iter().all(|subject| plain(subject)), "{subjects:?}");
    assert!(plain(&claims.subject_text()));
    assert!(claims.stable_id().bytes().all(|b| b.is_ascii_digit()));
    let other = Claims { jti: format!("{}x", claims.jti), ..claims.clone() };
    assert_ne!(claims.use_key(), other.use_key());
    for text in [
        claims.branch_text(),
        claims.event_text(),
        claims.workflow_text(),
        claims.run_text(),
        claims.sha_text(),
        claims.actor_text(),
    ] {
        assert_ne!(text.as_deref(), Some(""), "an empty text says nothing");
    }
}
