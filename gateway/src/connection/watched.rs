//! A request's body that says how far it was read.

use http::Request;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

/// A body, with a [`Rest`] that knows of it.
pub(super) struct Watched {
    body: Incoming,
    at_end: Arc<AtomicBool>,
}

/// What is left of a body.
pub(super) struct Rest(Arc<AtomicBool>);

impl Rest {
    /// Has the body been read to its end?
    pub(super) fn is_read(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Watched {
    pub(super) fn of(request: Request<Incoming>) -> (Request<Self>, Rest) {
        let at_end = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        (request.map(|body| Self { body, at_end: Arc::clone(&at_end) }), Rest(at_end))
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let at_end = frame.is_none() || self.body.is_end_stream();
        self.at_end.store(at_end, Ordering::Relaxed);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
