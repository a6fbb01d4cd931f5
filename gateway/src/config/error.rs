//! Why the gateway does not start. Every error names the setting, in both spellings, and the fix.

use super::database::DatabaseError;
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error(
        "--listen {0} is not loopback and there is no certificate: set --tls-cert and --tls-key \
         (LPM_GATEWAY_TLS_CERT, LPM_GATEWAY_TLS_KEY), or --listen-insecure (LPM_GATEWAY_LISTEN_INSECURE=true) if \
         a proxy in front speaks TLS and nothing else reaches this address"
    )]
    PlainHttp(SocketAddr),
    #[error(
        "--metrics-listen {0} (LPM_GATEWAY_METRICS_LISTEN) is not loopback, and metrics are plain HTTP without a login: take a \
         loopback address, or set --metrics-listen-insecure (LPM_GATEWAY_METRICS_LISTEN_INSECURE=true) if nothing but \
         your monitoring reaches this address"
    )]
    PublicMetrics(SocketAddr),
    #[error(
        "{given} is set and {missing} is not: TLS needs both; set {missing}, or neither on a loopback address"
    )]
    HalfTls { given: &'static str, missing: &'static str },
    #[error(
        "--public-url is not set and --listen {0} does not tell how clients reach the gateway: set --public-url \
         (LPM_GATEWAY_PUBLIC_URL) to their URL, e.g. https://vault.example.com; it is the audience of OIDC tokens"
    )]
    PublicUrlMissing(SocketAddr),
    #[error(
        "--public-url (LPM_GATEWAY_PUBLIC_URL) `{url}` {problem}; write it like https://vault.example.com"
    )]
    PublicUrl { url: String, problem: &'static str },
    #[error(
        "--trusted-proxies (LPM_GATEWAY_TRUSTED_PROXIES): `{0}` {1}; list the addresses or networks of the proxies in \
         front of the gateway, e.g. 10.0.0.0/8,192.0.2.1"
    )]
    TrustedProxies(String, &'static str),
    #[error(
        "no database: set --database-url (LPM_GATEWAY_DATABASE_URL), e.g. \
         postgresql://gateway@%2Fvar%2Frun%2Fpostgresql/lpm for a local socket; \
         `select lpm.create_gateway_login('gateway')` makes the login"
    )]
    DatabaseMissing,
    #[error("{setting} is not acceptable: {error}")]
    Database { setting: &'static str, error: DatabaseError },
    #[error(
        "--database-password-file (LPM_GATEWAY_DATABASE_PASSWORD_FILE) `{path}` cannot be read: {error}; give the \
         user that runs the gateway read access"
    )]
    PasswordFile { path: PathBuf, error: std::io::Error },
    #[error(
        "--database-password-file (LPM_GATEWAY_DATABASE_PASSWORD_FILE) `{0}` has an empty first line; write the password there"
    )]
    PasswordEmpty(PathBuf),
    #[error("{setting} must be at least {least}; raise it or leave it out")]
    TooSmall { setting: &'static str, least: &'static str },
    #[error(
        "--keys-max-age (LPM_GATEWAY_KEYS_MAX_AGE) must be longer than --keys-refresh (LPM_GATEWAY_KEYS_REFRESH), or keys \
         would expire between two fetches"
    )]
    KeysMaxAge,
}
