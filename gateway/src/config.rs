//! What the gateway is told: flags, environment variables and a file, checked and turned into [`Settings`].
//!
//! [`Args`] is what was said, and the only list of settings: the file's keys are the flags' names ([`mod@file`]).
//! [`Settings`] is what the program needs. Everything that can be wrong is found
//! here, before anything listens, and every error names the setting and the fix.

pub(crate) mod database;
mod error;
mod file;

use crate::client_address::Proxies;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use database::Database;
pub(crate) use error::ConfigError;
use file::{File, FileError};
use lpm_core::secret::Secret;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// HTTP in front of `pg_lpm`: verifies OIDC signatures, hashes bearer tokens, calls `lpm_api`.
///
/// The database's password does not belong on the command line, where every user of the machine can read it: use
/// `--database-password-file`.
#[derive(Parser)]
#[command(name = "lpm-gateway", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to do
    #[arg(value_enum, default_value = "serve", value_name = "ACTION")]
    pub(crate) action: Action,

    /// TOML file with settings; its keys are the names of the flags below, without their `--`
    #[arg(long, env = "LPM_GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address to listen on; port 0 takes a free one, and stdout says which
    #[arg(
        long,
        help_heading = "Listening",
        env = "LPM_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8473",
        value_name = "IP:PORT"
    )]
    listen: SocketAddr,

    /// Speak plain HTTP although the address is not loopback, because something else secures the path
    #[arg(long, help_heading = "Listening", env = "LPM_GATEWAY_LISTEN_INSECURE")]
    listen_insecure: bool,

    /// Address to serve /metrics on, e.g. 127.0.0.1:9473: plain HTTP without a login; not served without it
    #[arg(long, help_heading = "Listening", env = "LPM_GATEWAY_METRICS_LISTEN", value_name = "IP:PORT")]
    metrics_listen: Option<SocketAddr>,

    /// Serve /metrics although the address is not loopback, because nothing but your monitoring reaches it
    #[arg(long, help_heading = "Listening", env = "LPM_GATEWAY_METRICS_LISTEN_INSECURE")]
    metrics_listen_insecure: bool,

    /// PEM file with the certificate, leaf first, then its intermediates
    #[arg(long, help_heading = "TLS", env = "LPM_GATEWAY_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// PEM file with the certificate's private key
    #[arg(long, help_heading = "TLS", env = "LPM_GATEWAY_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// URL under which clients reach the gateway; it is the audience of the OIDC tokens made for it
    #[arg(long, help_heading = "Listening", env = "LPM_GATEWAY_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,

    /// Proxies whose `X-Forwarded-For` names the client, e.g. `10.0.0.0/8,192.0.2.1`; anybody else's is ignored
    #[arg(
        long,
        help_heading = "Listening",
        env = "LPM_GATEWAY_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDR,…"
    )]
    trusted_proxies: Vec<String>,

    /// Database, e.g. `postgresql://gateway@db.example/lpm?sslmode=verify-full&sslrootcert=/etc/lpm/ca.pem`
    #[arg(
        long,
        help_heading = "Database",
        env = "LPM_GATEWAY_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    database_url: Option<String>,

    /// The same database without a pooler in between, to hear at once when `lpm.trust_issuer` changes something
    #[arg(
        long,
        help_heading = "Database",
        env = "LPM_GATEWAY_LISTEN_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    listen_database_url: Option<String>,

    /// File whose first line is the database's password
    #[arg(long, help_heading = "Database", env = "LPM_GATEWAY_DATABASE_PASSWORD_FILE", value_name = "FILE")]
    database_password_file: Option<PathBuf>,

    /// Reach a remote database without sslmode=verify-full, because something else secures the path
    #[arg(long, help_heading = "Database", env = "LPM_GATEWAY_DATABASE_INSECURE")]
    database_insecure: bool,

    /// Send statements without names, for `PgBouncer` before 1.21 in transaction mode
    #[arg(long, help_heading = "Database", env = "LPM_GATEWAY_DATABASE_UNNAMED_STATEMENTS")]
    database_unnamed_statements: bool,

    /// Most connections to the database; about four for each of its cores
    #[arg(
        long,
        help_heading = "Database",
        env = "LPM_GATEWAY_POOL_SIZE",
        default_value_t = 8,
        value_name = "N"
    )]
    pool_size: u16,

    /// Most requests that wait for a connection; one more is answered 503 at once
    #[arg(
        long,
        help_heading = "Limits",
        env = "LPM_GATEWAY_POOL_QUEUE",
        default_value_t = 256,
        value_name = "N"
    )]
    pool_queue: u16,

    /// How long a request waits while no connection comes back before it is answered 503, as everyone is then at once
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_POOL_WAIT", default_value = "250ms", value_parser = humantime::parse_duration, value_name = "TIME")]
    pool_wait: Duration,

    /// Most connections from clients; one more takes the place of the one that has been idle longest
    #[arg(
        long,
        help_heading = "Limits",
        env = "LPM_GATEWAY_MAX_CONNECTIONS",
        default_value_t = 16384,
        value_name = "N"
    )]
    max_connections: u32,

    /// OIDC tokens from one address (IPv6: one /64) that may fail in a minute before the others that fail get 429; 0:
    /// any number
    #[arg(
        long,
        help_heading = "Limits",
        env = "LPM_GATEWAY_FAILED_TOKENS_PER_MINUTE",
        default_value_t = 100,
        value_name = "N"
    )]
    failed_tokens_per_minute: u32,

    /// Denials of one repository in a minute before it gets 429; 0: any number
    #[arg(
        long,
        help_heading = "Limits",
        env = "LPM_GATEWAY_DENIALS_PER_MINUTE",
        default_value_t = 300,
        value_name = "N"
    )]
    denials_per_minute: u32,

    /// Pulls that one repository is granted in a minute, all at once or not, before it gets 429; 0: any number
    #[arg(
        long,
        help_heading = "Limits",
        env = "LPM_GATEWAY_PULLS_PER_MINUTE",
        default_value_t = 1000,
        value_name = "N"
    )]
    pulls_per_minute: u32,

    /// How long a statement may run in the database
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_STATEMENT_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration, value_name = "TIME")]
    statement_timeout: Duration,

    /// How long the head of a request may take to arrive; idle connections are closed after it too
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_HEADER_TIMEOUT", default_value = "15s", value_parser = humantime::parse_duration, value_name = "TIME")]
    header_timeout: Duration,

    /// How long a request may take from its head to its answer, and the answer may wait for somebody to read on
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_REQUEST_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    request_timeout: Duration,

    /// How long after SIGTERM new connections are still taken, while /readyz says 503, so that a load balancer can notice
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_DRAIN_DELAY", default_value = "0s", value_parser = humantime::parse_duration, value_name = "TIME")]
    drain_delay: Duration,

    /// How long open requests may go on after that
    #[arg(long, help_heading = "Limits", env = "LPM_GATEWAY_SHUTDOWN_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    shutdown_timeout: Duration,

    /// Age at which an issuer's keys are fetched again in the background
    #[arg(long, help_heading = "Issuers", env = "LPM_GATEWAY_KEYS_REFRESH", default_value = "5m", value_parser = humantime::parse_duration, value_name = "TIME")]
    keys_refresh: Duration,

    /// Least time between two fetches from one issuer, whatever tokens arrive and however fetches end
    #[arg(long, help_heading = "Issuers", env = "LPM_GATEWAY_KEYS_COOL_DOWN", default_value = "10s", value_parser = humantime::parse_duration, value_name = "TIME")]
    keys_cool_down: Duration,

    /// Age beyond which an issuer's keys are not used any more although it cannot be reached
    #[arg(long, help_heading = "Issuers", env = "LPM_GATEWAY_KEYS_MAX_AGE", default_value = "24h", value_parser = humantime::parse_duration, value_name = "TIME")]
    keys_max_age: Duration,

    /// What is logged to stderr: `warn`, `info`, `debug`, or directives like `info,lpm_gateway::oidc=debug`
    #[arg(
        long,
        help_heading = "Logs",
        env = "LPM_GATEWAY_LOG",
        default_value = "info,deadpool.postgres=error",
        value_name = "FILTER"
    )]
    log: String,

    /// How log lines look
    #[arg(
        long,
        help_heading = "Logs",
        env = "LPM_GATEWAY_LOG_FORMAT",
        default_value = "plain",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

