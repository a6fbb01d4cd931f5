//! Published keys: which of them are usable, and that only the signer's own key verifies.

use crate::doc::Doc;
use crate::failure;
use crate::issuer::{KEY, NOW, RULES, base64};
use lpm_core::token::{KeySet, MAX_KEY_SET, MAX_KEYS, UnverifiedToken};
use std::collections::HashSet;

/// A JWK set.
pub fn keys(data: &[u8]) {
    let set = match KeySet::parse(data) {
        Ok(set) => set,
        Err(error) => return failure::holds(&error.failure()),
    };
    assert!(data.len() <= MAX_KEY_SET);
    let document = Doc::parse(data).expect("an accepted document is JSON");
    let Some(Doc::Array(items)) = document.get("keys") else { panic!("there is no list") };
    assert!(set.len() > 0 && set.len() <= MAX_KEYS);
    assert_eq!(set.len() + set.skipped().len(), items.len());
    assert!(set.skipped().is_sorted_by(|a, b| a.0 < b.0));

    let skipped: HashSet<usize> = set.skipped().iter().map(|(at, _)| *at).collect();
    let mut ids = HashSet::new();
    for (at, item) in items.iter().enumerate().filter(|(at, _)| !skipped.contains(at)) {
        let id = item.text("kid").expect("a usable key has an id");
        assert!(set.contains(id) && ids.insert(id), "key {at}");
        let private = ["d", "p", "q", "dp", "dq", "qi"];
        assert!(private.iter().all(|name| item.get(name).is_none()), "key {at} is private");
        assert!(item.get("use").is_none_or(|key_use| key_use.str() == Some("sig")), "key {at}");
        let kind = (item.text("kty"), item.text("crv").filter(|_| item.text("kty") != Some("RSA")));
        let known = [
            (Some("RSA"), None),
            (Some("EC"), Some("P-256")),
            (Some("EC"), Some("P-384")),
            (Some("OKP"), Some("Ed25519")),
        ];
        assert!(known.contains(&kind), "key {at}: {kind:?}");
        verifies_with_its_own_key_only(&set, item, id);
    }
}

/// A token that names this key: signed by ours, and by nobody.
fn verifies_with_its_own_key_only(set: &KeySet, jwk: &Doc, id: &str) {
    const PAYLOAD: &[u8] = include_bytes!("../../tests/fixtures/claims/github-push.json");
    let header = serde_json::json!({ "alg": "EdDSA", "kid": id }).to_string();
    let signed = format!("{}.{}", base64(header.as_bytes()), base64(PAYLOAD));
    let verifies = |signature: &[u8]| {
        let text = format!("{signed}.{}", base64(signature));
        UnverifiedToken::read(&text).map(|token| token.verify(&RULES[0], set, NOW).is_ok())
    };
    let is_ours = jwk.text("kty") == Some("OKP") && jwk.text("x") == Some(&KEY.public());
    match verifies(&KEY.sign(signed.as_bytes())) {
        Ok(verified) => assert_eq!(verified, is_ours, "{jwk:?}"),
        Err(_) => assert!(id.len() > 256, "the id {id:?} is refused in a header"),
    }
    // The neutral element and zero: it holds for a key of small order.
    let mut nobody = [0; 64];
    nobody[0] = 1;
    assert_ne!(verifies(&nobody), Ok(true), "{jwk:?}");
}
