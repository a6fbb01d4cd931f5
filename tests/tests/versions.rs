//! Versions and ciphertext: what a push replaces, what is kept, and what is refused.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, SECRET, answer, code, denied, granted};
use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

async fn ready() -> Result<(Escrowed, Client)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    Ok((escrowed, client))
}

#[tokio::test]
async fn a_push_replaces_only_what_its_caller_has_seen() -> Result<()> {
    let (alice, client) = ready().await?;
    let push = |expected, force| alice.push_expecting(&client, "v", expected, force);
    let (status, body) = push(Some(7), false).await?;
    assert_eq!((status, &body["version"]), (201, &json!(1)), "`expectedVersion` without a row creates it");
    let (status, body) = push(None, false).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("version_expected")));
    assert!(
        body["error"].as_str().is_some_and(|text| text.contains("version 1") && text.contains("--force")),
        "{body}"
    );
    assert_eq!(code(push(Some(2), false).await?), (409, "version_conflict".to_owned()));
    assert_eq!(push(Some(1), false).await?.1["version"], 2);
    assert_eq!(push(None, true).await?.1["version"], 3);
    Ok(())
}

#[tokio::test]
async fn ten_versions_are_kept_and_a_dba_brings_one_back() -> Result<()> {
    let (alice, client) = ready().await?;
    for _ in 0..13 {
        alice.push_expecting(&client, "v", None, true).await?;
    }
    let kept = alice
        .database
        .value("select string_agg(version::text, ' ' order by version) from lpm.vault_version")?;
    assert_eq!(kept, "4 5 6 7 8 9 10 11 12");
    let before =
        alice.database.value("select md5(encrypted_blob) from lpm.vault_version where version = 6")?;
    assert_eq!(alice.database.value("select lpm.restore_version('v', 6, 'alice')")?, "14");
    assert_eq!(alice.database.value("select md5(encrypted_blob) from lpm.vault_sync")?, before);
    let missing = alice.database.psql("select lpm.restore_version('v', 3, 'alice')")?;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("keeps no version 3"));
    Ok(())
}

#[tokio::test]
async fn ciphertext_of_one_vault_is_not_accepted_for_another() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.vault(&client).await?;
    let (blob, wrapped) = (
        alice.database.value("select encrypted_blob from lpm.vault_sync")?,
        alice.database.value("select wrapped_key from lpm.vault_sync")?,
    );
    let mallory = alice.account("mallory", "pro")?;
    for (who, vault) in [(&mallory, "elsewhere"), (&alice, "elsewhere")] {
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&Uuid::now_v7(), &NONE, &who.token, &vault, &blob, &wrapped, &None::<i32>, &false, &NONE, &NONE];
        assert_eq!(code(answer(&client, "push", &arguments).await?), (409, "blob_known".to_owned()));
    }
    assert_eq!(
        alice.database.value(
            "select count(*) from lpm.audit_log where decision = 'denied' and reason = 'blob_known'"
        )?,
        "2"
    );
    let claimed =
        alice.database.value("select count(*) from lpm.vault_claim where vault_id = 'elsewhere'")?;
    assert_eq!(claimed, "0", "a refused push claims nothing");
    Ok(())
}

#[tokio::test]
async fn ciphertext_is_recognised_long_after_its_version_is_gone() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.push(&client, "secret").await?;
    let stolen = (
        alice.database.value("select encrypted_blob from lpm.vault_sync")?,
        alice.database.value("select wrapped_key from lpm.vault_sync")?,
    );
    for _ in 0..12 {
        alice.push_expecting(&client, "secret", None, true).await?;
    }
    alice.database.value("select lpm.delete_vault('secret', owner => 'alice')")?;
    let arguments: [&(dyn ToSql + Sync); 10] = [
        &Uuid::now_v7(),
        &NONE,
        &alice.token,
        &"escrowed",
        &stolen.0,
        &stolen.1,
        &None::<i32>,
        &true,
        &NONE,
        &NONE,
    ];
    assert_eq!(code(answer(&client, "push", &arguments).await?), (409, "blob_known".to_owned()));
    Ok(())
}

#[tokio::test]
async fn pushes_and_escrows_of_one_vault_do_not_lock_each_other_out() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.vault(&client).await?;
    let vault_id = alice.database.value("select vault_id from lpm.vault_claim")?;
    let alice = std::sync::Arc::new(alice);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let (alice, vault_id) = (alice.clone(), vault_id.clone());
        tasks.spawn(async move {
            let client = alice.gateway().await?;
            for _ in 0..20 {
                if worker % 2 == 0 {
                    alice.push(&client, &vault_id).await?;
                } else {
                    alice.escrow(&client, &vault_id).await?;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

#[tokio::test]
async fn malformed_pushes_are_answered_and_store_nothing() -> Result<()> {
    let (alice, client) = ready().await?;
    let good_blob = "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA==";
    let good_key = format!("AAECAwQFBgcICQoL:{}", "A".repeat(64));
    for (row, blob, key, schema) in [
        ("empty", "", good_key.as_str(), None),
        ("no colon", "AAAA", &good_key, None),
        ("url-safe", "AAECAwQFBgcICQoL:-_-_AAAAAAAAAAAAAAAAAA==", &good_key, None),
        ("unpadded", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA", &good_key, None),
        ("stray bits", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAB==", &good_key, None),
        ("no tag", "AAECAwQFBgcICQoL:AAAA", &good_key, None),
        ("short iv", "AAEC:AAAAAAAAAAAAAAAAAAAAAA==", &good_key, None),
        ("three parts", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA==:AAAA", &good_key, None),
        ("short key", good_blob, "AAECAwQFBgcICQoL:AAAA", None),
        ("no key", good_blob, "", None),
        ("schema is no object", good_blob, &good_key, Some("[1]")),
        ("schema is no JSON", good_blob, &good_key, Some("{")),
        ("schema twice", good_blob, &good_key, Some(r#"{"a":1,"a":2}"#)),
    ] {
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&Uuid::now_v7(), &NONE, &alice.token, &"v", &blob, &key, &None::<i32>, &false, &NONE, &schema];
        let (status, body) = answer(&client, "push", &arguments).await?;
        assert_eq!(status, 400, "{row}: {body}");
    }
    assert_eq!(alice.database.value("select count(*) from lpm.vault_sync")?, "0");
    Ok(())
}

#[tokio::test]
async fn a_restored_version_keeps_the_escrow_that_is_on_and_brings_none_back() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = Uuid::new_v4().to_string();
    alice.push(&client, &vault_id).await?;
    alice.push(&client, &vault_id).await?;
    alice.allow(&client, &vault_id).await?;
    alice.escrow(&client, &vault_id).await?;
    let restore = |version| {
        alice.database.value(&format!("select lpm.restore_version('{vault_id}', {version}, 'alice')"))
    };
    restore(1)?;
    let request = Uuid::now_v7();
    assert_eq!(code(alice.decide(&client, request, &vault_id, "main").await?), granted());
    assert_eq!(alice.open(&client, request).await?.1["vars"]["API_KEY"], SECRET);
    alice.database.value("update lpm.vault_sync set ci_escrow_wrapping_key = null, escrow_kind = null")?;
    restore(2)?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), denied("escrow_off"));
    Ok(())
}
