//! The database's URL, and the rule that a network between gateway and database is never trusted.
//!
//! `tokio-postgres` knows neither `sslmode=verify-full` nor any of libpq's settings for certificates: they are read here
//! and carried out by the TLS connector.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How the path to the database is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all: a Unix socket, loopback, or `--database-insecure`.
    Off,
    /// Encrypted, but to whoever answers.
    Unverified,
    /// The certificate is checked, its name is not.
    VerifyCa,
    /// Certificate and name are checked.
    VerifyFull,
}

/// Where the database is and how to reach it.
pub(crate) struct Database {
    /// What set it, for errors: flag and environment variable.
    pub setting: &'static str,
    pub config: Config,
    pub tls: Tls,
    /// `sslrootcert`; `None` is the system's trust store.
    pub ca: Option<PathBuf>,
    /// `sslcert` and `sslkey`: the certificate that the gateway shows, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What is wrong with the database's URL. Never shows the URL: it may hold a password.
#[derive(Debug, Error)]
pub(crate) enum DatabaseError {
    #[error("{0}")]
    Syntax(String),
    #[error(
        "it names no host; write e.g. postgresql://gateway@%2Fvar%2Frun%2Fpostgresql/lpm for a local socket"
    )]
    NoHost,
    #[error(
        "sslmode `{0}` is not known; use `verify-full`, or `disable` for a Unix socket or a loopback address"
    )]
    SslMode(String),
    #[error(
        "the database is on another machine: add sslmode=verify-full (and sslrootcert=FILE for a private CA), or set \
         --database-insecure (LPM_GATEWAY_DATABASE_INSECURE=true) if something else secures the path"
    )]
    Insecure,
    #[error(
        "{given} is set and {missing} is not: a client certificate needs both; set {missing}, or neither"
    )]
    HalfIdentity { given: &'static str, missing: &'static str },
    #[error(
        "sslcert is set and the connection has no TLS to show it in; add sslmode=verify-full, or remove sslcert and sslkey"
    )]
    IdentityWithoutTls,
    #[error(
        "it names Unix sockets and hosts with sslmode={0}, and a socket has no TLS; name hosts only, or sockets only"
    )]
    MixedHosts(String),
    #[error(
        "it names a hostaddr without its host, so there is no name that sslmode={0} could check; add host=NAME"
    )]
    NoName(String),
}

impl Database {
    /// Reads a URL or a `key=value` string.
    pub(crate) fn parse(setting: &'static str, text: &str, insecure: bool) -> Result<Self, DatabaseError> {
        let (rest, mut ours) = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            split_url(text)
        } else {
            split_pairs(text)
        };
        let written = ours.remove("sslmode");
        let mut config: Config =
            rest.parse().map_err(|error: tokio_postgres::Error| DatabaseError::Syntax(reason(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(DatabaseError::NoHost);
        }
        let (tls, mode) = match written.as_deref() {
            None | Some("disable") => (Tls::Off, SslMode::Disable),
            Some("allow" | "prefer") => (Tls::Unverified, SslMode::Prefer),
            Some("require") => (Tls::Unverified, SslMode::Require),
            Some("verify-ca") => (Tls::VerifyCa, SslMode::Require),
            Some("verify-full") => (Tls::VerifyFull, SslMode::Require),
            Some(other) => return Err(DatabaseError::SslMode(other.to_owned())),
        };
        if tls != Tls::VerifyFull && !is_local(&config) && !insecure {
            return Err(DatabaseError::Insecure);
        }
        // As in libpq, a Unix socket has no TLS, whatever the mode says.
        let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
        let sockets_only = sockets == config.get_hosts().len() && config.get_hostaddrs().is_empty();
        let (tls, mode) = if sockets_only { (Tls::Off, SslMode::Disable) } else { (tls, mode) };
        if mode == SslMode::Require && sockets > 0 {
            return Err(DatabaseError::MixedHosts(written.unwrap_or_default()));
        }
        if mode == SslMode::Require && config.get_hosts().is_empty() {
            return Err(DatabaseError::NoName(written.unwrap_or_default()));
        }
        let identity = identity(ours.remove("sslcert"), ours.remove("sslkey"))?;
        if identity.is_some() && tls == Tls::Off && !sockets_only {
            return Err(DatabaseError::IdentityWithoutTls);
        }
        let ca = ours.remove("sslrootcert").filter(|ca| ca != "system").map(PathBuf::from);
        config.ssl_mode(mode);
        if config.get_application_name().is_none() {
            config.application_name("lpm-gateway");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(3));
        }
        Ok(Self { setting, config, tls, ca, identity })
    }

    /// Has the server cancel a statement that runs longer than this.
    pub(crate) fn limit(&mut self, statement_timeout: Duration) {
        let given = self.config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        self.config.options(format!("{given}-c statement_timeout={}", statement_timeout.as_millis()));
    }
}

/// Does a database's URL hold a password? One that cannot be read may.
pub(crate) fn holds_password(url: &str) -> bool {
    Database::parse("", url, true).ok().is_none_or(|database| database.config.get_password().is_some())
}

/// The parser's own words, without the values that it was given.
fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Does every host that may be connected to lie on this machine?
fn is_local(config: &Config) -> bool {
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    })
}

fn identity(cert: Option<String>, key: Option<String>) -> Result<Option<(PathBuf, PathBuf)>, DatabaseError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some((cert.into(), key.into()))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(DatabaseError::HalfIdentity { given: "sslcert", missing: "sslkey" }),
        (None, Some(_)) => Err(DatabaseError::HalfIdentity { given: "sslkey", missing: "sslcert" }),
    }
}

/// What `tokio-postgres` is not told.
const OURS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// What it is told, and the values of [`OURS`].
type Split = (String, HashMap<&'static str, String>);

/// The name among [`OURS`] and the value of `name=value`.
fn ours(pair: &str) -> Option<(&'static str, &str)> {
    let (name, value) = pair.split_once('=')?;
    OURS.into_iter().find(|ours| *ours == name).map(|name| (name, value))
}

/// Takes [`OURS`] out of a URL's query.
fn split_url(text: &str) -> Split {
    let Some((base, query)) = text.split_once('?') else { return (text.to_owned(), HashMap::new()) };
    let (mut taken, mut rest) = (HashMap::new(), Vec::new());
    for pair in query.split('&') {
        let decoded =
            |value: &str| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        match ours(pair) {
            Some((name, value)) => drop(taken.insert(name, decoded(value))),
            None => rest.push(pair),
        }
    }
    let rest = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (rest, taken)
}

/// Takes [`OURS`] out of a `key=value` string.
fn split_pairs(text: &str) -> Split {
    let (mut taken, mut rest) = (HashMap::new(), Vec::new());
    // Values may be quoted and hold spaces, so a space ends a pair only outside quotes.
    let (mut quoted, mut escaped) = (false, false);
    let pairs = text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            _ => return c.is_whitespace() && !quoted,
        }
        false
    });
    for pair in pairs {
        match ours(pair) {
            Some((name, value)) => drop(taken.insert(name, value.trim_matches('\'').to_owned())),
            None => rest.push(pair),
        }
    }
    (rest.join(" "), taken)
}
