//! Requests that come slowly, in part or not at all, and callers who do not listen.

use crate::world::{World, refused, send};
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway;
use lpm_tests::raw_http::RawHttp;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;
use tokio::time::{interval, sleep};

/// A gateway that waits only a moment, which is still enough for honest requests.
fn impatient(options: gateway::Options) -> gateway::Options {
    options.argument("--header-timeout=1s").argument("--request-timeout=3s")
}

/// A push of a new version, head and body.
fn push(world: &World, mut body: Value) -> (String, String) {
    body["force"] = true.into();
    let body = body.to_string();
    let head = format!(
        "POST /api/vaults/{}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        world.vault,
        world.alice(),
        body.len()
    );
    (head, body)
}

fn pull(world: &World) -> String {
    let (vault, token) = (&world.vault, world.alice());
    format!("GET /api/vaults/{vault}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Sends byte by byte until somebody answers; the answer, and that it is the last.
async fn drip(mut connection: RawHttp, bytes: &[u8]) -> Result<lpm_tests::gateway::Reply> {
    let mut tick = interval(Duration::from_millis(50));
    let mut bytes = bytes.iter();
    let reply = loop {
        tokio::select! {
            biased;
            reply = connection.reply() => break reply?.context("no answer")?,
            _ = tick.tick() => {
                let byte = bytes.next().context("everything was sent before the answer came")?;
                connection.send(&[*byte]).await?;
            }
        }
    };
    ensure!(connection.reply().await?.is_none(), "the connection goes on");
    Ok(reply)
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_refused() -> Result<()> {
    let world = World::with_gateway(impatient).await?;
    let before = world.rows().await?;
    let head = format!("{}X-Long: {}", push(&world, world.fresh_push()?).0.trim_end(), "a".repeat(200));
    let reply = drip(RawHttp::connect(&world.gateway).await?, head.as_bytes()).await?;
    assert_eq!(refused("a dripping head", &reply, 408)?, "request_timeout");
    // the second head of a connection has no more time than the first
    let mut connection = RawHttp::connect(&world.gateway).await?;
    connection.send(pull(&world).as_bytes()).await?;
    assert_eq!(connection.reply().await?.context("no answer")?.status, 200);
    assert_eq!(refused("a second head", &drip(connection, head.as_bytes()).await?, 408)?, "request_timeout");
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_or_not_at_all_is_refused_and_stores_nothing() -> Result<()> {
    let world = World::with_gateway(impatient).await?;
    let before = world.rows().await?;
    let (head, body) = push(&world, world.fresh_push()?);
    let chunked = head.split("Content-Length").next().unwrap_or_default().to_owned()
        + "Transfer-Encoding: chunked\r\n\r\n";
    let mut waiting = Vec::new();
    for (case, head, sent) in [
        ("nothing of the body", &head, ""),
        ("all but the last byte", &head, &body[..body.len() - 1]),
        ("no chunk", &chunked, ""),
        ("half a size", &chunked, "1"),
        ("an enormous chunk", &chunked, "fffffffffffffff0\r\n{"),
        ("all but the last chunk", &chunked, &format!("{:x}\r\n{body}\r\n", body.len())),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(format!("{head}{sent}").as_bytes()).await?;
        waiting.push((case, connection));
    }
    let mut dripping = RawHttp::connect(&world.gateway).await?;
    dripping.send(head.as_bytes()).await?;
    assert_eq!(refused("a dripping body", &drip(dripping, body.as_bytes()).await?, 408)?, "request_timeout");
    for (case, connection) in waiting {
        let mut replies = connection.replies().await?;
        ensure!(replies.len() == 1, "{case}: {} answers", replies.len());
        assert_eq!(refused(case, &replies.remove(0), 408)?, "request_timeout", "{case}");
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_closed_without_a_word() -> Result<()> {
    let world = World::with_gateway(impatient).await?;
    ensure!(RawHttp::connect(&world.gateway).await?.replies().await?.is_empty(), "an answer to nothing");
    let mut connection = RawHttp::connect(&world.gateway).await?;
    connection.send(pull(&world).as_bytes()).await?;
    assert_eq!(connection.replies().await?.len(), 1, "an answer to nothing");
    Ok(())
}

#[tokio::test]
async fn whoever_has_said_all_still_gets_the_answer() -> Result<()> {
    let world = World::new().await?;
    let (head, body) = push(&world, world.fresh_push()?);
    for (case, request, status) in [
        ("a pull", pull(&world), 200),
        ("a push", format!("{head}{body}"), 200),
        ("a path that is none", pull(&world).replacen("sync", "x", 1), 404),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(request.as_bytes()).await?;
        connection.say_no_more().await?;
        let replies = connection.replies().await?;
        ensure!(replies.len() == 1 && replies[0].status == status, "{case}: {} answers", replies.len());
    }
    let before = world.rows().await?;
    for (case, request) in [
        ("half a head", pull(&world).replacen("\r\n\r\n", "\r\n", 1)),
        ("half a line", "GET /api".to_owned()),
        ("half a body", format!("{head}{}", &body[..body.len() / 2])),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(request.as_bytes()).await?;
        connection.say_no_more().await?;
        let mut replies = connection.replies().await?;
        ensure!(replies.len() == 1, "{case}: {} answers", replies.len());
        let reply = replies.remove(0);
        assert_eq!(refused(case, &reply, 400)?, "bad_request", "{case}");
        assert!(reply.member("error").contains("ended early"), "{case}: {}", reply.text());
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_push_that_is_broken_off_stores_nothing() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let (head, body) = push(&world, world.fresh_push()?);
    let cuts = [0, 1, body.len() / 2, body.len() - 1];
    for cut in cuts {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(format!("{head}{}", &body[..cut]).as_bytes()).await?;
        drop(connection);
    }
    let line = r#"http.route="POST /api/vaults/{vault}/sync" http.status=400 code="bad_request""#;
    world
        .until("every broken push is given up", |gateway| {
            Ok(gateway.log().matches(line).count() == cuts.len())
        })
        .await?;
    world.has_survived(&before).await
}

/// A vault of 10 MiB, which no socket buffers as a whole.
async fn large_vault(world: &World) -> Result<usize> {
    use lpm_core::envelope::{aead, vault};
    use lpm_core::secret::Secret;
    let key = Secret::new(aead::random::<32>()?.to_vec());
    let mut body = world.fresh_push()?;
    // less than 10 MiB by what surrounds the ciphertext
    body["encryptedBlob"] = vault::seal_blob(&key, &aead::random()?, &vec![b'x'; 7 * 1024 * 1024])?.into();
    body["force"] = true.into();
    let path = format!("/api/vaults/{}/sync", world.vault);
    let reply = world.gateway.post(&path, Some(world.alice()), &body).await?;
    ensure!(reply.status.is_success(), "{}", reply.text());
    Ok(body["encryptedBlob"].as_str().map_or(0, str::len))
}

#[tokio::test]
async fn whoever_does_not_read_the_answer_is_not_waited_for() -> Result<()> {
    let world = World::with_gateway(impatient).await?;
    large_vault(&world).await?;
    let open = world.gateway.open_files()?;
    let mut deaf = Vec::new();
    for _ in 0..4 {
        let mut connection = RawHttp::with_small_buffer(&world.gateway).await?;
        connection.send(pull(&world).as_bytes()).await?;
        // it has begun
        ensure!(connection.bytes(1).await? == b"H", "no answer");
        deaf.push(connection);
    }
    world.until("the deaf are dropped", |gateway| Ok(gateway.open_files()? <= open)).await?;
    let before = world.rows().await?;
    world.has_survived(&before).await
}

#[tokio::test]
async fn whoever_reads_slowly_gets_the_whole_answer() -> Result<()> {
    let world = World::with_gateway(impatient).await?;
    let size = large_vault(&world).await?;
    let mut connection = RawHttp::with_small_buffer(&world.gateway).await?;
    connection.send(pull(&world).replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1).as_bytes()).await?;
    let mut read = 0;
    loop {
        let bytes = connection.bytes(32 * 1024).await?;
        if bytes.is_empty() {
            break;
        }
        read += bytes.len();
        // the pace of the reader: all of it takes longer than a request may
        sleep(Duration::from_millis(12)).await;
    }
    ensure!(read > size, "{read} of {size} bytes");
    Ok(())
}

/// What follows is looked at when the answer has been sent as a whole.
#[tokio::test]
async fn noise_behind_a_request_spoils_no_answer_to_it() -> Result<()> {
    let world = World::new().await?;
    let size = large_vault(&world).await?;
    let before = world.rows().await?;
    for noise in ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /healthz HTTP/1.1\r\n\r\n"] {
        let mut connection = RawHttp::with_small_buffer(&world.gateway).await?;
        connection.send(format!("{}{noise}", pull(&world)).as_bytes()).await?;
        connection.say_no_more().await?;
        let replies = connection.replies().await.with_context(|| format!("{noise:?}"))?;
        ensure!(replies.len() == 2, "{noise:?}: {} answers", replies.len());
        assert_eq!(replies[0].member("encryptedBlob").len(), size, "{noise:?}");
        refused(noise, &replies[1], 400)?;
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn whoever_sends_much_to_the_wrong_place_gets_to_read_why() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let body = vec![b'x'; 8 * 1024 * 1024];
    let sync = format!("/api/vaults/{}/sync", world.vault);
    for (method, path, token, status) in [
        ("POST", "/nothing", None, 404),
        ("PUT", sync.as_str(), None, 405),
        ("POST", sync.as_str(), None, 401),
        ("POST", sync.as_str(), Some(world.alice()), 400),
        ("POST", "/api/vault/oidc", None, 413),
    ] {
        let request = world.gateway.request(Method::try_from(method)?, path).body(body.clone());
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        refused(&format!("{method} {path}"), &send(request).await?, status)?;
        // and whoever hears only once everything is said
        let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let mut connection = RawHttp::connect(&world.gateway).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: {}\r\n\r\n",
            body.len()
        );
        connection.send(&[head.as_bytes(), &body].concat()).await?;
        refused(&format!("{method} {path}"), &connection.reply().await?.context("no answer")?, status)?;
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn at_the_end_open_requests_go_on_and_idle_connections_do_not_hold_it_up() -> Result<()> {
    // it would close idle connections by itself much later only
    let mut world = World::with_gateway(|options| options.argument("--header-timeout=10m")).await?;
    let mut idle = RawHttp::connect(&world.gateway).await?;
    let mut used = RawHttp::connect(&world.gateway).await?;
    used.send(pull(&world).as_bytes()).await?;
    assert_eq!(used.reply().await?.context("no answer")?.status, 200);
    let (head, body) = push(&world, world.fresh_push()?);
    let mut open = RawHttp::connect(&world.gateway).await?;
    open.send(format!("{head}{}", &body[..10]).as_bytes()).await?;
    // its head has been read when another one's is
    let mut other = RawHttp::connect(&world.gateway).await?;
    other.send(pull(&world).as_bytes()).await?;
    other.reply().await?.context("no answer")?;
    world.gateway.signal(lpm_tests::process::Signal::TERM)?;
    ensure!(idle.reply().await?.is_none() && used.reply().await?.is_none(), "an answer to nothing");
    open.send(&body.as_bytes()[10..]).await?;
    assert_eq!(open.reply().await?.context("no answer")?.status, 200);
    ensure!(world.gateway.wait()?.success(), "it did not end in order");
    Ok(())
}
