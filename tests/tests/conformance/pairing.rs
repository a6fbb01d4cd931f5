//! Section 5: pairing with a browser.

use crate::world::{World, seen};
use anyhow::{Context, Result, ensure};
use lpm_tests::published::Published;
use lpm_tests::published::crypto::{self, PairingPair};
use serde_json::json;

/// A browser that waits: its session, its key, its code.
struct Browser {
    token: String,
    key: PairingPair,
    code: String,
}

impl World {
    async fn browser(&self, token: &str) -> Result<Browser> {
        let (client, _) = self.logged_in(token).await?;
        let key = PairingPair::new()?;
        let body = json!({"browserPublicKey": key.public_key()?, "deviceLabel": "Firefox"});
        let reply = self.stack.gateway.post("/api/vault/pair", Some(client.token()), &body).await?;
        ensure!(reply.status == 201, "{}", reply.text());
        Ok(Browser { token: client.token().to_owned(), key, code: reply.member("code") })
    }

    /// What the browser reads.
    async fn consumed(&self, browser: &Browser) -> Result<serde_json::Value> {
        let path = format!("/api/vault/pair/{}/consume", browser.code);
        Ok(self.stack.gateway.post(&path, Some(&browser.token), &json!({})).await?.json())
    }
}

/// Looks at the pairing and approves it, as `pair CODE` does.
async fn pair(client: &Published, code: &str, wrapping_key: &[u8; 32]) -> Result<Result<(), String>> {
    let pending = match client.pairing(code).await?.0 {
        Ok(pending) => pending,
        Err(message) => return Ok(Err(message)),
    };
    let (sealed, ephemeral) = crypto::approve(&pending.browser_public_key, wrapping_key)?;
    Ok(client.approve(code, &sealed, &ephemeral).await?.0)
}

#[tokio::test]
async fn a_browser_gets_the_wrapping_key_once() -> Result<()> {
    let world = World::new().await?;
    let token = world.stack.seed.alice.clone();
    let (browser, (machine, _)) = (world.browser(&token).await?, world.logged_in(&token).await?);
    assert!(browser.code.len() == 6 && browser.code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    // typed in small letters, sent in capitals
    assert_eq!(pair(&machine, &browser.code.to_lowercase(), &[7; 32]).await?, Ok(()));
    let consumed = world.consumed(&browser).await?;
    let text = |name: &str| consumed[name].as_str().map(str::to_owned).context("consumed");
    let key = browser.key.agree(&crypto::decode(&text("ephemeralPublicKey")?)?)?;
    assert_eq!(crypto::open(&key, &text("encryptedWrappingKey")?)?, [7; 32]);

    let used =
        "pairing session is 'consumed' (expected 'pending'). The code may have expired or already been used.";
    assert_eq!(pair(&machine, &browser.code, &[7; 32]).await?, Err(used.to_owned()));
    assert_eq!(world.consumed(&browser).await?["status"], "consumed");
    Ok(())
}

#[tokio::test]
async fn codes_that_are_not_pending_are_named_by_their_state() -> Result<()> {
    let world = World::new().await?;
    let token = world.stack.seed.alice.clone();
    let (machine, _) = world.logged_in(&token).await?;
    let state = |name: &str| {
        let advice = "The code may have expired or already been used.";
        Err(format!("pairing session is '{name}' (expected 'pending'). {advice}"))
    };

    let approved = world.browser(&token).await?;
    assert_eq!(pair(&machine, &approved.code, &[7; 32]).await?, Ok(()));
    assert_eq!(pair(&machine, &approved.code, &[8; 32]).await?, state("approved"));
    let (sealed, ephemeral) = crypto::approve(&crypto::decode(&approved.key.public_key()?)?, &[8; 32])?;
    let (printed, reply) = machine.approve(&approved.code, &sealed, &ephemeral).await?;
    assert_eq!(seen(&reply), (410, "pairing_ended".to_owned()));
    assert_eq!(printed, Err(format!("approval failed: {}", reply.text())));

    // of somebody else, and of nobody
    let bob = world.stack.account("bob", "pro").await?;
    let of_bob = world.browser(&bob).await?;
    assert_eq!(pair(&machine, &of_bob.code, &[7; 32]).await?, state("expired"));
    assert_eq!(pair(&machine, "O01I00", &[7; 32]).await?, state("expired"));

    let old = world.browser(&token).await?;
    world.sql("update lpm.pairing_session set expires_at = clock_timestamp() - interval '1 second'")?;
    assert_eq!(pair(&machine, &old.code, &[7; 32]).await?, state("expired"));
    Ok(())
}

#[tokio::test]
async fn a_code_is_for_sessions_only() -> Result<()> {
    let world = World::new().await?;
    let alice = world.alice()?;
    let browser = world.browser(alice.client.token()).await?;
    let (printed, reply) = alice.client.pairing(&browser.code).await?;
    assert_eq!(seen(&reply), (403, "session_needed".to_owned()));
    assert_eq!(printed, Err(format!("pairing error: {}", reply.text())));
    let (_, reply) = alice.client.approve(&browser.code, "x", "y").await?;
    assert!(reply.status.is_client_error());
    let (printed, reply) = alice.client.unpair().await?;
    assert_eq!(seen(&reply), (403, "session_needed".to_owned()));
    assert_eq!(printed, Err(format!("unpair failed: {}", reply.text())));
    let (printed, reply) = world.nobody().pairing(&browser.code).await?;
    assert_eq!((printed, reply.status.as_u16()), (Err(format!("pairing error: {}", reply.text())), 401));
    Ok(())
}

#[tokio::test]
async fn whoever_unpairs_leaves_no_browser_paired() -> Result<()> {
    let world = World::new().await?;
    let token = world.stack.seed.alice.clone();
    let (browser, (machine, _)) = (world.browser(&token).await?, world.logged_in(&token).await?);
    assert_eq!(pair(&machine, &browser.code, &[7; 32]).await?, Ok(()));
    assert_eq!(machine.unpair().await?.0, Ok(()));
    let consumed = world.consumed(&browser).await?;
    assert!(consumed.get("encryptedWrappingKey").is_none(), "{consumed}");
    assert_eq!(machine.unpair().await?.0, Ok(()), "there may be none");
    Ok(())
}
