//! The proxy that issuers are reached through, where the environment names one.
//!
//! `HTTPS_PROXY`, else `ALL_PROXY`, and `NO_PROXY`, in capitals or small letters, as everywhere. The proxy then resolves an
//! issuer's name and connects to whatever it finds, so no address is checked ([`super::address`]): origin and https are,
//! and TLS still ends at the issuer, whose certificate has to carry its name.

use anyhow::bail;
use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::Url;

/// Where the environment names a proxy for https.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Which issuers are reached through a proxy.
#[derive(Debug)]
pub(crate) struct Proxies {
    matcher: Matcher,
    named: Option<String>,
}

impl Proxies {
    /// What the environment says. A value that is no proxy is an error: to go without would be to ask the network in a way
    /// that somebody has ruled out.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let mut named = None;
        for name in VARIABLES {
            let value = std::env::var(name).unwrap_or_default();
            if value.is_empty() {
                continue;
            }
            let Some(proxy) = proxy(&value) else {
                // it may hold a password
                bail!(
                    "{name} is not the URL of a proxy that issuers can be reached through; write it like \
                     http://proxy.example:3128, or unset it"
                );
            };
            named.get_or_insert(proxy.uri().to_string());
        }
        Ok(Self { matcher: Matcher::from_env(), named })
    }

    /// No proxy for anybody.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { matcher: Matcher::builder().build(), named: None }
    }

    /// This proxy for everybody.
    #[cfg(test)]
    pub(crate) fn all(proxy: &str) -> Self {
        Self { matcher: Matcher::builder().all(proxy.to_owned()).build(), named: None }
    }

    /// The proxy, for whoever is not excepted from it. Its user and password are not part of it.
    pub(crate) fn name(&self) -> Option<String> {
        self.named.clone()
    }

    /// The proxy for this URL. Plain http is for this machine, which no proxy can reach.
    pub(crate) fn of(&self, url: &Url) -> Option<Intercept> {
        let uri: Uri = url.as_str().parse().ok()?;
        self.matcher.intercept(&uri).filter(|_| url.scheme() == "https")
    }
}

/// What HTTP can be tunnelled through.
fn proxy(value: &str) -> Option<Intercept> {
    let somewhere = Uri::from_static("https://issuer.invalid");
    let proxy = Matcher::builder().https(value.to_owned()).build().intercept(&somewhere)?;
    ["http", "https"].contains(&proxy.uri().scheme_str()?).then_some(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxies: &Proxies, url: &str) -> Option<String> {
        let proxy = proxies.of(&url.parse().expect("a URL"))?;
        Some(proxy.uri().to_string())
    }

    #[test]
    fn https_goes_through_the_proxy_and_what_is_excepted_does_not() {
        let matcher = Matcher::builder()
            .all("http://user:secret@proxy.example:3128")
            .no("gitlab.internal, .corp.example,10.0.0.0/8")
            .build();
        let proxies = Proxies { matcher, named: None };
        for url in ["https://gitlab.com", "https://token.actions.githubusercontent.com/.well-known/jwks"] {
            assert_eq!(through(&proxies, url).as_deref(), Some("http://proxy.example:3128/"), "{url}");
        }
        for url in [
            "https://gitlab.internal/oauth/discovery/keys",
            "https://git.corp.example",
            "https://10.1.2.3",
            "http://127.0.0.1:8080",
            "http://issuer.example",
        ] {
            assert_eq!(through(&proxies, url), None, "{url}");
        }
        assert_eq!(through(&Proxies::none(), "https://gitlab.com"), None);
    }

    #[test]
    fn what_is_no_proxy_is_told_from_one() {
        for value in
            ["http://proxy.example:3128", "https://u:p@proxy.example", "proxy.example:3128", "10.0.0.1:80"]
        {
            assert!(proxy(value).is_some(), "{value}");
        }
        for value in ["socks5://proxy.example:1080", "ftp://proxy.example", "http://", "not a proxy", "://x"]
        {
            assert!(proxy(value).is_none(), "{value}");
        }
    }
}
