//! The bytes of a connection, between hyper and the socket.
//!
//! hyper answers by itself what it cannot parse, with a status and nothing else, waits without end for a caller
//! who does not read, and closes a socket that still holds unread bytes, which resets it and takes the answer away
//! from a caller in the middle of sending. Here its own answers are held back, writing has a limit, and the end
//! of the connection is left to [`Stream::end`].

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is read of a request behind its refusal.
const LINGER: usize = 32 * 1024 * 1024;
/// More than hyper's own answers have.
const OWN_ANSWER: usize = 256;

/// A stream as hyper sees it. It offers no vectored writes: with them hyper keeps head and body in two queues, and
/// puts its answer to a pipelined request in front of a body that waits for its reader.
pub(super) struct Stream<I> {
    inner: I,
    /// How long a write may wait for the caller to read.
    patience: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    at_end: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Stream<I> {
    pub(super) fn new(inner: I, patience: Duration) -> Self {
        Self { inner, patience, waiting: None, at_end: false }
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

impl<I: AsyncWrite + Unpin> AsyncWrite for Stream<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let ours = &bytes[..own_answer(bytes).unwrap_or(bytes.len())];
        if ours.is_empty() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, ours);
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        waiting.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Where hyper's own answer begins, the last that it writes: a head without body and without our request id. No
/// body of ours ends like a head: in JSON a line break is escaped.
fn own_answer(bytes: &[u8]) -> Option<usize> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let skipped = bytes.len().saturating_sub(OWN_ANSWER);
    let last = &bytes[skipped..];
    let start =
        last.windows(10).rposition(|window| window.starts_with(b"HTTP/1.") && window.ends_with(b" 4"))?;
    let ours = last[start..].windows(12).any(|window| window == b"x-request-id");
    (!ours).then_some(skipped + start)
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
            ("alone", OWN.to_owned(), Some(0)),
            ("in HTTP/1.0", OWN.replace("1.1", "1.0"), Some(0)),
            ("behind a body", format!("{}{OWN}", r#"{"vars":{}}"#), Some(11)),
            ("behind a head of ours", format!("{OURS}{OWN}"), Some(OURS.len())),
            ("behind much", format!("{}{OWN}", "x".repeat(100_000)), Some(100_000)),
            ("a head of ours", OURS.to_owned(), None),
            ("a body", r#"{"vars":{"A":"HTTP/1.1 400 \r\n\r\n"}}"#.to_owned(), None),
            ("go on", "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), None),
            ("nothing", String::new(), None),
        ] {
            assert_eq!(own_answer(bytes.as_bytes()), expected, "{name}");
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
