//! Requests that are refused, each with a secret in it: bearer tokens and bodies of every wrong form.

use crate::client::Vault;
use crate::world::World;
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;

/// What is done to a member of a good body, whose value is a secret.
type Shape = (&'static str, fn(member: &str, secret: &str, rest: &str) -> Vec<u8>);

const SHAPES: [Shape; 12] = [
    ("in a list", |member, secret, rest| format!(r#"{{"{member}":["{secret}"],{rest}}}"#).into()),
    ("in an object", |member, secret, rest| format!(r#"{{"{member}":{{"a":"{secret}"}},{rest}}}"#).into()),
    ("as a name", |member, secret, rest| format!(r#"{{"{member}":{{"{secret}":1}},{rest}}}"#).into()),
    ("as the member's name", |_, secret, rest| format!(r#"{{"{secret}":1,{rest}}}"#).into()),
    ("twice", |member, secret, rest| {
        format!(r#"{{"{member}":"{secret}","{member}":"{secret}",{rest}}}"#).into()
    }),
    ("with a letter too many", |member, secret, rest| format!(r#"{{"{member}":"{secret}g",{rest}}}"#).into()),
    ("with an escape that is none", |member, secret, rest| {
        format!(r#"{{"{member}":"{secret}\x",{rest}}}"#).into()
    }),
    ("cut behind it", |member, secret, rest| format!(r#"{{{rest},"{member}":"{secret}"#).into()),
    ("with bytes that are no UTF-8", |member, secret, rest| {
        [format!(r#"{{{rest},"{member}":"{secret}"#).into_bytes(), b"\xFF\"}".to_vec()].concat()
    }),
    ("too deep", |member, secret, rest| {
        format!(r#"{{"{member}":{}"{secret}"{},{rest}}}"#, "[".repeat(200), "]".repeat(200)).into()
    }),
    ("alone", |_, secret, _| format!(r#""{secret}""#).into()),
    ("as a form", |member, secret, _| format!("{member}={secret}").into()),
];

/// Sends everything; nothing of it may be accepted.
pub(crate) async fn play(world: &mut World, round: usize) -> Result<()> {
    let vault = Vault::opened(world, &format!("requests-{round}"), "rita", b"{}").await?;
    bodies(world, &vault).await?;
    wrapping_keys(world, &vault).await?;
    bearers(world, &vault).await
}

async fn bodies(world: &mut World, vault: &Vault) -> Result<()> {
    let sync = format!("/api/vaults/{}/sync", vault.id);
    let rest = format!(r#""vaultId":"{}","env":"production""#, vault.id);
    for (path, token, member) in [
        ("/api/vault/oidc/escrow", true, "wrappingKeyHex"),
        ("/api/vault/oidc/explain", true, "oidcToken"),
        ("/api/vault/oidc", false, "oidcToken"),
        ("/api/vault/oidc/pull", false, "oidcToken"),
        (sync.as_str(), true, "encryptedBlob"),
        ("/api/cli/exchange", false, "code"),
        ("/api/cli/refresh", false, "refreshToken"),
        ("/api/registry/tokens/revoke", true, "token"),
    ] {
        for (shape, write) in SHAPES {
            let case = format!("{member} {shape} to {path}");
            let secret = match member {
                "oidcToken" => world.mint(&case, &crate::client::job())?,
                "wrappingKeyHex" => hex::encode(world.key(&case)?),
                _ => world.markers.secret(&case),
            };
            let body = write(member, &secret, &rest);
            let reply = world.post(path, token.then_some(vault.token.as_str()), body).await?;
            ensure!(reply.status.is_client_error(), "{case}: {}", reply.text());
            ensure!(!reply.text().contains(&secret), "{case}: the refusal repeats it: {}", reply.text());
        }
    }
    Ok(())
}

async fn wrapping_keys(world: &mut World, vault: &Vault) -> Result<()> {
    let key = hex::encode(world.key("wrapping key of another machine")?);
    let sealed =
        json!({"vaultId": vault.id, "wrappingKeyHex": key, "sealed": "s1.dev.AAAA.AAAA.AAAA"}).to_string();
    for (case, body) in [
        ("of another machine", json!({"vaultId": vault.id, "wrappingKeyHex": key}).to_string()),
        ("beside a sealed one", sealed),
        ("of 33 bytes", json!({"vaultId": vault.id, "wrappingKeyHex": format!("{key}00")}).to_string()),
        ("in place of a sealed one", json!({"vaultId": vault.id, "sealed": ""}).to_string()),
        ("for no vault", json!({"vaultId": "", "wrappingKeyHex": key}).to_string()),
    ] {
        let reply = world.post("/api/vault/oidc/escrow", Some(&vault.token), body).await?;
        ensure!(reply.status.is_client_error(), "a wrapping key {case}: {}", reply.text());
    }
    Ok(())
}

async fn bearers(world: &mut World, vault: &Vault) -> Result<()> {
    let (revoked, expired) = (world.token("revoked")?, world.token("expired")?);
    let database = &world.seed.database;
    database.value("select lpm.revoke_tokens('revoked')")?;
    database.value(
        "update lpm.access_token t set expires_at = clock_timestamp() from lpm.account a
                     where a.id = t.user_id and a.handle = 'expired' returning 1",
    )?;
    let good = vault.token.clone();
    let path = format!("/api/vaults/{}/sync", vault.id);
    let header = |value: String| world.request(Method::GET, &path, None).header("authorization", value);
    for (case, request) in [
        ("a revoked token", header(format!("Bearer {revoked}"))),
        ("an expired token", header(format!("Bearer {expired}"))),
        ("a cut token", header(format!("Bearer {}", &good[..good.len() - 1]))),
        ("a token and more", header(format!("Bearer {good}x"))),
        ("a token of another kind", header(format!("Bearer {}", good.replacen("lpm_pat_", "lpm_ses_", 1)))),
        ("a token as a password", header(format!("Basic {good}"))),
        ("a token twice", header(format!("Bearer {good}")).header("authorization", format!("Bearer {good}"))),
        ("a token in a cookie", header(String::new()).header("cookie", format!("token={good}"))),
        ("a token as a parameter", world.request(Method::GET, &format!("{path}?token={good}"), None)),
        (
            "a token as a parameter that counts",
            world.request(Method::GET, &format!("/api/vault/oidc/policies?vaultId={good}"), None),
        ),
        ("a token as a path", world.request(Method::GET, &format!("/{good}"), Some(&good))),
        (
            "a token as a method",
            world.request(Method::from_bytes(good.replace('_', "-").as_bytes())?, &path, None),
        ),
        (
            "a developer's token for a job",
            world.request(Method::GET, &format!("/api/vaults/{}/ci-pull", vault.id), Some(&good)),
        ),
    ] {
        let reply = lpm_tests::gateway::Reply::read(request.send().await?).await?;
        ensure!(reply.status.is_client_error(), "{case}: {}", reply.text());
    }
    Ok(())
}
