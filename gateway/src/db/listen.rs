//! Hears from the database that the issuers have changed.
//!
//! On a connection of its own, and a direct one: a pooler in transaction mode hands notifications to nobody.

use super::connect::{connector, with_keepalives};
use super::error::causes;
use super::hosts;
use crate::config::database::Database;
use postgres_openssl::MakeTlsConnector;
use std::future::{pending, poll_fn};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};
use tracing::{info, warn};

/// The channel that `lpm.trust_issuer` and `lpm.distrust_issuer` notify.
const LISTEN: &str = "listen lpm_issuers";
/// Pause before a connection that was lost is made again.
const RECONNECT: Duration = Duration::from_secs(1);

/// A connection that is made again and again.
pub(crate) struct Listener {
    setting: &'static str,
    config: Config,
    tls: Option<MakeTlsConnector>,
}

impl Listener {
    pub(crate) fn new(database: &Database) -> anyhow::Result<Self> {
        Ok(Self {
            setting: database.setting,
            config: with_keepalives(database.config.clone()),
            tls: connector(database)?,
        })
    }

    /// Rings with `true` when it begins to listen, because something may have changed before, and at each change;
    /// with `false` when the connection is lost.
    pub(crate) async fn listen(self, bell: watch::Sender<bool>) {
        let mut quiet = false;
        loop {
            let lost = self.hear(&bell).await;
            if bell.send_replace(false) || !quiet {
                let reason =
                    lost.map_or_else(|error| error.to_string(), |()| "the server closed it".to_owned());
                warn!(
                    reason,
                    "{}: the connection that hears of changed issuers is lost; they are polled meanwhile",
                    self.setting
                );
            }
            quiet = true;
            sleep(RECONNECT).await;
        }
    }

    /// Listens until the connection ends.
    pub(crate) async fn hear(&self, bell: &watch::Sender<bool>) -> Result<(), HearError> {
        // as a whole: `connect_timeout` is for TCP alone
        let limit = hosts::limit(&self.config).unwrap_or(Duration::MAX);
        match &self.tls {
            None => {
                let (client, connection) = timeout(limit, self.config.connect(NoTls)).await??;
                hear_on(client, connection, bell).await
            }
            Some(tls) => {
                let (client, connection) = timeout(limit, self.config.connect(tls.clone())).await??;
                hear_on(client, connection, bell).await
            }
        }
    }
}

async fn hear_on<S, T>(
    client: Client,
    mut connection: Connection<S, T>,
    bell: &watch::Sender<bool>,
) -> Result<(), HearError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let begin = async {
        client.batch_execute(LISTEN).await?;
        info!("Changes of the issuers are heard of");
        bell.send_replace(true);
        pending().await
    };
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await.transpose()? {
            if matches!(message, AsyncMessage::Notification(_)) {
                bell.send_replace(true);
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = begin => ended,
        ended = messages => ended,
    }
}

/// Why nothing is heard.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HearError {
    #[error("{}", causes(.0))]
    Database(#[from] tokio_postgres::Error),
    #[error("it took too long")]
    Timeout(#[from] tokio::time::error::Elapsed),
}
