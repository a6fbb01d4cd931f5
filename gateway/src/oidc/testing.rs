//! Keys, tokens and servers for this module's tests.

use crate::config::KeyTimes;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lpm_core::token::KeySet;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// The times that the gateway has by default.
pub(super) fn times() -> KeyTimes {
    KeyTimes {
        refresh: Duration::from_secs(300),
        cool_down: Duration::from_secs(10),
        max_age: Duration::from_secs(24 * 60 * 60),
    }
}

fn key() -> &'static PKey<Private> {
    static KEY: OnceLock<PKey<Private>> = OnceLock::new();
    KEY.get_or_init(|| PKey::from_rsa(Rsa::generate(2048).expect("2048 bits")).expect("a key"))
}

/// The public half under this id.
pub(super) fn jwk(kid: &str) -> Value {
    let rsa = key().rsa().expect("it is RSA");
    let number = |n: &openssl::bn::BigNumRef| URL_SAFE_NO_PAD.encode(n.to_vec());
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": number(rsa.n()), "e": number(rsa.e())})
}

/// A published key set with these ids.
pub(super) fn jwks(kids: &[&str]) -> String {
    json!({"keys": kids.iter().map(|kid| jwk(kid)).collect::<Vec<_>>()}).to_string()
}

/// The same, read.
pub(super) fn key_set(kids: &[&str]) -> KeySet {
    KeySet::parse(jwks(kids).as_bytes()).expect("good keys")
}

/// A GitHub token of this moment.
pub(super) fn token(kid: &str, issuer: &str, audience: &str) -> String {
    let now = super::unix_now();
    let claims = json!({
        "iss": issuer, "aud": audience, "sub": "repo:acme/web:ref:refs/heads/main", "jti": "j-1", "iat": now, "nbf": now,
        "exp": now + 300, "repository": "acme/web", "repository_id": "1", "repository_owner": "acme",
        "repository_owner_id": "2", "ref": "refs/heads/main", "event_name": "push",
    });
    let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"});
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut signer = Signer::new(MessageDigest::sha256(), key()).expect("a signer");
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A server on loopback that answers each path with the bytes that it is told, and remembers what it was asked.
pub(super) struct Site {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Site {
    /// `answer` gets path and own URL, and returns the whole answer. An empty one leaves the caller waiting, one
    /// that says `keep-alive` leaves the connection open for the next question.
    pub(super) async fn start(answer: impl Fn(&str, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (asked, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let site =
            Self { url: url.clone(), asked: Arc::clone(&asked), connections: Arc::clone(&connections) };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (url, asked, answer) = (url.clone(), Arc::clone(&asked), Arc::clone(&answer));
                tokio::spawn(async move {
                    loop {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            head.push(stream.read_u8().await?);
                        }
                        let head = String::from_utf8_lossy(&head).into_owned();
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        asked.lock().expect("not poisoned").push(path.clone());
                        let bytes = answer(&path, &url);
                        if bytes.is_empty() {
                            std::future::pending::<()>().await;
                        }
                        stream.write_all(&bytes).await?;
                        if !bytes.windows(10).any(|window| window == b"keep-alive") {
                            return stream.shutdown().await;
                        }
                    }
                });
            }
        });
        site
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The paths that were asked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// A whole answer.
pub(super) fn http(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// An issuer that does everything right.
pub(super) fn well_behaved(path: &str, url: &str) -> Vec<u8> {
    match path {
        "/.well-known/openid-configuration" => {
            http("200 OK", "", json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string())
        }
        "/keys" => http("200 OK", "", jwks(&["a"])),
        _ => http("404 Not Found", "", ""),
    }
}
