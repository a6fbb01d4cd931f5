//! The server: socket, TLS, connections, and a graceful end.
//!
//! HTTP/1.1 through hyper-util's connection builder. The version is fixed and not guessed from the first bytes,
//! because nothing limits how long the guessing may wait.

use crate::config::{Settings, TlsFiles, own_url};
use crate::db::Db;
use crate::handlers::Gateway;
use crate::oidc::Oidc;
use crate::reply::{Summary, too_slow};
use crate::request::Origin;
use crate::routes::routes;
use anyhow::Context;
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslFiletype, SslMethod, select_next_proto};
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_openssl::SslStream;
use tracing::{Instrument, debug, error_span, info, warn};
use warp::filters::BoxedFilter;
use warp::reply::Response;

/// Largest head of a request that hyper buffers.
const MAX_HEAD: usize = 64 * 1024;
/// How long the first reading of the issuers may hold up the start: without a database the gateway starts too.
const FIRST_READING: Duration = Duration::from_secs(5);
/// Pause after an accept that failed for want of something, most likely file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Filters = BoxedFilter<(Response,)>;

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let tls = settings.tls.as_ref().map(acceptor).transpose()?;
    let (listener, bound) = bind(settings.listen).await?;
    let db = Arc::new(Db::new(&settings)?);
    let oidc = Arc::new(Oidc::new(settings.audience(bound), settings.keys));
    let first = timeout(FIRST_READING, oidc.reread(&db)).await;
    if let Err(reason) = first.unwrap_or_else(|_| Err("it took too long".to_owned())) {
        warn!(
            reason,
            "--database-url (LPM_GATEWAY_DATABASE_URL): the database does not answer; requests get 503 until it does"
        );
    }
    tokio::spawn(Arc::clone(&oidc).keep_fresh(Arc::clone(&db)));
    let server = Arc::new(Server::new(&settings, tls, routes(&Arc::new(Gateway { db, oidc }))));
    announce(&own_url(server.tls.is_some(), bound))?;

    let connections = GracefulShutdown::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(Arc::clone(&server).connection(stream, peer, connections.watcher()));
                }
                Err(error) => {
                    warn!(%error, "A connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    drop(listener);
    info!("Stopping: no new connections, open requests go on");
    if timeout(settings.shutdown_timeout, connections.shutdown()).await.is_err() {
        warn!(
            "Stopped with requests open: they took longer than --shutdown-timeout (LPM_GATEWAY_SHUTDOWN_TIMEOUT)"
        );
    }
    Ok(())
}

async fn bind(listen: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!(
            "--listen {listen} (LPM_GATEWAY_LISTEN) cannot be bound; stop what uses the port, or take another"
        )
    })?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Whoever started the gateway waits for this line.
fn announce(url: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {url}").and_then(|()| out.flush()).context("stdout cannot be written to")
}

/// TLS 1.2 and 1.3 with Mozilla's intermediate settings.
fn acceptor(files: &TlsFiles) -> anyhow::Result<SslAcceptor> {
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
    http: auto::Builder<TokioExecutor>,
    tls: Option<SslAcceptor>,
    filters: Filters,
    header_timeout: Duration,
    request_timeout: Duration,
}

impl Server {
    fn new(settings: &Settings, tls: Option<SslAcceptor>, filters: Filters) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(MAX_HEAD);
        Self {
            http,
            tls,
            filters,
            header_timeout: settings.header_timeout,
            request_timeout: settings.request_timeout,
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Replies are small and waited for.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.serve(stream, peer, watcher).await,
            Some(acceptor) => match timeout(self.header_timeout, handshake(acceptor, stream)).await {
                Ok(Ok(stream)) => self.serve(stream, peer, watcher).await,
                Ok(Err(error)) => debug!(%error, "A TLS handshake failed"),
                Err(_) => debug!("A TLS handshake took too long"),
            },
        }
    }

    async fn serve<I>(&self, stream: I, peer: SocketAddr, watcher: Watcher)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (filters, limit) =
            (TowerToHyperService::new(warp::service(self.filters.clone())), self.request_timeout);
        let address = peer.ip().to_canonical().to_string();
        let service =
            service_fn(move |request| request_in_time(filters.clone(), limit, address.clone(), request));
        let connection = self.http.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            debug!(error, "A connection broke");
        }
    }
}

async fn handshake(acceptor: &SslAcceptor, stream: TcpStream) -> anyhow::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut stream).accept().await?;
    Ok(stream)
}

/// One request: gives it its id, has it answered in time, and says in the log how it went.
async fn request_in_time<S>(
    filters: S,
    limit: Duration,
    address: String,
    mut request: http::Request<Incoming>,
) -> Result<Response, Infallible>
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible>,
{
    let began = Instant::now();
    let origin = Origin::new(Some(address));
    let id = origin.id;
    request.extensions_mut().insert(origin);
    let span = error_span!("request", request.id = %id);
    let mut response = match timeout(limit, filters.call(request)).instrument(span).await {
        Ok(Ok(response)) => response,
        Err(_) => too_slow(),
    };
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    let summary = response.extensions_mut().remove::<Summary>();
    let (route, code) = summary.map_or(("(none)", None), |summary| (summary.route, summary.code));
    let latency = began.elapsed().as_micros();
    info!(
        request.id = %id,
        http.route = route,
        http.status = response.status().as_u16(),
        code = code.as_deref().unwrap_or("ok"),
        latency_us = u64::try_from(latency).unwrap_or(u64::MAX),
        "Answered"
    );
    Ok(response)
}
