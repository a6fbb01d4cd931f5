//! Login, sessions, tokens, health (contract, section 6).

use super::{Family, Printed, Published, UNPARSABLE, error_of, status_line};
use crate::gateway::Reply;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a login leaves in `~/.lpm/.credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The access token.
    pub token: String,
    /// Without it the login is "legacy": no pairing.
    pub refresh_token: Option<String>,
    /// Without it, or not in RFC 3339, vault calls never refresh.
    pub expires_at: Option<String>,
}

impl Credentials {
    /// Does this login refresh by itself, once it has to?
    #[must_use]
    pub fn refreshes(&self) -> bool {
        self.refresh_token.is_some() && self.expires_at.as_deref().is_some_and(is_rfc3339)
    }
}

/// What a refresh does to what is stored.
#[derive(Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Replaced.
    Renewed(Credentials),
    /// 401: both tokens are deleted.
    Wiped,
    /// Anything else that is no success.
    Kept,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefreshBody<'a> {
    refresh_token: &'a str,
    device_fingerprint: &'a str,
}

/// What it knows of the account.
#[derive(Debug, Deserialize)]
pub struct Whoami {
    /// The email, by npm's convention.
    pub username: Option<String>,
    /// The display name.
    pub profile_username: Option<String>,
    /// Falls back to `username` where that holds an `@`.
    pub email: Option<String>,
    /// Printed in capitals.
    pub plan_tier: Option<String>,
    /// Whether there is a second factor.
    pub mfa_enabled: Option<bool>,
    /// Whether there is access to the pool.
    pub has_pool_access: Option<bool>,
    /// May be left out, and not null.
    #[serde(default)]
    pub organizations: Vec<WhoamiOrg>,
    /// May be left out, and not null.
    #[serde(default)]
    pub available_scopes: Vec<String>,
    /// In snake case.
    pub usage: Option<Usage>,
    /// In camel case.
    pub limits: Option<Limits>,
}

/// An org of the account.
#[derive(Debug, Deserialize)]
pub struct WhoamiOrg {
    /// The only one that has to be there.
    pub slug: String,
    /// Its name.
    pub name: Option<String>,
    /// The account's role.
    pub role: Option<String>,
    /// Whether it asks for a second factor.
    pub require_2fa: Option<bool>,
}

/// What is stored.
#[derive(Debug, Deserialize)]
pub struct Usage {
    /// Bytes.
    #[serde(default)]
    pub storage_bytes: u64,
    /// Packages.
    #[serde(default)]
    pub private_packages: u32,
}

/// What may be stored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes.
    pub storage_bytes: Option<u64>,
    /// Packages.
    pub private_packages: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateBody {
    token: Option<String>,
    expires_at: Option<String>,
}

impl Published {
    /// 6.2 `POST /api/cli/exchange`
    pub async fn log_in(&self, code: &str) -> Result<(Printed<Credentials>, Reply)> {
        let reply = self.post_anonymously("/api/cli/exchange", &json!({"code": code})).await?;
        Ok((logged_in(&reply), reply))
    }

    /// 6.3 `POST /api/cli/refresh`
    pub async fn refresh(&self, stored: &Credentials, fingerprint: &str) -> Result<(Refreshed, Reply)> {
        let refresh_token = stored.refresh_token.as_deref().context("nobody refreshes without a token")?;
        let body = RefreshBody { refresh_token, device_fingerprint: fingerprint };
        let reply = self.post_anonymously("/api/cli/refresh", &body).await?;
        Ok((refreshed(stored, &reply), reply))
    }

    /// 6.4 `GET /api/registry/-/whoami`
    pub async fn whoami(&self) -> Result<(Printed<Whoami>, Reply)> {
        let path = "/api/registry/-/whoami";
        let reply = self.registry("GET", path, self.token.as_deref(), None).await?;
        Ok((self.read(path, &reply), reply))
    }

    /// 6.5 `POST /api/registry/-/token/rotate`: the new token, and the date up to which it holds.
    pub async fn rotate(&self) -> Result<(Printed<(String, Option<String>)>, Reply)> {
        let path = "/api/registry/-/token/rotate";
        let reply = self.registry("POST", path, self.token.as_deref(), Some("{}".to_owned())).await?;
        let printed = self.read::<RotateBody>(path, &reply).and_then(|body| {
            let token = body.token.ok_or_else(|| {
                let error = error_of(&reply).unwrap_or_else(|| "unknown error".to_owned());
                format!("registry error: token rotation failed: {error}")
            })?;
            Ok((token, body.expires_at.map(|at| at.chars().take(10).collect())))
        });
        Ok((printed, reply))
    }

    /// 6.6 `POST /api/registry/tokens/revoke`: a failure is a warning.
    pub async fn revoke(&self) -> Result<(Printed<()>, Reply)> {
        let body = json!({"token": self.token()}).to_string();
        let reply =
            self.registry("POST", "/api/registry/tokens/revoke", self.token.as_deref(), Some(body)).await?;
        Ok((unless_refused(&reply), reply))
    }

    /// 6.9 `GET /api/registry/health`: never with a token; any success will do.
    pub async fn health(&self) -> Result<(Printed<()>, Reply)> {
        let reply = self.registry("GET", "/api/registry/health", None, None).await?;
        Ok((unless_refused(&reply), reply))
    }

    /// Asks up to four times. The pauses between are left out.
    async fn registry(
        &self,
        method: &'static str,
        path: &str,
        token: Option<&str>,
        body: Option<String>,
    ) -> Result<Reply> {
        let mut left = 3;
        loop {
            let reply = self.send(Family::Registry, method, path, token, body.clone()).await?;
            if left == 0 || !matches!(reply.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504) {
                return Ok(reply);
            }
            left -= 1;
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, path: &str, reply: &Reply) -> Printed<T> {
        unless_refused(reply)?;
        let url = format!("{}{path}", self.base);
        serde_json::from_slice(&reply.bytes)
            .map_err(|_| format!("registry error: failed to parse response from {url}: {UNPARSABLE}"))
    }
}

/// How the registry client words a refusal.
fn unless_refused(reply: &Reply) -> Printed<()> {
    let (status, body) = (reply.status.as_u16(), reply.text());
    match status {
        200..=299 => Ok(()),
        401 => Err("authentication required".to_owned()),
        403 => Err(format!("forbidden: {body}")),
        404 => Err(format!("not found: {body}")),
        429 => {
            let wait = reply.header("retry-after").parse::<u64>().unwrap_or(1);
            Err(format!("rate limited — retry after {wait}s"))
        }
        _ => Err(format!("HTTP {status}: {body}")),
    }
}

fn logged_in(reply: &Reply) -> Printed<Credentials> {
    let failed = |detail: String| {
        format!(
            "registry error: Failed to exchange authorization code: {detail}. It may have expired — please try again."
        )
    };
    if !reply.status.is_success() {
        let detail = error_of(reply).unwrap_or_else(|| format!("HTTP {}", status_line(reply.status)));
        return Err(failed(detail));
    }
    serde_json::from_slice(&reply.bytes).map_err(|_| failed(UNPARSABLE.to_owned()))
}

fn refreshed(stored: &Credentials, reply: &Reply) -> Refreshed {
    if reply.status.as_u16() == 401 {
        return Refreshed::Wiped;
    }
    let Ok(new) = serde_json::from_slice::<Credentials>(&reply.bytes) else { return Refreshed::Kept };
    if !reply.status.is_success() {
        return Refreshed::Kept;
    }
    // what the answer leaves out stays, an expiry of the past included
    Refreshed::Renewed(Credentials {
        token: new.token,
        refresh_token: new.refresh_token.or_else(|| stored.refresh_token.clone()),
        expires_at: new.expires_at.or_else(|| stored.expires_at.clone()),
    })
}

/// `2026-01-01T00:00:00Z`, with a fraction or an offset where there is one.
fn is_rfc3339(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return false,
        None => rest,
    };
    matches!(rest, "Z" | "+00:00" | "-00:00")
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::reply;
    use super::*;

    fn whoami(body: &str) -> Printed<Whoami> {
        Published::at("http://x").read("/w", &reply(200, body))
    }

    #[test]
    fn whoami_takes_an_empty_object_and_no_null_for_a_list() {
        assert!(whoami("{}").is_ok());
        for body in [
            r#"{"organizations":null}"#,
            r#"{"available_scopes":null}"#,
            r#"{"organizations":[{"name":"Acme"}]}"#,
            r#"{"usage":{"storage_bytes":null}}"#,
            r#"{"usage":{"storage_bytes":1.5}}"#,
            r#"{"limits":{"storageBytes":-1}}"#,
        ] {
            let expected =
                "registry error: failed to parse response from http://x/w: error decoding response body";
            assert_eq!(whoami(body).err().as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn refusals_of_the_registry_client_are_worded_by_their_status() {
        for (status, expected) in [
            (401, "authentication required"),
            (403, "forbidden: {}"),
            (404, "not found: {}"),
            (429, "rate limited — retry after 1s"),
            (503, "HTTP 503: {}"),
        ] {
            assert_eq!(unless_refused(&reply(status, "{}")), Err(expected.to_owned()));
        }
    }

    #[test]
    fn only_401_wipes_what_is_stored() {
        let stored = Credentials {
            token: "a".to_owned(),
            refresh_token: Some("r".to_owned()),
            expires_at: Some("2026-01-01T00:00:00Z".to_owned()),
        };
        assert_eq!(refreshed(&stored, &reply(401, "{}")), Refreshed::Wiped);
        assert_eq!(refreshed(&stored, &reply(503, "{}")), Refreshed::Kept);
        let renewed = refreshed(&stored, &reply(200, r#"{"token":"b"}"#));
        assert_eq!(renewed, Refreshed::Renewed(Credentials { token: "b".to_owned(), ..stored }));
    }

    #[test]
    fn an_expiry_that_is_no_rfc_3339_never_refreshes() {
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", true),
            ("2026-01-01T00:00:00.123456Z", true),
            ("2026-01-01T00:00:00+01:00", true),
            ("2026-01-01 00:00:00Z", false),
            ("2026-01-01T00:00:00", false),
            ("1767225600", false),
        ] {
            assert_eq!(is_rfc3339(text), expected, "{text}");
        }
    }
}
