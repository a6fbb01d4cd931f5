//! HTTP: one gateway, its own address, nothing sent twice that must not be.

use crate::credentials::Store;
use crate::error::{Error, Reached, Result, Transient};
use crate::login;
use crate::output::printable;
use lpm_core::bearer::Kind;
use lpm_core::envelope::signature_holds;
use lpm_core::failure::{Code, Failure, exit, exit_code_of_status, presentable};
use lpm_core::secret::Secret;
use lpm_core::wire::ErrorReply;
use reqwest::{Method, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Larger than any answer of the gateway: a blob of 10 MiB in base64, and what is around it.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts for one request, the first included.
pub(crate) const ATTEMPTS: u32 = 3;
/// Longest that a server may make us wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It changes nothing, or the same thing twice is the same as once.
    Repeatable,
    /// Only when it never left, or the server says that it did nothing.
    Undone,
    /// Only when it never left.
    Unsent,
}

impl Retry {
    fn covers(self, transient: Transient) -> bool {
        match self {
            Self::Repeatable => true,
            Self::Undone => transient.reached != Reached::Unknown,
            Self::Unsent => transient.reached == Reached::Nothing,
        }
    }
}

/// How long to wait before attempt `next`, `None` where waiting is no use.
pub(crate) fn wait(error: &Error, retry: Retry, next: u32) -> Option<Duration> {
    let transient = error.is_transient().filter(|&transient| retry.covers(transient))?;
    let wait =
        transient.after.unwrap_or_else(|| Duration::from_millis(250) * 3_u32.pow(next.saturating_sub(2)));
    (next <= ATTEMPTS && wait <= MAX_WAIT).then_some(wait)
}

/// A request before it is sent.
pub(crate) struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path, segment by segment, as they are meant.
    pub path: &'a [&'a str],
    /// The parameters.
    pub query: &'a [(&'a str, &'a str)],
    /// The body, JSON.
    pub body: Option<Secret>,
    /// Whose token goes along.
    pub bearer: Bearer<'a>,
    /// When it may be sent again.
    pub retry: Retry,
}

impl<'a> Request<'a> {
    /// Reads something.
    pub(crate) fn read(path: &'a [&'a str], query: &'a [(&'a str, &'a str)], bearer: Bearer<'a>) -> Self {
        Self { method: Method::GET, path, query, body: None, bearer, retry: Retry::Repeatable }
    }

    /// Changes something; it is sent once, because a second time may be another change.
    pub(crate) fn change(
        method: Method,
        path: &'a [&'a str],
        body: Option<Secret>,
        bearer: Bearer<'a>,
    ) -> Self {
        Self { method, path, query: &[], body, bearer, retry: Retry::Unsent }
    }

    /// With these parameters.
    pub(crate) fn with(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    /// Sent again as this allows.
    pub(crate) fn retried(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// Whose token goes along.
#[derive(Clone, Copy)]
pub(crate) enum Bearer<'a> {
    /// None.
    Nobody,
    /// The account's.
    Account(&'a Secret),
    /// The account's, and the answer must be signed with it.
    Signed(&'a Secret),
}

impl<'a> Bearer<'a> {
    fn token(self) -> Option<&'a Secret> {
        match self {
            Self::Nobody => None,
            Self::Account(token) | Self::Signed(token) => Some(token),
        }
    }
}

/// A gateway.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    audience: String,
    /// Where a session's access token is renewed that the server does not know any more.
    login: Option<Store>,
}

impl Client {
    /// The gateway at this address.
    pub(crate) fn new(address: &str, timeout: Duration) -> Result<Self> {
        let base = checked("LPM_REGISTRY_URL", address)?;
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Error::usage("LPM_REGISTRY_URL must be an address without `?` and `#`"));
        }
        let http = http(&base, timeout)?;
        Ok(Self { http, base, audience: audience(address), login: None })
    }

    /// The same, as this login.
    pub(crate) fn of(mut self, login: Store) -> Self {
        self.login = Some(login);
        self
    }

    /// What a job's token must be made for: the gateway's own address.
    pub(crate) fn audience(&self) -> &str {
        &self.audience
    }

    /// A page of the gateway, for a browser.
    pub(crate) fn page(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url> {
        url(&self.base, path, query)
    }

    /// Sends the request, again where that is safe, and reads the answer.
    pub(crate) async fn send<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T> {
        let mut attempt = 1;
        let mut renewed = None;
        loop {
            let error = match self.once_with(request, renewed.as_ref()).await {
                Ok(body) => return typed(&body),
                Err(error) => error,
            };
            if renewed.is_none() && error.status() == Some(401) {
                renewed = self.renewed(request.bearer).await?;
                if renewed.is_some() {
                    continue;
                }
            }
            match wait(&error, request.retry, attempt + 1) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Sends the request once.
    pub(crate) async fn once(&self, request: &Request<'_>) -> Result<Secret> {
        self.once_with(request, None).await
    }

    /// Sends the request once, with `renewed` in place of its token.
    async fn once_with(&self, request: &Request<'_>, renewed: Option<&Secret>) -> Result<Secret> {
        let token = request.bearer.token().map(|token| renewed.unwrap_or(token));
        let url = url(&self.base, request.path, request.query)?;
        let mut builder = self.http.request(request.method.clone(), url);
        if let Some(token) = token {
            builder = builder.header(header::AUTHORIZATION, bearer(token)?);
        }
        if let Some(body) = &request.body {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(body.expose().to_vec());
        }
        let answer = Answer::read(builder).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal(&self.base));
        }
        if let (Bearer::Signed(_), Some(token)) = (request.bearer, token) {
            answer.check_signature(token)?;
        }
        Ok(answer.body)
    }

    /// The next access token, where this one is a stored session's.
    async fn renewed(&self, bearer: Bearer<'_>) -> Result<Option<Secret>> {
        let is_session = |token: &&Secret| token.expose().starts_with(Kind::Session.prefix().as_bytes());
        match (&self.login, bearer.token().filter(is_session)) {
            (Some(store), Some(token)) => Box::pin(login::renew(self, store, token)).await.map(Some),
            _ => Ok(None),
        }
    }
}

