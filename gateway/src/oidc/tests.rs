#![allow(clippy::unwrap_used, reason = "tests")]

use super::testing::{Site, jwk, jwks, times, token, well_behaved};
use super::*;
use serde_json::{Value, json};

const OWN: &str = "https://vault.example.com";

fn oidc(rows: &[Value]) -> Oidc {
    let oidc = Oidc::new(OWN.to_owned(), times(), Proxies::none());
    assert!(oidc.issuers.apply(&json!({"issuers": rows}).to_string()));
    oidc
}

fn row(issuer: &str) -> Value {
    json!({
        "issuer": issuer, "provider": "github", "audiences": ["https://lpm.dev"], "algorithms": ["RS256"], "maxLifetime": 600,
        "maxAge": 600, "jwksUri": null, "jwks": null, "allowPrivateAddresses": true,
    })
}

async fn refusal(oidc: &Oidc, token: &str) -> &'static str {
    oidc.verify(token).await.map(|_| ()).expect_err("the token is refused").code.as_str()
}

#[tokio::test]
async fn a_token_is_verified_with_the_keys_that_its_issuer_publishes() {
    let site = Site::start(well_behaved).await;
    let oidc = oidc(&[row(&site.url)]);
    for audience in ["https://lpm.dev", OWN] {
        let verified = oidc.verify(&token("a", &site.url, audience)).await.unwrap();
        assert_eq!(verified.claims.issuer, site.url);
    }
    assert_eq!(site.asked().len(), 2, "discovery and keys, once");
    for (token, code) in [
        (token("unknown", &site.url, OWN), "token_key"),
        (token("a", &site.url, "https://vault.example.com/"), "token_audience"),
        (token("a", &format!("{}/", site.url), OWN), "token_issuer"),
        (format!("{}x", token("a", &site.url, OWN)), "token_malformed"),
    ] {
        assert_eq!(refusal(&oidc, &token).await, code);
    }
    assert_eq!(site.asked().len(), 2, "cooling down");
}

#[tokio::test]
async fn j33_an_issuer_that_is_not_configured_is_never_contacted() {
    let canary = Site::start(well_behaved).await;
    let trusted = Site::start(well_behaved).await;
    let oidc = oidc(&[row("https://issuer.invalid"), row(&trusted.url)]);
    for issuer in [
        canary.url.clone(),
        format!("{}/", canary.url),
        format!("{}/gitlab", canary.url),
        canary.url.replace("://", "://issuer.invalid@"),
        format!("{}@{}", trusted.url, canary.url.replace("http://", "")),
        format!("{} {}", trusted.url, canary.url),
        format!("{}/..", trusted.url),
    ] {
        assert_eq!(refusal(&oidc, &token("a", &issuer, OWN)).await, "token_issuer", "{issuer}");
    }
    assert_eq!(
        canary.connections() + trusted.connections(),
        0,
        "nobody is contacted for a name that is not theirs"
    );
    assert!(oidc.verify(&token("a", &trusted.url, OWN)).await.is_ok());
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn j31_an_issuer_that_cannot_be_reached_asks_to_come_back() {
    let site = Site::start(|_, _| super::testing::http("500 Oh", "", "")).await;
    let oidc = oidc(&[row(&site.url)]);
    let failure = oidc.verify(&token("a", &site.url, OWN)).await.err().unwrap();
    assert_eq!((failure.code.as_str(), failure.code.status()), ("issuer_unavailable", 503));
    assert_eq!(refusal(&oidc, &token("a", &site.url, OWN)).await, "issuer_unavailable");
    assert_eq!(site.asked().len(), 1, "cooling down");
}

#[tokio::test]
async fn until_the_database_has_told_the_issuers_nobody_is_refused_for_good() {
    let oidc = Oidc::new(OWN.to_owned(), times(), Proxies::none());
    assert_eq!(refusal(&oidc, &token("a", "https://i", OWN)).await, "unavailable");
}

#[tokio::test]
async fn uploaded_keys_verify_without_network() {
    let uploaded: Value = serde_json::from_str(&jwks(&["a"])).unwrap();
    let mut row = row("https://issuer.invalid");
    row["jwks"] = uploaded;
    let oidc = oidc(&[row]);
    assert!(oidc.verify(&token("a", "https://issuer.invalid", OWN)).await.is_ok());
    assert_eq!(refusal(&oidc, &token("b", "https://issuer.invalid", OWN)).await, "token_key");
}

#[tokio::test]
async fn j29_of_two_keys_with_one_id_the_first_counts() {
    let (own, mut other) = (jwk("a"), jwk("a"));
    other["e"] = json!("AQAD");
    for (keys, refused) in [([&own, &other], None), ([&other, &own], Some("token_signature"))] {
        let mut row = row("https://issuer.invalid");
        row["jwks"] = json!({"keys": keys});
        let verified = oidc(&[row]).verify(&token("a", "https://issuer.invalid", OWN)).await;
        assert_eq!(verified.err().map(|failure| failure.code.as_str()), refused);
    }
}
