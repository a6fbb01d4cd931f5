//! OIDC and CI (contract, section 4).

use super::{Printed, Published, error_of, loose_error, status_line, typed};
use crate::gateway::Reply;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What `oidc allow` sends first: all six, always.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The vault.
    pub vault_id: String,
    /// As it was typed.
    pub provider: String,
    /// `repo:` and what was typed, for GitLab too.
    pub subject: String,
    /// `["main"]` where none was typed.
    pub allowed_branches: Vec<String>,
    /// `[]` where none was typed.
    pub allowed_environments: Vec<String>,
    /// Whether `--allow-forks` was typed.
    pub allow_forks: bool,
}

impl Policy {
    /// `oidc allow --repo=… --env=…`
    #[must_use]
    pub fn of(vault: &str, repository: &str, environments: &[&str]) -> Self {
        Self {
            vault_id: vault.to_owned(),
            provider: "github".to_owned(),
            subject: format!("repo:{repository}"),
            allowed_branches: vec!["main".to_owned()],
            allowed_environments: environments.iter().map(|&name| name.to_owned()).collect(),
            allow_forks: false,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EscrowBody<'a> {
    vault_id: &'a str,
    wrapping_key_hex: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExchangeBody<'a> {
    oidc_token: &'a str,
    vault_id: &'a str,
    // there in any case, `null` where no environment was named
    env: Option<&'a str>,
}

/// What `pull --oidc` gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CiPull {
    /// Printed as it comes.
    pub env: String,
    /// Strings only.
    pub vars: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct CiPullBody {
    vars: Option<BTreeMap<String, String>>,
    env: Option<String>,
    error: Option<String>,
}

impl Published {
    /// 4.1 `POST /api/vault/oidc/policies`; with `--json` the body is printed as it is.
    pub async fn allow(&self, policy: &Policy) -> Result<(Printed<Value>, Reply)> {
        let reply = self.post("/api/vault/oidc/policies", policy).await?;
        Ok((policies(&reply), reply))
    }

    /// 4.2 `POST /api/vault/oidc/escrow`: the wrapping key in the clear. A failure is a mere warning.
    pub async fn escrow(&self, vault: &str, wrapping_key: &[u8; 32]) -> Result<(Printed<()>, Reply)> {
        let body = EscrowBody { vault_id: vault, wrapping_key_hex: hex::encode(wrapping_key) };
        let reply = self.post("/api/vault/oidc/escrow", &body).await?;
        Ok((escrowed(&reply), reply))
    }

    /// 4.3 `GET /api/vault/oidc/policies?vaultId=`
    pub async fn policies(&self, vault: &str) -> Result<(Printed<Value>, Reply)> {
        let reply = self.get(&format!("/api/vault/oidc/policies?vaultId={vault}")).await?;
        Ok((policies(&reply), reply))
    }

    /// 4.4 `POST /api/vault/oidc`: never with a bearer token.
    pub async fn exchange(
        &self,
        vault: &str,
        oidc_token: &str,
        env: Option<&str>,
    ) -> Result<(Printed<String>, Reply)> {
        let body = ExchangeBody { oidc_token, vault_id: vault, env };
        let reply = self.post_anonymously("/api/vault/oidc", &body).await?;
        Ok((exchanged(&reply), reply))
    }

    /// 4.5 `GET /api/vaults/{vaultId}/ci-pull[?env=]`, with the exchanged token
    pub async fn ci_pull(&self, vault: &str, env: Option<&str>) -> Result<(Printed<CiPull>, Reply)> {
        let query = env.map(|env| format!("?env={env}")).unwrap_or_default();
        let reply = self.get(&format!("/api/vaults/{vault}/ci-pull{query}")).await?;
        Ok((ci_pulled(&reply), reply))
    }
}

fn policies(reply: &Reply) -> Printed<Value> {
    if !reply.status.is_success() {
        return Err(loose_error(reply, "failed"));
    }
    typed(reply, "parse error")
}

fn escrowed(reply: &Reply) -> Printed<()> {
    if reply.status.is_success() {
        return Ok(());
    }
    let error = error_of(reply).unwrap_or_else(|| format!("escrow upload failed: {}", reply.text()));
    Err(format!("Failed to escrow wrapping key (CI pull may not work): {error}"))
}

fn exchanged(reply: &Reply) -> Printed<String> {
    if !reply.status.is_success() {
        let error = loose_error(reply, "OIDC exchange failed");
        let hint = reply.member("hint");
        return Err(if hint.is_empty() { error } else { format!("{error}\n  Hint: {hint}") });
    }
    let body: Value = typed(reply, "parse error")?;
    body["token"].as_str().map(str::to_owned).ok_or_else(|| "missing token in OIDC response".to_owned())
}

fn ci_pulled(reply: &Reply) -> Printed<CiPull> {
    let body: CiPullBody = typed(reply, "response parse error")?;
    if !reply.status.is_success() {
        return Err(body.error.unwrap_or_else(|| format!("server error: {}", status_line(reply.status))));
    }
    Ok(CiPull {
        vars: body.vars.ok_or("server returned no vars")?,
        env: body.env.unwrap_or_else(|| "default".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::reply;
    use super::*;

    #[test]
    fn an_environment_that_nobody_named_is_sent_as_null() {
        let body = ExchangeBody { oidc_token: "t", vault_id: "v", env: None };
        let sent = serde_json::to_string(&body).expect("strings");
        assert_eq!(sent, r#"{"oidcToken":"t","vaultId":"v","env":null}"#);
    }

    #[test]
    fn policies_print_a_word_where_an_error_is_none() {
        for (status, body, expected) in [
            (403, r#"{"error":"no"}"#, "no"),
            (403, r#"{"error":{"message":"no"}}"#, "failed"),
            (502, "<html>", "unknown error"),
            (204, "", "parse error: error decoding response body"),
        ] {
            assert_eq!(policies(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn an_exchange_shows_the_hint_on_a_line_of_its_own() {
        for (status, body, expected) in [
            (403, r#"{"error":"no","hint":"allow it"}"#, "no\n  Hint: allow it"),
            (403, r#"{"error":"no"}"#, "no"),
            (403, "{}", "OIDC exchange failed"),
            (502, "<html>", "unknown error"),
            (200, "{}", "missing token in OIDC response"),
        ] {
            assert_eq!(exchanged(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn one_value_that_is_no_string_spoils_a_ci_pull() {
        let unparsable = "response parse error: error decoding response body";
        for (status, body, expected) in [
            (200, r#"{"vars":{"A":1}}"#, unparsable),
            (200, r#"{"vars":{"A":null}}"#, unparsable),
            (200, r#"{"vars":{},"env":7}"#, unparsable),
            (200, r#"{"vars":null}"#, "server returned no vars"),
            (403, "denied", unparsable),
            (403, "{}", "server error: 403 Forbidden"),
        ] {
            assert_eq!(ci_pulled(&reply(status, body)), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn a_failed_escrow_is_a_warning() {
        let warning = "Failed to escrow wrapping key (CI pull may not work): ";
        for (body, expected) in [(r#"{"error":"no"}"#, "no"), ("down", "escrow upload failed: down")] {
            assert_eq!(escrowed(&reply(409, body)), Err(format!("{warning}{expected}")));
        }
    }
}
