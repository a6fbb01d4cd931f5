//! Fetching an issuer's keys: discovery document, then JWKS, or the JWKS alone where the row pins it.
//!
//! Whoever answers is not trusted with more than keys: no redirects, no decompression, 100 KiB, five seconds
//! in all, the keys at the issuer's own origin unless the row pins another place, and only addresses that the
//! row allows. Where the environment names a proxy, that chooses the address; see [`super::proxy`].

use super::address::{Reach, Resolver};
use super::keys::Fetch;
use super::proxy::Proxies;
use futures_util::future::BoxFuture;
use hyper_util::client::proxy::matcher::Intercept;
use lpm_core::token::KeySet;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use reqwest::{Client, ClientBuilder, Proxy, StatusCode, Url, redirect};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thiserror::Error;

/// Largest document that is read.
const MAX_DOCUMENT: usize = 100 * 1024;
/// Longest time for discovery and keys together.
const TOTAL: Duration = Duration::from_secs(5);

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The issuer, byte for byte as tokens name it.
    pub issuer: String,
    /// The place that the row pins; without it, discovery tells.
    pub jwks_uri: Option<String>,
    /// May names resolve to addresses that are not public?
    pub allow_private_addresses: bool,
}

/// Why a fetch brought nothing.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error(
        "`{0}` is not a URL that keys can be fetched from: https, or http on loopback with `allow_private_addresses`"
    )]
    Url(String),
    #[error("`{url}`: the address is not {}", reach.words())]
    Address { url: String, reach: Reach },
    #[error("`{url}`: {reason}")]
    Http { url: String, reason: String },
    #[error("`{url}` answered {status}{}", if status.is_redirection() { "; redirects are not followed" } else { "" })]
    Status { url: String, status: StatusCode },
    #[error("`{0}` answered more than 100 KiB")]
    TooLarge(String),
    #[error("`{0}` answered compressed, which was not asked for")]
    Compressed(String),
    #[error("the discovery document of `{0}` is not one")]
    Discovery(String),
    #[error("the discovery document of `{expected}` is that of `{found}`")]
    OtherIssuer { expected: String, found: String },
    #[error(
        "the discovery document of `{issuer}` names keys at another origin, `{jwks_uri}`; pin them with `jwks_uri => …`"
    )]
    OtherOrigin { issuer: String, jwks_uri: String },
    #[error("`{url}`: {reason}")]
    Keys { url: String, reason: String },
    #[error("no answer within 5 seconds")]
    Timeout,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Fetches over HTTP. One client per [`Reach`], because the resolver is the client's; made when it is first
/// used, because reading the system's certificates takes longer than the rest of the start.
#[derive(Clone)]
pub(crate) struct HttpFetcher {
    clients: Arc<[OnceLock<Client>; 3]>,
    proxied: Arc<OnceLock<Client>>,
    proxies: Arc<Proxies>,
    total: Duration,
}

impl HttpFetcher {
    pub(crate) fn new(proxies: Arc<Proxies>) -> Self {
        Self { clients: Arc::default(), proxied: Arc::default(), proxies, total: TOTAL }
    }

    async fn keys(&self, source: &Source) -> Result<KeySet, FetchError> {
        let url = match &source.jwks_uri {
            Some(pinned) => parse(pinned)?,
            None => self.discover(source).await?,
        };
        let document = self.get(&url, source).await?;
        KeySet::parse(&document)
            .map_err(|error| FetchError::Keys { url: url.to_string(), reason: error.to_string() })
    }

    /// The place of the keys, as the issuer's own discovery document says.
    async fn discover(&self, source: &Source) -> Result<Url, FetchError> {
        let issuer = parse(&source.issuer)?;
        let url =
            parse(&format!("{}/.well-known/openid-configuration", source.issuer.trim_end_matches('/')))?;
        let document = self.get(&url, source).await?;
        let discovery: Discovery =
            serde_json::from_slice(&document).map_err(|_| FetchError::Discovery(source.issuer.clone()))?;
        if discovery.issuer != source.issuer {
            return Err(FetchError::OtherIssuer {
                expected: source.issuer.clone(),
                found: cut(discovery.issuer),
            });
        }
        let jwks_uri = parse(&discovery.jwks_uri)?;
        if jwks_uri.origin() != issuer.origin() {
            return Err(FetchError::OtherOrigin {
                issuer: source.issuer.clone(),
                jwks_uri: cut(discovery.jwks_uri),
            });
        }
        Ok(jwks_uri)
    }

