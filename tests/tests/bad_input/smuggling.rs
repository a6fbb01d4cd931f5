//! Requests that two readers could cut differently. Behind each stands a push to a vault of its own: where
//! the first is malformed, nothing of the second may be executed.
//!
//! Not everything is refused. hyper answers a request with both `Content-Length` and `Transfer-Encoding` by the
//! latter and closes the connection, as RFC 9112, 6.3 allows, and it removes the former before anything of ours sees
//! it; it ends lines at a bare line feed too, as 2.2 allows. What matters holds for these as well: the bytes that
//! another reader might take for a second request are never executed.

use crate::world::{World, refused};
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway::Reply;
use lpm_tests::raw_http::RawHttp;
use uuid::Uuid;

/// A push to `vault`, as it stands on the wire.
fn push(world: &World, vault: &str) -> Result<String> {
    let (body, token) = (world.fresh_push()?.to_string(), world.alice());
    Ok(format!(
        "POST /api/vaults/{vault}/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// A request whose body is framed by these headers.
fn first(world: &World, framing: &str) -> String {
    let token = world.alice();
    format!(
        "POST /api/vault/oidc/repin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{framing}\r\n\r\n"
    )
}

const BODY: &str = r#"{"vaultId":"v","subject":"s"}"#;

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// The answers to these bytes and a push behind them, and whether the push was executed.
async fn answers(world: &World, case: &str, bytes: &str) -> Result<(Vec<Reply>, bool)> {
    let vault = Uuid::new_v4().to_string();
    let mut connection = RawHttp::connect(&world.gateway).await?;
    connection.send(format!("{bytes}{}", push(world, &vault)?).as_bytes()).await?;
    connection.say_no_more().await?;
    let replies = connection.replies().await.with_context(|| case.to_owned())?;
    Ok((replies, world.knows(&vault).await?))
}

#[tokio::test]
async fn behind_a_whole_request_the_next_one_is_executed() -> Result<()> {
    let world = World::new().await?;
    for (case, bytes) in [
        ("a length", first(&world, &format!("Content-Length: {}", BODY.len())) + BODY),
        ("a length with spaces around", first(&world, &format!("Content-Length:  {} ", BODY.len())) + BODY),
        (
            "the same length twice",
            first(&world, &format!("Content-Length: {0}\r\nContent-Length: {0}", BODY.len())) + BODY,
        ),
        ("a length with a zero in front", first(&world, &format!("Content-Length: 0{}", BODY.len())) + BODY),
        ("chunks", first(&world, "Transfer-Encoding: chunked") + &chunked(BODY)),
        ("chunks in other letters", first(&world, "Transfer-Encoding: CHUNKED") + &chunked(BODY)),
        (
            "a chunk with an extension",
            first(&world, "Transfer-Encoding: chunked") + &chunked(BODY).replacen("\r\n", ";a=\"b\"\r\n", 1),
        ),
        (
            "a trailer",
            first(&world, "Transfer-Encoding: chunked")
                + &chunked(BODY).replace("0\r\n\r\n", "0\r\nContent-Length: 5\r\n\r\n"),
        ),
        ("a body that is no JSON", first(&world, "Content-Length: 2") + "{]"),
    ] {
        let (replies, executed) = answers(&world, case, &bytes).await?;
        ensure!(replies.len() == 2 && executed, "{case}: {} answers", replies.len());
        ensure!(
            replies[0].status.is_client_error() && replies[1].status == 201,
            "{case}: {}",
            replies[1].text()
        );
    }
    Ok(())
}

#[tokio::test]
async fn behind_a_malformed_length_nothing_is_executed() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let length = BODY.len();
    for (case, framing) in [
        ("two that differ", "Content-Length: 4\r\nContent-Length: 29".to_owned()),
        ("two that differ, the right one first", "Content-Length: 29\r\nContent-Length: 4".to_owned()),
        ("a list", format!("Content-Length: {length}, {length}")),
        ("a list of two", format!("Content-Length: {length}, 4")),
        ("a plus sign", format!("Content-Length: +{length}")),
        ("a minus sign", "Content-Length: -1".to_owned()),
        ("hexadecimal", "Content-Length: 0x1d".to_owned()),
        ("a fraction", format!("Content-Length: {length}.0")),
        ("an exponent", "Content-Length: 1e1".to_owned()),
        ("a space within", "Content-Length: 2 9".to_owned()),
        ("an underscore", "Content-Length: 2_9".to_owned()),
        ("quotes", format!("Content-Length: \"{length}\"")),
        ("nothing", "Content-Length:".to_owned()),
        ("words", "Content-Length: twenty-nine".to_owned()),
        ("more than 2^64", "Content-Length: 99999999999999999999".to_owned()),
        ("a space before the colon", format!("Content-Length : {length}")),
        ("a vertical tab", format!("Content-Length: \u{b}{length}")),
        ("other digits", "Content-Length: \u{662}\u{669}".to_owned()),
    ] {
        let (replies, executed) = answers(&world, case, &(first(&world, &framing) + BODY)).await?;
        ensure!(replies.len() == 1 && !executed, "{case}: {} answers, executed: {executed}", replies.len());
        assert_eq!(refused(case, &replies[0], 400)?, "bad_request", "{case}");
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn behind_a_transfer_encoding_other_than_chunked_nothing_is_executed() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for coding in [
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, gzip",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked;x=1",
        "\"chunked\"",
        "'chunked'",
        "chunked,",
        ",chunked",
        "chun ked",
        "\u{b}chunked",
        "chunked\u{b}",
        "\u{c}chunked",
        "chunked\0",
        "",
        "chunke\u{e9}",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity\r\nTransfer-Encoding: chunked",
        "x\r\nTransfer-Encoding: chunked",
    ] {
        let case = format!("{coding:?}");
        let framing = format!("Transfer-Encoding: {coding}");
        let (replies, executed) = answers(&world, &case, &(first(&world, &framing) + &chunked(BODY))).await?;
        ensure!(replies.len() == 1 && !executed, "{case}: {} answers, executed: {executed}", replies.len());
        assert_eq!(refused(&case, &replies[0], 400)?, "bad_request", "{case}");
    }
    for (case, framing) in [
        ("a space before the colon", "Transfer-Encoding : chunked"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked"),
        ("a space in front", " Transfer-Encoding: chunked"),
        ("a folded value", "Transfer-Encoding:\r\n chunked"),
        ("a name with a NUL", "Transfer-Encoding\0: chunked"),
        ("a bare CR", "X: x\rTransfer-Encoding: chunked"),
    ] {
        let (replies, executed) = answers(&world, case, &(first(&world, framing) + &chunked(BODY))).await?;
        ensure!(replies.len() == 1 && !executed, "{case}: {} answers, executed: {executed}", replies.len());
        assert_eq!(refused(case, &replies[0], 400)?, "bad_request", "{case}");
    }
    // HTTP/1.0 has no transfer codings
    let old = first(&world, "Transfer-Encoding: chunked").replacen("HTTP/1.1", "HTTP/1.0", 1);
    let (replies, executed) = answers(&world, "HTTP/1.0", &(old + &chunked(BODY))).await?;
    ensure!(replies.len() == 1 && !executed, "HTTP/1.0: {} answers, executed: {executed}", replies.len());
    refused("HTTP/1.0", &replies[0], 400)?;
    world.has_survived(&before).await
}

#[tokio::test]
async fn behind_a_malformed_chunk_nothing_is_executed() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    let end = format!("{BODY}\r\n0\r\n\r\n");
    for (case, body) in [
        ("a negative size", format!("-1d\r\n{end}")),
        ("a plus sign", format!("+1d\r\n{end}")),
        ("0x", format!("0x1d\r\n{end}")),
        ("no size", format!("\r\n{end}")),
        ("a size of more than 64 bits", format!("1000000000000001d\r\n{end}")),
        ("a size of 100 digits", format!("{}1d\r\n{end}", "f".repeat(98))),
        ("a space in front", format!(" 1d\r\n{end}")),
        ("a letter that is no digit", format!("1g\r\n{end}")),
        ("line feeds only", format!("1d\n{BODY}\n0\n\n")),
        ("a carriage return only", format!("1d\r{end}")),
        ("a line feed in an extension", format!("1d;a\nb\r\n{end}")),
        ("an extension of 20 KiB", format!("1d;{}\r\n{end}", "a".repeat(20 * 1024))),
        ("a size too small", format!("1c\r\n{end}")),
        ("a size too large", format!("1e\r\n{end}")),
        ("no line break behind the chunk", format!("1d\r\n{BODY}0\r\n\r\n")),
        ("a line feed behind the chunk", format!("1d\r\n{BODY}\n0\r\n\r\n")),
        ("trailers of 100 KiB", format!("1d\r\n{BODY}\r\n0\r\nX: {}\r\n\r\n", "a".repeat(100 * 1024))),
    ] {
        let request = first(&world, "Transfer-Encoding: chunked") + &body;
        let (replies, executed) = answers(&world, case, &request).await?;
        ensure!(replies.len() == 1 && !executed, "{case}: {} answers, executed: {executed}", replies.len());
        assert_eq!(refused(case, &replies[0], 400)?, "bad_request", "{case}");
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn with_both_framings_what_another_reader_would_take_for_a_request_is_not_executed() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for length_first in [true, false] {
        for (case, length, body) in [
            // whoever goes by the length sees one request; by the chunks, the push stands behind an empty body
            ("CL.TE", None, "0\r\n\r\n".to_owned()),
            // whoever goes by the length sees the push behind these bytes; by the chunks it is behind them too
            ("TE.CL", Some(4), chunked(BODY)),
        ] {
            let vault = Uuid::new_v4().to_string();
            let second = push(&world, &vault)?;
            let length = length.unwrap_or(body.len() + second.len());
            let (length, coding) = (format!("Content-Length: {length}"), "Transfer-Encoding: chunked");
            let framing =
                if length_first { format!("{length}\r\n{coding}") } else { format!("{coding}\r\n{length}") };
            let mut connection = RawHttp::connect(&world.gateway).await?;
            connection.send(format!("{}{body}{second}", first(&world, &framing)).as_bytes()).await?;
            let replies = connection.replies().await.with_context(|| case.to_owned())?;
            ensure!(replies.len() == 1, "{case}: {} answers", replies.len());
            ensure!(replies[0].status.is_client_error(), "{case}: {}", replies[0].text());
            assert_eq!(replies[0].header("connection"), "close", "{case}");
            ensure!(!world.knows(&vault).await?, "{case}: the push was executed");
        }
    }
    world.has_survived(&before).await
}

/// A body in which a request stands is a body, wherever the request is cut.
#[tokio::test]
async fn a_request_within_a_body_is_not_executed() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for path in ["/api/vault/oidc/repin", "/api/vaults", "/nothing", "/healthz"] {
        for method in ["POST", "GET", "DELETE"] {
            let vault = Uuid::new_v4().to_string();
            let inner = push(&world, &vault)?;
            let token = world.alice();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
                inner.len()
            );
            for cut in [0, 1, inner.len() / 2] {
                let mut connection = RawHttp::connect(&world.gateway).await?;
                connection.send(format!("{head}{}", &inner[..cut]).as_bytes()).await?;
                connection.send(&inner.as_bytes()[cut..]).await?;
                connection.say_no_more().await?;
                let replies = connection.replies().await?;
                ensure!(replies.len() == 1, "{method} {path}: {} answers", replies.len());
                ensure!(!world.knows(&vault).await?, "{method} {path}: the body was executed");
            }
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_bare_line_feed_ends_a_line_and_moves_no_boundary() -> Result<()> {
    let world = World::new().await?;
    let request = first(&world, &format!("Content-Length: {}", BODY.len())).replace("\r\n", "\n") + BODY;
    let (replies, executed) = answers(&world, "bare LF", &request).await?;
    ensure!(replies.len() == 2 && executed, "{} answers", replies.len());
    assert_eq!(refused("bare LF", &replies[0], 404)?, "subject_unknown");
    Ok(())
}

#[tokio::test]
async fn whoever_waits_to_be_asked_for_a_body_is_asked_only_where_it_is_read() -> Result<()> {
    let world = World::new().await?;
    let length = BODY.len();
    let asked = format!("Content-Length: {length}\r\nExpect: 100-continue");
    let mut connection = RawHttp::connect(&world.gateway).await?;
    connection.send(first(&world, &asked).as_bytes()).await?;
    assert_eq!(connection.reply().await?.context("no answer")?.status, 100);
    connection.send(BODY.as_bytes()).await?;
    refused("a good token", &connection.reply().await?.context("no answer")?, 404)?;

    let large = first(&world, "Content-Length: 1000000\r\nExpect: 100-continue");
    let encoded = first(&world, &format!("{asked}\r\nContent-Encoding: gzip"));
    let nobody = first(&world, &asked).replacen("Authorization", "X", 1);
    let elsewhere = first(&world, &asked).replacen("repin", "nothing", 1);
    for (case, head, status) in [
        ("too large", large, 413),
        ("in an encoding", encoded, 415),
        ("from nobody", nobody, 401),
        ("for nothing", elsewhere, 404),
    ] {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(head.as_bytes()).await?;
        refused(case, &connection.reply().await?.context("no answer")?, status)?;
    }
    Ok(())
}
