#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::oidc::testing::{Site, http, jwk, jwks, well_behaved};
use openssl::hash::{MessageDigest, hash};
use serde_json::json;

/// A source on this machine, which only an issuer row that says so may have.
fn source(issuer: &str) -> Source {
    Source { issuer: issuer.to_owned(), jwks_uri: None, allow_private_addresses: true }
}

async fn fetch(source: Source) -> Result<KeySet, FetchError> {
    HttpFetcher::new().fetch(Arc::new(source)).await
}

async fn refusal(source: Source) -> String {
    fetch(source).await.map(|_| ()).expect_err("nothing is fetched").to_string()
}

/// What a fetch says when the place of the keys answers like this.
async fn keys_answer(answer: Vec<u8>) -> Result<KeySet, FetchError> {
    let site =
        Site::start(move |path, url| if path == "/keys" { answer.clone() } else { well_behaved(path, url) })
            .await;
    fetch(source(&site.url)).await
}

#[tokio::test]
async fn keys_are_found_through_discovery() {
    let site = Site::start(well_behaved).await;
    assert!(fetch(source(&site.url)).await.unwrap().contains("a"));
    assert_eq!(site.asked(), ["/.well-known/openid-configuration", "/keys"]);
}

#[tokio::test]
async fn pinned_keys_need_no_discovery() {
    let site = Site::start(well_behaved).await;
    let pinned = Source { jwks_uri: Some(format!("{}/keys", site.url)), ..source("https://issuer.invalid") };
    assert!(fetch(pinned).await.unwrap().contains("a"));
    assert_eq!(site.asked(), ["/keys"]);
}

#[tokio::test]
async fn private_addresses_and_plain_http_are_for_rows_that_allow_them() {
    let site = Site::start(well_behaved).await;
    let forbidden = |issuer: &str| Source { allow_private_addresses: false, ..source(issuer) };
    let port = site.url.rsplit(':').next().unwrap().to_owned();
    let refused = [
        (forbidden(&site.url), "is not a URL that keys can be fetched from"),
        (forbidden(&format!("https://127.0.0.1:{port}")), "the address is not public"),
        (forbidden(&format!("https://[::ffff:7f00:1]:{port}")), "the address is not public"),
        (forbidden(&format!("https://2130706433:{port}")), "the address is not public"),
        (forbidden(&format!("https://localhost:{port}")), "is not public"),
        (forbidden("https://169.254.169.254"), "the address is not public"),
        (source("http://10.255.255.1"), "the address is not loopback"),
        (source("ftp://127.0.0.1"), "is not a URL that keys can be fetched from"),
        (source("file:///etc/passwd"), "is not a URL that keys can be fetched from"),
        (source(&format!("http://issuer@127.0.0.1:{port}")), "is not a URL that keys can be fetched from"),
        (source("nonsense"), "is not a URL that keys can be fetched from"),
    ];
    for (source, expected) in refused {
        let name = source.issuer.clone();
        let text = refusal(source).await;
        assert!(text.contains(expected), "{name}: {text}");
    }
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn a_name_is_resolved_where_it_is_connected() {
    let site = Site::start(|path, url| well_behaved(path, &url.replace("127.0.0.1", "localhost"))).await;
    assert!(fetch(source(&site.url.replace("127.0.0.1", "localhost"))).await.unwrap().contains("a"));
}

#[tokio::test]
async fn j31_an_issuer_that_fails_brings_nothing() {
    for (answer, expected) in [
        (http("500 Internal Server Error", "", ""), "answered 500"),
        (http("404 Not Found", "", jwks(&["a"])), "answered 404"),
        (http("204 No Content", "", ""), "answered 204"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec(), "/keys"),
        (b"garbage\r\n\r\n".to_vec(), "/keys"),
    ] {
        let text = keys_answer(answer).await.err().unwrap().to_string();
        assert!(text.contains(expected), "{text}");
    }
    let closed = Site::start(well_behaved).await.url.replace("127.0.0.1", "127.0.0.2");
    assert!(refusal(source(&closed)).await.contains("127.0.0.2"), "nobody listens there");
}

#[tokio::test]
async fn j31_redirects_are_not_followed() {
    let canary = Site::start(well_behaved).await;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let answer = http(status, &format!("location: {}/keys\r\n", canary.url), "");
        let text = keys_answer(answer).await.err().unwrap().to_string();
        assert!(text.ends_with("redirects are not followed"), "{text}");
    }
    assert!(canary.asked().is_empty());
}

