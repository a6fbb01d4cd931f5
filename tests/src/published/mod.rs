//! The published client (0.28), as its wire contract describes it: what it sends, byte for byte, and what it prints.
//!
//! Nothing of ours takes part: no wire types, no cryptography, no HTTP library. A function per endpoint sends what
//! that client sends and reads the answer as strictly, and as carelessly, as that client does. `Err` is the message
//! that it prints, without the `script error: ` before it.

pub mod crypto;
mod oidc;
mod org;
mod pairing;
mod personal;
mod platforms;
mod session;

pub use oidc::{CiPull, Policy};
pub use org::{MemberKey, OrgPull, Recipient, recipients};
pub use pairing::Pending;
pub use personal::{AuditEntry, Listed, Pull, Push, Pushed};
pub use session::{Credentials, Refreshed, Whoami};

use crate::gateway::Reply;
use crate::raw_http::RawHttp;
use anyhow::{Context, Result};
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What that client says of a body that it cannot parse.
pub const UNPARSABLE: &str = "error decoding response body";

/// What the user sees: the outcome, or the message.
pub type Printed<T> = std::result::Result<T, String>;

/// A request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The method.
    pub method: &'static str,
    /// Path and query, as they went over the wire.
    pub target: String,
    /// The whole request.
    pub sent: Vec<u8>,
    /// The answer.
    pub reply: Reply,
}

/// Looks at every exchange before the client does.
pub type Witness = Arc<dyn Fn(&Exchange) + Send + Sync>;

/// Which of its two HTTP clients it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Vaults, orgs, pairing, login: sends no `User-Agent`, repeats nothing.
    Bare,
    /// whoami and tokens: names itself, and repeats what failed on the way or on the server.
    Registry,
}

/// A published client on somebody's machine.
#[derive(Clone)]
pub struct Published {
    base: String,
    token: Option<String>,
    witness: Option<Witness>,
}

impl Published {
    /// With this `LPM_REGISTRY_URL`, which goes before every path as it is.
    #[must_use]
    pub fn at(base: impl Into<String>) -> Self {
        Self { base: base.into(), token: None, witness: None }
    }

