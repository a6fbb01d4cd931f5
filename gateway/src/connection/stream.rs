//! The bytes of a connection, between hyper and the socket.
//!
//! hyper answers by itself what it cannot parse, with a status and nothing else, waits without end for a caller
//! who does not read, and closes a socket that still holds unread bytes, which resets it and takes the answer away
//! from a caller in the middle of sending. Here its own answers are held back, writing has a limit, and the end
//! of the connection is left to [`Stream::end`].

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is read of a request behind its refusal.
const LINGER: usize = 32 * 1024 * 1024;

/// A stream as hyper sees it.
pub(super) struct Stream<I> {
    inner: I,
    /// How long a write may wait for the caller to read.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    at_end: bool,
    /// Nothing but the limit is ours: HTTP/2 says everything in frames.
    plain: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Stream<I> {
    pub(super) fn new(inner: I, patience: Duration) -> Self {
        Self { inner, patience, waiting: None, at_end: false, plain: false }
    }

    /// With the limit on writing, and as it is otherwise.
    pub(super) fn plain(inner: I, patience: Duration) -> Self {
        Self { plain: true, ..Self::new(inner, patience) }
    }

    /// Says the last words, closes, and reads on until the caller has closed too or has sent too much.
    pub(super) async fn end(&mut self, last_words: Option<&[u8]>, linger: bool) -> io::Result<()> {
        if let Some(words) = last_words {
            self.inner.write_all(words).await?;
        }
        self.inner.shutdown().await?;
        if !linger || self.at_end {
            return Ok(());
        }
        let (mut unread, mut read) = (vec![0; 16 * 1024], 0);
        while read < LINGER {
            read += match self.read(&mut unread).await? {
                0 => return Ok(()),
                more => more,
            };
        }
        Ok(())
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Stream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        self.at_end |= read.is_ok() && before > 0 && buffer.remaining() == before;
        Poll::Ready(read)
    }
}

impl<I> Stream<I> {
    /// The outcome of a write, which may be pending only so long.
    fn in_time(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Stream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.plain && is_hypers_own(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = slices {
            return self.poll_write(cx, bytes);
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.plain { Pin::new(&mut self.inner).poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}

/// Is this hyper's own answer to a head that it cannot parse? It comes alone, because hyper reads the next head once
/// the last answer is flushed, and it is the only head of a refusal without our request id. No piece of a body looks
/// like a head: in JSON a line break is escaped.
fn is_hypers_own(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.")
        && bytes.get(8..10) == Some(b" 4")
        && bytes.ends_with(b"\r\n\r\n")
        && !bytes.windows(12).any(|window| window == b"x-request-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Tue, 24 Nov 2026 03:00:00 GMT\r\n\r\n";
    const OURS: &str =
        "HTTP/1.1 405 Method Not Allowed\r\nallow: GET\r\nx-request-id: 019a\r\ncontent-length: 66\r\n\r\n";

    #[test]
    fn only_an_answer_of_hypers_own_is_held_back() {
        for (name, bytes, expected) in [
            ("alone", OWN.to_owned(), true),
            ("in HTTP/1.0", OWN.replace("1.1", "1.0"), true),
            ("another refusal", OWN.replace("400", "431"), true),
            ("a head of ours", OURS.to_owned(), false),
            ("a head of ours and a body", format!(r#"{OURS}{{"error":"x"}}"#), false),
            ("a body", r#"{"vars":{"A":"HTTP/1.1 400 \r\n\r\n"}}"#.to_owned(), false),
            ("a piece of it", r#"HTTP/1.1 400 \r\n\r\n"}}"#.to_owned(), false),
            ("go on", "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), false),
            ("little", "HTTP/1.".to_owned(), false),
            ("nothing", String::new(), false),
        ] {
            assert_eq!(is_hypers_own(bytes.as_bytes()), expected, "{name}");
        }
    }

    #[tokio::test]
    async fn who_does_not_read_is_waited_for_only_so_long() {
        let (near, _far) = tokio::io::duplex(16);
        let mut stream = Stream::new(near, Duration::from_millis(10));
        stream.write_all(&[7; 16]).await.expect("there is room");
        let error = stream.write_all(b"more").await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_is_sent_behind_a_refusal_is_read_before_the_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let caller = tokio::spawn(async move {
            far.write_all(&[7; 4096]).await.expect("somebody reads");
            let mut answer = String::new();
            far.shutdown().await.expect("open");
            far.read_to_string(&mut answer).await.expect("text");
            answer
        });
        Stream::new(near, Duration::from_secs(30)).end(Some(b"no"), true).await.expect("open");
        assert_eq!(caller.await.expect("no panic"), "no");
    }
}
