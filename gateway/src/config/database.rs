//! The database's URL, and the rule that a network between gateway and database is never trusted.
//!
//! `tokio-postgres` knows neither `sslmode=verify-full` nor `sslrootcert`: both are read here and carried
//! out by the TLS connector.

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
    pub config: Config,
    pub tls: Tls,
    /// `sslrootcert`; `None` is the system's trust store.
    pub ca: Option<PathBuf>,
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
}

impl Database {
    /// Reads a URL or a `key=value` string.
    pub(crate) fn parse(text: &str, insecure: bool) -> Result<Self, DatabaseError> {
        let (rest, mode, ca) = if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            split_url(text)
        } else {
            split_pairs(text)
        };
        let mut config: Config =
            rest.parse().map_err(|error: tokio_postgres::Error| DatabaseError::Syntax(reason(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(DatabaseError::NoHost);
        }
        let (tls, mode) = match mode.as_deref() {
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
        let sockets_only = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
            && config.get_hostaddrs().is_empty();
        config.ssl_mode(if sockets_only { SslMode::Disable } else { mode });
        if config.get_application_name().is_none() {
            config.application_name("lpm-gateway");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(3));
        }
        Ok(Self { config, tls, ca: ca.filter(|ca| ca != "system").map(PathBuf::from) })
    }

    /// Has the server cancel a statement that runs longer than this.
    pub(crate) fn limit(&mut self, statement_timeout: Duration) {
        let given = self.config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        self.config.options(format!("{given}-c statement_timeout={}", statement_timeout.as_millis()));
    }
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

type Split = (String, Option<String>, Option<String>);

/// Takes `sslmode` and `sslrootcert` out of a URL's query.
fn split_url(text: &str) -> Split {
    let Some((base, query)) = text.split_once('?') else { return (text.to_owned(), None, None) };
    let (mut mode, mut ca, mut rest) = (None, None, Vec::new());
    for pair in query.split('&') {
        let decoded =
            |value: &str| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(decoded(value)),
            Some(("sslrootcert", value)) => ca = Some(decoded(value)),
            _ => rest.push(pair),
        }
    }
    let rest = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (rest, mode, ca)
}

/// Takes `sslmode` and `sslrootcert` out of a `key=value` string.
fn split_pairs(text: &str) -> Split {
    let (mut mode, mut ca, mut rest) = (None, None, Vec::new());
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
        let plain = |value: &str| value.trim_matches('\'').to_owned();
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(plain(value)),
            Some(("sslrootcert", value)) => ca = Some(plain(value)),
            _ => rest.push(pair),
        }
    }
    (rest.join(" "), mode, ca)
}
