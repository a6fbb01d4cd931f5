//! The published client's way to an environment: exchange the OIDC token, then `ci-pull` with what came back;
//! and the rest of what it sends to a vault, over HTTP.

use anyhow::{Context, Result};
use lpm_core::envelope::{aead, signature_holds, vault};
use lpm_core::secret::Secret;
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::Stack;
use serde_json::{Value, json};

/// A published client: its wrapping key and token, and nothing of ours.
struct Published {
    stack: Stack,
    token: String,
    wrapping_key: [u8; 32],
    vault_id: String,
}

impl Published {
    async fn new() -> Result<Self> {
        let stack = Stack::new().await?;
        let token = stack.account("carol", "pro").await?;
        Ok(Self { stack, token, wrapping_key: aead::random()?, vault_id: "vault-ci-123".to_owned() })
    }

    async fn push(&self, changes: Value) -> Result<Reply> {
        let aes_key = Secret::new(aead::random::<32>()?.to_vec());
        let payload = br#"{"environments":{"default":{"A":"1"},"production":{"API_KEY":"sk-live"}}}"#;
        let mut body = json!({
            "encryptedBlob": vault::seal_blob(&aes_key, &aead::random()?, payload)?,
            "wrappedKey": vault::wrap_key(&Secret::new(self.wrapping_key.to_vec()), &aead::random()?, &aes_key)?,
            "name": "probe-app", "schema": {"version": 2, "envConfig": {"prod": {"canonical": "production", "file": ".env.production"}}},
        });
        for (name, value) in changes.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.post(&format!("/api/vaults/{}/sync", self.vault_id), &body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.stack.gateway.post(path, Some(&self.token), body).await
    }

    /// `oidc allow`: a policy, then the raw wrapping key.
    async fn allow(&self) -> Result<(Reply, Reply)> {
        let policy = self
            .post(
                "/api/vault/oidc/policies",
                &json!({"vaultId": self.vault_id, "provider": "github", "subject": "repo:acme/web",
                "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false}),
            )
            .await?;
        let escrow = self
            .post(
                "/api/vault/oidc/escrow",
                &json!({"vaultId": self.vault_id, "wrappingKeyHex": hex::encode(self.wrapping_key)}),
            )
            .await?;
        Ok((policy, escrow))
    }

    async fn exchange(&self, job: &TokenRequest, environment: Value) -> Result<Reply> {
        let body =
            json!({"oidcToken": self.stack.issuer.mint(job)?, "vaultId": self.vault_id, "env": environment});
        self.stack.gateway.post("/api/vault/oidc", None, &body).await
    }

    async fn ci_pull(&self, token: &str, query: &str) -> Result<Reply> {
        self.stack.gateway.get(&format!("/api/vaults/{}/ci-pull{query}", self.vault_id), Some(token)).await
    }
}

fn job() -> TokenRequest {
    TokenRequest::github().repository("acme/web")
}

fn seen(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

#[tokio::test]
async fn a_published_client_pushes_allows_exchanges_and_pulls() -> Result<()> {
    let client = Published::new().await?;
    assert_eq!(client.push(json!({})).await?.json()["version"], 1);
    let (policy, escrow) = client.allow().await?;
    assert_eq!(
        (policy.status.as_u16(), policy.json()["success"].as_bool()),
        (201, Some(true)),
        "{}",
        policy.text()
    );
    assert_eq!(policy.json()["subject"], "repo:acme/web");
    assert!(escrow.status.is_success(), "{}", escrow.text());
    let exchanged = client.exchange(&job(), json!("production")).await?;
    let token = exchanged.member("token");
    assert!(token.starts_with("lpm_ci_"), "{}", exchanged.text());
    let pulled = client.ci_pull(&token, "?env=production").await?;
    assert_eq!(
        pulled.json(),
        json!({"env": "production", "vars": {"API_KEY": "sk-live"}}),
        "{}",
        pulled.text()
    );
    let trail = client.stack.database().value(
        "select string_agg(concat_ws(' ', action, decision, repo, branch, environment), ', ' order by id) from lpm_dashboard.audit where action like 'ci_%'",
    )?;
    assert_eq!(
        trail,
        "ci_exchange granted acme/web main production, ci_pull granted acme/web main production"
    );
    let name = client.stack.database().value("select name from lpm.ci_token")?;
    assert_eq!(name, "oidc:github:repo:acme/web:main");
    Ok(())
}

#[tokio::test]
async fn an_allow_before_the_first_push_keeps_its_escrow() -> Result<()> {
    let client = Published::new().await?;
    let (policy, escrow) = client.allow().await?;
    assert!(policy.status.is_success() && escrow.status.is_success(), "{} {}", policy.text(), escrow.text());
    let list = client.stack.gateway.get("/api/vaults", Some(&client.token)).await?;
    assert_eq!(list.json(), json!({"vaults": []}), "a row without a push is no vault");
    assert_eq!(seen(&client.exchange(&job(), json!("production")).await?), (404, "never_pushed".to_owned()));
    assert_eq!(client.push(json!({})).await?.json()["version"], 1);
    let token = client.exchange(&job(), json!("production")).await?.member("token");
    assert_eq!(client.ci_pull(&token, "?env=production").await?.status.as_u16(), 200);
    Ok(())
}

#[tokio::test]
async fn an_alias_of_the_pushed_schema_finds_its_environment() -> Result<()> {
    let client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    let token = client.exchange(&job(), json!("prod")).await?.member("token");
    assert_eq!(client.ci_pull(&token, "?env=prod").await?.json()["env"], "production");
    Ok(())
}

#[tokio::test]
async fn the_token_in_between_is_bound_and_ends() -> Result<()> {
    let client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    let exchange =
        async || Ok::<_, anyhow::Error>(client.exchange(&job(), json!("production")).await?.member("token"));

    let token = exchange().await?;
    for (row, query) in [("another environment", "?env=default"), ("none, which is `default`", "")] {
        assert_eq!(seen(&client.ci_pull(&token, query).await?), (403, "ci_token_scope".to_owned()), "{row}");
    }
    let other = client.stack.gateway.get("/api/vaults/other/ci-pull?env=production", Some(&token)).await?;
    assert_eq!(seen(&other), (403, "ci_token_scope".to_owned()), "another vault");
    assert_eq!(
        seen(&client.ci_pull(&token, "?env=production").await?),
        (401, "ci_token_invalid".to_owned()),
        "three uses, well or ill"
    );

    let token = exchange().await?;
    for _ in 0..3 {
        assert_eq!(client.ci_pull(&token, "?env=production").await?.status.as_u16(), 200);
    }
    assert_eq!(
        seen(&client.ci_pull(&token, "?env=production").await?),
        (401, "ci_token_invalid".to_owned()),
        "a fourth use"
    );

    let token = exchange().await?;
    for path in
        ["/api/vaults", "/api/vaults/vault-ci-123/sync", "/api/vault/oidc/policies?vaultId=vault-ci-123"]
    {
        let reply = client.stack.gateway.get(path, Some(&token)).await?;
        assert!(reply.status.is_client_error(), "{path}: a CI token is good for ci-pull only");
    }
    assert_eq!(
        seen(&client.ci_pull(&client.token, "?env=production").await?),
        (401, "ci_token_invalid".to_owned()),
        "a developer's token"
    );

    client.stack.database().value("update lpm.ci_token set expires_at = clock_timestamp()")?;
    assert_eq!(
        seen(&client.ci_pull(&token, "?env=production").await?),
        (401, "ci_token_invalid".to_owned()),
        "expired"
    );

    let token = exchange().await?;
    let policies = client
        .stack
        .gateway
        .get("/api/vault/oidc/policies?vaultId=vault-ci-123", Some(&client.token))
        .await?;
    let id = policies.json()["policies"][0]["id"].as_str().context("an id")?.to_owned();
    let revoked =
        client.stack.gateway.delete(&format!("/api/vault/oidc/policies/{id}"), Some(&client.token)).await?;
    assert!(revoked.status.is_success(), "{}", revoked.text());
    assert_eq!(
        seen(&client.ci_pull(&token, "?env=production").await?),
        (401, "ci_token_invalid".to_owned()),
        "its policy is gone"
    );
    Ok(())
}

#[tokio::test]
async fn a_push_from_another_machine_leaves_ci_a_409_that_says_what_to_run() -> Result<()> {
    let mut client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    client.wrapping_key = aead::random()?;
    client.push(json!({"force": true})).await?;
    let token = client.exchange(&job(), json!("production")).await?.member("token");
    let reply = client.ci_pull(&token, "?env=production").await?;
    assert_eq!(seen(&reply), (409, "escrow_mismatch".to_owned()));
    assert!(reply.member("hint").contains("lpm env oidc allow"), "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn an_escrow_that_does_not_open_the_vault_is_refused_and_the_old_one_stays() -> Result<()> {
    let mut client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    let stored = client.stack.database().value("select ci_escrow_wrapping_key from lpm.vault_sync")?;
    let right = client.wrapping_key;
    client.wrapping_key = aead::random()?;
    let (_, escrow) = client.allow().await?;
    assert_eq!(seen(&escrow), (409, "escrow_wrong_key".to_owned()));
    assert_eq!(client.stack.database().value("select ci_escrow_wrapping_key from lpm.vault_sync")?, stored);
    assert!(!client.stack.gateway.log().contains(&hex::encode(right)), "the raw key reached the log");
    for bad in ["", "00", &"g".repeat(64), &"0".repeat(66)] {
        let reply = client
            .post("/api/vault/oidc/escrow", &json!({"vaultId": client.vault_id, "wrappingKeyHex": bad}))
            .await?;
        assert_eq!(reply.status.as_u16(), 400, "{bad:?}: {}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn successful_sync_answers_are_signed_and_errors_are_not() -> Result<()> {
    let client = Published::new().await?;
    let path = format!("/api/vaults/{}/sync", client.vault_id);
    let pushed = client.push(json!({})).await?;
    let pulled = client.stack.gateway.get(&path, Some(&client.token)).await?;
    for reply in [&pushed, &pulled] {
        assert!(reply.status.is_success(), "{}", reply.text());
        assert!(signature_holds(client.token.as_bytes(), &reply.bytes, &reply.header("x-lpm-signature")));
    }
    let conflict = client.push(json!({})).await?;
    assert_eq!(
        (seen(&conflict), conflict.header("x-lpm-signature").as_str()),
        ((409, "version_expected".to_owned()), "")
    );
    // what the published client parses: an i32 version, strings, and no `status` number in an error
    assert!(pulled.json()["version"].is_i64() && pulled.json()["vaultId"].is_string());
    assert!(conflict.json().get("status").is_none());
    Ok(())
}

#[tokio::test]
async fn every_answer_carries_the_request_id_of_its_audit_row() -> Result<()> {
    let client = Published::new().await?;
    let pushed = client.push(json!({})).await?;
    let id = pushed.header("x-request-id");
    let action = client
        .stack
        .database()
        .value(&format!("select action from lpm_dashboard.audit where request_id = '{id}'"))?;
    assert_eq!(action, "push");
    let unknown = client.stack.gateway.get("/nowhere", None).await?;
    assert_eq!(seen(&unknown), (404, "not_found".to_owned()));
    assert!(!unknown.header("x-request-id").is_empty());
    Ok(())
}

#[tokio::test]
async fn a_developers_log_shows_pushes_pulls_and_ci() -> Result<()> {
    let client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    client.exchange(&job().branch("feature/x"), json!("production")).await?;
    let reply = client
        .stack
        .gateway
        .get(&format!("/api/vaults/{}/audit", client.vault_id), Some(&client.token))
        .await?;
    let entries = reply.json()["entries"].clone();
    let actions: Vec<&str> =
        entries.as_array().context("entries")?.iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["ci_exchange", "escrow_on", "policy_create", "push"], "{}", reply.text());
    for entry in entries.as_array().context("entries")? {
        assert!(entry["id"].is_string() && entry["createdAt"].is_string(), "{entry}");
    }
    let metadata = &entries[0]["metadata"];
    for (name, value) in [
        ("provider", "github"),
        ("repo", "acme/web"),
        ("branch", "feature/x"),
        ("decision", "denied"),
        ("reason", "branch_not_allowed"),
    ] {
        assert_eq!(metadata[name], value, "{metadata}");
    }
    assert!(
        metadata["workflow"].as_str().is_some_and(|workflow| workflow.contains("deploy.yml")),
        "{metadata}"
    );
    Ok(())
}

#[tokio::test]
async fn gitlab_jobs_share_one_token_for_their_retries() -> Result<()> {
    let client = Published::new().await?;
    client.push(json!({})).await?;
    client.allow().await?;
    client
        .post(
            "/api/vault/oidc/policies",
            &json!({"vaultId": client.vault_id, "provider": "gitlab", "subject": "repo:my-group/my-project",
            "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false}),
        )
        .await?;
    let token = client.stack.issuer.mint(&TokenRequest::gitlab())?;
    let body = json!({"oidcToken": token, "vaultId": client.vault_id, "env": "production"});
    for _ in 0..20 {
        let reply = client.stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    }
    let reply = client.stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
    assert_eq!(seen(&reply), (403, "replayed".to_owned()));
    assert!(reply.member("error").contains("20 times"), "{}", reply.text());
    Ok(())
}
