//! Shares and pulls: who reads what.

use crate::world::{PAYLOAD, Person, VAULT, World, refused, seen};
use anyhow::Result;
use lpm_core::envelope::signature_holds;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn every_recipient_reads_with_their_own_key_and_nobody_gets_anothers() -> Result<()> {
    let world = World::new().await?;
    let shared = world.share(&world.dan, &world.members(), json!({"name": "web"})).await?;
    let org = world.sql("select id from lpm.org where slug = 'acme'")?;
    assert_eq!(shared.status.as_u16(), 201, "{}", shared.text());
    assert_eq!(shared.json(), json!({"version": 1, "status": "created", "owner": org}));
    let mut keys = std::collections::BTreeSet::new();
    for member in world.members() {
        assert_eq!(world.read(member).await?, PAYLOAD, "{}", member.handle);
        keys.insert(world.pull(member).await?.member("wrappedKey"));
    }
    assert_eq!(keys.len(), 4, "one copy each");
    let list = world.get(&world.mia, "/api/orgs/acme/vaults").await?.json();
    assert_eq!((&list["vaults"][0]["vaultId"], &list["vaults"][0]["version"]), (&json!(VAULT), &json!(1)));
    assert_eq!(list["vaults"][0]["name"], "web");
    assert_eq!(world.get(&world.mia, "/api/vaults").await?.status, 200);
    assert_eq!(
        world.get(&world.mia, "/api/vaults").await?.json(),
        json!({"vaults": []}),
        "an org's vault is nobody's own"
    );
    Ok(())
}

#[tokio::test]
async fn successes_are_signed_and_refusals_are_not() -> Result<()> {
    let world = World::new().await?;
    let shared = world.share(&world.alice, &world.members(), json!({})).await?;
    let pulled = world.pull(&world.alice).await?;
    for reply in [&shared, &pulled] {
        assert!(reply.status.is_success());
        let signature = reply.header("x-lpm-signature");
        assert!(signature_holds(world.alice.token.as_bytes(), &reply.bytes, &signature), "{}", reply.text());
    }
    for refusal in [
        world.share(&world.alice, &world.members(), json!({})).await?,
        world.pull(&world.eve).await?,
        world.share(&world.alice, &[], json!({})).await?,
    ] {
        assert!(refusal.status.is_client_error());
        assert_eq!(refusal.header("x-lpm-signature"), "", "{}", refusal.text());
        assert!(refusal.json().get("status").is_none(), "{}", refusal.text());
    }
    Ok(())
}

#[tokio::test]
async fn a_share_replaces_only_what_its_sender_has_seen() -> Result<()> {
    let world = World::new().await?;
    let all = world.members();
    let share = async |changes: Value| world.share(&world.alice, &all, changes).await;
    let first = share(json!({"expectedVersion": 7})).await?;
    assert_eq!((first.status.as_u16(), &first.json()["version"]), (201, &json!(1)), "nothing was there");
    let blind = share(json!({})).await?;
    assert_eq!(seen(&blind), refused(409, "org_version_expected"));
    for part in ["`acme`", "version 1", "pull with `--org` first"] {
        assert!(blind.member("error").contains(part), "{}", blind.text());
    }
    let stale = share(json!({"expectedVersion": 2})).await?;
    assert_eq!(seen(&stale), refused(409, "org_version_conflict"));
    assert!(stale.member("hint").contains("lpm use vars pull --org=acme"), "{}", stale.text());
    assert_eq!(seen(&share(json!({"expectedVersion": -1})).await?), refused(409, "org_version_conflict"));
    assert_eq!(world.sql("select version from lpm.vault_sync")?, "1", "nothing of it was stored");
    assert_eq!(share(json!({"expectedVersion": 1})).await?.json()["version"], 2);
    assert_eq!(share(json!({"force": true})).await?.json()["version"], 3);
    Ok(())
}

