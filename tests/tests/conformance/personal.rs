//! Section 2: personal sync.

use crate::world::{PAYLOAD, World, seen};
use anyhow::{Context, Result};
use lpm_tests::published::{Listed, Pushed, crypto};

#[tokio::test]
async fn every_way_to_push_makes_the_next_version() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let vault = "vault-123";

    // 2.1, row by row: who sends what
    let first = carol.sealed(None)?;
    let later = carol.sealed(Some(1))?;
    let forced = carol.forced(PAYLOAD)?;
    let mut rotated = carol.forced(r#"{"API_KEY":"sk-live"}"#)?;
    let mut migrated = carol.sealed(Some(4))?;
    for push in [&mut rotated, &mut migrated] {
        (push.name, push.schema) = (None, None);
    }
    for (push, version, status, code) in [
        (&first, 1, "created", 201),
        (&later, 2, "updated", 200),
        (&forced, 3, "updated", 200),
        (&rotated, 4, "updated", 200),
        (&migrated, 5, "updated", 200),
    ] {
        let (printed, reply) = carol.client.push(vault, push).await?;
        assert_eq!(printed, Ok(Pushed::of(version, status)));
        assert_eq!(reply.status.as_u16(), code);
        let (pulled, _) = carol.client.pull(vault).await?;
        let pulled = pulled.map_err(anyhow::Error::msg)?;
        assert_eq!(pulled.version, version);
        assert_eq!((&pulled.encrypted_blob, &pulled.wrapped_key), (&push.encrypted_blob, &push.wrapped_key));
    }
    // absent `name` and `schema` keep the last ones
    let kept = world.sql("select name || ' ' || (schema ->> 'version') from lpm.vault_sync")?;
    assert_eq!(kept, "probe-app 2");
    Ok(())
}

#[tokio::test]
async fn what_was_pushed_opens_again_with_the_machines_key_only() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    let pulled = carol.client.pull("v").await?.0.map_err(anyhow::Error::msg)?;
    let opened = crypto::open_vault(&carol.wrapping_key, &pulled.encrypted_blob, &pulled.wrapped_key)?;
    assert_eq!(String::from_utf8_lossy(&opened), PAYLOAD);
    assert!(crypto::open_vault(&[0; 32], &pulled.encrypted_blob, &pulled.wrapped_key).is_err());
    Ok(())
}

