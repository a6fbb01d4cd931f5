//! HTTP/2 has the guarantees of HTTP/1.1.

use crate::certificate::{Files, Pair, connect};
use crate::overload::eventually;
use crate::site::{PULL, Site, job};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use lpm_tests::gateway::Options;
use lpm_tests::process::Signal;
use lpm_tests::raw_http::HANG;
use openssl::ssl::SslVersion;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const HTTP2: &[u8] = b"\x02h2";

/// A gateway with TLS.
async fn site(options: impl FnOnce(Options) -> Options) -> Result<(Site, Files)> {
    let files = Files::new(&Pair::new("gateway")?)?;
    let site = Site::new(|given| options(files.options(given))).await?;
    Ok((site, files))
}

/// A connection, and how it ends.
struct Client {
    send: SendRequest<Bytes>,
    end: JoinHandle<Result<(), h2::Error>>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }
}

impl Client {
    async fn new(site: &Site) -> Result<Self> {
        Self::with(site, &Builder::new()).await
    }

    async fn with(site: &Site, builder: &Builder) -> Result<Self> {
        let stream = connect(&site.gateway, SslVersion::TLS1_3, HTTP2).await?;
        ensure!(stream.ssl().selected_alpn_protocol() == Some(b"h2"), "no HTTP/2");
        let (send, connection) = builder.handshake(stream).await?;
        Ok(Self { send, end: tokio::spawn(connection) })
    }

    async fn ready(&self) -> Result<SendRequest<Bytes>> {
        Ok(timeout(HANG, self.send.clone().ready()).await.context("no stream is free")??)
    }

    /// Sends a request as a whole and reads its answer to its end.
    async fn send(&self, request: Request<()>, body: &str) -> Result<Answer> {
        let (response, mut stream) = self.ready().await?.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        read(response).await
    }

    /// Waits until the connection has ended.
    async fn ended(self) -> Result<()> {
        drop(self.send);
        timeout(HANG, self.end).await.context("the connection goes on")?.map(drop).context("no panic")
    }
}

async fn read(response: h2::client::ResponseFuture) -> Result<Answer> {
    let response = timeout(HANG, response).await.context("no answer")??;
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = timeout(HANG, stream.data()).await.context("the answer does not end")? {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_slice(&body).context("no JSON")?,
    })
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("https://vault.example{path}"))
}

fn post(path: &str) -> http::request::Builder {
    Request::post(format!("https://vault.example{path}"))
}

#[tokio::test]
async fn a_pull_has_its_answer_its_id_and_its_audit_row() -> Result<()> {
    let (site, _files) = site(|options| options.argument("--public-url=https://vault.example")).await?;
    let client = Client::new(&site).await?;
    for _ in 0..3 {
        let answer = client.send(post(PULL).body(())?, &site.body(&job())?.to_string()).await?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let id = answer.headers.get("x-request-id").context("no X-Request-Id")?.to_str()?;
        let row = format!("select decision from lpm.audit_log where request_id = '{id}'");
        assert_eq!(site.escrowed.database.value(&row)?, "granted");
        assert!(!answer.headers.contains_key("connection"));
    }
    for (request, body, status, code) in [
        (get("/nothing").body(())?, "", 404, "not_found"),
        (get(PULL).body(())?, "", 405, "method_not_allowed"),
        (post(PULL).body(())?, "{", 400, "bad_request"),
        (get("/api/vaults/x/sync").body(())?, "", 401, "unauthorized"),
        (get("/healthz").header("host", "other.example").body(())?, "", 400, "bad_request"),
        (get("/healthz").header("host", "a").header("host", "b").body(())?, "", 400, "bad_request"),
    ] {
        let answer = client.send(request, body).await?;
        assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
        assert!(answer.headers.contains_key("x-request-id"));
        assert_eq!(
            answer.headers.get("content-type").map(http::HeaderValue::as_bytes),
            Some(b"application/json".as_slice())
        );
    }
    Ok(())
}

