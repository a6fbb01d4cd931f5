//! The published client's exact requests, and answers as it parses them.

use crate::is_good;
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::raw_http::RawHttp;
use lpm_tests::signin::SignIn;
use lpm_tests::stack::{ORG, Stack};
use serde::Deserialize;

/// `POST /api/cli/exchange` and `/api/cli/refresh`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionParsed {
    token: String,
    refresh_token: Option<String>,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
struct WhoamiParsed {
    username: Option<String>,
    profile_username: Option<String>,
    plan_tier: Option<String>,
    mfa_enabled: Option<bool>,
    has_pool_access: Option<bool>,
    // null is an error of the parser, absence is not
    #[serde(default)]
    organizations: Vec<OrgParsed>,
    #[serde(default)]
    available_scopes: Vec<String>,
    usage: Option<UsageParsed>,
    limits: Option<LimitsParsed>,
}

#[derive(Deserialize)]
struct OrgParsed {
    slug: String,
    role: Option<String>,
    require_2fa: Option<bool>,
}

#[derive(Deserialize)]
struct UsageParsed {
    storage_bytes: u64,
    private_packages: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LimitsParsed {
    storage_bytes: Option<u64>,
    private_packages: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateParsed {
    token: String,
    expires_at: Option<String>,
}

/// Exactly these headers and bytes; the client sends no `User-Agent` to `/api/cli/*`.
async fn send(stack: &Stack, head: &str, bearer: Option<&str>, body: &str) -> Result<Reply> {
    let mut connection = RawHttp::connect(&stack.gateway).await?;
    let bearer = bearer.map_or(String::new(), |token| format!("authorization: Bearer {token}\r\n"));
    let kind = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    let request = format!(
        "{head} HTTP/1.1\r\n{kind}{bearer}accept: */*\r\naccept-encoding: zstd,gzip,br\r\nhost: {}\r\n\r\n{body}",
        stack.gateway.url().trim_start_matches("http://")
    );
    connection.send(request.as_bytes()).await?;
    connection.reply().await?.context("no answer")
}

#[tokio::test]
async fn login_whoami_refresh_rotate_and_revoke_as_the_published_client_does_them() -> Result<()> {
    let stack = Stack::new().await?;
    let code = SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    let reply = send(&stack, "POST /api/cli/exchange", None, &format!(r#"{{"code":"{code}"}}"#)).await?;
    let session: SessionParsed = serde_json::from_slice(&reply.bytes)?;
    let refresh = session.refresh_token.context("without one the login is `legacy`")?;
    is_rfc3339(&session.expires_at)?;

    let reply = send(&stack, "GET /api/registry/-/whoami", Some(&session.token), "").await?;
    let who: WhoamiParsed = serde_json::from_slice(&reply.bytes)?;
    assert_eq!((who.username.as_deref(), who.profile_username.as_deref()), (Some("alice"), Some("alice")));
    assert_eq!(who.plan_tier.as_deref(), Some("org"));
    assert_eq!((who.mfa_enabled, who.has_pool_access), (Some(false), Some(false)));
    assert_eq!(who.available_scopes, ["alice", ORG]);
    let [org] = &who.organizations[..] else { anyhow::bail!("{}", reply.text()) };
    assert_eq!((org.slug.as_str(), org.role.as_deref(), org.require_2fa), (ORG, Some("admin"), Some(false)));
    let (usage, limits) = (who.usage.context("usage")?, who.limits.context("limits")?);
    assert_eq!((usage.storage_bytes, usage.private_packages), (0, 0));
    assert_eq!((limits.storage_bytes, limits.private_packages), (Some(0), Some(0)), "0 means unlimited");

    let fingerprint = "0a".repeat(32);
    let body = format!(r#"{{"refreshToken":"{refresh}","deviceFingerprint":"{fingerprint}"}}"#);
    let reply = send(&stack, "POST /api/cli/refresh", None, &body).await?;
    let session: SessionParsed = serde_json::from_slice(&reply.bytes)?;
    assert!(session.refresh_token.is_some());
    is_rfc3339(&session.expires_at)?;

    let reply = send(&stack, "POST /api/registry/-/token/rotate", Some(&session.token), "{}").await?;
    let rotated: RotateParsed = serde_json::from_slice(&reply.bytes)?;
    is_rfc3339(&rotated.expires_at)?;

    let body = format!(r#"{{"token":"{}"}}"#, rotated.token);
    let reply = send(&stack, "POST /api/registry/tokens/revoke", Some(&rotated.token), &body).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // `logout --revoke` goes on with the token that it has just revoked; 401 is what it expects
    let reply = send(&stack, "POST /api/vault/pair/revoke-all", Some(&rotated.token), "{}").await?;
    assert_eq!(reply.status, 401, "{}", reply.text());
    assert!(is_good(&stack, &stack.seed.alice).await?);
    Ok(())
}

fn is_rfc3339(text: &Option<String>) -> Result<()> {
    let text = text.as_deref().context("without it vault calls never refresh")?;
    anyhow::ensure!(text.len() == 27 && &text[10..11] == "T" && text.ends_with('Z'), "{text}");
    Ok(())
}

#[tokio::test]
async fn nobodys_whoami_has_empty_lists_and_never_null() -> Result<()> {
    let stack = Stack::new().await?;
    let bob = stack.account("bob", "free").await?;
    let who = crate::whoami(&stack, &bob).await?.json();
    assert_eq!(who["organizations"], serde_json::json!([]));
    assert_eq!(who["available_scopes"], serde_json::json!(["bob"]));
    assert_eq!(who["session"], false);
    assert_eq!(who["limits"], serde_json::json!({"storageBytes": 0, "privatePackages": 0}));
    Ok(())
}

#[tokio::test]
async fn whoami_counts_the_ciphertext_of_the_newest_versions() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = stack.escrowed(&stack.seed.alice);
    alice.vault(&alice.gateway().await?).await?;
    let stored = stack.database().value("select sum(octet_length(encrypted_blob)) from lpm.vault_sync")?;
    let who = crate::whoami(&stack, &stack.seed.alice).await?.json();
    assert_eq!(who["usage"]["storage_bytes"].to_string(), stored);
    Ok(())
}

#[tokio::test]
async fn the_devices_of_clients_before_sessions_are_answered_with_401_and_not_with_a_page() -> Result<()> {
    let stack = Stack::new().await?;
    for path in ["GET /api/registry/-/whoami", "GET /api/cli/sessions"] {
        let reply = send(&stack, path, None, "").await?;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "unauthorized"), "{path}");
        assert_eq!(reply.header("content-type"), "application/json", "{path}");
    }
    Ok(())
}
