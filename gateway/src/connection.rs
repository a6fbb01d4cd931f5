//! One connection: its requests, their ids and their times, and how it ends.
//!
//! HTTP/1.1, or HTTP/2 where TLS has negotiated it: never guessed from the first bytes, because nothing limits how
//! long the guessing may wait.

mod answering;
mod http2;
mod stream;
mod trace;
mod watched;

use crate::client_address::Proxies;
use crate::config::Settings;
use crate::connections::Connection;
use crate::lifecycle::{Lifecycle, Open};
use crate::metrics::Metrics;
use crate::reply::{Summary, malformed, too_slow};
use crate::request::{Origin, bad};
use answering::Answering;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2 as hyper_http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lpm_core::failure::{Code, Failure};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use trace::TraceParent;
use tracing::{Instrument, debug, error_span, info};
use warp::filters::BoxedFilter;
use warp::reply::Response;
use watched::Watched;

/// How long a connection is still read when the gateway stops: what has arrived by then is answered, not cut off.
const LAST_LOOK: Duration = Duration::from_millis(50);
/// Largest head of a request that hyper buffers.
const MAX_HEAD: usize = 64 * 1024;
/// Most headers of a request, as hyper has it for HTTP/1.1.
const MAX_HEADERS: usize = 100;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) type Filters = BoxedFilter<(Response,)>;

/// What every connection shares.
pub(crate) struct Http {
    http1: http1::Builder,
    http2: hyper_http2::Builder<TokioExecutor>,
    filters: Filters,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
    header_timeout: Duration,
    request_timeout: Duration,
    trusted_proxies: Proxies,
}

impl Http {
    pub(crate) fn new(
        settings: &Settings,
        filters: Filters,
        metrics: Arc<Metrics>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(MAX_HEAD)
            // A caller who has nothing more to say still waits for the answer.
            .half_close(true);
        Self {
            http1,
            http2: http2::builder(settings.header_timeout),
            filters,
            metrics,
            lifecycle,
            header_timeout: settings.header_timeout,
            request_timeout: settings.request_timeout,
            trusted_proxies: settings.trusted_proxies.clone(),
        }
    }

    /// One request: has it answered in time.
    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response {
        let asked = self.asked(peer, Some(&request));
        let filters = TowerToHyperService::new(warp::service(self.filters.clone()));
        request_in_time(filters, self.request_timeout, asked, request).await
    }

    /// Answers until either side has enough, or the gateway stops.
    pub(crate) async fn serve<I>(&self, socket: I, peer: SocketAddr, connection: &Connection, mut open: Open)
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.request_timeout;
        let service = service_fn(|request| {
            let active = connection.begin();
            async move {
                let response = self.answer(peer, request).await;
                Ok::<_, Infallible>(response.map(|body| Answering::new(body, active)))
            }
        });
        let socket = TokioIo::new(Stream::new(socket, limit));
        let mut serving = self.http1.serve_connection(socket, service);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = open.stops() => match timeout(LAST_LOOK, &mut serving).await {
                Ok(ended) => ended,
                Err(_) => {
                    Pin::new(&mut serving).graceful_shutdown();
                    (&mut serving).await
                }
            },
        };
        let parts = serving.into_parts();
        let last_words = match ended {
            Ok(()) => None,
            Err(error) => {
                debug!(%error, "A connection broke");
                let Some(failure) = refusal(&error, !parts.read_buf.is_empty()) else { return };
                Some(last_words(failure, self.asked(peer, None)))
            }
        };
        let mut stream = parts.io.into_inner();
        let linger = !open.is_stopping();
        // Whoever has gone away needs no end.
        let _ = timeout(limit, stream.end(last_words.as_deref(), linger)).await;
    }

    /// `request` is what could be read of it.
    fn asked(&self, peer: SocketAddr, request: Option<&Request<Incoming>>) -> Asked {
        let nothing = HeaderMap::new();
        let headers = request.map_or(&nothing, Request::headers);
        Asked {
            origin: Origin::new(Some(self.trusted_proxies.client(peer.ip(), headers))),
            trace: TraceParent::of(headers),
            began: Instant::now(),
            metrics: Arc::clone(&self.metrics),
            lifecycle: Arc::clone(&self.lifecycle),
        }
    }
}

/// What hyper could not read, where somebody may wait for an answer: a connection on which no head has begun
/// is closed without one.
fn refusal(error: &hyper::Error, begun: bool) -> Option<Failure> {
    if error.is_parse_too_large() {
        Some(Code::HeadTooLarge.into())
    } else if error.is_parse() {
        Some(bad("the request is not well-formed HTTP/1.1"))
    } else if begun && error.is_timeout() {
        Some(Code::RequestTimeout.into())
    } else if begun && error.is_incomplete_message() {
        Some(bad("the request's head ended early"))
    } else {
        None
    }
}

