//! The server: sockets, TLS, signals, and a graceful end.

use crate::config::{Settings, own_url};
use crate::connection::Http;
use crate::connections::{Connection, Connections};
use crate::db::{Db, Listener};
use crate::handlers::Gateway;
use crate::lifecycle::{Lifecycle, Open, Phase};
use crate::limits::Limits;
use crate::log;
use crate::metrics::{self, Metrics};
use crate::notify;
use crate::oidc::{Oidc, Proxies};
use crate::routes::routes;
use crate::tls::Tls;
use anyhow::Context;
use rustix::process::{Resource, getrlimit};
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
/// Files beside connections of clients and of the pool: logs, requests to cancel, issuers, connections that are just ending.
const OTHER_FILES: usize = 128;

/// Runs until SIGTERM or SIGINT. `reread` gives the settings as they are by then, for SIGHUP.
pub(crate) async fn run(
    settings: Settings,
    log: log::Handle,
    reread: impl Fn() -> anyhow::Result<Settings>,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let hangup = signal(SignalKind::hangup())?;
    let tls = settings.tls.clone().map(Tls::new).transpose()?.map(Arc::new);
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
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).keep_fresh(hangup));
    }
    let lifecycle = Arc::new(Lifecycle::default());
    let gateway = Arc::new(Gateway {
        db,
        oidc,
        lifecycle: Arc::clone(&lifecycle),
        limits: Limits::new(settings.budgets),
    });
    let http = Arc::new(Http::new(&settings, routes(&gateway), Arc::clone(&metrics), Arc::clone(&lifecycle)));
    let connections = Connections::at_most(possible(&settings));
    let handshake_timeout = settings.header_timeout;
    let server = Arc::new(Server { http, tls, handshake_timeout, metrics, connections });
    announce(&format!("listening on {}", own_url(server.tls.is_some(), bound)))?;

    notify::ready();
    tokio::spawn(notify::keep_alive());

    while let Told::Reload = server.accept(&listener, &lifecycle, signals.next()).await {
        notify::reloading();
        match reread().and_then(|settings| reload(&settings, &log)) {
            Ok(()) => info!(
                "Reloaded: the log's filter; the certificate is read again too, other settings need a restart"
            ),
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

/// As many connections as were asked for, where there are files for them and for everything else.
fn possible(settings: &Settings) -> usize {
    let Some(files) = getrlimit(Resource::Nofile).current else { return settings.max_connections };
    let files = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(settings.pool_size + OTHER_FILES);
    if files >= settings.max_connections {
        return settings.max_connections;
    }
    info!(
        connections = files.max(1),
        "Fewer connections than --max-connections (LPM_GATEWAY_MAX_CONNECTIONS): the limit of open files allows no more"
    );
    files.max(1)
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

/// What every connection shares.
struct Server {
    http: Arc<Http>,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
    metrics: Arc<Metrics>,
    connections: Arc<Connections>,
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
                    Ok((stream, peer)) => self.take(stream, peer, lifecycle.open()),
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
                self.take(stream, peer, lifecycle.open());
            }
        }
    }

    /// Serves a connection, if there is room for it.
    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, open: Open) {
        let Some(connection) = self.connections.open() else { return };
        let (server, connection) = (Arc::clone(self), Arc::new(connection));
        tokio::spawn(async move {
            tokio::select! {
                () = server.connection(stream, peer, &connection, open) => {}
                () = connection.has_to_leave() => debug!("An idle connection made room for another"),
            }
        });
    }

    async fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        connection: &Arc<Connection>,
        open: Open,
    ) {
        let _counted = self.metrics.connection();
        // Replies are small and waited for.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.http.serve(stream, peer, connection, open).await };
        match timeout(self.handshake_timeout, handshake(tls, stream)).await {
            Ok(Ok(stream)) if stream.ssl().selected_alpn_protocol() == Some(b"h2") => {
                self.http.serve_http2(stream, peer, connection, open).await;
            }
            Ok(Ok(stream)) => self.http.serve(stream, peer, connection, open).await,
            Ok(Err(error)) => debug!(%error, "A TLS handshake failed"),
            Err(_) => debug!("A TLS handshake took too long"),
        }
    }
}

async fn handshake(tls: &Tls, stream: TcpStream) -> anyhow::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(tls.ssl()?, stream)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}
