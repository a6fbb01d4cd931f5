//! A load balancer in front of gateways. It asks each whether it is ready, and repeats only what cannot have been applied.
//!
//! A pull must not be sent twice: its token may be used up by the first, and no answer does not mean that nothing happened.
//! So a request goes to another replica only while not one byte of it has been written: when the replica refuses the
//! connection, or has closed the idle one that was to be used again (RFC 9110, 9.2.2). From the first byte on there is no second
//! attempt, and without an answer the client gets 502.

use crate::gateway::{Gateway, Reply};
use crate::raw_http::RawHttp;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use warp::Filter;
use warp::http::{HeaderMap, Method, Response};
use warp::hyper::body::Bytes;
use warp::path::FullPath;

/// How often a replica is asked whether it is ready.
const INTERVAL: Duration = Duration::from_millis(25);

/// A running balancer; it ends with its handle.
pub struct Balancer {
    url: String,
    replicas: Arc<Vec<Replica>>,
    _tasks: JoinSet<()>,
}

impl Balancer {
    /// Starts in front of these gateways, none of which is thought to be ready yet.
    pub fn start(gateways: &[&Gateway]) -> Result<Self> {
        let replicas: Result<Vec<Replica>> = gateways.iter().map(|gateway| Replica::of(gateway)).collect();
        let replicas = Arc::new(replicas?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let mut tasks = JoinSet::new();
        for index in 0..replicas.len() {
            let replicas = Arc::clone(&replicas);
            tasks.spawn(async move { replicas[index].watch().await });
        }
        let (next, shared) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&replicas));
        let routes = warp::method()
            .and(warp::path::full())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(move |method, path: FullPath, query: String, headers, body: Bytes| {
                let (replicas, turn) = (Arc::clone(&shared), next.fetch_add(1, Ordering::Relaxed));
                async move {
                    let request = request(&method, path.as_str(), &query, &headers, &body);
                    answer(forward(&replicas, turn, &request).await)
                }
            });
        tasks.spawn(warp::serve(routes).incoming(listener).run());
        Ok(Self { url, replicas, _tasks: tasks })
    }

    /// Where clients send their requests.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns when it takes a replica for ready, or for not ready.
    pub async fn takes_for_ready(&self, replica: usize, ready: bool) {
        let mut state = self.replicas[replica].ready.subscribe();
        state.wait_for(|now| *now == ready).await.expect("the sender lives as long as the balancer");
    }

    /// Puts a gateway in the place of one that is gone.
    pub fn replace(&self, replica: usize, gateway: &Gateway) -> Result<()> {
        let Replica { address, idle, .. } = Replica::of(gateway)?;
        *locked(&self.replicas[replica].idle) = locked(&idle).split_off(0);
        locked(&self.replicas[replica].address).clone_from(&locked(&address));
        Ok(())
    }
}

/// A gateway as the balancer sees it.
struct Replica {
    address: Mutex<String>,
    ready: watch::Sender<bool>,
    /// Connections that may be used again, the one that has waited longest first.
    idle: Mutex<VecDeque<RawHttp>>,
}

impl Replica {
    fn of(gateway: &Gateway) -> Result<Self> {
        let address = gateway.url().strip_prefix("http://").context("plain HTTP")?.to_owned();
        Ok(Self { address: Mutex::new(address), ready: watch::Sender::new(false), idle: Mutex::default() })
    }

    /// Asks whether it is ready, again and again.
    async fn watch(&self) {
        loop {
            let ready = matches!(self.ask().await, Ok(Some(reply)) if reply.status == 200);
            self.ready.send_if_modified(|known| std::mem::replace(known, ready) != ready);
            sleep(INTERVAL).await;
        }
    }

    async fn ask(&self) -> Result<Option<Reply>> {
        let mut connection = self.fresh().await?;
        connection.send(b"GET /readyz HTTP/1.1\r\nhost: balancer\r\nconnection: close\r\n\r\n").await?;
        connection.reply().await
    }

    async fn fresh(&self) -> Result<RawHttp> {
        let address = locked(&self.address).clone();
        RawHttp::to(&address).await
    }

    /// A connection on which nothing was sent yet, or everything answered.
    async fn connection(&self) -> Result<RawHttp> {
        loop {
            let Some(mut used) = locked(&self.idle).pop_front() else { return self.fresh().await };
            if used.is_open() {
                return Ok(used);
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request as it goes to a replica.
fn request(method: &Method, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path}");
    if !query.is_empty() {
        let _ = write!(head, "?{query}");
    }
    let _ = write!(head, " HTTP/1.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// The answer of a replica that is ready, the next one's turn first.
async fn forward(replicas: &[Replica], turn: usize, request: &[u8]) -> Result<Reply> {
    for offset in 0..replicas.len() {
        let replica = &replicas[(turn + offset) % replicas.len()];
        if !*replica.ready.borrow() {
            continue;
        }
        // nothing was sent, so another may be asked
        let Ok(mut connection) = replica.connection().await else { continue };
        connection.send(request).await?;
        let reply = connection.reply().await?.context("closed without an answer")?;
        if reply.header("connection") != "close" {
            locked(&replica.idle).push_back(connection);
        }
        return Ok(reply);
    }
    anyhow::bail!("no replica takes connections")
}

fn answer(reply: Result<Reply>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    match reply {
        Ok(reply) => {
            *response.status_mut() = reply.status;
            *response.headers_mut() = reply.headers;
            // the balancer's own connection to its client goes on
            response.headers_mut().remove("connection");
            *response.body_mut() = reply.bytes.into();
        }
        Err(error) => {
            *response.status_mut() = warp::http::StatusCode::BAD_GATEWAY;
            *response.body_mut() = format!("{error:#}").into();
        }
    }
    response
}
