//! Where a CI job's identity token comes from.
//!
//! First match wins: `LPM_OIDC_TOKEN`, GitHub's runtime, `LPM_GITLAB_OIDC_TOKEN`. The runtime is asked for
//! the audience that is the gateway's own address, and anew for every attempt: on GitHub a token is good
//! for one use. Errors say what to add to the workflow.

use crate::client::{self, Client, Retry};
use crate::error::{Error, Result};
use lpm_core::secret::Secret;
use serde::Deserialize;
use std::time::Duration;
use zeroize::Zeroizing;

/// A source of tokens.
pub(crate) enum Source {
    /// A variable's value: one token, the same for every attempt.
    Variable(Secret),
    /// GitHub's runtime, which makes as many as are needed.
    GithubRuntime {
        /// Where it listens.
        url: Zeroizing<String>,
        /// What it wants to see.
        token: Secret,
    },
}

/// What GitHub's runtime answers.
#[derive(Deserialize)]
struct RuntimeReply {
    value: Option<lpm_core::environment::Text>,
}

impl Source {
    /// The source of this job.
    pub(crate) fn find(audience: &str) -> Result<Self> {
        Self::among(audience, |name| std::env::var(name).ok())
    }

    fn among(audience: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let token = |name| Some(Self::Variable(Secret::from(variable(name)?.trim().to_owned())));
        if let Some(source) = token("LPM_OIDC_TOKEN") {
            return Ok(source);
        }
        let on_github = variable("GITHUB_ACTIONS").is_some();
        match (variable("ACTIONS_ID_TOKEN_REQUEST_URL"), variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")) {
            (Some(url), Some(token)) => {
                return Ok(Self::GithubRuntime { url: Zeroizing::new(url), token: Secret::from(token) });
            }
            _ if on_github => return Err(no_github_token()),
            _ => {}
        }
        if let Some(source) = token("LPM_GITLAB_OIDC_TOKEN") {
            return Ok(source);
        }
        Err(if variable("GITLAB_CI").is_some() { no_gitlab_token(audience) } else { no_token(audience) })
    }

    /// A token for the next attempt.
    pub(crate) async fn token(&self, client: &Client, timeout: Duration) -> Result<Secret> {
        match self {
            Self::Variable(token) => Ok(Secret::new(token.expose().to_vec())),
            Self::GithubRuntime { url, token } => {
                let query = [("audience", client.audience())];
                let failed = |error: Error| {
                    let said = format!("GitHub's runtime gave no identity token: {error}");
                    Error::answered(said, Some("ci_token".to_owned()), error.exit_code())
                        .transient(error.is_transient())
                };
                let body = client::fetch("ACTIONS_ID_TOKEN_REQUEST_URL", url, &query, token, timeout)
                    .await
                    .map_err(failed)?;
                let reply: RuntimeReply = client::typed(&body).map_err(failed)?;
                let value = reply.value.ok_or_else(|| failed(Error::failure("its answer has no `value`")))?;
                Ok(Secret::from(value.expose().to_owned()))
            }
        }
    }

    /// When a pull with this source's tokens may be sent again.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            // Whoever got an answer that never arrived has used the token up: that must not look like a replay.
            Self::Variable(..) => Retry::Undone,
            Self::GithubRuntime { .. } => Retry::Repeatable,
        }
    }
}

fn no_github_token() -> Error {
    Error::usage("this GitHub job may not have an identity token").hint(
        "add `permissions: { id-token: write, contents: read }` to the workflow or the job; pull requests from forks of public repositories never get one",
    )
}

fn no_gitlab_token(audience: &str) -> Error {
    Error::usage("this GitLab job has no identity token")
        .hint(format!("add to the job: `id_tokens: {{ LPM_OIDC_TOKEN: {{ aud: {audience} }} }}`"))
}

fn no_token(audience: &str) -> Error {
    Error::usage(
        "there is no OIDC token: this is neither a GitHub nor a GitLab job, and LPM_OIDC_TOKEN is not set",
    )
    .hint(format!("in another CI system set LPM_OIDC_TOKEN to a token for the audience {audience}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const AUDIENCE: &str = "https://lpm.example.com";
    const RUNTIME: [(&str, &str); 3] = [
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://gh/x?y"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "rt"),
    ];

    fn found(variables: &[(&str, &str)]) -> Result<String> {
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        let source = Source::among(AUDIENCE, |name| variables.get(name).map(|&value| value.to_owned()))?;
        Ok(match source {
            Source::Variable(token) => token.expose_str().unwrap_or_default().to_owned(),
            Source::GithubRuntime { url, .. } => url.to_string(),
        })
    }

    fn refused(variables: &[(&str, &str)]) -> String {
        let error = found(variables).expect_err("there is no token");
        assert_eq!(error.exit_code(), 2);
        error.lines().join("; ")
    }

    #[test]
    fn the_first_source_wins() {
        let mut variables =
            vec![("LPM_OIDC_TOKEN", " a \n"), ("LPM_GITLAB_OIDC_TOKEN", "b"), ("GITLAB_CI", "true")];
        variables.extend(RUNTIME);
        assert_eq!(found(&variables).expect("found"), "a");
        variables[0].1 = "";
        assert_eq!(found(&variables).expect("found"), "https://gh/x?y");
        assert_eq!(found(&variables[..3]).expect("found"), "b");
    }

    #[test]
    fn a_runtime_without_github_actions_counts() {
        assert_eq!(found(&RUNTIME[1..]).expect("found"), "https://gh/x?y");
    }

    #[test]
    fn a_github_job_without_permission_is_told_what_to_add() {
        for variables in [&RUNTIME[..1], &RUNTIME[..2], &[RUNTIME[0], RUNTIME[2]][..]] {
            assert!(refused(variables).contains("id-token: write"));
        }
        // Another provider's token is not taken instead.
        assert!(refused(&[RUNTIME[0], ("LPM_GITLAB_OIDC_TOKEN", "b")]).contains("id-token: write"));
    }

    #[test]
    fn a_gitlab_job_without_token_is_told_what_to_add() {
        let said = refused(&[("GITLAB_CI", "true")]);
        assert!(said.contains("id_tokens: { LPM_OIDC_TOKEN: { aud: https://lpm.example.com } }"), "{said}");
    }

    #[test]
    fn anything_else_is_told_the_audience() {
        assert!(refused(&[]).contains("LPM_OIDC_TOKEN to a token for the audience https://lpm.example.com"));
        assert!(refused(&[("CI_JOB_JWT_V2", "x")]).contains("LPM_OIDC_TOKEN"), "GitLab took it away in 17");
    }
}
