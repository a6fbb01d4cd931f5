//! Signing in as a person with a browser and a waiting command line do: the page's form, the code, the session.

use crate::gateway::{Gateway, Reply};
use anyhow::{Context, Result, ensure};
use reqwest::{Method, RequestBuilder};
use serde_json::json;

/// What the command line asks for in the page's address, as the published client writes it.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Where the command line waits.
    pub port: String,
    /// What it recognises the answer by.
    pub state: String,
    /// The rest of the query, from `&` on.
    pub more: String,
}

impl Default for SignIn {
    fn default() -> Self {
        Self {
            port: "41234".to_owned(),
            state: "0123456789abcdef0123456789abcdef".to_owned(),
            more: format!("&fp={}&dn=build-box", "0a".repeat(32)),
        }
    }
}

impl SignIn {
    /// For a device of this name.
    #[must_use]
    pub fn device(name: &str) -> Self {
        Self { more: format!("&dn={name}"), ..Self::default() }
    }

    /// The page's path and query.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/cli/login?port={}&state={}{}", self.port, self.state, self.more)
    }

    /// Sends the page's form, as a browser that shows the page does.
    pub async fn submit(&self, gateway: &Gateway, token: &str) -> Result<Reply> {
        let request = gateway.request(Method::POST, &self.path()).header("sec-fetch-site", "same-origin");
        Reply::read(with_form(request, token).send().await?).await
    }

    /// The login code that the browser is sent back with.
    pub async fn code(&self, gateway: &Gateway, token: &str) -> Result<String> {
        let reply = self.submit(gateway, token).await?;
        ensure!(reply.status == 303, "sign in: {} {}", reply.status, reply.text());
        code_in(&reply.header("location")).context("the browser gets no code")
    }

    /// A whole login.
    pub async fn session(&self, gateway: &Gateway, token: &str) -> Result<Session> {
        let code = self.code(gateway, token).await?;
        Session::of(&gateway.post("/api/cli/exchange", None, &json!({"code": code})).await?)
    }
}

/// The request with the page's form, as browsers write it.
pub fn with_form(request: RequestBuilder, token: &str) -> RequestBuilder {
    let mut form = String::from("token=");
    for byte in token.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                form.push(char::from(byte))
            }
            b' ' => form.push('+'),
            _ => form.push_str(&format!("%{byte:02X}")),
        }
    }
    request.header("content-type", "application/x-www-form-urlencoded").body(form)
}

/// The code in the address that a browser is sent to.
#[must_use]
pub fn code_in(location: &str) -> Option<String> {
    let (_, query) = location.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("code=")).map(str::to_owned)
}

/// What the command line holds of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The access token.
    pub token: String,
    /// The refresh token.
    pub refresh: String,
    /// When the access token ends.
    pub expires_at: String,
}

impl Session {
    /// The session in the answer to an exchange or a refresh.
    pub fn of(reply: &Reply) -> Result<Self> {
        ensure!(reply.status == 200, "no session: {} {}", reply.status, reply.text());
        let (token, refresh) = (reply.member("token"), reply.member("refreshToken"));
        ensure!(token.starts_with("lpm_ses_") && refresh.starts_with("lpm_ref_"), "{}", reply.text());
        Ok(Self { token, refresh, expires_at: reply.member("expiresAt") })
    }

    /// A refresh, as the published client asks for it.
    pub async fn refresh(&self, gateway: &Gateway) -> Result<Reply> {
        let body = json!({"refreshToken": self.refresh, "deviceFingerprint": "0a".repeat(32)});
        gateway.post("/api/cli/refresh", None, &body).await
    }
}