#[tokio::test]
async fn the_recipients_of_a_share_replace_those_before() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    let fewer =
        world.share(&world.alice, &[&world.olga, &world.alice], json!({"expectedVersion": 1})).await?;
    assert_eq!(fewer.status.as_u16(), 200, "{}", fewer.text());
    assert_eq!(world.read(&world.olga).await?, PAYLOAD);
    let without = world.pull(&world.dan).await?;
    assert_eq!(without.status.as_u16(), 200, "{}", without.text());
    assert!(without.json().get("wrappedKey").is_none(), "{}", without.text());
    assert!(world.read(&world.dan).await.is_err());
    let trail = world.sql("select metadata ->> 'members' from lpm.audit_log where action = 'unshare'")?;
    assert_eq!(trail, r#"["dan", "mia"]"#);
    Ok(())
}

#[tokio::test]
async fn shares_with_the_wrong_recipients_are_refused_and_store_nothing() -> Result<()> {
    let world = World::new().await?;
    let World { olga, alice, mia, dan, eve, .. } = &world;
    let twice: &[&Person] = &[olga, alice, dan, dan];
    for (row, recipients, expected, said) in [
        ("a stranger", &[olga, alice, eve][..], refused(409, "recipient_unknown"), eve.id.to_string()),
        ("without an admin", &[olga, dan], refused(409, "recipient_missing"), "`alice`, admin of".to_owned()),
        ("without an owner", &[alice, dan], refused(409, "recipient_missing"), "`olga`, owner of".to_owned()),
        ("for the sender only", &[mia], refused(409, "recipient_missing"), "`olga`".to_owned()),
        ("for nobody", &[], refused(400, "bad_request"), "names nobody".to_owned()),
        ("twice for one", twice, refused(400, "bad_request"), format!("{} twice", dan.id)),
    ] {
        let reply = world.share(mia, recipients, json!({})).await?;
        assert_eq!(seen(&reply), expected, "{row}: {}", reply.text());
        assert!(reply.member("error").contains(&said), "{row}: {}", reply.text());
    }
    let mut nobody = world.share_of(&[olga, alice])?;
    nobody["wrappedKeys"][0]["userId"] = json!(Uuid::new_v4());
    let reply = world.post(mia, &format!("/api/orgs/acme/vaults/{VAULT}"), &nobody).await?;
    assert_eq!(seen(&reply), refused(409, "recipient_unknown"), "whether an account or none: the same");
    let stored = "select (select count(*) from lpm.vault_sync) + (select count(*) from lpm.vault_claim)
                       + (select count(*) from lpm.blob_seen) + (select count(*) from lpm.vault_org_keys)";
    assert_eq!(world.sql(stored)?, "0");
    // Somebody without a key cannot be a recipient, and nobody has to wait for them.
    world.sql(
        "delete from lpm.user_public_keys k using lpm.account a where a.id = k.user_id and a.handle = 'olga'",
    )?;
    assert_eq!(world.share(mia, &[alice, mia], json!({})).await?.status.as_u16(), 201);
    Ok(())
}