#[tokio::test]
async fn oversized_headers_are_refused_and_the_connection_goes_on() -> Result<()> {
    let (site, _files) = site(|options| options).await?;
    let client = Client::new(&site).await?;
    let many = (0..101).fold(get("/healthz"), |request, n| request.header(format!("x-{n}"), "x"));
    for (case, request) in [
        ("a long one", get("/healthz").header("x-long", "a".repeat(70 * 1024))),
        ("many", many),
        (
            "a long path and a long one",
            get(&format!("/{}", "a".repeat(40 * 1024))).header("x-long", "a".repeat(40 * 1024)),
        ),
    ] {
        let answer = client.send(request.body(())?, "").await.context(case)?;
        assert_eq!((answer.status, answer.code()), (431, "head_too_large"), "{case}");
    }
    let huge = get("/healthz").header("x-long", "a".repeat(1024 * 1024)).body(())?;
    let (response, _) = client.ready().await?.send_request(huge, true)?;
    if let Ok(response) = timeout(HANG, response).await.context("no answer")? {
        assert_eq!(response.status(), 431);
    }
    let fresh = Client::new(&site).await?;
    assert_eq!(fresh.send(get("/healthz").body(())?, "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_come_is_refused_and_others_are_answered_meanwhile() -> Result<()> {
    let (site, _files) = site(|options| options.argument("--request-timeout=2s")).await?;
    let client = Client::new(&site).await?;
    let body = site.body(&job())?.to_string();
    let (response, mut slow) = client
        .ready()
        .await?
        .send_request(post(PULL).header("content-length", body.len()).body(())?, false)?;
    slow.send_data(Bytes::copy_from_slice(&body.as_bytes()[..10]), false)?;
    assert_eq!(client.send(get("/healthz").body(())?, "").await?.status, 200);
    let answer = read(response).await?;
    assert_eq!((answer.status, answer.code()), (408, "request_timeout"));
    assert_eq!(client.send(get("/healthz").body(())?, "").await?.status, 200);
    assert_eq!(site.escrowed.database.value("select count(*) from lpm.oidc_token_use")?, "0");
    Ok(())
}

#[tokio::test]
async fn whoever_asks_nothing_or_nothing_more_is_not_waited_for() -> Result<()> {
    let (site, _files) = site(|options| options.argument("--header-timeout=1s")).await?;
    let (silent, used) = (Client::new(&site).await?, Client::new(&site).await?);
    assert_eq!(used.send(get("/healthz").body(())?, "").await?.status, 200);
    silent.ended().await?;
    used.ended().await?;
    for sent in ["", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
        let mut stream = connect(&site.gateway, SslVersion::TLS1_3, HTTP2).await?;
        stream.write_all(sent.as_bytes()).await?;
        let mut rest = Vec::new();
        let end = timeout(HANG, stream.read_to_end(&mut rest)).await;
        ensure!(end.is_ok(), "{sent:?}: the connection goes on");
    }
    Ok(())
}

#[tokio::test]
async fn whoever_makes_no_room_for_the_answer_is_not_waited_for() -> Result<()> {
    let (site, _files) =
        site(|options| options.argument("--request-timeout=1s").argument("--header-timeout=1s")).await?;
    let deaf = Client::with(&site, Builder::new().initial_window_size(0)).await?;
    let (response, _) = deaf.ready().await?.send_request(get("/openapi.json").body(())?, true)?;
    let response = timeout(HANG, response).await.context("no head")??;
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let end = timeout(HANG, body.data()).await.context("it is waited for")?;
    ensure!(end.is_none_or(|piece| piece.is_err()), "an answer where there is no room");
    deaf.ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_cost_their_connection_and_nobody_elses() -> Result<()> {
    let (site, _files) = site(|options| options).await?;
    let other = Client::new(&site).await?;
    assert_eq!(other.send(get("/healthz").body(())?, "").await?.status, 200);
    let open = site.gateway.open_files()?;
    for _ in 0..4 {
        let client = Client::new(&site).await?;
        let mut sent = 0;
        while sent < 20_000 {
            let Ok(mut ready) = client.ready().await else { break };
            let Ok((_, mut stream)) = ready.send_request(post(PULL).body(())?, false) else { break };
            stream.send_reset(h2::Reason::CANCEL);
            sent += 1;
        }
        assert_eq!(other.send(get("/healthz").body(())?, "").await?.status, 200, "after {sent} resets");
    }
    eventually("their connections are gone", async || Ok(site.gateway.open_files()? <= open)).await?;
    let pull = other.send(post(PULL).body(())?, &site.body(&job())?.to_string()).await?;
    assert_eq!(pull.status, 200, "{}", pull.body);
    Ok(())
}

#[tokio::test]
async fn at_the_end_open_requests_go_on_and_idle_connections_do_not_hold_it_up() -> Result<()> {
    let (mut site, _files) = site(|options| options.argument("--header-timeout=10m")).await?;
    let (idle, client) = (Client::new(&site).await?, Client::new(&site).await?);
    // one that will never answer a ping
    let _mute = connect(&site.gateway, SslVersion::TLS1_3, HTTP2).await?;
    let body = site.body(&job())?.to_string();
    let (response, mut stream) = client.ready().await?.send_request(post(PULL).body(())?, false)?;
    stream.send_data(Bytes::copy_from_slice(&body.as_bytes()[..10]), false)?;
    // its head has been read when another one's is
    assert_eq!(client.send(get("/healthz").body(())?, "").await?.status, 200);
    site.gateway.signal(Signal::TERM)?;
    idle.ended().await?;
    stream.send_data(Bytes::copy_from_slice(&body.as_bytes()[10..]), true)?;
    let answer = read(response).await?;
    assert_eq!(answer.status, 200, "{}", answer.body);
    client.ended().await?;
    ensure!(site.gateway.wait()?.success(), "it did not end in order");
    Ok(())
}
