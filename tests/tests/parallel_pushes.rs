//! Many pushes of one vault at once, through the gateway.

use anyhow::{Result, ensure};
use lpm_core::envelope::{aead, vault};
use lpm_core::secret::Secret;
use lpm_tests::stack::Stack;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A push of its own ciphertext.
fn push(changes: &Value) -> Result<Value> {
    let key = Secret::new(aead::random::<32>()?.to_vec());
    let mut body = json!({
        "encryptedBlob": vault::seal_blob(&key, &aead::random()?, b"{}")?,
        "wrappedKey": vault::wrap_key(&key, &aead::random()?, &key)?,
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Ok(body)
}

/// 64 pushes with these members; how often each outcome was met.
async fn of_64(stack: &Arc<Stack>, token: &str, changes: Value) -> Result<BTreeMap<(u16, String), u32>> {
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (stack, token, body) = (Arc::clone(stack), token.to_owned(), push(&changes)?);
        tasks.spawn(async move {
            let reply = stack.gateway.post("/api/vaults/web/sync", Some(&token), &body).await?;
            anyhow::Ok(if reply.status.is_success() {
                (reply.status.as_u16(), reply.json()["version"].to_string())
            } else {
                (reply.status.as_u16(), reply.code())
            })
        });
    }
    let mut outcomes = BTreeMap::new();
    while let Some(outcome) = tasks.join_next().await {
        *outcomes.entry(outcome??).or_default() += 1;
    }
    Ok(outcomes)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_pushes_that_have_seen_the_same_version_one_wins() -> Result<()> {
    let stack = Arc::new(Stack::new().await?);
    let token = stack.account("carol", "pro").await?;
    let first = of_64(&stack, &token, json!({})).await?;
    let refused = |code: &str| (409, code.to_owned());
    assert_eq!(first, BTreeMap::from([((201, "1".to_owned()), 1), (refused("version_expected"), 63)]));
    for seen in 1..=2 {
        let met = of_64(&stack, &token, json!({"expectedVersion": seen})).await?;
        let won = (200, (seen + 1).to_string());
        assert_eq!(met, BTreeMap::from([(won, 1), (refused("version_conflict"), 63)]));
    }
    assert_eq!(stack.database().value("select version from lpm.vault_sync")?, "3");
    let kept = "select string_agg(version::text, ' ' order by version) from lpm.vault_version";
    assert_eq!(stack.database().value(kept)?, "1 2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_pushes_get_a_version_each_without_a_gap() -> Result<()> {
    let stack = Arc::new(Stack::new().await?);
    let token = stack.account("carol", "pro").await?;
    let met = of_64(&stack, &token, json!({"force": true})).await?;
    ensure!(met.keys().all(|(status, _)| *status < 300), "{met:?}");
    let versions: Vec<i32> = met.keys().map(|(_, version)| version.parse()).collect::<Result<_, _>>()?;
    assert_eq!(versions.len(), 64, "each has its own: {met:?}");
    assert_eq!(versions.iter().max(), Some(&64));
    Ok(())
}
