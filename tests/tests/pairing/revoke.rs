//! Unpairing: browsers that have the key lose their session, what is open is gone, and the machine goes on.

use crate::{Couple, refused, sealed_for, trail};
use anyhow::Result;
use lpm_tests::signin::SignIn;
use serde_json::json;

async fn paired(couple: &Couple) -> Result<String> {
    let code = couple.start().await?;
    couple.approve(&couple.machine.token, &code, &sealed_for(&couple.key.public(), &[7; 32])?).await?;
    couple.consume(&couple.browser.token, &code).await?;
    Ok(code)
}

async fn is_signed_in(couple: &Couple, token: &str) -> Result<bool> {
    Ok(couple.stack.gateway.get("/api/registry/-/whoami", Some(token)).await?.status == 200)
}

#[tokio::test]
async fn revoke_all_signs_paired_browsers_out_and_nobody_else() -> Result<()> {
    let couple = Couple::new().await?;
    let code = paired(&couple).await?;
    let bystander = SignIn::default().session(&couple.stack.gateway, &couple.stack.seed.alice).await?;
    assert_eq!(couple.revoke_all(&couple.machine.token).await?.json(), json!({"success": true}));
    assert!(!is_signed_in(&couple, &couple.browser.token).await?);
    assert_eq!(
        refused(&couple.browser.refresh(&couple.stack.gateway).await?),
        (401, "session_ended".to_owned())
    );
    assert!(
        is_signed_in(&couple, &couple.machine.token).await?
            && is_signed_in(&couple, &bystander.token).await?
    );
    assert_eq!(couple.show(&couple.machine.token, &code).await?.json(), json!({"status": "expired"}));
    assert_eq!(trail(&couple.stack, "pair_revoke")?, "done");
    assert_eq!(trail(&couple.stack, "session_end")?, "done");
    // again is no mistake, and does nothing
    assert_eq!(couple.revoke_all(&couple.machine.token).await?.status, 200);
    assert_eq!(trail(&couple.stack, "pair_revoke")?, "done");
    Ok(())
}

#[tokio::test]
async fn what_is_open_is_deleted_with_its_ciphertext() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    couple.approve(&couple.machine.token, &code, &sealed_for(&couple.key.public(), &[7; 32])?).await?;
    couple.revoke_all(&couple.machine.token).await?;
    assert_eq!(couple.stack.database().value("select count(*) from lpm.pairing_session")?, "0");
    assert_eq!(
        refused(&couple.consume(&couple.browser.token, &code).await?),
        (401, "session_ended".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn a_browser_that_unpairs_keeps_its_own_session_until_somebody_else_unpairs() -> Result<()> {
    let couple = Couple::new().await?;
    paired(&couple).await?;
    couple.revoke_all(&couple.browser.token).await?;
    assert!(is_signed_in(&couple, &couple.browser.token).await?);
    // it has had the key, so it is still known as one that must go
    couple.revoke_all(&couple.machine.token).await?;
    assert!(!is_signed_in(&couple, &couple.browser.token).await?);
    Ok(())
}

#[tokio::test]
async fn housekeeping_does_not_forget_who_has_the_key() -> Result<()> {
    let couple = Couple::new().await?;
    paired(&couple).await?;
    couple.stack.database().value(
        "update lpm.pairing_session set created_at = created_at - interval '1 day', expires_at = expires_at - interval '1 day' returning 1",
    )?;
    couple.stack.database().value("select lpm.remove_expired()")?;
    couple.revoke_all(&couple.machine.token).await?;
    assert!(!is_signed_in(&couple, &couple.browser.token).await?);
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_unpairs_too() -> Result<()> {
    let couple = Couple::new().await?;
    paired(&couple).await?;
    let token = &couple.machine.token;
    let reply = couple
        .stack
        .gateway
        .post("/api/registry/tokens/revoke", Some(token), &json!({"token": token}))
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    // what `logout --revoke` asks next comes with the token that is gone
    assert_eq!(couple.revoke_all(token).await?.status, 401);
    assert!(!is_signed_in(&couple, &couple.browser.token).await?);
    assert_eq!(trail(&couple.stack, "pair_revoke")?, "done");
    Ok(())
}

#[tokio::test]
async fn one_account_unpairs_nobody_elses_browsers() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    let bob = couple.stack.account("bob", "pro").await?;
    let bob = SignIn::default().session(&couple.stack.gateway, &bob).await?;
    assert_eq!(couple.revoke_all(&bob.token).await?.status, 200);
    assert!(is_signed_in(&couple, &couple.browser.token).await?);
    assert_eq!(couple.show(&couple.machine.token, &code).await?.member("status"), "pending");
    Ok(())
}