#[tokio::test]
async fn malformed_shares_are_refused_and_store_nothing() -> Result<()> {
    let world = World::new().await?;
    let good = world.share_of(&[&world.olga, &world.alice])?;
    let key = good["wrappedKeys"][0]["wrappedKey"].as_str().unwrap_or_default().to_owned();
    let set = |pointer: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(pointer).expect("a member of the request") = value;
        body
    };
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().expect("an object").remove(name);
        body
    };
    let first_key = "/wrappedKeys/0/wrappedKey";
    for (row, body) in [
        ("no blob", without("encryptedBlob")),
        ("no keys", without("wrappedKeys")),
        ("keys of null", set("/wrappedKeys", Value::Null)),
        ("keys as an object", set("/wrappedKeys", json!({}))),
        ("an empty blob", set("/encryptedBlob", json!(""))),
        ("a blob without iv", set("/encryptedBlob", json!("AAAA"))),
        ("an unpadded blob", set("/encryptedBlob", json!("AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA"))),
        ("no user", set("/wrappedKeys/0", json!({"wrappedKey": key}))),
        ("a user who is no uuid", set("/wrappedKeys/0/userId", json!("olga"))),
        ("no key", set("/wrappedKeys/0", json!({"userId": world.olga.id}))),
        ("a key of two parts", set(first_key, json!(key[45..]))),
        ("a short key", set(first_key, json!(key[..125]))),
        ("a long key", set(first_key, json!(format!("{key}=")))),
        ("another alphabet", set(first_key, json!(format!("-_{}", &key[2..])))),
        ("an empty key", set(first_key, json!(""))),
    ] {
        let reply = world.post(&world.dan, &format!("/api/orgs/acme/vaults/{VAULT}"), &body).await?;
        assert_eq!(reply.status.as_u16(), 400, "{row}: {}", reply.text());
        assert!(!reply.text().contains(&key[..40]), "{row}: {}", reply.text());
    }
    for (row, changes) in [
        ("a version as text", json!({"expectedVersion": "1"})),
        ("a fraction", json!({"expectedVersion": 1.5})),
        ("2^31", json!({"expectedVersion": 2_147_483_648_i64})),
        ("force as text", json!({"force": "yes"})),
        ("a schema that is no object", json!({"schema": [1]})),
    ] {
        let reply = world.share(&world.dan, &world.members(), changes).await?;
        assert_eq!(reply.status.as_u16(), 400, "{row}: {}", reply.text());
    }
    assert_eq!(world.sql("select count(*) from lpm.vault_sync")?, "0");
    Ok(())
}

#[tokio::test]
async fn ten_versions_are_kept_with_the_keys_that_open_them() -> Result<()> {
    let world = World::new().await?;
    for _ in 0..13 {
        world.shared().await?;
    }
    let kept = "select string_agg(distinct version::text, ' ') from lpm.vault_version";
    assert_eq!(world.sql(kept)?, "10 11 12 4 5 6 7 8 9");
    let keys = "select string_agg(format('%s %s', version, n), ', ' order by version) from
                (select version, count(*) n from lpm.vault_org_keys group by version) k";
    assert_eq!(
        world.sql(keys)?,
        "4 4, 5 4, 6 4, 7 4, 8 4, 9 4, 10 4, 11 4, 12 4, 13 4",
        "a key for each recipient of each kept version, and none of another"
    );
    Ok(())
}

#[tokio::test]
async fn personal_and_org_versions_count_separately_and_the_id_is_the_orgs_too() -> Result<()> {
    let world = World::new().await?;
    world.sql("select lpm.set_plan('dan', 'pro')")?;
    let dan = world.stack.escrowed(&world.dan.token);
    let client = dan.gateway().await?;
    dan.push(&client, VAULT).await?;
    dan.push(&client, VAULT).await?;
    assert_eq!(world.share(&world.dan, &world.members(), json!({})).await?.json()["version"], 1);
    let claim = "select coalesce(a.handle, '-') || ' ' || coalesce(o.slug, '-') || ' ' || c.pushed from lpm.vault_claim c
                 left join lpm.account a on a.id = c.user_id left join lpm.org o on o.id = c.org_id where c.vault_id = ";
    assert_eq!(world.sql(&format!("{claim} '{VAULT}'"))?, "dan acme true", "whoever claimed it shared it");
    // A second org that the claimer shares it with gets a row, and no right to open the id to CI.
    world.sql("select lpm.create_org('other'); select lpm.add_member('other', 'dan', role => 'owner')")?;
    let second = world
        .post(&world.dan, &format!("/api/orgs/other/vaults/{VAULT}"), &world.share_of(&[&world.dan])?)
        .await?;
    assert_eq!(second.status.as_u16(), 201, "{}", second.text());
    assert_eq!(world.sql(&format!("{claim} '{VAULT}'"))?, "dan acme true");
    // An id that nobody held is the org's alone, and not its sender's.
    let free =
        world.post(&world.dan, "/api/orgs/acme/vaults/free", &world.share_of(&world.members())?).await?;
    assert_eq!(free.status.as_u16(), 201);
    assert_eq!(world.sql(&format!("{claim} 'free'"))?, "- acme true");
    // An id that somebody else holds stays theirs.
    world.sql("select lpm.reserve_vault('eves', owner => 'eve')")?;
    let theirs =
        world.post(&world.dan, "/api/orgs/acme/vaults/eves", &world.share_of(&world.members())?).await?;
    assert_eq!(theirs.status.as_u16(), 201);
    assert_eq!(world.sql(&format!("{claim} 'eves'"))?, "eve - true");
    Ok(())
}

