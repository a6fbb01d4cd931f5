#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::oidc::testing::{Site, http, jwk, jwks, well_behaved};
use openssl::hash::{MessageDigest, hash};
use serde_json::json;
use tokio::io::AsyncWriteExt;

/// A source on this machine, which only an issuer row that says so may have.
fn source(issuer: &str) -> Source {
    Source { issuer: issuer.to_owned(), jwks_uri: None, allow_private_addresses: true }
}

fn fetcher() -> HttpFetcher {
    HttpFetcher::new(Arc::new(Proxies::none()))
}

async fn fetch(source: Source) -> Result<KeySet, FetchError> {
    fetcher().fetch(Arc::new(source)).await
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
async fn j31_j34_private_addresses_and_plain_http_are_for_rows_that_allow_them() {
    let site = Site::start(well_behaved).await;
    let forbidden = |issuer: &str| Source { allow_private_addresses: false, ..source(issuer) };
    // a row that pins the place of the keys is bound by the same addresses
    let pinned = |url: &str| Source { jwks_uri: Some(url.to_owned()), ..forbidden("https://issuer.invalid") };
    let port = site.url.rsplit(':').next().unwrap().to_owned();
    let refused = [
        (forbidden(&site.url), "is not a URL that keys can be fetched from"),
        (forbidden(&format!("https://127.0.0.1:{port}")), "the address is not public"),
        (forbidden(&format!("https://[::ffff:7f00:1]:{port}")), "the address is not public"),
        (forbidden(&format!("https://2130706433:{port}")), "the address is not public"),
        (forbidden(&format!("https://localhost:{port}")), "is not public"),
        (forbidden("https://169.254.169.254"), "the address is not public"),
        (forbidden("https://[fd00:ec2::254]"), "the address is not public"),
        (pinned("https://169.254.169.254/keys"), "the address is not public"),
        (pinned(&format!("https://localhost:{port}/keys")), "is not public"),
        (pinned(&format!("{}/keys", site.url)), "is not a URL that keys can be fetched from"),
        (source("http://10.255.255.1"), "the address is not loopback"),
        (source("ftp://127.0.0.1"), "is not a URL that keys can be fetched from"),
        (source("file:///etc/passwd"), "is not a URL that keys can be fetched from"),
        (source(&format!("http://issuer@127.0.0.1:{port}")), "is not a URL that keys can be fetched from"),
        (source("nonsense"), "is not a URL that keys can be fetched from"),
    ];
    for (source, expected) in refused {
        let name = format!("{source:?}");
        let text = refusal(source).await;
        assert!(text.contains(expected), "{name}: {text}");
    }
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn j34_what_can_be_seen_of_an_address_is_checked_before_a_proxy_is_asked() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxies = Proxies::all(&format!("http://{}", listener.local_addr().unwrap()));
    let fetcher = HttpFetcher::new(Arc::new(proxies));
    let forbidden = |issuer: &str| Source { allow_private_addresses: false, ..source(issuer) };
    for (source, expected) in [
        (forbidden("https://10.0.0.1"), "the address is not public"),
        (forbidden("https://[::ffff:169.254.169.254]"), "the address is not public"),
        (forbidden("http://issuer.example"), "is not a URL that keys can be fetched from"),
        (source("http://10.255.255.1"), "the address is not loopback"),
        (source("https://issuer@elsewhere.example"), "is not a URL that keys can be fetched from"),
    ] {
        let name = format!("{source:?}");
        let text =
            fetcher.fetch(Arc::new(source)).await.map(|_| ()).expect_err("nothing is fetched").to_string();
        assert!(text.contains(expected), "{name}: {text}");
    }
    // nobody has connected
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none());
}

#[tokio::test]
async fn j34_a_name_is_resolved_where_it_is_connected() {
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
    let elsewhere = [
        format!("{}/keys", canary.url),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "/keys".to_owned(),
    ];
    for location in &elsewhere {
        for status in [
            "301 Moved Permanently",
            "302 Found",
            "303 See Other",
            "307 Temporary Redirect",
            "308 Permanent Redirect",
        ] {
            let answer = http(status, &format!("location: {location}\r\n"), "");
            for redirecting in ["/keys", "/.well-known/openid-configuration"] {
                let answer = answer.clone();
                let site =
                    Site::start(
                        move |path, url| {
                            if path == redirecting { answer.clone() } else { well_behaved(path, url) }
                        },
                    )
                    .await;
                let text = refusal(source(&site.url)).await;
                assert!(text.ends_with("redirects are not followed"), "{redirecting} to {location}: {text}");
                assert_eq!(site.asked().last().map(String::as_str), Some(redirecting), "nothing after it");
            }
        }
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
        let discovery = answer.clone();
        let site = Site::start(move |_, _| discovery.clone()).await;
        assert!(matches!(fetch(source(&site.url)).await, Err(FetchError::TooLarge(_))), "as discovery");
        assert!(matches!(keys_answer(answer).await, Err(FetchError::TooLarge(_))), "as keys");
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

/// A server that begins like this and then sends one byte after the other, for ever.
async fn dripping(beginning: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = beginning.as_bytes();
        while stream.write_all(bytes).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
            bytes = b" ";
        }
    });
    url
}