#[tokio::test]
async fn j31_no_more_than_100_kib_are_read() {
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n".to_vec();
    let announced = [announced, vec![b' '; 200 * 1024]].concat();
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let chunked =
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(), chunk.repeat(4)].concat();
    for answer in [announced, chunked, http("200 OK", "", vec![b' '; 100 * 1024 + 1])] {
        assert!(matches!(keys_answer(answer).await, Err(FetchError::TooLarge(_))));
    }
    let fits = format!("{}{}", jwks(&["a"]), " ".repeat(100 * 1024 - jwks(&["a"]).len()));
    assert!(keys_answer(http("200 OK", "", fits)).await.is_ok());
}

#[tokio::test]
async fn j31_nothing_is_decompressed() {
    // The start of a gzip stream; what it would grow to does not matter.
    let bomb = [&[0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 512]].concat();
    for encoding in ["gzip", "br", "zstd", "deflate"] {
        let answer = http("200 OK", &format!("content-encoding: {encoding}\r\n"), &bomb);
        assert!(matches!(keys_answer(answer).await, Err(FetchError::Compressed(_))), "{encoding}");
    }
    assert!(matches!(keys_answer(http("200 OK", "", &bomb)).await, Err(FetchError::Keys { .. })));
}

#[tokio::test]
async fn j31_a_slow_issuer_is_given_up() {
    let site =
        Site::start(|path, url| if path == "/keys" { Vec::new() } else { well_behaved(path, url) }).await;
    let fetcher = HttpFetcher { total: Duration::from_millis(300), ..HttpFetcher::new() };
    assert!(matches!(fetcher.fetch(Arc::new(source(&site.url))).await, Err(FetchError::Timeout)));
    assert_eq!(site.asked().len(), 2, "both requests share the time");
}

#[tokio::test]
async fn j35_a_discovery_document_of_another_issuer_is_refused_whole() {
    for found in ["https://token.actions.githubusercontent.com", "", "URL/", "HTTP://127.0.0.1"] {
        let site = Site::start(move |path, url| match path {
            "/keys" => well_behaved(path, url),
            _ => {
                let found = found.replace("URL", url);
                http("200 OK", "", json!({"issuer": found, "jwks_uri": format!("{url}/keys")}).to_string())
            }
        })
        .await;
        assert!(matches!(fetch(source(&site.url)).await, Err(FetchError::OtherIssuer { .. })), "{found}");
        assert_eq!(site.asked().len(), 1, "its keys are not asked for");
    }
}

#[tokio::test]
async fn j34_keys_at_another_origin_must_be_pinned() {
    let canary = Site::start(well_behaved).await;
    let elsewhere =
        [canary.url.clone(), canary.url.replace("http:", "https:"), "http://169.254.169.254".to_owned()];
    for origin in elsewhere {
        let site = Site::start(move |_, url| {
            http("200 OK", "", json!({"issuer": url, "jwks_uri": format!("{origin}/keys")}).to_string())
        })
        .await;
        assert!(matches!(fetch(source(&site.url)).await, Err(FetchError::OtherOrigin { .. })));
    }
    assert!(canary.asked().is_empty());
}

#[tokio::test]
async fn discovery_documents_that_are_none_are_refused() {
    for body in
        ["", "[]", "{}", r#"{"issuer":"x"}"#, r#"{"issuer":"x","issuer":"y","jwks_uri":"z"}"#, "<html>"]
    {
        let site = Site::start(move |_, _| http("200 OK", "", body)).await;
        assert!(matches!(fetch(source(&site.url)).await, Err(FetchError::Discovery(_))), "{body}");
    }
}

#[tokio::test]
async fn j29_bad_keys_are_skipped_and_a_set_without_a_good_one_is_refused() {
    let secret = hash(MessageDigest::sha256(), b"secret").unwrap();
    let oct = json!({"kty": "oct", "kid": "oct", "k": hex::encode(secret)});
    let encryption = {
        let mut key = jwk("enc");
        key["use"] = json!("enc");
        key
    };
    let mismatch = {
        let mut key = jwk("mismatch");
        key["alg"] = json!("ES256");
        key
    };
    let unparsable = json!({"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"});
    let bad = [oct, encryption, mismatch, unparsable, json!("nonsense")];
    let mixed = json!({"keys": bad.iter().chain([&jwk("a")]).collect::<Vec<_>>()}).to_string();
    let keys = keys_answer(http("200 OK", "", mixed)).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys.contains("a"));
    for body in
        [json!({"keys": bad}), json!({"keys": []}), json!({}), json!({"keys": vec![jwk("a"); 10_000]})]
    {
        let answer = keys_answer(http("200 OK", "", body.to_string())).await;
        assert!(matches!(answer, Err(FetchError::Keys { .. } | FetchError::TooLarge(_))));
    }
}
