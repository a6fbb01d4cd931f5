//! A CONNECT proxy with names of its own, and TLS in front of a server that speaks none.

use crate::authority::Identity;
use anyhow::{Context, Result};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_openssl::SslStream;

/// Longest head of a request.
const HEAD: usize = 8 * 1024;

/// A proxy that knows some names, and notes what it is asked for.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Proxy {
    /// Tunnels to `names`, written as `host:port`; with credentials where there are some, as `Proxy-Authorization` has them.
    pub async fn start(names: HashMap<String, SocketAddr>, credentials: Option<&str>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (names, noted) = (Arc::new(names), Arc::clone(&asked));
        let credentials = credentials.map(|text| format!("proxy-authorization: {text}").to_lowercase());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // whoever does not get through is told so
                drop(tokio::spawn(tunnel(
                    stream,
                    Arc::clone(&names),
                    credentials.clone(),
                    Arc::clone(&noted),
                )));
            }
        });
        Ok(Self { address, asked, server })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first lines of all requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn tunnel(
    mut client: TcpStream,
    names: Arc<HashMap<String, SocketAddr>>,
    credentials: Option<String>,
    asked: Arc<Mutex<Vec<String>>>,
) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let line = head.lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
    let known = credentials.is_none_or(|wanted| head.lines().any(|line| line.to_lowercase() == wanted));
    let target = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let refusal = match target.and_then(|target| names.get(target)) {
        _ if !known => "407 Proxy Authentication Required",
        None => "502 Bad Gateway",
        Some(address) => {
            let mut server = TcpStream::connect(address).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            copy_bidirectional(&mut client, &mut server).await?;
            return Ok(());
        }
    };
    let answer = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    Ok(client.write_all(answer.as_bytes()).await?)
}

/// TLS in front of a server.
pub struct TlsFront {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl TlsFront {
    /// Shows `identity`, and hands on what comes to `backend`.
    pub async fn start(identity: &Identity, backend: SocketAddr) -> Result<Self> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        acceptor.set_certificate(&identity.certificate)?;
        acceptor.set_private_key(&identity.key)?;
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(hand_on(acceptor.clone(), stream, backend)));
            }
        });
        Ok(Self { address, server })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn hand_on(acceptor: SslAcceptor, stream: TcpStream, backend: SocketAddr) -> Result<()> {
    let mut client = SslStream::new(Ssl::new(acceptor.context())?, stream)?;
    Pin::new(&mut client).accept().await.context("no TLS")?;
    let mut server = TcpStream::connect(backend).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
