//! Whose jobs a policy speaks of: a GitHub repository, or a GitLab project by id or path.

use crate::claims::Provider;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest segment of a name; both providers allow less.
const MAX_SEGMENT: usize = 255;
/// Longest id, in digits: 64 bits.
const MAX_DIGITS: usize = 20;

/// A policy's subject in its normal form, which is also the key under which policies are stored.
///
/// Names are ASCII on both providers, so ASCII lower case is all there is to GitHub's case-insensitivity;
/// Unicode's rules would fold the Kelvin sign to `k`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Subject {
    /// `repo:owner/repo`: a GitHub repository, in ASCII lower case.
    Repository(String),
    /// `project:<id>`: a GitLab project by the id that it keeps for life.
    ProjectId(String),
    /// `project:group/project`: a GitLab project by its path, exactly.
    ProjectPath(String),
}

/// Why a text is not a subject; the second half is the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct SubjectError {
    /// What is wrong, naming the value.
    pub reason: String,
    /// What to write instead.
    pub next: String,
}

impl Subject {
    /// Reads a subject of this provider in any of the accepted spellings.
    ///
    /// The published client writes `repo:group/project` for GitLab as well, so that is accepted.
    ///
    /// # Errors
    ///
    /// When the text is no subject of this provider; the error says what to write instead.
    pub fn parse(provider: Provider, text: &str) -> Result<Self, SubjectError> {
        let refuse =
            |reason: &str, next: String| Err(SubjectError { reason: format!("`{text}` {reason}"), next });
        let (kind, name) = text.split_once(':').unwrap_or(("", text));
        match (provider, kind) {
            (Provider::GitHub, "repo") if is_repository(name) => {
                Ok(Self::Repository(name.to_ascii_lowercase()))
            }
            (Provider::GitHub, _) => refuse(
                "does not name a GitHub repository",
                "write `repo:owner/repo`, or `--repo=owner/repo`".to_owned(),
            ),
            (Provider::GitLab, "project") if is_id(name) => Ok(Self::ProjectId(name.to_owned())),
            (Provider::GitLab, "repo") if is_id(name) => refuse(
                "does not name a GitLab project: an id is written as a project",
                format!("write `project:{name}`, or `--project={name}`"),
            ),
            (Provider::GitLab, "project" | "repo") if is_project_path(name) => {
                Ok(Self::ProjectPath(name.to_owned()))
            }
            (Provider::GitLab, _) => refuse(
                "does not name a GitLab project",
                "write `project:<id>` or `project:group/project`".to_owned(),
            ),
        }
    }

    /// Whose subjects these are.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self {
            Self::Repository(_) => Provider::GitHub,
            Self::ProjectId(_) | Self::ProjectPath(_) => Provider::GitLab,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository(name) => write!(f, "repo:{name}"),
            Self::ProjectId(name) | Self::ProjectPath(name) => write!(f, "project:{name}"),
        }
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    /// Normal forms only; a GitLab project is never written `repo:` in a stored policy.
    fn try_from(text: String) -> Result<Self, SubjectError> {
        let provider = if text.starts_with("repo:") { Provider::GitHub } else { Provider::GitLab };
        Self::parse(provider, &text)
    }
}

/// `owner/repo`.
pub(super) fn is_repository(text: &str) -> bool {
    text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name))
}

/// `group/project`, with any number of subgroups.
fn is_project_path(text: &str) -> bool {
    text.contains('/') && text.len() <= 4 * MAX_SEGMENT && text.split('/').all(is_name)
}

/// One segment: `[A-Za-z0-9._-]`, neither `.` nor `..`.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_SEGMENT
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !matches!(text, "." | "..")
}

/// A decimal id as the providers write them: no sign, no leading zero.
pub(super) fn is_id(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use Provider::{GitHub, GitLab};

    #[test]
    fn subjects_have_one_normal_form() {
        for (provider, text, key) in [
            (GitHub, "repo:acme/web", "repo:acme/web"),
            (GitHub, "repo:Acme/Web.js", "repo:acme/web.js"),
            (GitLab, "project:20", "project:20"),
            (GitLab, "project:My-Group/sub/Project", "project:My-Group/sub/Project"),
            (GitLab, "repo:group/project", "project:group/project"),
            (GitLab, "project:12/34", "project:12/34"),
        ] {
            let subject = Subject::parse(provider, text).expect(text);
            assert_eq!(subject.to_string(), key);
            assert_eq!(Subject::try_from(key.to_owned()), Ok(subject.clone()), "{key}");
            assert_eq!(subject.provider(), provider);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (provider, text) in [
            (GitHub, ""),
            (GitHub, "acme/web"),
            (GitHub, "repo:"),
            (GitHub, "repo:acme"),
            (GitHub, "repo:/web"),
            (GitHub, "repo:acme/"),
            (GitHub, "repo:acme/web/x"),
            (GitHub, "project:20"),
            (GitHub, "project:acme/web"),
            (GitHub, "repo: acme/web"),
            (GitHub, "REPO:acme/web"),
            (GitLab, "project:"),
            (GitLab, "project:name"),
            (GitLab, "project:020"),
            (GitLab, "project:-20"),
            (GitLab, "project:20 "),
            (GitLab, "project:123456789012345678901"),
            (GitLab, "project:group//project"),
            (GitLab, "project:group/../admin"),
            (GitLab, "group/project"),
        ] {
            assert!(Subject::parse(provider, text).is_err(), "`{text}`");
        }
        assert!(Subject::parse(GitHub, &format!("repo:acme/{}", "x".repeat(MAX_SEGMENT + 1))).is_err());
    }

    #[test]
    fn a_path_of_many_groups_is_read_up_to_its_longest_and_no_further() {
        let longest = format!("project:{}aa", "a/".repeat(2 * MAX_SEGMENT - 1));
        assert_eq!(longest.len(), "project:".len() + 4 * MAX_SEGMENT);
        assert!(Subject::parse(GitLab, &longest).is_ok());
        assert!(Subject::parse(GitLab, &format!("{longest}a")).is_err());
    }

    #[test]
    fn a_gitlab_id_written_as_a_repository_names_the_right_spelling() {
        let error = Subject::parse(GitLab, "repo:20").expect_err("digits are an id");
        assert!(error.next.contains("`project:20`"), "{error:?}");
    }
}