#[tokio::test]
async fn a_conflict_says_which_version_there_is_and_what_to_do() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    for (expected, code, message) in [
        (
            None,
            "version_expected",
            "the server already has version 1 of this vault: pull first, or push with `--force`",
        ),
        (
            Some(7),
            "version_conflict",
            "the server has version 1 of this vault, not 7: pull and reconcile before you push, or push with `--force`",
        ),
        (
            Some(-1),
            "version_conflict",
            "the server has version 1 of this vault, not -1: pull and reconcile before you push, or push with `--force`",
        ),
    ] {
        let (printed, reply) = carol.client.push("v", &carol.sealed(expected)?).await?;
        assert_eq!(printed, Err(message.to_owned()));
        assert_eq!(seen(&reply), (409, code.to_owned()));
    }
    // a version that is expected where there is none is no conflict
    let (printed, _) = carol.client.push("w", &carol.sealed(Some(9))?).await?;
    assert_eq!(printed, Ok(Pushed::of(1, "created")));
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_a_push_is_a_sentence() -> Result<()> {
    let world = World::new().await?;
    let (carol, free) = (world.person("carol", "pro").await?, world.person("freya", "free").await?);
    let good = carol.sealed(None)?;

    let (printed, reply) = free.client.push("v", &good).await?;
    assert_eq!(printed, Err("Vault sync requires a Pro or Org plan".to_owned()));
    assert_eq!(reply.status.as_u16(), 403);

    for client in [world.nobody().clone(), world.nobody().with_token("lpm_pat_mistyped")] {
        let (printed, reply) = client.push("v", &good).await?;
        assert_eq!(
            (printed, seen(&reply)),
            (Err("no valid token".to_owned()), (401, "unauthorized".to_owned()))
        );
    }
    let blob_of_url_alphabet = good.encrypted_blob.replace('+', "-").replace('/', "_").replacen(':', "-:", 1);
    for (blob, wrapped) in [
        ("", good.wrapped_key.as_str()),
        ("no colon", good.wrapped_key.as_str()),
        (blob_of_url_alphabet.as_str(), good.wrapped_key.as_str()),
        (good.encrypted_blob.trim_end_matches('='), "AAAA:AAAA"),
        (good.encrypted_blob.as_str(), ""),
    ] {
        let mut push = good.clone();
        (push.encrypted_blob, push.wrapped_key) = (blob.to_owned(), wrapped.to_owned());
        let (printed, reply) = carol.client.push("v", &push).await?;
        assert_eq!(seen(&reply), (400, "blob_invalid".to_owned()), "{blob} {wrapped}");
        let message = printed.expect_err("refused");
        assert!(message.contains("` is not "), "{message}");
    }
    let known = carol.client.push("v", &good).await?.0;
    assert_eq!(known, Ok(Pushed::of(1, "created")));
    let (printed, reply) = carol.client.push("another", &good).await?;
    assert_eq!(seen(&reply), (409, "blob_known".to_owned()));
    assert_eq!(printed, Err("this ciphertext is already stored for another vault".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_vault_that_is_too_large_is_refused_and_the_largest_is_not() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let payload =
        |bytes: usize| format!(r#"{{"environments":{{"default":{{"A":"{}"}}}}}}"#, "x".repeat(bytes));
    // 10 MiB of characters in base64, with what stands around the ciphertext
    let fits = carol.sealed_as(&payload(7 * 1024 * 1024), None)?;
    let (printed, reply) = carol.client.push("v", &fits).await?;
    assert_eq!(printed, Ok(Pushed::of(1, "created")), "{}", reply.text());
    let pulled = carol.client.pull("v").await?.0.map_err(anyhow::Error::msg)?;
    assert!(pulled.encrypted_blob == fits.encrypted_blob);
    let (printed, reply) =
        carol.client.push("w", &carol.sealed_as(&payload(10 * 1024 * 1024 + 1), None)?).await?;
    assert_eq!(seen(&reply), (413, "blob_too_large".to_owned()));
    assert_eq!(printed, Err("the encrypted vault is larger than 10 MiB".to_owned()));
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_a_pull_is_json() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let (printed, reply) = carol.client.pull("v").await?;
    assert_eq!((printed, reply.status.as_u16()), (Err("no vault `v` of yours".to_owned()), 404));

    // a row that only an `allow` has made is no vault
    carol.allows("v").await?;
    assert_eq!(carol.client.pull("v").await?.0, Err("no vault `v` of yours".to_owned()));

    let mallory = world.person("mallory", "pro").await?;
    carol.has_pushed("v").await?;
    assert_eq!(mallory.client.pull("v").await?.0, Err("no vault `v` of yours".to_owned()));

    world.sql("select lpm.set_plan('carol', 'free')")?;
    let (printed, reply) = carol.client.pull("v").await?;
    assert_eq!(
        (printed, reply.status.as_u16()),
        (Err("Vault sync requires a Pro or Org plan".to_owned()), 403)
    );
    let (printed, reply) = world.nobody().pull("v").await?;
    assert_eq!((printed, reply.status.as_u16()), (Err("no valid token".to_owned()), 401));
    Ok(())
}

#[tokio::test]
async fn the_migration_of_an_old_vault_leaves_the_next_push_a_conflict() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let legacy = crypto::legacy_wrapping_key(carol.client.token());
    let mut old = carol.sealed(None)?;
    (old.encrypted_blob, old.wrapped_key) = crypto::seal_vault(&legacy, PAYLOAD.as_bytes())?;
    assert!(carol.client.push("v", &old).await?.0.is_ok());

    let pulled = carol.client.pull("v").await?.0.map_err(anyhow::Error::msg)?;
    assert!(crypto::open_vault(&carol.wrapping_key, &pulled.encrypted_blob, &pulled.wrapped_key).is_err());
    crypto::open_vault(&legacy, &pulled.encrypted_blob, &pulled.wrapped_key).context("the legacy key")?;

    // pushed again at once under the machine's key; `lpm.json` keeps the version that was pulled
    let mut again = carol.sealed(Some(pulled.version))?;
    (again.name, again.schema) = (None, None);
    assert_eq!(carol.client.push("v", &again).await?.0, Ok(Pushed::of(2, "updated")));
    let (_, stale) = carol.client.push("v", &carol.sealed(Some(pulled.version))?).await?;
    assert_eq!(seen(&stale), (409, "version_conflict".to_owned()));
    let pulled = carol.client.pull("v").await?.0.map_err(anyhow::Error::msg)?;
    let (printed, _) = carol.client.push("v", &carol.sealed(Some(pulled.version))?).await?;
    assert_eq!(printed, Ok(Pushed::of(3, "updated")));
    Ok(())
}

#[tokio::test]
async fn later_clients_find_their_signature_on_every_success_and_on_nothing_else() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let (_, created) = carol.client.push("v", &carol.sealed(None)?).await?;
    let (_, updated) = carol.client.push("v", &carol.sealed(Some(1))?).await?;
    let (_, pulled) = carol.client.pull("v").await?;
    for reply in [&created, &updated, &pulled] {
        assert!(reply.status.is_success());
        let expected = crypto::signature(carol.client.token(), &reply.bytes)?;
        assert_eq!((reply.header("x-lpm-signature"), expected.len()), (expected.clone(), 44));
    }
    let (_, conflict) = carol.client.push("v", &carol.sealed(None)?).await?;
    let (_, unknown) = carol.client.pull("w").await?;
    let (_, list) = carol.client.list().await?;
    for reply in [&conflict, &unknown, &list] {
        assert_eq!(reply.header("x-lpm-signature"), "", "{}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn a_list_has_what_was_pushed_and_nothing_of_others() -> Result<()> {
    let world = World::new().await?;
    let (carol, dave) = (world.person("carol", "pro").await?, world.person("dave", "pro").await?);
    assert_eq!(carol.client.list().await?.0, Ok(Vec::new()));
    carol.has_pushed("v").await?;
    carol.allows("only-allowed").await?;
    dave.has_pushed("of-dave").await?;
    assert!(carol.client.push("v", &carol.sealed(Some(1))?).await?.0.is_ok());
    let listed: Vec<Listed> = carol.client.list().await?.0.map_err(anyhow::Error::msg)?;
    let seen: Vec<_> = listed.iter().map(|vault| (vault.vault_id.as_str(), vault.version)).collect();
    assert_eq!(seen, [("v", Some(2))]);
    assert!(listed[0].updated_at.as_deref().is_some_and(|at| at.ends_with('Z')), "{listed:?}");

    let (printed, reply) = world.nobody().list().await?;
    assert_eq!(printed, Err(format!("server error: {}", reply.text())));
    assert_eq!(reply.status.as_u16(), 401);
    Ok(())
}

#[tokio::test]
async fn a_log_comes_in_pages_of_fifty() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    for _ in 0..60 {
        assert!(carol.client.pull("v").await?.0.is_ok());
    }
    let rotated = carol.forced(PAYLOAD)?;
    let rotated = lpm_tests::published::Push { name: None, schema: None, ..rotated };
    assert!(carol.client.push("v", &rotated).await?.0.is_ok());

    let (entries, cursor) = carol.client.log("v", None).await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!(
        (entries.len(), entries[0].action.as_str(), entries[1].action.as_str()),
        (50, "rotate_key", "pull")
    );
    assert!(entries.iter().all(|entry| entry.user_id.is_some() && entry.org_id.is_none()));
    let cursor = cursor.context("there is more")?;
    let (rest, end) = carol.client.log("v", Some(&cursor)).await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!((rest.len(), rest[11].action.as_str(), end), (12, "push", None));
    let ids: std::collections::BTreeSet<_> = entries.iter().chain(&rest).map(|entry| &entry.id).collect();
    assert_eq!(ids.len(), 62, "no entry comes twice");

    let (printed, reply) = carol.client.log("v", Some("1 or 1=1")).await?;
    assert_eq!(printed.err().as_deref(), Some("`cursor` is not one that this server gave out"));
    assert_eq!(reply.status.as_u16(), 400);
    let mallory = world.person("mallory", "pro").await?;
    assert!(mallory.client.log("v", None).await?.0.map_err(anyhow::Error::msg)?.0.is_empty());
    let (printed, reply) = world.nobody().log("v", None).await?;
    assert_eq!((printed.err().as_deref(), reply.status.as_u16()), (Some("no valid token"), 401));
    Ok(())
}
