//! Bodies that are not what a route reads: no JSON, no object, too large, too deep, in another encoding.

use crate::table::{Body, ROUTES, Route, with_body};
use crate::world::{World, refused, send};
use anyhow::{Context, Result};
use lpm_tests::raw_http::RawHttp;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use serde_json::Value;

/// `{"vaultId":"v"}`, compressed.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x4b\x2c\xcd\x29\xf1\x4c\x51\xb2\x52\x2a\x53\xaa\x05\x00\xb4\x45\xe9\x58\x0f\x00\x00\x00";

/// The valid body with `member`, text of JSON, as one member more.
fn with_member(valid: &Value, member: &[u8]) -> Vec<u8> {
    let mut body = valid.to_string().into_bytes();
    body.pop();
    [&body, b",".as_slice(), member, b"}"].concat()
}

/// The answer's status for a body that is wrong and this large.
fn status(route: &Body, body: &[u8]) -> u16 {
    if body.len() > route.limit { 413 } else { 400 }
}

#[tokio::test]
async fn one_good_request_to_each_route_succeeds() -> Result<()> {
    let world = World::new().await?;
    for route in &ROUTES {
        let mut request = world.ask(route).await?;
        if let Some(body) = &route.body {
            request = request.body((body.valid)(&world)?.to_string());
        }
        let reply = send(request).await?;
        assert!(route.serves(&reply), "{}: {} {}", route.name, reply.status, reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_json_is_refused_on_every_route_before_anything_else_is_looked_at() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        let valid = (body.valid)(&world)?;
        let text = valid.to_string();
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("spaces", b" \t\r\n ".to_vec()),
            ("prose", b"please".to_vec()),
            ("a form", b"vaultId=v&env=production".to_vec()),
            ("half of it", text.as_bytes()[..text.len() / 2].to_vec()),
            ("the end missing", text.as_bytes()[..text.len() - 1].to_vec()),
            ("something behind the end", format!("{text} x").into_bytes()),
            ("a second document", format!("{text}{text}").into_bytes()),
            ("a NUL behind the end", format!("{text}\0").into_bytes()),
            ("a byte order mark", [b"\xef\xbb\xbf", text.as_bytes()].concat()),
            ("UTF-16", utf16),
            ("compressed", GZIP.to_vec()),
            ("single quotes", text.replace('"', "'").into_bytes()),
            ("a trailing comma", with_member(&valid, b"")),
            ("a comment", with_member(&valid, b"/* x */ \"x\":1")),
            ("a name without quotes", with_member(&valid, b"x:1")),
            ("NaN", with_member(&valid, br#""x":NaN"#)),
            ("Infinity", with_member(&valid, br#""x":-Infinity"#)),
            ("a leading zero", with_member(&valid, br#""x":01"#)),
            ("a plus sign", with_member(&valid, br#""x":+1"#)),
            ("a number beyond double", with_member(&valid, br#""x":1e400"#)),
            ("a negative number beyond double", with_member(&valid, br#""x":[-1e400]"#)),
            (
                "a number of 131,072 digits",
                with_member(&valid, format!("\"x\":{}", "9".repeat(131_072)).as_bytes()),
            ),
            (
                "a number of 10,000 digits",
                with_member(&valid, format!("\"x\":{}", "9".repeat(10_000)).as_bytes()),
            ),
            ("U+0000", with_member(&valid, br#""x":"\u0000""#)),
            ("U+0000 in a name", with_member(&valid, br#""\u0000":1"#)),
            ("U+0000 deep inside", with_member(&valid, br#""x":[{"y":["a\u0000"]}]"#)),
            ("a raw NUL", with_member(&valid, b"\"x\":\"\0\"")),
            ("a raw line break in a string", with_member(&valid, b"\"x\":\"a\nb\"")),
            ("an unknown escape", with_member(&valid, br#""x":"\x41""#)),
            ("a lone high surrogate", with_member(&valid, br#""x":"\ud800""#)),
            ("a lone low surrogate", with_member(&valid, br#""x":"\udc00""#)),
            ("surrogates the wrong way round", with_member(&valid, br#""x":"\udc00\ud800""#)),
            ("a lone surrogate in a name", with_member(&valid, br#""\ud800":1"#)),
            ("invalid UTF-8", with_member(&valid, b"\"x\":\"\xff\"")),
            ("invalid UTF-8 in a name", with_member(&valid, b"\"\xff\":1")),
            ("an overlong slash", with_member(&valid, b"\"x\":\"\xc0\xaf\"")),
            ("a surrogate in UTF-8", with_member(&valid, b"\"x\":\"\xed\xa0\x80\"")),
            ("depth 65", with_member(&valid, nested(64).as_bytes())),
            ("depth 10,000", with_member(&valid, nested(10_000).as_bytes())),
            ("depth 100,000", with_member(&valid, nested(100_000).as_bytes())),
            ("100,000 open brackets", "[".repeat(100_000).into_bytes()),
        ];
        for (name, bytes) in cases {
            // an object without members has no quotes
            if bytes == text.as_bytes() {
                continue;
            }
            let (case, status) = (format!("{} {name}", route.name), status(body, &bytes));
            let reply = world.post(route, bytes).await?;
            let code = refused(&case, &reply, status)?;
            let expected = if status == 413 { "body_too_large" } else { "bad_request" };
            assert_eq!(code, expected, "{case}: {}", reply.text());
        }
    }
    world.has_survived(&before).await
}

/// A member with this many lists in each other.
fn nested(depth: usize) -> String {
    format!(r#""x":{}1{}"#, "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn json_of_another_type_is_refused_on_every_route() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        let valid = (body.valid)(&world)?;
        // serde reads a list as the members of a struct in their order, unless it is kept from it
        let in_order: Vec<&Value> =
            body.required.iter().chain(body.optional).map(|&name| &valid[name]).collect();
        for (name, text) in [
            ("null", "null".to_owned()),
            ("true", "true".to_owned()),
            ("a number", "1".to_owned()),
            ("a string", r#""x""#.to_owned()),
            ("the document as a string", Value::from(valid.to_string()).to_string()),
            ("a list", "[]".to_owned()),
            ("a list of the document", Value::from(vec![valid.clone()]).to_string()),
            ("a list of the values", serde_json::to_string(&in_order)?),
            ("a list of strings", r#"["a","b","c","d","e","f","g"]"#.to_owned()),
        ] {
            let case = format!("{} {name}", route.name);
            let reply = world.post(route, text).await?;
            assert_eq!(refused(&case, &reply, 400)?, "bad_request", "{case}");
            assert_eq!(reply.member("error"), "the request's body must be a JSON object", "{case}");
        }
    }
    world.has_survived(&before).await
}

#[tokio::test]
async fn a_body_beyond_its_routes_limit_is_refused_announced_or_not() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        let large = vec![b' '; body.limit + 1];
        let announced = world.post(route, large.clone()).await?;
        assert_eq!(refused(route.name, &announced, 413)?, "body_too_large");
        let chunked = raw(&world, route, "Transfer-Encoding: chunked").await?;
        let chunks = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
        let reply = answer(chunked, &chunks).await?;
        assert_eq!(refused(route.name, &reply, 413)?, "body_too_large", "{} in chunks", route.name);
        // as large as allowed, and no JSON
        let fits = world.post(route, large[1..].to_vec()).await?;
        assert_eq!(refused(route.name, &fits, 400)?, "bad_request");
        // a terabyte is refused by its announcement, before a byte of it is sent
        let terabyte = raw(&world, route, "Content-Length: 1099511627776").await?;
        let reply = answer(terabyte, b"").await?;
        assert_eq!(refused(route.name, &reply, 413)?, "body_too_large", "{} of a terabyte", route.name);
    }
    world.has_survived(&before).await
}

/// A connection on which a head with a good identity has been sent.
async fn raw(world: &World, route: &Route, header: &str) -> Result<RawHttp> {
    let mut connection = RawHttp::connect(&world.gateway).await?;
    let bearer =
        world.bearer(route).await?.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
    let (method, target) = (route.method(), world.target(route));
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{bearer}{header}\r\n\r\n");
    connection.send(head.as_bytes()).await?;
    Ok(connection)
}

async fn answer(mut connection: RawHttp, bytes: &[u8]) -> Result<lpm_tests::gateway::Reply> {
    connection.send(bytes).await?;
    connection.reply().await?.context("no answer")
}

#[tokio::test]
async fn a_body_in_an_encoding_is_refused_by_its_head() -> Result<()> {
    let world = World::new().await?;
    let before = world.rows().await?;
    for (route, body) in with_body() {
        for encoding in ["gzip", "br", "zstd", "deflate", "gzip, gzip", "identity"] {
            for bytes in [GZIP.to_vec(), (body.valid)(&world)?.to_string().into_bytes()] {
                let case = format!("{} {encoding}", route.name);
                let request = world.ask(route).await?.header(CONTENT_ENCODING, encoding).body(bytes);
                let reply = send(request).await?;
                assert_eq!(refused(&case, &reply, 415)?, "body_encoded", "{case}");
                assert!(reply.member("hint").contains("without `Content-Encoding`"), "{case}");
            }
        }
    }
    world.has_survived(&before).await
}

/// Whatever a client says of the type, there is one reader: the body is JSON, or it is refused.
#[tokio::test]
async fn the_content_type_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    for types in [
        &[][..],
        &["text/plain"],
        &["application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["application/json; charset=utf-16"],
        &["application/json", "text/plain"],
        &["nonsense"],
    ] {
        for (route, body) in with_body() {
            let mut request = world.ask(route).await?;
            for content_type in types {
                request = request.header(CONTENT_TYPE, *content_type);
            }
            let good = (body.valid)(&world)?;
            let spoiled = request.try_clone().context("no stream")?.body("vaultId=v");
            assert_eq!(refused(route.name, &send(spoiled).await?, 400)?, "bad_request", "{types:?}");
            let reply = send(request.body(good.to_string())).await?;
            assert!(reply.status.is_success(), "{} {types:?}: {}", route.name, reply.text());
        }
    }
    Ok(())
}

/// Where no body is expected, one is neither read nor held against its sender.
#[tokio::test]
async fn a_body_that_a_route_does_not_read_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    for route in ROUTES.iter().filter(|route| route.body.is_none()) {
        for body in [vec![b'x'; 10], vec![b'x'; 5 * 1024 * 1024]] {
            let length = body.len();
            let reply = send(world.ask(route).await?.header(CONTENT_LENGTH, length).body(body)).await?;
            // what the first has revoked is not there for the second
            let gone = route.method() == "DELETE" && reply.status == 404;
            assert!(route.serves(&reply) || gone, "{} with {length} bytes: {}", route.name, reply.text());
        }
    }
    Ok(())
}
