#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::oidc::fetch::FetchError;
use crate::oidc::testing::{jwks, times};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts, and is never reachable.
#[derive(Default)]
struct Unreachable(AtomicUsize);

impl Fetch for Unreachable {
    fn fetch(&self, _: Arc<Source>) -> BoxFuture<'static, Result<KeySet, FetchError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(FetchError::Timeout) })
    }
}

fn issuers() -> (Issuers, Arc<Unreachable>) {
    let network = Arc::new(Unreachable::default());
    let fetch: Arc<dyn Fetch> = network.clone();
    (Issuers::new("https://own.example".to_owned(), times(), fetch), network)
}

fn row(issuer: &str) -> Value {
    json!({
        "issuer": issuer, "provider": "github", "audiences": ["https://lpm.dev"], "algorithms": ["RS256"], "maxLifetime": 600,
        "maxAge": 600, "jwksUri": null, "jwks": null, "allowPrivateAddresses": false,
    })
}

fn with(issuer: &str, field: &str, value: Value) -> Value {
    let mut row = row(issuer);
    row[field] = value;
    row
}

fn rows(rows: impl IntoIterator<Item = Value>) -> String {
    json!({"issuers": rows.into_iter().collect::<Vec<_>>()}).to_string()
}

fn cache(issuers: &Issuers, issuer: &str) -> Arc<KeyCache> {
    match &issuers.get(issuer).unwrap().keys {
        Keys::Fetched(cache) => Arc::clone(cache),
        Keys::Uploaded { .. } => panic!("its keys are uploaded"),
    }
}

#[test]
fn j33_an_issuer_is_found_by_its_exact_name_only() {
    let (issuers, _) = issuers();
    assert!(!issuers.are_loaded());
    assert!(issuers.apply(&rows([row("https://token.actions.githubusercontent.com")])));
    assert!(issuers.are_loaded());
    assert!(issuers.get("https://token.actions.githubusercontent.com").is_some());
    for other in [
        "",
        "https://token.actions.githubusercontent.com/",
        "https://token.actions.githubusercontent.com.evil.com",
        "https://token.actions.githubusercontent.com@evil.com",
        "https://TOKEN.actions.githubusercontent.com",
        "http://token.actions.githubusercontent.com",
        "https://token.actions.githubusercontent.com/enterprise",
    ] {
        assert!(issuers.get(other).is_none(), "{other}");
    }
}

#[test]
fn the_own_url_is_an_audience_of_every_issuer() {
    let (issuers, _) = issuers();
    assert!(issuers.apply(&rows([with("https://i", "audiences", json!([])), row("https://j")])));
    assert_eq!(issuers.get("https://i").unwrap().rules.audiences, ["https://own.example"]);
    assert_eq!(issuers.get("https://j").unwrap().rules.audiences, ["https://own.example", "https://lpm.dev"]);
}

#[tokio::test]
async fn uploaded_keys_need_no_network() {
    let (issuers, network) = issuers();
    let uploaded: Value = serde_json::from_str(&jwks(&["a"])).unwrap();
    assert!(issuers.apply(&rows([with("https://i", "jwks", uploaded)])));
    let issuer = issuers.get("https://i").unwrap();
    for kid in ["a", "unknown"] {
        let keys = issuer.keys.for_key_id(kid, Instant::now()).await.unwrap();
        assert_eq!(keys.contains(kid), kid == "a");
    }
    issuers.refresh_due(Instant::now() + std::time::Duration::from_secs(1_000_000));
    assert_eq!(network.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn j29_uploaded_keys_that_cannot_be_used_are_not_replaced_by_the_network() {
    let (issuers, network) = issuers();
    assert!(issuers.apply(&rows([with("https://i", "jwks", json!({"keys": []}))])));
    assert!(issuers.get("https://i").unwrap().keys.for_key_id("a", Instant::now()).await.is_none());
    assert_eq!(network.0.load(Ordering::SeqCst), 0);
}

#[test]
fn an_issuer_whose_keys_stay_where_they_are_keeps_them() {
    let (issuers, _) = issuers();
    assert!(issuers.apply(&rows([row("https://i")])));
    let before = cache(&issuers, "https://i");
    assert!(
        issuers.apply(&rows([with("https://i", "audiences", json!(["https://other"])), row("https://j")]))
    );
    assert!(Arc::ptr_eq(&before, &cache(&issuers, "https://i")));
    for changed in [
        with("https://i", "jwksUri", json!("https://i/keys")),
        with("https://i", "allowPrivateAddresses", json!(true)),
    ] {
        assert!(issuers.apply(&rows([changed])));
        assert!(!Arc::ptr_eq(&before, &cache(&issuers, "https://i")), "keys of another place are other keys");
    }
}

#[test]
fn a_distrusted_issuer_is_gone() {
    let (issuers, _) = issuers();
    assert!(issuers.apply(&rows([row("https://i"), row("https://j")])));
    assert!(issuers.apply(&rows([row("https://j")])));
    assert!(issuers.get("https://i").is_none());
    assert!(issuers.apply(&rows([])));
    assert!(issuers.get("https://j").is_none());
}

#[test]
fn a_row_that_cannot_be_used_does_not_stop_the_others() {
    let (issuers, _) = issuers();
    for bad in [
        with("https://i", "algorithms", json!(["HS256"])),
        with("https://i", "algorithms", json!(["none"])),
        with("https://i", "provider", json!("bitbucket")),
        with("https://i", "maxAge", json!(null)),
        with("https://i", "jwksUri", json!(7)),
        json!({}),
    ] {
        assert!(issuers.apply(&rows([bad, row("https://j")])));
        assert!(issuers.get("https://i").is_none());
        assert!(issuers.get("https://j").is_some());
    }
}

#[test]
fn an_unreadable_answer_changes_nothing() {
    let (issuers, _) = issuers();
    assert!(issuers.apply(&rows([row("https://i")])));
    for text in ["", "null", "{}", r#"{"issuers":{}}"#] {
        assert!(!issuers.apply(text), "{text}");
        assert!(issuers.get("https://i").is_some());
    }
}