    /// With this `LPM_TOKEN`.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// Without a token.
    #[must_use]
    pub fn signed_out(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// With another `LPM_REGISTRY_URL`.
    #[must_use]
    pub fn based_at(&self, base: impl Into<String>) -> Self {
        Self { base: base.into(), ..self.clone() }
    }

    /// Has every exchange looked at.
    #[must_use]
    pub fn witnessed(self, witness: Witness) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// The token that it sends.
    #[must_use]
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    async fn get(&self, path: &str) -> Result<Reply> {
        self.send(Family::Bare, "GET", path, self.token.as_deref(), None).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Reply> {
        let body = serde_json::to_string(body)?;
        self.send(Family::Bare, "POST", path, self.token.as_deref(), Some(body)).await
    }

    /// A request without the token, whatever `LPM_TOKEN` says.
    async fn post_anonymously(&self, path: &str, body: &impl Serialize) -> Result<Reply> {
        let body = serde_json::to_string(body)?;
        self.send(Family::Bare, "POST", path, None, Some(body)).await
    }

    async fn send(
        &self,
        family: Family,
        method: &'static str,
        path: &str,
        token: Option<&str>,
        body: Option<String>,
    ) -> Result<Reply> {
        let (target, sent) = self.request(family, method, path, token, body.as_deref())?;
        let url = Url::parse(&self.base)?;
        let address = format!("{}:{}", url.host_str().context("a host")?, url.port().context("a port")?);
        let mut connection = RawHttp::to(&address).await?;
        connection.send(&sent).await?;
        let reply = connection.reply().await?.context("the connection ended without an answer")?;
        let exchange = Exchange { method, target, sent, reply };
        if let Some(witness) = &self.witness {
            witness(&exchange);
        }
        Ok(exchange.reply)
    }

    /// Path and query, and the whole request. Only what a URL parser escapes by itself is escaped.
    fn request(
        &self,
        family: Family,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&str>,
    ) -> Result<(String, Vec<u8>)> {
        let url = Url::parse(&format!("{}{path}", self.base))?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut lines = vec![format!("{method} {target} HTTP/1.1")];
        lines.extend(token.map(|token| format!("authorization: Bearer {token}")));
        lines.extend(body.map(|_| "content-type: application/json".to_owned()));
        lines.push("accept: */*".to_owned());
        if family == Family::Registry {
            lines.push("user-agent: lpm-rs/0.28.0".to_owned());
        }
        lines.push("accept-encoding: zstd,gzip,br".to_owned());
        lines.push(format!("host: {}", url.authority()));
        lines.extend(body.map(|body| format!("content-length: {}", body.len())));
        let request = format!("{}\r\n\r\n{}", lines.join("\r\n"), body.unwrap_or_default());
        Ok((target, request.into_bytes()))
    }
}

/// `403 Forbidden`, as that client prints a status.
fn status_line(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("<unknown status code>"))
}

/// A typed body, or the message for one that does not fit; `prefix` is `parse error` or `response parse error`.
fn typed<T: DeserializeOwned>(reply: &Reply, prefix: &str) -> Printed<T> {
    serde_json::from_slice(&reply.bytes).map_err(|_| format!("{prefix}: {UNPARSABLE}"))
}

/// For endpoints that show the whole body of an error.
fn raw_unless_success(reply: &Reply, prefix: &str) -> Printed<()> {
    if reply.status.is_success() { Ok(()) } else { Err(format!("{prefix}: {}", reply.text())) }
}

/// The string `error` of a JSON body.
fn error_of(reply: &Reply) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&reply.bytes).ok()?;
    body.get("error")?.as_str().map(str::to_owned)
}

/// For endpoints that read `error` loosely: the word for JSON without it, and `unknown error` for no JSON.
fn loose_error(reply: &Reply, word: &str) -> String {
    match serde_json::from_slice::<serde_json::Value>(&reply.bytes) {
        Err(_) => "unknown error".to_owned(),
        Ok(body) => body.get("error").and_then(|error| error.as_str()).unwrap_or(word).to_owned(),
    }
}

#[cfg(test)]
mod tests_support {
    use crate::gateway::Reply;

    /// An answer that no server gave.
    pub(super) fn reply(status: u16, body: &str) -> Reply {
        Reply {
            status: status.try_into().expect("a status"),
            headers: reqwest::header::HeaderMap::new(),
            bytes: body.as_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(family: Family, base: &str, path: &str, body: Option<&str>) -> String {
        let client = Published::at(base);
        let (_, bytes) = client.request(family, "POST", path, Some("lpm_pat_x"), body).expect("a URL");
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn the_bare_client_names_no_user_agent_and_joins_addresses_as_text() {
        assert_eq!(
            sent(Family::Bare, "http://127.0.0.1:8080/", "/api/vaults/a b/sync?env=x y&z=1", Some("{}")),
            "POST //api/vaults/a%20b/sync?env=x%20y&z=1 HTTP/1.1\r\nauthorization: Bearer lpm_pat_x\r\n\
             content-type: application/json\r\naccept: */*\r\naccept-encoding: zstd,gzip,br\r\n\
             host: 127.0.0.1:8080\r\ncontent-length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn the_registry_client_names_itself() {
        assert_eq!(
            sent(Family::Registry, "http://127.0.0.1:8080", "/api/registry/-/whoami", None),
            "POST /api/registry/-/whoami HTTP/1.1\r\nauthorization: Bearer lpm_pat_x\r\naccept: */*\r\n\
             user-agent: lpm-rs/0.28.0\r\naccept-encoding: zstd,gzip,br\r\nhost: 127.0.0.1:8080\r\n\r\n"
        );
    }
}
