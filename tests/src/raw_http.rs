//! HTTP by hand: exact bytes over a TCP connection, and answers that are read strictly, each with a deadline.

use crate::gateway::{Gateway, Reply};
use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Beyond this the other side hangs.
pub const HANG: Duration = Duration::from_secs(20);

/// A connection to a gateway that speaks plain HTTP.
pub struct RawHttp {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawHttp {
    /// Connects.
    pub async fn connect(gateway: &Gateway) -> Result<Self> {
        Self::from_socket(gateway, TcpSocket::new_v4()?).await
    }

    /// Connects with a receive buffer that holds little of a large answer.
    pub async fn with_small_buffer(gateway: &Gateway) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(32 * 1024)?;
        Self::from_socket(gateway, socket).await
    }

    /// Connects to this `address:port`.
    pub async fn to(address: &str) -> Result<Self> {
        Self::open(address, TcpSocket::new_v4()?).await
    }

    async fn from_socket(gateway: &Gateway, socket: TcpSocket) -> Result<Self> {
        Self::open(gateway.url().strip_prefix("http://").context("plain HTTP")?, socket).await
    }

    async fn open(address: &str, socket: TcpSocket) -> Result<Self> {
        let address = address.parse()?;
        let stream = timeout(HANG, socket.connect(address)).await.context("nobody accepts")??;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Whether the other side has neither closed nor said anything that nobody asked for.
    pub fn is_open(&mut self) -> bool {
        let nothing = self.stream.try_read(&mut [0; 1]);
        self.received.is_empty() && nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(HANG, self.stream.write_all(bytes)).await.context("nobody reads what is sent")??;
        Ok(())
    }

    /// Closes the sending half.
    pub async fn say_no_more(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    /// What has arrived, at most `most` bytes of it; nothing at the end of the connection.
    pub async fn bytes(&mut self, most: usize) -> Result<Vec<u8>> {
        if self.received.is_empty() {
            self.receive(most).await?;
        }
        let rest = self.received.split_off(most.min(self.received.len()));
        Ok(std::mem::replace(&mut self.received, rest))
    }

    /// The next answer; `None` when the connection ends in order before another one begins.
    pub async fn reply(&mut self) -> Result<Option<Reply>> {
        self.read(true).await
    }

    /// The next answer, to a HEAD: its length is announced, its body does not come.
    pub async fn reply_to_head(&mut self) -> Result<Option<Reply>> {
        self.read(false).await
    }

    /// All answers until the connection ends in order.
    pub async fn replies(mut self) -> Result<Vec<Reply>> {
        let mut replies = Vec::new();
        while let Some(reply) = self.reply().await? {
            replies.push(reply);
        }
        Ok(replies)
    }

    async fn read(&mut self, with_body: bool) -> Result<Option<Reply>> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if self.receive(64 * 1024).await? == 0 {
                ensure!(self.received.is_empty(), "the connection ended within a head: {}", self.shown());
                return Ok(None);
            }
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let (status, headers) = parse_head(&head)?;
        let length = match headers.get("content-length") {
            Some(length) => length.to_str()?.parse()?,
            None if status.is_informational() => 0,
            None => bail!("an answer without length: {status}"),
        };
        let length: usize = if with_body { length } else { 0 };
        while self.received.len() < length {
            ensure!(self.receive(64 * 1024).await? > 0, "the connection ended within a body");
        }
        Ok(Some(Reply { status, headers, bytes: self.received.drain(..length).collect() }))
    }

    async fn receive(&mut self, most: usize) -> Result<usize> {
        let mut buffer = vec![0; most];
        let read =
            timeout(HANG, self.stream.read(&mut buffer)).await.context("neither answer nor end came")??;
        self.received.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

fn parse_head(head: &[u8]) -> Result<(StatusCode, HeaderMap)> {
    let text = std::str::from_utf8(head).context("a head that is not text")?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let line = lines.next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3)).with_context(|| format!("no status line: {line}"))?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").with_context(|| format!("no header: {line}"))?;
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok((status.parse()?, headers))
}
