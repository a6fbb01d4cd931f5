//! The bytes of the published client 0.28, and what it parses, with its types.

use crate::world::{PAYLOAD, VAULT, World, refused, seen};
use anyhow::{Context, Result};
use lpm_core::envelope::{share, vault};
use lpm_tests::gateway::Reply;
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Value, json};

/// Its struct for both answers of a push and a share.
#[derive(Deserialize)]
struct Pushed {
    version: Option<i32>,
    status: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    user_id: String,
    role: String,
    public_key: Option<String>,
    has_public_key: bool,
}

#[derive(Deserialize)]
struct Listed {
    vaults: Vec<ListedVault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedVault {
    vault_id: String,
    version: Option<i32>,
    updated_at: Option<String>,
}

/// A request with its headers and no others.
async fn send(world: &World, token: &str, method: Method, path: &str, body: Option<String>) -> Result<Reply> {
    let client = Client::builder().no_proxy().build()?;
    let request = client
        .request(method, format!("{}{path}", world.stack.gateway.url()))
        .header("accept", "*/*")
        .header("accept-encoding", "zstd,gzip,br")
        .header("authorization", format!("Bearer {token}"));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body),
        None => request,
    };
    Reply::read(request.send().await?).await
}

#[tokio::test]
async fn share_and_pull_as_the_published_client_does_them() -> Result<()> {
    let world = World::new().await?;
    let dan = &world.dan;
    let public_key = send(&world, &dan.token, Method::GET, "/api/users/me/public-key", None).await?;
    assert_eq!(public_key.json()["publicKey"], json!(dan.public_key()));
    let upload = format!(r#"{{"publicKey":"{}"}}"#, dan.public_key());
    let uploaded = send(&world, &dan.token, Method::POST, "/api/users/me/public-key", Some(upload)).await?;
    assert!(uploaded.status.is_success());

    world.sql("select lpm.create_user('zed'); select lpm.add_member('acme', 'zed')")?;
    let keys = send(&world, &dan.token, Method::GET, "/api/orgs/acme/members/public-keys", None).await?;
    let keys: Vec<Key> = serde_json::from_slice(&keys.bytes).context("a bare array")?;
    assert_eq!(keys.len(), 5);
    assert!(
        keys.iter().any(|key| key.user_id == dan.id.to_string() && key.role == "developer"),
        "the caller"
    );
    let keyless: Vec<_> = keys.iter().filter(|key| !key.has_public_key).collect();
    assert!(keyless.len() == 1 && keyless[0].public_key.is_none());

    // In its order of members, without name, schema and force.
    let shared = world.share_of(&world.members())?;
    let body =
        format!(r#"{{"encryptedBlob":{},"wrappedKeys":{}}}"#, shared["encryptedBlob"], shared["wrappedKeys"]);
    let path = format!("/api/orgs/acme/vaults/{VAULT}");
    let first = send(&world, &dan.token, Method::POST, &path, Some(body)).await?;
    let pushed: Pushed = serde_json::from_slice(&first.bytes)?;
    assert_eq!((pushed.version, pushed.status.as_deref(), pushed.error), (Some(1), Some("created"), None));

    let pulled = send(&world, &dan.token, Method::GET, &path, None).await?;
    let key = share::open_from_member(&dan.private, &pulled.member("wrappedKey"))?;
    let payload = vault::open_blob(&key, &pulled.member("encryptedBlob"))?;
    assert_eq!(payload.expose_str(), Some(PAYLOAD));
    assert_eq!(pulled.member("encryptedBlob"), shared["encryptedBlob"].as_str().unwrap_or_default());
    assert!(pulled.json()["version"].is_i64());

    let list = send(&world, &dan.token, Method::GET, "/api/orgs/acme/vaults", None).await?;
    let list: Listed = serde_json::from_slice(&list.bytes)?;
    assert_eq!((list.vaults[0].vault_id.as_str(), list.vaults[0].version), (VAULT, Some(1)));
    assert!(list.vaults[0].updated_at.is_some());
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_a_share_parses_as_its_client_parses_it() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    let path = format!("/api/orgs/acme/vaults/{VAULT}");
    let mut good = world.share_of(&world.members())?;
    good["expectedVersion"] = json!(9);
    for (who, body, expected) in [
        (&world.dan, good.to_string(), refused(409, "org_version_conflict")),
        (&world.eve, good.to_string(), refused(404, "org_unknown")),
        (&world.dan, "{}".to_owned(), refused(400, "bad_request")),
        (&world.dan, String::new(), refused(400, "bad_request")),
    ] {
        let reply = send(&world, &who.token, Method::POST, &path, Some(body)).await?;
        assert_eq!(seen(&reply), expected);
        let parsed: Pushed = serde_json::from_slice(&reply.bytes)?;
        assert!(
            parsed.error.is_some() && parsed.status.is_none() && parsed.version.is_none(),
            "{}",
            reply.text()
        );
    }
    let pulled = send(&world, &world.eve.token, Method::GET, &path, None).await?;
    assert!(pulled.json()["error"].is_string() && pulled.json()["status"] == Value::Null);
    Ok(())
}