/// What `--help` says last.
const AFTER_HELP: &str = "\
Each flag has an environment variable, which its help names, and a key in the file that --config names: \
`--pool-size 32` is `LPM_GATEWAY_POOL_SIZE=32` and `pool-size = 32`. A flag counts before the environment, the \
environment before the file, the file before the default. Flags without a value are `true` or `false` there. A file \
that holds a password must be readable by its owner only.";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Answer requests
    Serve,
    /// Try database, certificate and issuers, say what is wrong, and exit with 1 if anything is
    CheckConfig,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// How long an issuer's keys are used and how often they may be fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyTimes {
    /// Age at which a background fetch is due.
    pub refresh: Duration,
    /// Least time between two fetches.
    pub cool_down: Duration,
    /// Age beyond which keys are not used any more.
    pub max_age: Duration,
}

/// How many of something there may be in a minute; 0 is any number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// Tokens that fail verification, per address.
    pub failed: u32,
    /// Denied attempts, per repository.
    pub denied: u32,
    /// Granted pulls, per repository.
    pub granted: u32,
}

/// Certificate and key for TLS.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// What the program needs.
pub(crate) struct Settings {
    pub listen: SocketAddr,
    /// Where `/metrics` is, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    pub tls: Option<TlsFiles>,
    /// The gateway's own audience; `None` until the port is known (loopback, no `--public-url`).
    pub public_url: Option<String>,
    pub trusted_proxies: Proxies,
    pub database: Database,
    /// Where changes of the issuers are heard of.
    pub listen_database: Option<Database>,
    /// Whether statements are sent without names.
    pub unnamed_statements: bool,
    pub pool_size: usize,
    pub pool_queue: usize,
    pub pool_wait: Duration,
    pub max_connections: usize,
    pub budgets: Budgets,
    pub statement_timeout: Duration,
    pub header_timeout: Duration,
    pub request_timeout: Duration,
    pub drain_delay: Duration,
    pub shutdown_timeout: Duration,
    pub keys: KeyTimes,
    pub log: String,
    pub log_format: LogFormat,
}

