//! Heads that are no HTTP/1.1, or too much of it: what hyper answers by itself, and what it lets through.

use crate::world::{World, refused};
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway::Reply;
use lpm_tests::raw_http::RawHttp;

const SECOND: &str = "GET /api/vaults HTTP/1.1\r\nHost: x\r\n\r\n";

/// The only answer to these bytes and a request behind them, after which the connection ends.
async fn only_answer(world: &World, case: &str, bytes: &[u8]) -> Result<Reply> {
    let mut connection = RawHttp::connect(&world.gateway).await?;
    connection.send(&[bytes, SECOND.as_bytes()].concat()).await?;
    let mut replies = connection.replies().await.with_context(|| case.to_owned())?;
    ensure!(replies.len() == 1, "{case}: {} answers", replies.len());
    Ok(replies.remove(0))
}

/// A request for the list of vaults, with a good token, in pieces to be changed.
fn good(world: &World) -> String {
    format!("GET /api/vaults HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", world.alice())
}

#[tokio::test]
async fn what_is_no_http_is_refused_in_json_and_ends_the_connection() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let good = good(&world);
    let line = |line: &str| good.replacen("GET /api/vaults HTTP/1.1", line, 1).into_bytes();
    let header = |header: &[u8]| {
        let (first, rest) = good.split_once("Host").unwrap_or_default();
        [first.as_bytes(), header, b"\r\nHost", rest.as_bytes()].concat()
    };
    let hello = [b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".as_slice(), &[7; 196]].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("noise", b"\x01\x02\x03\x04\r\n\r\n".to_vec()),
        ("prose", b"please give me the vault\r\n\r\n".to_vec()),
        ("JSON", b"{\"vaultId\":\"v\"}\r\n\r\n".to_vec()),
        ("NULs", vec![0; 100]),
        ("TLS", hello),
        ("HTTP/2", preface.to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec()),
        ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f".to_vec()),
        ("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /api/vaults\r\n".to_vec()),
        ("HTTP/0.9 by number", line("GET /api/vaults HTTP/0.9")),
        ("HTTP/1.2", line("GET /api/vaults HTTP/1.2")),
        ("HTTP/2.0 by number", line("GET /api/vaults HTTP/2.0")),
        ("HTTP/11", line("GET /api/vaults HTTP/11")),
        ("http/1.1", line("GET /api/vaults http/1.1")),
        ("no version", line("GET /api/vaults ")),
        ("no method", line("/api/vaults HTTP/1.1")),
        ("no target", line("GET HTTP/1.1")),
        ("two spaces", line("GET  /api/vaults HTTP/1.1")),
        ("a tab", line("GET\t/api/vaults HTTP/1.1")),
        ("a space within the target", line("GET /api/vaults x HTTP/1.1")),
        ("a space behind the version", line("GET /api/vaults HTTP/1.1 ")),
        ("a space in front", line(" GET /api/vaults HTTP/1.1")),
        ("brackets in the method", line("GE(T) /api/vaults HTTP/1.1")),
        ("no slash", line("GET api/vaults HTTP/1.1")),
        ("a control character in the target", line("GET /api/\u{7f}vaults HTTP/1.1")),
        ("a NUL in the target", line("GET /api/\0vaults HTTP/1.1")),
        (
            "a byte in the target that is no UTF-8",
            [b"GET /api/\xff HTTP/1.1\r\nHost: x\r\n\r\n".as_slice()].concat(),
        ),
        ("angle brackets in the target", line("GET /<api>/vaults HTTP/1.1")),
        ("bare CR", good.replace("\r\n", "\r").into_bytes()),
        ("a CR within a line", header(b"X: a\rb")),
        ("a folded header", header(b"X: a\r\n b")),
        ("a folded header with a tab", header(b"X: a\r\n\tb")),
        ("a first header that is folded", header(b" X: a")),
        ("a space before the colon", header(b"X : a")),
        ("a tab before the colon", header(b"X\t: a")),
        ("no colon", header(b"X")),
        ("no name", header(b": a")),
        ("a space within the name", header(b"X Y: a")),
        ("a NUL in the name", header(b"X\0: a")),
        ("a NUL in the value", header(b"X: a\0b")),
        ("a control character in the value", header(b"X: a\x1bb")),
        ("a name beyond ASCII", header(b"\xc3\xa9: a")),
    ];
    for (case, bytes) in cases {
        let reply = only_answer(&world, case, &bytes).await?;
        assert_eq!(refused(case, &reply, 400)?, "bad_request", "{case}");
        assert_eq!(reply.member("error"), "the request is not well-formed HTTP/1.1", "{case}");
        assert_eq!(reply.header("connection"), "close", "{case}");
    }
    let named =
        world.gateway.log().matches(r#"http.route="(malformed)" http.status=400 code="bad_request""#).count();
    assert_eq!(named, 43, "each is in the log");
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_in_json_and_ends_the_connection() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let start = "GET /api/vaults HTTP/1.1\r\nHost: x\r\n";
    let many: String = (0..101).map(|n| format!("X-{n}: a\r\n")).collect();
    for (case, head) in [
        ("a header of 1 MB", format!("{start}X: {}\r\n\r\n", "a".repeat(1_000_000))),
        ("a token of 1 MB", format!("{start}Authorization: Bearer {}\r\n\r\n", "a".repeat(1_000_000))),
        ("a name of 1 MB", format!("{start}{}: x\r\n\r\n", "a".repeat(1_000_000))),
        ("a header without end", format!("{start}X: {}", "a".repeat(1_000_000))),
        ("101 headers", format!("{start}{many}\r\n")),
        ("a target of 1 MB", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000))),
        ("a query of 1 MB", format!("GET /healthz?{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000))),
        ("a method of 1 MB", format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "A".repeat(1_000_000))),
        ("a body of 2^64 - 1 bytes", format!("{start}Content-Length: 18446744073709551615\r\n\r\n")),
    ] {
        let reply = only_answer(&world, case, head.as_bytes()).await?;
        assert_eq!(refused(case, &reply, 431)?, "head_too_large", "{case}");
        assert!(reply.bytes.len() < 1024, "{case} is repeated at length");
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_request_without_one_good_host_is_refused() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (case, hosts) in [
        ("none", ""),
        ("two", "Host: x\r\nHost: y\r\n"),
        ("the same twice", "Host: x\r\nHost: x\r\n"),
        ("a space", "Host: x y\r\n"),
        ("a list", "Host: x, y\r\n"),
        ("a path", "Host: x/y\r\n"),
        ("no port behind a colon and text", "Host: x:y:z\r\n"),
        ("bytes beyond ASCII", "Host: \u{e9}\r\n"),
    ] {
        let head = good(&world).replacen("Host: x\r\n", hosts, 1);
        let reply = only_answer(&world, case, head.as_bytes()).await?;
        assert_eq!(refused(case, &reply, 400)?, "bad_request", "{case}");
        assert!(reply.member("error").contains("`Host`"), "{case}: {}", reply.text());
    }
    for (case, head) in [
        ("HTTP/1.0 has none", good(&world).replacen("Host: x\r\n", "", 1).replacen("1.1", "1.0", 1)),
        ("an empty one", good(&world).replacen("Host: x", "Host:", 1)),
        ("a port", good(&world).replacen("Host: x", "Host: [::1]:8473", 1)),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(head.as_bytes()).await?;
        let reply = connection.reply().await?.context("no answer")?;
        assert!(reply.status.is_success(), "{case}: {}", reply.text());
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_target_that_is_no_path_is_refused() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for target in
        ["OPTIONS *", "GET *", "PRI *", "CONNECT vault.example:443", "GET vault.example:443", "GET x"]
    {
        let head = good(&world).replacen("GET /api/vaults", target, 1);
        let reply = only_answer(&world, target, head.as_bytes()).await?;
        assert_eq!(refused(target, &reply, 400)?, "bad_request", "{target}");
    }
    for (target, status) in [
        // a proxy's form, which every server must take
        ("GET http://x/api/vaults", 200),
        ("GET http://elsewhere.example/api/vaults", 200),
        ("GET http://x/nothing", 404),
        ("CONNECT /api/vaults", 405),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(good(&world).replacen("GET /api/vaults", target, 1).as_bytes()).await?;
        let reply = connection.reply().await?.context("no answer")?;
        assert_eq!(reply.status, status, "{target}: {}", reply.text());
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn an_offer_to_change_the_protocol_is_not_taken() -> Result<()> {
    let world = World::new().await?;
    for (case, headers) in [
        (
            "h2c",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        ),
        (
            "a web socket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        ),
        ("TLS", "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        let request = good(&world).replacen("Host", &format!("{headers}Host"), 1);
        // the second is read as HTTP/1.1, as the first was
        connection.send([request.as_bytes(), good(&world).as_bytes()].concat().as_slice()).await?;
        for _ in 0..2 {
            let reply = connection.reply().await?.context("no answer")?;
            assert_eq!((reply.status.as_u16(), reply.header("upgrade")), (200, String::new()), "{case}");
        }
    }
    Ok(())
}