/// The typed form of an answer.
pub(crate) fn typed<T: DeserializeOwned>(body: &Secret) -> Result<T> {
    // serde's text may quote the answer, which may hold secrets.
    serde_json::from_slice(body.expose()).map_err(|_| {
        Error::failure("the server's answer is not what this lpm expects")
            .hint("is LPM_REGISTRY_URL a gateway of this version?")
    })
}

/// Fetches a CI provider's token: another server, the same rules.
pub(crate) async fn fetch(
    variable: &str,
    url: &str,
    query: &[(&str, &str)],
    token: &Secret,
    timeout: Duration,
) -> Result<Secret> {
    let mut url = checked(variable, url)?;
    url.query_pairs_mut().extend_pairs(query);
    let builder = http(&url, timeout)?.get(url.clone()).header(header::AUTHORIZATION, bearer(token)?);
    let answer = Answer::read(builder.header(header::ACCEPT, "application/json")).await?;
    if !answer.status.is_success() {
        return Err(answer.refusal(&url));
    }
    Ok(answer.body)
}

/// The bearer header, marked so that nothing shows it.
fn bearer(token: &Secret) -> Result<header::HeaderValue> {
    let text = zeroize::Zeroizing::new([b"Bearer ", token.expose()].concat());
    let mut value = header::HeaderValue::from_bytes(&text)
        .map_err(|_| Error::usage("the token holds characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: header::HeaderMap,
    body: Secret,
}

impl Answer {
    async fn read(builder: reqwest::RequestBuilder) -> Result<Self> {
        let mut response = builder.send().await.map_err(|error| transport(&error))?;
        let mut body = zeroize::Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Error::failure("the server's answer is larger than 16 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        let body = Secret::new(std::mem::take(&mut *body));
        Ok(Self { status: response.status(), headers: response.headers().clone(), body })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn check_signature(&self, token: &Secret) -> Result<()> {
        let wrong = |what: &str| {
            Error::failure(format!("the server's answer {what}, so it was not used"))
                .hint("something between here and the gateway changes answers, or LPM_REGISTRY_URL is not a gateway")
        };
        let signature = self.header("x-lpm-signature").ok_or_else(|| wrong("has no X-LPM-Signature"))?;
        if signature_holds(token.expose(), self.body.expose(), signature) {
            Ok(())
        } else {
            Err(wrong("does not match its X-LPM-Signature"))
        }
    }

    /// What the server said, as an error with the exit code of the failure table.
    fn refusal(&self, base: &Url) -> Error {
        let id = self.header("x-request-id").map(presentable);
        let status = self.status.as_u16();
        if self.status.is_redirection() {
            let to = self.header("location").and_then(|to| base.join(to).ok());
            let to = to.map_or("another address".to_owned(), |to| {
                format!("`{}`", printable(&to.origin().ascii_serialization()))
            });
            return Error::failure(format!("the server redirects to {to}, which is not followed"))
                .hint("set LPM_REGISTRY_URL to the gateway's own address");
        }
        let error = match serde_json::from_slice::<ErrorReply>(self.body.expose()) {
            Ok(reply) => {
                let code = reply.code.as_deref().and_then(Code::parse);
                let exit = code.map_or_else(|| exit_code_of_status(status), Code::exit_code);
                let hint = reply.hint.as_deref().map(printable).unwrap_or_default();
                Error::answered(printable(&reply.error), reply.code, exit).hint(hint)
            }
            Err(_) => Error::answered(
                format!("the server answered {}", self.status),
                None,
                exit_code_of_status(status),
            ),
        };
        let transient = self.transient(error.code());
        error.request_id(id).with_status(status).transient(transient)
    }

    fn transient(&self, code: &str) -> Option<Transient> {
        let reached = match self.status.as_u16() {
            // The gateway answers these before anything is committed, except that a decision may be on its own
            // disk already; a proxy in front of it answers 502 and 504 when it does not know.
            503 if Code::parse(code) == Some(Code::AuditNotDurable) => Reached::Unknown,
            429 | 503 => Reached::Refused,
            408 | 502 | 504 => Reached::Unknown,
            _ => return None,
        };
        let after =
            self.header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        Some(Transient { reached, after })
    }
}

/// A failure below HTTP, in one line and without the address, which may hold a token.
fn transport(error: &reqwest::Error) -> Error {
    let reached = if error.is_connect() { Reached::Nothing } else { Reached::Unknown };
    if error.is_timeout() && !error.is_connect() {
        return Error::unavailable("the server did not answer in time", reached)
            .hint("LPM_TIMEOUT allows it more seconds");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let what =
        if error.is_connect() { "cannot reach the server" } else { "the connection to the server failed" };
    Error::unavailable(format!("{what}: {}", printable(&cause.to_string())), reached)
}

/// An HTTP client that follows no redirect, so that a token never goes to another origin.
fn http(url: &Url, timeout: Duration) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("lpm/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout);
    if is_loopback(url) {
        // What is meant for this machine goes through no proxy.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::failure(format!("cannot set up TLS: {error}")))
}

/// The address without its closing slash, as tokens name it.
fn audience(address: &str) -> String {
    address.trim().trim_end_matches('/').to_owned()
}

/// An address that secrets may be sent to.
fn checked(variable: &str, address: &str) -> Result<Url> {
    let url = Url::parse(address.trim()).ok().filter(Url::has_host);
    let url = url.ok_or_else(|| {
        Error::usage(format!("{variable} must be an address such as https://lpm.example.com"))
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage(format!("{variable} must not contain a user or a password")));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(Error::usage(format!("{variable} is plain http://, which anyone on the way can read"))
            .hint("use https://; plain http:// is only for this machine (localhost, 127.0.0.1)")),
        _ => Err(Error::usage(format!("{variable} must begin with https://"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// The base and these segments, each percent-encoded.
fn url(base: &Url, path: &[&str], query: &[(&str, &str)]) -> Result<Url> {
    // A URL cannot carry these as segments: they would vanish and name another resource.
    if let Some(segment) = path.iter().find(|segment| matches!(**segment, "" | "." | "..")) {
        let failure = Failure::new(Code::BadRequest).with("reason", format!("`{segment}` cannot be an id"));
        return Err(Error::from(failure).exit(exit::USAGE));
    }
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
