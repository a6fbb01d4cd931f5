//! HTTP/2, with the guarantees of HTTP/1.1: nobody holds a connection without asking, or an answer without taking it.
//!
//! hyper and h2 bound streams, frames, headers and resets, and ask with pings whether the caller is alive. A caller who
//! answers those may still do nothing else for ever; that is looked at here.

use super::Http;
use super::stream::Stream;
use crate::connections::{Active, Connection};
use crate::lifecycle::Open;
use http::header::CONNECTION;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::interval;
use tracing::debug;

/// Requests at once on one connection.
const STREAMS: u32 = 32;
/// Streams that a caller may have reset before anybody has looked at them; more end the connection.
const RESETS: usize = 20;
/// Largest list of headers that h2 reads: more than is accepted, so that there is room for an answer that says so.
const HEADERS: u32 = 96 * 1024;
/// What may be on its way to us on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const WINDOW: u32 = 1024 * 1024;
/// What of an answer is handed on at once: nothing more until the caller has room for it.
const PIECE: usize = 64 * 1024;
/// How long a ping may be unanswered.
const PING: Duration = Duration::from_secs(10);
/// How long a connection without requests may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// More than a request and its answer may take without moving, so that who is in time is not cut off.
const SLACK: Duration = Duration::from_secs(1);

/// How connections are served.
pub(super) fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_header_list_size(HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(header_timeout)
        .keep_alive_timeout(PING);
    builder
}

impl Http {
    /// Answers until either side has enough, or the gateway is on its way out.
    pub(crate) async fn serve_http2<I>(
        self: &Arc<Self>,
        socket: I,
        peer: SocketAddr,
        connection: &Arc<Connection>,
        mut open: Open,
    ) where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let streams = Arc::new(Streams::default());
        let service = service_fn({
            let (http, connection, streams) =
                (Arc::clone(self), Arc::clone(connection), Arc::clone(&streams));
            move |request: http::Request<Incoming>| {
                let (http, moving) = (Arc::clone(&http), streams.begin(connection.begin()));
                async move {
                    let mut response = http.answer(peer, request).await;
                    // which is said with GOAWAY
                    response.headers_mut().remove(CONNECTION);
                    Ok::<_, Infallible>(response.map(|body| Paced { body, piece: Bytes::new(), moving }))
                }
            }
        });
        let socket = TokioIo::new(Stream::plain(socket, self.request_timeout));
        let mut serving = std::pin::pin!(self.http2.serve_connection(socket, service));
        let (mut tick, mut closing) = (interval(self.header_timeout / 2), false);
        loop {
            let close = tokio::select! {
                ended = &mut serving => {
                    if let Err(error) = ended {
                        debug!(%error, "A connection broke");
                    }
                    return;
                }
                () = open.ends(), if !closing => true,
                _ = tick.tick() => match connection.idle_for() {
                    None if streams.is_stuck(self.request_timeout + SLACK) => return,
                    None => false,
                    Some(_) if closing => return,
                    Some(idle) => idle >= self.header_timeout,
                }
            };
            if close {
                closing = true;
                serving.as_mut().graceful_shutdown();
                tick = interval(GOODBYE);
                tick.reset();
            }
        }
    }
}

/// The requests of a connection, by number, and when each last moved.
#[derive(Default)]
struct Streams(Mutex<(u64, HashMap<u64, Instant>)>);

/// One of them, until its answer is sent or given up.
struct Moving {
    streams: Arc<Streams>,
    number: u64,
    _active: Active,
}

impl Streams {
    fn begin(self: &Arc<Self>, active: Active) -> Moving {
        let mut all = self.all();
        all.0 += 1;
        let number = all.0;
        all.1.insert(number, Instant::now());
        Moving { streams: Arc::clone(self), number, _active: active }
    }

    fn is_stuck(&self, patience: Duration) -> bool {
        self.all().1.values().any(|moved| moved.elapsed() > patience)
    }

    fn all(&self) -> MutexGuard<'_, (u64, HashMap<u64, Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moving {
    fn moved(&self) {
        self.streams.all().1.insert(self.number, Instant::now());
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.streams.all().1.remove(&self.number);
    }
}

/// An answer's body in pieces. The next one is asked for when the caller has room for it, and that is how it is known
/// that they read.
struct Paced<B> {
    body: B,
    piece: Bytes,
    moving: Moving,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.moving.moved();
        if self.piece.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.piece = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let length = self.piece.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, piece) = (self.body.size_hint(), self.piece.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + piece);
        }
        hint.set_lower(inner.lower() + piece);
        hint
    }
}