/// The whole response to a head that hyper could not read, as bytes.
fn last_words(failure: Failure, asked: Asked) -> Vec<u8> {
    let body = failure.body();
    let response = asked.finish(malformed(failure));
    let mut bytes =
        format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", response.status(), body.len()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_ref());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// One request: gives it its id and has it answered in time.
async fn request_in_time<S>(filters: S, limit: Duration, asked: Asked, request: Request<Incoming>) -> Response
where
    S: Service<Request<Watched>, Response = Response, Error = Infallible>,
{
    if let Err(failure) = well_formed(&request) {
        return asked.finish(malformed(failure));
    }
    let version = request.version();
    let (mut request, rest) = Watched::of(request);
    if version == Version::HTTP_2 {
        name_host(&mut request);
    }
    request.extensions_mut().insert(asked.origin.clone());
    if let Some(uri) = without_double_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let span = error_span!("request", request.id = %asked.origin.id);
    let mut response = match timeout(limit, filters.call(request)).instrument(span).await {
        Ok(Ok(response)) => response,
        Err(_) => too_slow(),
    };
    if !rest.is_read() {
        // hyper will not read on, and a caller who did not know could send the next request to nobody
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    asked.finish(response)
}

/// The target without one of the two slashes that it begins with: published clients put a base URL that ends with
/// a slash before a path that begins with one. No redirect, which would turn their POST into a GET.
fn without_double_slash(uri: &Uri) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix('/')?;
    if !rest.starts_with('/') {
        return None;
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(rest).ok()?);
    Uri::from_parts(parts).ok()
}

/// What hyper lets through and HTTP does not: somebody in front of the gateway may have read it differently.
fn well_formed<B>(request: &Request<B>) -> Result<(), Failure> {
    let headers = request.headers();
    if !request.uri().path().starts_with('/') {
        return Err(bad("the request's target is not a path"));
    }
    if request.version() == Version::HTTP_2 {
        return well_formed_http2(request.uri(), headers);
    }
    match only(headers, HOST) {
        Ok(None) if request.version() < Version::HTTP_11 => {}
        Ok(Some(host)) if host.is_empty() || Authority::try_from(host.as_bytes()).is_ok() => {}
        _ => return Err(bad("the request needs one `Host` header, with the name of a host")),
    }
    match only(headers, TRANSFER_ENCODING) {
        Ok(None) => Ok(()),
        Ok(Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(bad("the request's `Transfer-Encoding` is not `chunked`")),
    }
}

/// What h2 lets through: two names of one host, and more headers than we take.
fn well_formed_http2(uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || size + uri.path().len() + uri.query().map_or(0, str::len) > MAX_HEAD {
        return Err(Code::HeadTooLarge.into());
    }
    match (uri.authority(), only(headers, HOST)) {
        (Some(_), Ok(None)) => Ok(()),
        (Some(authority), Ok(Some(host))) if host.as_bytes() == authority.as_str().as_bytes() => Ok(()),
        (None, Ok(Some(host))) if Authority::try_from(host.as_bytes()).is_ok() => Ok(()),
        _ => Err(bad("the request needs one `:authority`, with the name of a host")),
    }
}

/// Gives a request the `Host` header that HTTP/1.1 has in place of `:authority`.
fn name_host<B>(request: &mut Request<B>) {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(Ok(host)) = authority {
        request.headers_mut().insert(HOST, host);
    }
}

/// The only header of this name; an error where there are several.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(()),
    }
}

/// A request that is being answered, and what the log says of it.
struct Asked {
    origin: Origin,
    trace: Option<TraceParent>,
    began: Instant,
    metrics: Arc<Metrics>,
    lifecycle: Arc<Lifecycle>,
}

impl Asked {
    /// Gives the response its request's id, counts it, and says in the log how the request went. While the gateway is on
    /// its way out, the response ends its connection: the next request is for another gateway.
    fn finish(self, mut response: Response) -> Response {
        let (id, status, took) = (self.origin.id, response.status(), self.began.elapsed());
        if let Ok(value) = HeaderValue::try_from(id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        if self.lifecycle.is_ending() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let summary = response.extensions_mut().remove::<Summary>();
        let (route, code) = summary.map_or(("(none)", None), |summary| (summary.route, summary.code));
        self.metrics.answered(route, code.as_deref(), status, took);
        info!(
            request.id = %id,
            http.route = route,
            http.status = status.as_u16(),
            code = code.as_deref().unwrap_or("ok"),
            latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            client.address = self.origin.address,
            trace_id = self.trace.as_ref().map(TraceParent::trace_id),
            parent_id = self.trace.as_ref().map(TraceParent::parent_id),
            "Answered"
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_leading_slashes_is_taken_away_and_nothing_else() {
        for (target, expected) in [
            ("//api/vaults", Some("/api/vaults")),
            ("//api/vaults?x=//y", Some("/api/vaults?x=//y")),
            ("///api", Some("//api")),
            ("//", Some("/")),
            ("http://host//api?x", Some("http://host/api?x")),
            ("/api//vaults", None),
            ("/api", None),
            ("/", None),
            ("/%2fapi", None),
            ("/?//", None),
        ] {
            let uri = target.parse().expect("a target");
            let found = without_double_slash(&uri).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{target}");
        }
    }
}
