//! `/metrics` on an address of its own: no route of the public one, so nobody outside can ask for it.

use super::Metrics;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Most connections at once: a monitoring system needs one.
const MOST: usize = 8;
/// How long one may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers for as long as the program runs.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let room = Arc::new(Semaphore::new(MOST));
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    let _place = place;
                    if timeout(PATIENCE, connection(stream, &metrics)).await.is_err() {
                        debug!("Somebody who asked for metrics took too long");
                    }
                });
            }
            Err(error) => {
                warn!(%error, "A connection to --metrics-listen could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, then the end.
async fn connection(stream: TcpStream, metrics: &Metrics) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), metrics))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "A connection to --metrics-listen broke");
    }
}

fn answer(method: &Method, path: &str, metrics: &Metrics) -> Response<String> {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let (status, kind, body) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics.text() {
            Ok(text) => (StatusCode::OK, HeaderValue::from_static(prometheus_text::CONTENT_TYPE), text),
            Err(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, plain, "the metrics cannot be written\n".to_owned())
            }
        },
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, plain, "this path takes GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, plain, "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