    async fn get(&self, url: &Url, source: &Source) -> Result<Vec<u8>, FetchError> {
        let (client, by) = self.client(url, source)?;
        let http = |error: reqwest::Error| FetchError::Http {
            url: url.to_string(),
            reason: format!("{}{by}", root(&error)),
        };
        let request =
            client.get(url.clone()).header(ACCEPT, "application/json").header(ACCEPT_ENCODING, "identity");
        let mut response = request.send().await.map_err(http)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status { url: url.to_string(), status: response.status() });
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(FetchError::Compressed(url.to_string()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(http)? {
            if document.len() + chunk.len() > MAX_DOCUMENT {
                return Err(FetchError::TooLarge(url.to_string()));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }

    /// The client that reaches no further than it may, and what an error of it says in addition. A literal address is
    /// checked here: no resolver sees it.
    fn client(&self, url: &Url, source: &Source) -> Result<(&Client, String), FetchError> {
        let reach = match (url.scheme(), source.allow_private_addresses) {
            ("https", false) => Reach::Public,
            ("https", true) => Reach::Anywhere,
            ("http", true) => Reach::Loopback,
            _ => return Err(FetchError::Url(url.to_string())),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host.parse::<IpAddr>().is_ok_and(|address| !reach.covers(address)) {
            return Err(FetchError::Address { url: url.to_string(), reach });
        }
        let (place, made, by) = match self.proxies.of(url) {
            Some(proxy) => {
                let by = format!(", through the proxy {}", proxy.uri());
                (&*self.proxied, through(&proxy), by)
            }
            None => (&self.clients[reach as usize], direct(reach), String::new()),
        };
        if let Some(client) = place.get() {
            return Ok((client, by));
        }
        let client = made
            .and_then(ClientBuilder::build)
            .map_err(|error| FetchError::Http { url: url.to_string(), reason: root(&error) })?;
        Ok((place.get_or_init(|| client), by))
    }
}

impl Fetch for HttpFetcher {
    fn fetch(&self, source: Arc<Source>) -> BoxFuture<'static, Result<KeySet, FetchError>> {
        let this = self.clone();
        Box::pin(async move {
            tokio::time::timeout(this.total, this.keys(&source)).await.unwrap_or(Err(FetchError::Timeout))
        })
    }
}

/// Connects by itself, to addresses within reach.
fn direct(reach: Reach) -> reqwest::Result<ClientBuilder> {
    Ok(client().dns_resolver(Resolver(reach)).https_only(reach != Reach::Loopback).no_proxy())
}

/// Has a proxy connect: it is the only name that is resolved here, and it may be anywhere.
fn through(proxy: &Intercept) -> reqwest::Result<ClientBuilder> {
    let mut named = Proxy::https(proxy.uri().to_string())?;
    if let Some(credentials) = proxy.basic_auth() {
        named = named.custom_http_auth(credentials.clone());
    }
    Ok(client().https_only(true).proxy(named))
}

fn client() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("lpm-gateway/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        // A kept connection would skip the next resolution, and fetches are minutes apart.
        .pool_max_idle_per_host(0)
}

fn parse(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::Url(cut(text.to_owned())))?;
    // `https://issuer@elsewhere` has another host than it seems to have.
    if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Url(cut(text.to_owned())));
    }
    Ok(url)
}

/// A text of the issuer's, short enough for a log line.
fn cut(text: String) -> String {
    lpm_core::failure::presentable(&text)
}

/// The innermost cause: reqwest's own words only say that something went wrong.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cut(cause.to_string())
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