#[tokio::test]
async fn a_ciphertext_of_elsewhere_is_not_accepted() -> Result<()> {
    let world = World::new().await?;
    let body = world.share_of(&world.members())?;
    let share = async |path: &str| world.post(&world.dan, path, &body).await;
    assert_eq!(share("/api/orgs/acme/vaults/one").await?.status.as_u16(), 201);
    assert_eq!(seen(&share("/api/orgs/acme/vaults/two").await?), refused(409, "blob_known"));
    world.sql("select lpm.create_org('other'); select lpm.add_member('other', 'dan', role => 'owner')")?;
    let mut own = body.clone();
    own["wrappedKeys"] = world.share_of(&[&world.dan])?["wrappedKeys"].clone();
    let elsewhere = world.post(&world.dan, "/api/orgs/other/vaults/one", &own).await?;
    assert_eq!(seen(&elsewhere), refused(409, "blob_known"), "another owner's");
    assert_eq!(world.sql("select count(*) from lpm.vault_sync")?, "1");
    Ok(())
}

#[tokio::test]
async fn everything_of_an_org_goes_by_the_orgs_plan() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    assert_eq!(world.read(&world.dan).await?, PAYLOAD, "dan's own plan is free");
    world.sql("select lpm.set_plan('acme', 'free')")?;
    for reply in [
        world.pull(&world.dan).await?,
        world.share(&world.dan, &world.members(), json!({"force": true})).await?,
    ] {
        assert_eq!(seen(&reply), refused(403, "plan_sync"));
        assert_eq!(reply.member("error"), "Vault sync requires a Pro or Org plan");
        assert!(reply.member("hint").contains("lpm.set_plan('acme', 'pro')"), "{}", reply.text());
    }
    assert_eq!(world.get(&world.dan, "/api/orgs/acme/vaults").await?.status.as_u16(), 200);
    for plan in ["pro", "org"] {
        world.sql(&format!("select lpm.set_plan('acme', '{plan}')"))?;
        assert_eq!(world.read(&world.dan).await?, PAYLOAD, "a downgrade keeps data");
        assert_eq!(
            world.share(&world.dan, &world.members(), json!({"force": true})).await?.status.as_u16(),
            200
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_vault_that_was_not_shared_is_named_with_the_command_that_shares_it() -> Result<()> {
    let world = World::new().await?;
    let reply = world.pull(&world.dan).await?;
    assert_eq!(seen(&reply), refused(404, "org_vault_unknown"));
    assert_eq!(reply.member("error"), "`acme` has no vault `vault-123`");
    assert!(reply.member("hint").contains("lpm env share --org acme"), "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn a_key_for_ci_is_refused_where_the_vault_is_not_open_to_ci() -> Result<()> {
    let world = World::new().await?;
    let escrow = json!({"escrow": {"keyId": "k", "sealed": "s1.k.AAAA", "blobSha256": "00"}});
    let reply = world.share(&world.dan, &world.members(), escrow).await?;
    assert!(reply.status.is_client_error(), "{}", reply.text());
    assert_eq!(world.sql("select count(*) from lpm.vault_sync where version > 0")?, "0");
    Ok(())
}

#[tokio::test]
async fn deleting_the_vault_deletes_its_keys() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    world.shared().await?;
    world.sql(&format!("select lpm.delete_vault('{VAULT}', owner => 'acme')"))?;
    assert_eq!(world.sql("select count(*) from lpm.vault_org_keys")?, "0");
    assert_eq!(seen(&world.pull(&world.dan).await?), refused(404, "org_vault_unknown"));
    Ok(())
}