impl Args {
    /// What was typed, else what the environment says, else what the file says. Ends the process, as clap does,
    /// when that is no use of the program.
    pub(crate) fn read(typed: &[OsString]) -> Result<Self, FileError> {
        Ok(Self::try_read(typed)?.unwrap_or_else(|error| error.exit()))
    }

    /// The settings as they are by now, for a program that runs and goes on whatever the file says.
    pub(crate) fn reread(typed: &[OsString]) -> anyhow::Result<Settings> {
        Ok(Self::try_read(typed)??.settings()?)
    }

    fn try_read(typed: &[OsString]) -> Result<Result<Self, clap::Error>, FileError> {
        let args = match Self::try_parse_from(typed) {
            Ok(args) => args,
            Err(error) => return Ok(Err(error)),
        };
        let Some(path) = &args.config else { return Ok(Ok(args)) };
        let command = File::read(path)?.under(Self::command())?;
        Ok(command.try_get_matches_from(typed).and_then(|matches| Self::from_arg_matches(&matches)))
    }

    /// Checks everything that was said.
    pub(crate) fn settings(self) -> Result<Settings, ConfigError> {
        let least = |ok: bool, setting, least| {
            if ok { Ok(()) } else { Err(ConfigError::TooSmall { setting, least }) }
        };
        let second = Duration::from_secs(1);
        least(self.pool_size > 0, "--pool-size (LPM_GATEWAY_POOL_SIZE)", "1")?;
        least(self.max_connections > 0, "--max-connections (LPM_GATEWAY_MAX_CONNECTIONS)", "1")?;
        least(self.statement_timeout >= second, "--statement-timeout (LPM_GATEWAY_STATEMENT_TIMEOUT)", "1s")?;
        least(self.header_timeout >= second, "--header-timeout (LPM_GATEWAY_HEADER_TIMEOUT)", "1s")?;
        least(self.request_timeout >= second, "--request-timeout (LPM_GATEWAY_REQUEST_TIMEOUT)", "1s")?;
        least(self.keys_cool_down >= second, "--keys-cool-down (LPM_GATEWAY_KEYS_COOL_DOWN)", "1s")?;
        if self.keys_max_age <= self.keys_refresh {
            return Err(ConfigError::KeysMaxAge);
        }
        let tls = tls_files(self.tls_cert, self.tls_key)?;
        if tls.is_none() && !self.listen.ip().is_loopback() && !self.listen_insecure {
            return Err(ConfigError::PlainHttp(self.listen));
        }
        if let Some(listen) = self.metrics_listen
            && !listen.ip().is_loopback()
            && !self.metrics_listen_insecure
        {
            return Err(ConfigError::PublicMetrics(listen));
        }
        let public_url = match self.public_url {
            Some(url) => Some(public_url(&url)?),
            None if self.listen.ip().is_loopback() => None,
            None => return Err(ConfigError::PublicUrlMissing(self.listen)),
        };
        let trusted_proxies = Proxies::parse(&self.trusted_proxies)
            .map_err(|(text, problem)| ConfigError::TrustedProxies(text, problem))?;
        let password = self.database_password_file.map(password).transpose()?;
        let url = self.database_url.filter(|url| !url.is_empty()).ok_or(ConfigError::DatabaseMissing)?;
        let parse = |setting, url: &str| {
            let mut database = Database::parse(setting, url, self.database_insecure)
                .map_err(|error| ConfigError::Database { setting, error })?;
            if let Some(password) = &password {
                database.config.password(password.expose());
            }
            Ok(database)
        };
        let mut database = parse("--database-url (LPM_GATEWAY_DATABASE_URL)", &url)?;
        database.limit(self.statement_timeout);
        let listen_database = self
            .listen_database_url
            .filter(|url| !url.is_empty())
            .map(|url| parse("--listen-database-url (LPM_GATEWAY_LISTEN_DATABASE_URL)", &url))
            .transpose()?;
        Ok(Settings {
            listen: self.listen,
            metrics_listen: self.metrics_listen,
            tls,
            public_url,
            trusted_proxies,
            database,
            listen_database,
            unnamed_statements: self.database_unnamed_statements,
            pool_size: self.pool_size.into(),
            pool_queue: self.pool_queue.into(),
            pool_wait: self.pool_wait,
            max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
            budgets: Budgets {
                failed: self.failed_tokens_per_minute,
                denied: self.denials_per_minute,
                granted: self.pulls_per_minute,
            },
            statement_timeout: self.statement_timeout,
            header_timeout: self.header_timeout,
            request_timeout: self.request_timeout,
            drain_delay: self.drain_delay,
            shutdown_timeout: self.shutdown_timeout,
            keys: KeyTimes {
                refresh: self.keys_refresh,
                cool_down: self.keys_cool_down,
                max_age: self.keys_max_age,
            },
            log: self.log,
            log_format: self.log_format,
        })
    }
}

