//! TLS 1.2 and 1.3, with a certificate that is read again when its files change.
//!
//! Certificate and key are two files, and whoever renews them replaces one after the other. What does not fit is
//! not used: the old pair stays until there is a new one. Connections keep what they began with.

use crate::config::TlsFiles;
use anyhow::Context;
use lpm_core::secret::Secret;
use openssl::pkey::PKey;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// HTTP/2 where the client knows it.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// The certificate in use.
pub(crate) struct Tls {
    files: TlsFiles,
    acceptor: RwLock<SslAcceptor>,
}

impl Tls {
    /// Reads certificate and key.
    pub(crate) fn new(files: TlsFiles) -> anyhow::Result<Self> {
        let acceptor = RwLock::new(acceptor(&files)?);
        Ok(Self { files, acceptor })
    }

    /// The server's side of a new connection.
    pub(crate) fn ssl(&self) -> anyhow::Result<Ssl> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Ssl::new(acceptor.context())?)
    }

    /// Reads the files again whenever they have changed, and when asked to by SIGHUP.
    pub(crate) async fn keep_fresh(self: Arc<Self>, mut hangup: Signal) {
        // not from before they were first read: what changed since then is read once more
        let mut seen = None;
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let now = (stamp(&self.files.cert).await, stamp(&self.files.key).await);
                    if seen.replace(now) == Some(now) {
                        continue;
                    }
                }
                _ = hangup.recv() => {}
            }
            match acceptor(&self.files) {
                Ok(acceptor) => {
                    *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                    info!("The certificate has been read: new connections use it");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(error, "The changed certificate cannot be used; the one before stays in use");
                }
            }
        }
    }
}

/// What changes when a file is written, replaced, or named by another link; `None` while it is not there.
async fn stamp(path: &Path) -> Option<(u64, u64, i64, i64, u64)> {
    let file = tokio::fs::metadata(path).await.ok()?;
    Some((file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.len()))
}

/// Mozilla's intermediate settings.
pub(crate) fn acceptor(files: &TlsFiles) -> anyhow::Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate_chain_file(&files.cert).with_context(|| {
        format!(
            "--tls-cert (LPM_GATEWAY_TLS_CERT) `{}` cannot be used; it must be readable and hold PEM certificates, leaf first",
            files.cert.display()
        )
    })?;
    let unusable = || {
        format!(
            "--tls-key (LPM_GATEWAY_TLS_KEY) `{}` cannot be used; it must be readable, hold a PEM private key without a \
             passphrase and belong to --tls-cert",
            files.key.display()
        )
    };
    let text = Secret::new(std::fs::read(&files.key).with_context(unusable)?);
    // nobody is there to ask for a passphrase
    let key = PKey::private_key_from_pem_callback(text.expose(), |_| Ok(0)).with_context(unusable)?;
    builder.set_private_key(&key).with_context(unusable)?;
    builder.check_private_key().context(
        "--tls-key (LPM_GATEWAY_TLS_KEY) does not belong to --tls-cert (LPM_GATEWAY_TLS_CERT); give the key of the leaf certificate",
    )?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder.build())
}
