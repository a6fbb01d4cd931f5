//! The gateway as a process, and HTTP with it.

use crate::binaries;
use crate::process::{Daemon, Lifetime, Signal};
use anyhow::{Context, Result};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, ExitStatus};

/// Tests come from one address and in the name of one repository, and more of them than would ever come otherwise.
const NO_LIMITS: &[(&str, &str)] = &[
    ("LPM_GATEWAY_FAILED_TOKENS_PER_MINUTE", "0"),
    ("LPM_GATEWAY_DENIALS_PER_MINUTE", "0"),
    ("LPM_GATEWAY_PULLS_PER_MINUTE", "0"),
];

/// What a gateway is started with.
#[derive(Clone, Debug)]
pub struct Options {
    database_url: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    soft_file_limit: Option<u32>,
    as_it_comes: bool,
    lifetime: Lifetime,
}

impl Options {
    /// A gateway of this database, on a free port of the loopback interface.
    #[must_use]
    pub fn new(database_url: impl Into<String>) -> Self {
        Self {
            database_url: database_url.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            soft_file_limit: None,
            as_it_comes: false,
            lifetime: Lifetime::Bound,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The soft limit of open files that it is started with.
    #[must_use]
    pub fn soft_file_limit(mut self, limit: u32) -> Self {
        self.soft_file_limit = Some(limit);
        self
    }

    /// With the limits that it has by itself.
    #[must_use]
    pub fn as_it_comes(mut self) -> Self {
        self.as_it_comes = true;
        self
    }

    /// Whether it ends with its handle.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The process, not started yet.
    pub fn command(&self) -> Result<Command> {
        let program = binaries::path("lpm-gateway")?;
        let mut command = match self.soft_file_limit {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", r#"ulimit -S -n "$0" && exec "$@""#, &limit.to_string()]).arg(program);
                shell
            }
        };
        command
            .env_clear()
            .env("LPM_GATEWAY_DATABASE_URL", &self.database_url)
            .env("LPM_GATEWAY_LISTEN", "127.0.0.1:0")
            .envs(if self.as_it_comes { &[] } else { NO_LIMITS }.iter().copied())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.arguments);
        Ok(command)
    }

    /// Starts it, its output in `log`, and returns when it listens.
    pub fn start(&self, log: &Path) -> Result<Gateway> {
        let mut command = self.command()?;
        let daemon = Daemon::start(&mut command, log, "listening on", self.lifetime)?;
        let url = address_in(daemon.ready_line()).context("the gateway does not say where it listens")?;
        let client =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Gateway { daemon, url, client })
    }
}

/// The `http://host:port` in a line of text.
#[must_use]
pub fn address_in(line: &str) -> Option<String> {
    let start = line.find("http://").or_else(|| line.find("https://"))?;
    let end = line[start..]
        .find(|c: char| !(c.is_ascii_alphanumeric() || ":/.[]-".contains(c)))
        .unwrap_or(line.len() - start);
    Some(line[start..start + end].trim_end_matches('/').to_owned())
}

/// A running gateway.
pub struct Gateway {
    daemon: Daemon,
    url: String,
    client: reqwest::Client,
}

impl Gateway {
    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its metrics are, if it was told to serve them.
    pub fn metrics_url(&self) -> Result<String> {
        let log = self.log();
        let line =
            log.lines().find(|line| line.starts_with("metrics on ")).context("it serves no metrics")?;
        address_in(line).context("it does not say where its metrics are")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.daemon.signal(signal)
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.pid()))?.count())
    }

    /// Everything that it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Asks it to stop in order, and waits until it has.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.daemon.terminate()
    }

    /// Waits until it has ended, for whatever reason.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.daemon.wait()
    }

    /// A request that the caller finishes, for what the short forms do not cover.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// `GET`, with a bearer token where there is one.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Result<Reply> {
        self.send(self.request(Method::GET, path), token).await
    }

    /// `DELETE`, with a bearer token where there is one.
    pub async fn delete(&self, path: &str, token: Option<&str>) -> Result<Reply> {
        self.send(self.request(Method::DELETE, path), token).await
    }

    /// `POST` of a JSON body, with a bearer token where there is one.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<Reply> {
        self.send(self.request(Method::POST, path).json(body), token).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, token: Option<&str>) -> Result<Reply> {
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Reply::read(request.send().await?).await
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The exact bytes of the body.
    pub bytes: Vec<u8>,
}

impl Reply {
    /// Reads a response to its end.
    pub async fn read(response: reqwest::Response) -> Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Self { status, headers, bytes: response.bytes().await?.to_vec() })
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// A string member of the body, or an empty string.
    #[must_use]
    pub fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// The machine code of a failure.
    #[must_use]
    pub fn code(&self) -> String {
        self.member("code")
    }

    /// A header as text, or an empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_a_log_line() {
        let line = "2026-01-01T00:00:00Z INFO lpm_gateway: listening on http://127.0.0.1:41233 replica=1";
        assert_eq!(address_in(line).as_deref(), Some("http://127.0.0.1:41233"));
        assert_eq!(
            address_in(r#"{"message":"listening on http://127.0.0.1:80"}"#).as_deref(),
            Some("http://127.0.0.1:80")
        );
        assert_eq!(address_in("listening"), None);
    }
}
