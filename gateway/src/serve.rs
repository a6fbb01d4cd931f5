//! The server: sockets, TLS, signals, and a graceful end.

use crate::config::{Settings, TlsFiles, own_url};
use crate::connection::Http;
use crate::db::{Db, Listener};
use crate::handlers::Gateway;
use crate::lifecycle::{Lifecycle, Open, Phase};
use crate::limits::Limits;
use crate::log;
use crate::metrics::{self, Metrics};
use crate::notify;
use crate::oidc::{Oidc, Proxies};
use crate::routes::routes;
use anyhow::Context;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslFiletype, SslMethod, select_next_proto};
use std::io::Write;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use tracing::{debug, error, info, warn};

/// How long the first reading of the issuers may hold up the start: without a database the gateway starts too.
const FIRST_READING: Duration = Duration::from_secs(5);
/// Pause after an accept that failed for want of something, most likely file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs until SIGTERM or SIGINT. `reread` gives the settings as they are by then, for SIGHUP.
pub(crate) async fn run(
    settings: Settings,
    log: log::Handle,
    reread: impl Fn() -> anyhow::Result<Settings>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let tls = settings.tls.as_ref().map(acceptor).transpose()?;
    let (listener, bound) = bind("--listen", "LPM_GATEWAY_LISTEN", settings.listen).await?;
    let metrics_listener = match settings.metrics_listen {
        Some(listen) => Some(bind("--metrics-listen", "LPM_GATEWAY_METRICS_LISTEN", listen).await?),
        None => None,
    };
    let db = Arc::new(Db::new(&settings)?);
    let changes = settings.listen_database.as_ref().map(Listener::new).transpose()?;
    let oidc = Arc::new(Oidc::new(settings.audience(bound), settings.keys, Proxies::from_environment()?));
    let first = timeout(FIRST_READING, oidc.reread(&db)).await;
    if let Err(reason) = first.unwrap_or_else(|_| Err("it took too long".to_owned())) {
        warn!(
            reason,
            "--database-url (LPM_GATEWAY_DATABASE_URL): the database does not answer; requests get 503 until it does"
        );
    }
    tokio::spawn(Arc::clone(&oidc).keep_fresh(Arc::clone(&db), changes));
    let metrics = Arc::new(Metrics::new(Arc::clone(&db), Arc::clone(&oidc)));
    if let Some((listener, bound)) = metrics_listener {
        tokio::spawn(metrics::serve(listener, Arc::clone(&metrics)));
        announce(&format!("metrics on {}/metrics", own_url(false, bound)))?;
    }
    let lifecycle = Arc::new(Lifecycle::default());
    let gateway = Arc::new(Gateway {
        db,
        oidc,
        lifecycle: Arc::clone(&lifecycle),
        limits: Limits::new(settings.budgets),
    });
    let http = Http::new(&settings, routes(&gateway), Arc::clone(&metrics), Arc::clone(&lifecycle));
    let server = Arc::new(Server { http, tls, handshake_timeout: settings.header_timeout, metrics });
    announce(&format!("listening on {}", own_url(server.tls.is_some(), bound)))?;

    notify::ready();
    tokio::spawn(notify::keep_alive());

    while let Told::Reload = server.accept(&listener, &lifecycle, signals.next()).await {
        notify::reloading();
        match reread().and_then(|settings| reload(&settings, &log)) {
            Ok(()) => info!("Reloaded: the log's filter; other settings need a restart"),
            Err(problem) => error!(problem = format!("{problem:#}"), "Nothing was reloaded"),
        }
        notify::ready();
    }
    notify::stopping();
    lifecycle.enter(Phase::Draining);
    info!("Stopping: /readyz says so, and new connections are taken for --drain-delay");
    let delay = async {
        // asked a second time, it does not wait
        let _ = timeout(settings.drain_delay, signals.end()).await;
    };
    server.accept(&listener, &lifecycle, delay).await;
    server.accept_rest(listener, &lifecycle);
    lifecycle.enter(Phase::Stopping);
    info!("Stopping: no new connections, open requests go on");
    if timeout(settings.shutdown_timeout, lifecycle.all_closed()).await.is_err() {
        warn!(
            "Stopped with requests open: they took longer than --shutdown-timeout (LPM_GATEWAY_SHUTDOWN_TIMEOUT)"
        );
    }
    Ok(())
}

/// Takes over what can change without a restart.
fn reload(settings: &Settings, log: &log::Handle) -> anyhow::Result<()> {
    log.refilter(&settings.log)
}

/// What a signal says.
enum Told {
    Reload,
    End,
}

/// What the gateway is told from outside.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
        }
    }

    /// Returns when it is to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn bind(flag: &str, variable: &str, listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("{flag} {listen} ({variable}) cannot be bound; stop what uses the port, or take another")
    })?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Whoever started the gateway waits for these lines.
fn announce(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("stdout cannot be written to")
}

/// TLS 1.2 and 1.3 with Mozilla's intermediate settings.
pub(crate) fn acceptor(files: &TlsFiles) -> anyhow::Result<SslAcceptor> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate_chain_file(&files.cert).with_context(|| {
        format!(
            "--tls-cert (LPM_GATEWAY_TLS_CERT) `{}` cannot be used; it must be readable and hold PEM certificates, leaf first",
            files.cert.display()
        )
    })?;
    builder.set_private_key_file(&files.key, SslFiletype::PEM).with_context(|| {
        format!(
            "--tls-key (LPM_GATEWAY_TLS_KEY) `{}` cannot be used; it must be readable, hold a PEM private key and belong to \
             --tls-cert",
            files.key.display()
        )
    })?;
    builder.check_private_key().context(
        "--tls-key (LPM_GATEWAY_TLS_KEY) does not belong to --tls-cert (LPM_GATEWAY_TLS_CERT); give the key of the leaf certificate",
    )?;
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder.build())
}

/// What every connection shares.
struct Server {
    http: Http,
    tls: Option<SslAcceptor>,
    handshake_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Takes connections until `end`, and returns what that says.
    async fn accept<T>(
        self: &Arc<Self>,
        listener: &TcpListener,
        lifecycle: &Lifecycle,
        end: impl Future<Output = T>,
    ) -> T {
        let mut end = pin!(end);
        loop {
            tokio::select! {
                said = &mut end => return said,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        tokio::spawn(Arc::clone(self).connection(stream, peer, lifecycle.open()));
                    }
                    Err(error) => {
                        warn!(%error, "A connection could not be accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Takes what has connected already, and closes: the system would reset it, and with it a request that may be on its way.
    fn accept_rest(self: &Arc<Self>, listener: TcpListener, lifecycle: &Lifecycle) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                tokio::spawn(Arc::clone(self).connection(stream, peer, lifecycle.open()));
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, open: Open) {
        let _counted = self.metrics.connection();
        // Replies are small and waited for.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.http.serve(stream, peer, open).await,
            Some(acceptor) => match timeout(self.handshake_timeout, handshake(acceptor, stream)).await {
                Ok(Ok(stream)) => self.http.serve(stream, peer, open).await,
                Ok(Err(error)) => debug!(%error, "A TLS handshake failed"),
                Err(_) => debug!("A TLS handshake took too long"),
            },
        }
    }
}

async fn handshake(acceptor: &SslAcceptor, stream: TcpStream) -> anyhow::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}
