//! The pool and its TLS.

use super::hosts::{self, EachHost};
use crate::config::Settings;
use crate::config::database::{Database, Tls};
use anyhow::Context;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::{Client, Config, NoTls};

/// After so long without a word, either side asks whether the other is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// How long after a question that was not answered it asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How often it asks.
const KEEPALIVE_RETRIES: u32 = 3;
/// When tokio-postgres would ask for the first time.
const KEEPALIVE_DEFAULT: Duration = Duration::from_secs(2 * 60 * 60);

/// Asks the server to cancel what a connection is doing.
#[derive(Clone)]
pub(super) struct Canceller {
    tls: Option<MakeTlsConnector>,
}

impl Canceller {
    /// On a connection of its own, as the protocol has it; the server gives no answer.
    pub(super) async fn cancel(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        let token = client.cancel_token();
        match &self.tls {
            None => token.cancel_query(NoTls).await,
            Some(connector) => token.cancel_query(connector.clone()).await,
        }
    }
}

/// A pool that connects when it is first used.
pub(super) fn pool(settings: &Settings) -> anyhow::Result<(Pool, Canceller)> {
    let database = &settings.database;
    let config = with_keepalives(database.config.clone());
    // `Fast` sends nothing between two requests; no statement of ours leaves session state behind.
    let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let tls = connector(database)?;
    let manager = Manager::from_connect(config, EachHost::new(tls.clone()), recycle);
    let pool = Pool::builder(manager)
        .max_size(settings.pool_size)
        .runtime(Runtime::Tokio1)
        // nobody waits: the queue has given as many turns as there are connections
        .wait_timeout(Some(Duration::ZERO))
        .create_timeout(hosts::limit(&database.config))
        .recycle_timeout(Some(settings.pool_wait))
        .build()
        .context("the connection pool cannot be made")?;
    Ok((pool, Canceller { tls }))
}

/// Has both sides notice within a minute that the other is gone: an idle connection would otherwise stay for hours
/// after a lost network, here a trap for the next request, there a backend that counts as one of
/// `max_connections`. What the URL says stands.
pub(super) fn with_keepalives(mut config: Config) -> Config {
    if config.get_keepalives() && config.get_keepalives_idle() == KEEPALIVE_DEFAULT {
        config
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES);
    }
    let [idle, interval] = [KEEPALIVE_IDLE, KEEPALIVE_INTERVAL].map(|time| time.as_secs());
    // before what was given: of two the later counts
    let given = config.get_options().unwrap_or_default();
    let options = format!(
        "-c tcp_keepalives_idle={idle} -c tcp_keepalives_interval={interval} -c tcp_keepalives_count={KEEPALIVE_RETRIES} {given}"
    );
    config.options(options.trim_end());
    config
}

/// OpenSSL verifies certificate and name unless told otherwise, which is `sslmode=verify-full`.
pub(super) fn connector(database: &Database) -> anyhow::Result<Option<MakeTlsConnector>> {
    if database.tls == Tls::Off {
        return Ok(None);
    }
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(ca) = &database.ca {
        // In place of the system's authorities, not beside them.
        builder.set_cert_store(X509StoreBuilder::new()?.build());
        builder.set_ca_file(ca).with_context(|| {
            format!(
                "{}: sslrootcert `{}` cannot be read; give the PEM file of the CA \
                 that signed the database's certificate",
                database.setting,
                ca.display()
            )
        })?;
    }
    if let Some((cert, key)) = &database.identity {
        identify(&mut builder, database.setting, cert, key)?;
    }
    if database.tls == Tls::Unverified {
        builder.set_verify(SslVerifyMode::NONE);
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    if matches!(database.tls, Tls::Unverified | Tls::VerifyCa) {
        connector.set_callback(|connection, _| {
            connection.set_verify_hostname(false);
            Ok(())
        });
    }
    Ok(Some(connector))
}

/// Has the gateway show a certificate. As with libpq, nobody else may read the key, but for root's own in its group.
fn identify(builder: &mut SslConnectorBuilder, setting: &str, cert: &Path, key: &Path) -> anyhow::Result<()> {
    builder.set_certificate_chain_file(cert).with_context(|| {
        format!(
            "{setting}: sslcert `{}` cannot be used; it must be readable and hold PEM \
             certificates, the gateway's own first",
            cert.display()
        )
    })?;
    // one that cannot be read is refused below, with the reason
    if let Ok(meta) = std::fs::metadata(key)
        && let mode = meta.mode() & 0o7777
        && let others = if meta.uid() == 0 { 0o027 } else { 0o077 }
        && mode & others != 0
    {
        anyhow::bail!(
            "{setting}: sslkey `{}` may be opened by others (mode {:04o}); chmod 600 it",
            key.display(),
            mode
        );
    }
    builder
        .set_private_key_file(key, SslFiletype::PEM)
        .and_then(|()| builder.check_private_key())
        .with_context(|| {
            format!(
                "{setting}: sslkey `{}` cannot be used; it must be readable, hold a PEM private \
             key without a passphrase and belong to sslcert",
                key.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        with_keepalives(text.parse().expect("a database's URL"))
    }

    #[test]
    fn both_ends_notice_within_a_minute_that_the_other_is_gone() {
        let config = config("postgresql://gateway@db.example/lpm");
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        assert_eq!(
            (
                Some(config.get_keepalives_idle().as_secs()),
                seconds(config.get_keepalives_interval()),
                config.get_keepalives_retries()
            ),
            (Some(30), Some(10), Some(3))
        );
        assert_eq!(
            config.get_options(),
            Some("-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3")
        );
    }

    #[test]
    fn what_the_url_says_about_keepalives_stands() {
        let given = config(
            "postgresql://gateway@db.example/lpm?keepalives_idle=7&options=-c%20tcp_keepalives_idle%3D8",
        );
        assert_eq!(given.get_keepalives_idle().as_secs(), 7);
        // of two the later counts
        assert!(given.get_options().is_some_and(|options| options.ends_with("-c tcp_keepalives_idle=8")));
        let off = config("postgresql://gateway@db.example/lpm?keepalives=0");
        assert!(!off.get_keepalives());
    }
}