fn tls_files(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, ConfigError> {
    const CERT: &str = "--tls-cert (LPM_GATEWAY_TLS_CERT)";
    const KEY: &str = "--tls-key (LPM_GATEWAY_TLS_KEY)";
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfTls { given: CERT, missing: KEY }),
        (None, Some(_)) => Err(ConfigError::HalfTls { given: KEY, missing: CERT }),
    }
}

/// The URL without its trailing slash: audiences are compared byte for byte, and clients write both.
fn public_url(text: &str) -> Result<String, ConfigError> {
    let wrong = |problem| ConfigError::PublicUrl { url: text.to_owned(), problem };
    let url = reqwest::Url::parse(text).map_err(|_| wrong("is not a URL"))?;
    let loopback = url.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(wrong("is plain http, which clients refuse except on loopback")),
        _ => return Err(wrong("is not an https URL")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("has a query or fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user name or password"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn password(path: PathBuf) -> Result<Secret, ConfigError> {
    let text = match std::fs::read(&path) {
        Ok(bytes) => Secret::new(bytes),
        Err(error) => return Err(ConfigError::PasswordFile { path, error }),
    };
    let line = text.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() { Err(ConfigError::PasswordEmpty(path)) } else { Ok(Secret::new(line.to_vec())) }
}

impl Settings {
    /// The URL that clients use: what `--public-url` says, else the loopback address that was bound.
    pub(crate) fn audience(&self, bound: SocketAddr) -> String {
        self.public_url.clone().unwrap_or_else(|| own_url(self.tls.is_some(), bound))
    }
}

/// `http://127.0.0.1:8473`; an unspecified address is shown as its loopback.
pub(crate) fn own_url(tls: bool, mut bound: SocketAddr) -> String {
    if bound.ip().is_unspecified() {
        bound.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("{}://{bound}", if tls { "https" } else { "http" })
}

#[cfg(test)]
mod tests;