#[tokio::test]
async fn j31_a_slow_issuer_is_given_up() {
    // the client is made before the clock runs
    let fetcher = fetcher();
    let good = Site::start(well_behaved).await;
    fetcher.fetch(Arc::new(source(&good.url))).await.unwrap();
    let fetcher = HttpFetcher { total: Duration::from_secs(1), ..fetcher };
    let site =
        Site::start(|path, url| if path == "/keys" { Vec::new() } else { well_behaved(path, url) }).await;
    let mut fetches = vec![("the keys, at all", tokio::spawn(fetcher.fetch(Arc::new(source(&site.url)))))];
    // each byte comes soon enough, and the answer never ends
    for (part, beginning) in [
        ("the first line", "HTTP/1.1 200 "),
        ("the head", "HTTP/1.1 200 OK\r\nx: "),
        ("the body", "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"),
        ("a chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000\r\n"),
    ] {
        let source = source(&dripping(beginning).await);
        fetches.push((part, tokio::spawn(fetcher.fetch(Arc::new(source)))));
    }
    for (part, fetch) in fetches {
        let outcome = fetch.await.unwrap();
        assert!(matches!(outcome, Err(FetchError::Timeout)), "{part}: {outcome:?}");
    }
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
async fn j34_every_request_resolves_the_name_anew() {
    let kept = |body: String| {
        format!("HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let site = Site::start(move |path, url| {
        kept(if path == "/keys" {
            jwks(&["a"])
        } else {
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string()
        })
        .into_bytes()
    })
    .await;
    let fetcher = fetcher();
    for fetches in 1..=2 {
        fetcher.fetch(Arc::new(source(&site.url))).await.unwrap();
        assert_eq!(
            site.connections(),
            2 * fetches,
            "a connection that is kept would skip the check of its address"
        );
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
async fn j35_discovery_documents_that_are_none_are_refused() {
    for body in
        ["", "[]", "{}", r#"{"issuer":"x"}"#, r#"{"issuer":"x","issuer":"y","jwks_uri":"z"}"#, "<html>"]
    {
        let site = Site::start(move |_, _| http("200 OK", "", body)).await;
        assert!(matches!(fetch(source(&site.url)).await, Err(FetchError::Discovery(_))), "{body}");
    }
}

#[tokio::test]
async fn j29_bad_keys_are_skipped_one_by_one_and_a_set_without_a_good_one_is_refused() {
    let secret = hash(MessageDigest::sha256(), b"secret").unwrap();
    let with = |kid: &str, name: &str, value: serde_json::Value| {
        let mut key = jwk(kid);
        key[name] = value;
        key
    };
    let bad = [
        ("symmetric", json!({"kty": "oct", "kid": "oct", "k": hex::encode(secret)})),
        ("for encryption", with("enc", "use", json!("enc"))),
        ("for signing only", with("ops", "key_ops", json!(["sign"]))),
        ("another algorithm", with("mismatch", "alg", json!("ES256"))),
        ("a symmetric algorithm", with("hmac", "alg", json!("HS256"))),
        ("no algorithm", with("none", "alg", json!("none"))),
        ("its private half", with("private", "d", json!("AQAB"))),
        ("without an id", with("", "kid", json!(""))),
        ("an id of another type", with("", "kid", json!(7))),
        ("unparsable", json!({"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"})),
        ("no object", json!("nonsense")),
        ("nothing", json!(null)),
    ];
    for (name, key) in &bad {
        let keys = json!({"keys": [key, jwk("a")]}).to_string();
        let keys = keys_answer(http("200 OK", "", keys)).await.expect(name);
        assert!(keys.len() == 1 && keys.contains("a"), "{name}: skipped, and the good one stays");
        let alone = keys_answer(http("200 OK", "", json!({"keys": [key]}).to_string())).await;
        assert!(matches!(alone, Err(FetchError::Keys { .. })), "{name}: alone");
    }
    let small: Vec<_> = (0..10_000).map(|_| json!({})).collect();
    let bad: Vec<_> = bad.into_iter().map(|(_, key)| key).collect();
    for (name, body) in [
        ("only bad ones", json!({"keys": bad})),
        ("an empty list", json!({"keys": []})),
        ("no list", json!({})),
        ("an object for a list", json!({"keys": {"a": jwk("a")}})),
        ("no object", json!([jwk("a")])),
        (
            "101 keys",
            json!({"keys": (0..101).map(|n| with(&n.to_string(), "e", json!("AQAB"))).collect::<Vec<_>>()}),
        ),
        ("10,000 small keys", json!({"keys": small})),
        ("10,000 keys", json!({"keys": vec![jwk("a"); 10_000]})),
    ] {
        let answer = keys_answer(http("200 OK", "", body.to_string())).await;
        assert!(
            matches!(answer, Err(FetchError::Keys { .. } | FetchError::TooLarge(_))),
            "{name}: {answer:?}"
        );
    }
    let twice = format!(r#"{{"keys":[],"keys":[{}]}}"#, jwk("a"));
    assert!(
        matches!(keys_answer(http("200 OK", "", twice)).await, Err(FetchError::Keys { .. })),
        "two lists"
    );
}
