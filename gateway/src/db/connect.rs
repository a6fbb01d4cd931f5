//! The pool and its TLS.

use crate::config::Settings;
use crate::config::database::Tls;
use anyhow::Context;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::NoTls;

/// A pool that connects when it is first used.
pub(super) fn pool(settings: &Settings) -> anyhow::Result<Pool> {
    let database = &settings.database;
    // `Fast` sends nothing between two requests; no statement of ours leaves session state behind.
    let (config, recycle) =
        (database.config.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let manager = match database.tls {
        Tls::Off => Manager::from_config(config, NoTls, recycle),
        _ => Manager::from_config(config, connector(settings)?, recycle),
    };
    Pool::builder(manager)
        .max_size(settings.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(settings.pool_wait))
        .create_timeout(database.config.get_connect_timeout().map(|timeout| *timeout * 2))
        .recycle_timeout(Some(settings.pool_wait))
        .build()
        .context("the connection pool cannot be made")
}

/// OpenSSL verifies certificate and name unless told otherwise, which is `sslmode=verify-full`.
fn connector(settings: &Settings) -> anyhow::Result<MakeTlsConnector> {
    let database = &settings.database;
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    if let Some(ca) = &database.ca {
        // In place of the system's authorities, not beside them.
        builder.set_cert_store(X509StoreBuilder::new()?.build());
        builder.set_ca_file(ca).with_context(|| {
            format!(
                "--database-url (LPM_GATEWAY_DATABASE_URL): sslrootcert `{}` cannot be read; give the PEM file of the CA \
                 that signed the database's certificate",
                ca.display()
            )
        })?;
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
    Ok(connector)
}
