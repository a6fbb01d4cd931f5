//! Escrow of kind `aes`, versions and restore through HTTP: what our client and the published one send to a vault
//! that both of them push.

use anyhow::{Context, Result};
use lpm_core::envelope::signature_holds;
use lpm_tests::escrowed::{Escrowed, PAYLOAD, SECRET};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::per_vault::Ciphertext;
use lpm_tests::stack::Stack;
use serde_json::{Value, json};
use tokio_postgres::Client;

/// A developer, and a pipeline of theirs.
struct World {
    stack: Stack,
    token: String,
    carol: Escrowed,
    client: Client,
    vault: &'static str,
}

impl World {
    async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let token = stack.account("carol", "pro").await?;
        let carol = stack.escrowed(&token);
        let client = carol.gateway().await?;
        Ok(Self { stack, token, carol, client, vault: "vault-123" })
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.stack.gateway.post(path, Some(&self.token), body).await
    }

    async fn get(&self, path: &str) -> Result<Reply> {
        self.stack.gateway.get(path, Some(&self.token)).await
    }

    /// A push of `text`, with its key where `with_key` says so.
    async fn push(&self, text: &Ciphertext, with_key: bool) -> Result<Reply> {
        let mut body = json!({"encryptedBlob": text.blob, "wrappedKey": text.wrapped, "force": true});
        if with_key {
            body["escrow"] = self.carol.seal(&self.client, self.vault, text).await?.json();
        }
        self.post(&format!("/api/vaults/{}/sync", self.vault), &body).await
    }

    async fn escrow(&self, changes: &Value) -> Result<Reply> {
        let mut body = json!({"vaultId": self.vault});
        for (name, value) in changes.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.post("/api/vault/oidc/escrow", &body).await
    }

    async fn allow(&self) -> Result<()> {
        let policy = json!({"vaultId": self.vault, "provider": "github", "subject": "repo:acme/web",
            "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false});
        let reply = self.post("/api/vault/oidc/policies", &policy).await?;
        anyhow::ensure!(reply.status == 201, "{}", reply.text());
        Ok(())
    }

    fn oidc_token(&self) -> Result<String> {
        self.stack.issuer.mint(&TokenRequest::github().repository("acme/web"))
    }

    /// A pull in one step.
    async fn pull(&self) -> Result<Reply> {
        let body = json!({"oidcToken": self.oidc_token()?, "vaultId": self.vault, "env": "production"});
        self.stack.gateway.post("/api/vault/oidc/pull", None, &body).await
    }
}

fn seen(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

#[tokio::test]
async fn a_key_travels_with_each_push_and_a_published_push_leaves_ci_a_409_that_says_what_to_run()
-> Result<()> {
    let world = World::new().await?;
    world.allow().await?;
    let opted = world.escrow(&json!({"kind": "aes"})).await?;
    assert_eq!((opted.status.as_u16(), opted.member("kind")), (200, "aes".into()), "{}", opted.text());
    let told = world.get(&format!("/api/vault/oidc/escrow-key?vaultId={}", world.vault)).await?;
    assert_eq!((told.member("escrow"), &told.json()["legacyClients"]), ("aes".into(), &json!(false)));

    let pushed = world.push(&world.carol.encrypt(PAYLOAD)?, true).await?;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let signature = pushed.header("x-lpm-signature");
    assert!(signature_holds(world.token.as_bytes(), &pushed.bytes, &signature), "{signature}");
    assert_eq!(world.pull().await?.json()["vars"]["API_KEY"], SECRET);

    // the published client knows of no escrow, and its push is as good as any
    let text = world.carol.encrypt(PAYLOAD)?;
    assert_eq!(world.push(&text, false).await?.status, 200);
    let refused = world.pull().await?;
    assert_eq!(seen(&refused), (409, "escrow_mismatch".to_owned()), "{}", refused.text());
    assert!(refused.member("hint").contains("lpm env oidc allow"), "{}", refused.text());
    let exchanged = world
        .stack
        .gateway
        .post(
            "/api/vault/oidc",
            None,
            &json!({"oidcToken": world.oidc_token()?, "vaultId": world.vault, "env": "production"}),
        )
        .await?;
    assert_eq!(exchanged.status, 200, "an exchange opens nothing: {}", exchanged.text());
    let path = format!("/api/vaults/{}/ci-pull?env=production", world.vault);
    let refused = world.stack.gateway.get(&path, Some(&exchanged.member("token"))).await?;
    assert_eq!(seen(&refused), (409, "escrow_mismatch".to_owned()), "{}", refused.text());

    // nor does its `allow` put the machine's key there
    let published = world.escrow(&json!({"wrappingKeyHex": "00".repeat(32)})).await?;
    assert_eq!(seen(&published), (409, "escrow_per_vault".to_owned()), "{}", published.text());

    let escrow = world.carol.seal(&world.client, world.vault, &text).await?;
    let allowed = world
        .escrow(&json!({"kind": "aes", "sealed": escrow.sealed, "blobSha256": escrow.blob_sha256}))
        .await?;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    assert_eq!(world.pull().await?.json()["vars"]["API_KEY"], SECRET);

    let off = world
        .stack
        .gateway
        .delete(&format!("/api/vault/oidc/escrow?vaultId={}", world.vault), Some(&world.token))
        .await?;
    assert_eq!((off.status.as_u16(), off.member("escrow")), (200, "off".into()), "{}", off.text());
    assert_eq!(seen(&world.pull().await?), (403, "escrow_off".to_owned()));
    let refused = world.push(&world.carol.encrypt(PAYLOAD)?, true).await?;
    assert_eq!(seen(&refused), (409, "escrow_not_opted_in".to_owned()), "{}", refused.text());
    Ok(())
}

#[tokio::test]
async fn an_incomplete_or_mistyped_escrow_of_a_push_is_refused_and_stores_nothing() -> Result<()> {
    let world = World::new().await?;
    world.escrow(&json!({"kind": "aes"})).await?;
    let text = world.carol.encrypt(PAYLOAD)?;
    let good = world.carol.seal(&world.client, world.vault, &text).await?.json();
    for (case, name, value) in [
        ("no key id", "keyId", Value::Null),
        ("a number as key id", "keyId", json!(1)),
        ("no sealed key", "sealed", Value::Null),
        ("a list as sealed key", "sealed", json!([])),
        ("no hash", "blobSha256", Value::Null),
        ("another hash", "blobSha256", json!("0".repeat(64))),
    ] {
        let mut escrow = good.clone();
        escrow[name] = value;
        let body = json!({"encryptedBlob": text.blob, "wrappedKey": text.wrapped, "escrow": escrow});
        let reply = world.post(&format!("/api/vaults/{}/sync", world.vault), &body).await?;
        assert_eq!(reply.status, 400, "{case}: {}", reply.text());
    }
    assert_eq!(world.stack.database().value("select max(version) from lpm.vault_sync")?, "0");
    let body = json!({"encryptedBlob": text.blob, "wrappedKey": text.wrapped, "escrow": null});
    assert_eq!(world.post(&format!("/api/vaults/{}/sync", world.vault), &body).await?.status, 201);
    Ok(())
}

#[tokio::test]
async fn kept_versions_are_listed_and_one_is_brought_back_with_its_key() -> Result<()> {
    let world = World::new().await?;
    world.allow().await?;
    world.escrow(&json!({"kind": "aes"})).await?;
    let first = world.carol.encrypt(PAYLOAD)?;
    assert_eq!(world.push(&first, true).await?.status, 201);
    assert_eq!(world.push(&world.carol.encrypt(r#"{"environments":{}}"#)?, false).await?.status, 200);
    let path = |what: &str| format!("/api/vaults/{}/{what}", world.vault);

    let list = world.get(&path("versions")).await?;
    let versions = list.json()["versions"].as_array().cloned().context("a list")?;
    let shown: Vec<_> = versions.iter().map(|v| (v["version"].as_i64(), v["current"].as_bool())).collect();
    assert_eq!(shown, [(Some(2), Some(true)), (Some(1), Some(false))], "{}", list.text());
    assert!(versions.iter().all(|v| v["author"] == "carol" && v["createdAt"].is_string()), "{}", list.text());
    assert!(!list.text().contains(&first.blob[..20]), "no ciphertext");

    for (case, body, expected) in [
        ("one that was never there", json!({"version": 7}), (404, "version_unknown")),
        ("the newest", json!({"version": 2}), (400, "bad_request")),
        ("a version below all", json!({"version": 0}), (404, "version_unknown")),
        ("after another's push", json!({"version": 1, "expectedVersion": 1}), (409, "version_conflict")),
        ("of an org that is not", json!({"version": 1, "org": "no-such-org"}), (404, "org_unknown")),
    ] {
        let reply = world.post(&path("restore"), &body).await?;
        assert_eq!(seen(&reply), (expected.0, expected.1.to_owned()), "{case}: {}", reply.text());
    }
    let stranger = world.stack.account("mallory", "pro").await?;
    let restore = json!({"version": 1, "expectedVersion": 2});
    let theirs = world.stack.gateway.post(&path("restore"), Some(&stranger), &restore).await?;
    let nobodys = world.stack.gateway.post("/api/vaults/nothing/restore", Some(&stranger), &restore).await?;
    assert_eq!(seen(&theirs), (404, "vault_unknown".to_owned()));
    assert_eq!(theirs.text().replace(world.vault, "nothing"), nobodys.text(), "nobody learns whose it is");
    let reader = world
        .stack
        .database()
        .value("select lpm.create_token('carol', name => 'reader', scope => 'read')")?;
    let refused = world.stack.gateway.post(&path("restore"), Some(&reader), &restore).await?;
    assert_eq!(seen(&refused), (403, "token_scope".to_owned()));

    let restored = world.post(&path("restore"), &restore).await?;
    assert_eq!(
        (restored.status.as_u16(), &restored.json()["version"], restored.member("status")),
        (200, &json!(3), "restored".to_owned()),
        "{}",
        restored.text()
    );
    assert_eq!(world.get(&path("sync")).await?.member("encryptedBlob"), first.blob, "byte for byte");
    assert_eq!(world.pull().await?.json()["vars"]["API_KEY"], SECRET);
    let trail = "select string_agg(concat_ws(' ', decision, reason, metadata ->> 'from', metadata ->> 'version'), ', ' order by id) from lpm.audit_log where action = 'restore'";
    assert_eq!(world.stack.database().value(trail)?, "denied version_conflict, done 1 3");
    // a restored version is a version like others: the next push builds on it
    let body = json!({"encryptedBlob": first.blob, "wrappedKey": first.wrapped, "expectedVersion": 3});
    assert_eq!(
        world.post(&path("sync"), &body).await?.json()["version"],
        4,
        "a ciphertext of one's own may come again"
    );
    Ok(())
}

#[tokio::test]
async fn on_a_free_plan_nothing_is_restored_and_the_list_stays() -> Result<()> {
    let world = World::new().await?;
    for _ in 0..2 {
        world.push(&world.carol.encrypt(PAYLOAD)?, false).await?;
    }
    world.stack.database().value("select lpm.set_plan('carol', 'free')")?;
    let reply = world.post(&format!("/api/vaults/{}/restore", world.vault), &json!({"version": 1})).await?;
    assert_eq!(
        (reply.status.as_u16(), reply.member("error")),
        (403, "Vault sync requires a Pro or Org plan".to_owned())
    );
    let list = world.get(&format!("/api/vaults/{}/versions", world.vault)).await?;
    assert_eq!(list.json()["versions"].as_array().map(Vec::len), Some(2), "{}", list.text());
    Ok(())
}

#[tokio::test]
async fn of_many_restores_that_expect_one_version_one_wins() -> Result<()> {
    let world = std::sync::Arc::new(World::new().await?);
    for _ in 0..3 {
        world.push(&world.carol.encrypt(PAYLOAD)?, false).await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..16 {
        let world = std::sync::Arc::clone(&world);
        tasks.spawn(async move {
            let body = json!({"version": 1 + n % 2, "expectedVersion": 3});
            anyhow::Ok(seen(&world.post(&format!("/api/vaults/{}/restore", world.vault), &body).await?))
        });
    }
    let mut won = 0;
    while let Some(met) = tasks.join_next().await {
        match met?? {
            (200, _) => won += 1,
            other => assert_eq!(other, (409, "version_conflict".to_owned())),
        }
    }
    assert_eq!(won, 1);
    let versions = "select string_agg(v::text, ' ' order by v) from (select version v from lpm.vault_sync union all select version from lpm.vault_version) x";
    assert_eq!(world.stack.database().value(versions)?, "1 2 3 4");
    Ok(())
}
