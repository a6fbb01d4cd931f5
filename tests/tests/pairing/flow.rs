//! The way a pairing goes when it goes well, and what may not happen twice.

use crate::{Couple, Pair, refused, sealed_for, trail};
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{pairing, share};
use lpm_tests::stack::Stack;
use serde_json::json;

#[tokio::test]
async fn the_browser_reads_the_machines_key_once_and_both_show_the_same_number() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    assert_eq!(pairing::parse_code(&code).as_deref(), Some(code.as_str()));
    assert_eq!(couple.consume(&couple.browser.token, &code).await?.json(), json!({"status": "pending"}));

    let shown = couple.show(&couple.machine.token, &code.to_lowercase()).await?;
    assert_eq!(shown.status, 200);
    let key = couple.key.public();
    assert_eq!(
        shown.json(),
        json!({"status": "pending", "browserPublicKey": key, "deviceLabel": "Firefox on <Linux>"})
    );
    let (mine, theirs) = (couple.key.point.as_slice(), STANDARD.decode(shown.member("browserPublicKey"))?);
    let number = |point: &[u8]| -> Result<String> {
        Ok(pairing::check_number(point.try_into().context("65 bytes")?, &code))
    };
    assert_eq!(number(mine)?, number(&theirs)?);

    let approved = couple.approve(&couple.machine.token, &code, &sealed_for(&key, &[7; 32])?).await?;
    assert_eq!(approved.json(), json!({"success": true}));
    assert_eq!(couple.show(&couple.machine.token, &code).await?.json(), json!({"status": "approved"}));

    let read = couple.consume(&couple.browser.token, &code).await?;
    assert_eq!(read.member("status"), "approved");
    let client = STANDARD.decode(read.member("ephemeralPublicKey"))?;
    let opened = share::open_in_browser(&client, &couple.key.private, &read.member("encryptedWrappingKey"))?;
    assert_eq!(opened.expose(), [7; 32]);

    for _ in 0..2 {
        assert_eq!(couple.consume(&couple.browser.token, &code).await?.json(), json!({"status": "consumed"}));
    }
    assert_eq!(couple.show(&couple.machine.token, &code).await?.json(), json!({"status": "consumed"}));
    let kept = "select count(*) from lpm.pairing_session where encrypted_wrapping_key is not null";
    assert_eq!(couple.stack.database().value(kept)?, "0", "what was read is deleted");
    for (action, expected) in [("pair_start", "done"), ("pair_approve", "done"), ("pair_consume", "done")] {
        assert_eq!(trail(&couple.stack, action)?, expected, "{action}");
    }
    Ok(())
}

#[tokio::test]
async fn of_many_approvals_at_once_exactly_one_counts() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    let key = couple.key.public();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16_u8 {
        let sealed = sealed_for(&key, &[number; 32])?;
        let request = couple.stack.gateway.request(reqwest::Method::POST, &format!("/api/vault/pair/{code}"));
        let request = request.bearer_auth(&couple.machine.token).json(&sealed);
        tasks.spawn(async move { (number, request.send().await.map(|reply| reply.status().as_u16())) });
    }
    let mut accepted = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (number, status) = done?;
        match status? {
            200 => accepted.push(number),
            status => assert_eq!(status, 410),
        }
    }
    let [winner] = accepted[..] else { anyhow::bail!("accepted: {accepted:?}") };
    let read = couple.consume(&couple.browser.token, &code).await?;
    let client = STANDARD.decode(read.member("ephemeralPublicKey"))?;
    let opened = share::open_in_browser(&client, &couple.key.private, &read.member("encryptedWrappingKey"))?;
    assert_eq!(opened.expose(), [winner; 32]);
    Ok(())
}

#[tokio::test]
async fn of_many_readings_at_once_exactly_one_gets_the_ciphertext() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    couple.approve(&couple.machine.token, &code, &sealed_for(&couple.key.public(), &[7; 32])?).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let path = format!("/api/vault/pair/{code}/consume");
        let request = couple.stack.gateway.request(reqwest::Method::POST, &path);
        let request = request.bearer_auth(&couple.browser.token).json(&json!({}));
        tasks.spawn(async move { anyhow::Ok(request.send().await?.json::<serde_json::Value>().await?) });
    }
    let (mut with_key, mut without) = (0, 0);
    while let Some(done) = tasks.join_next().await {
        match done??["status"].as_str() {
            Some("approved") => with_key += 1,
            Some("consumed") => without += 1,
            other => anyhow::bail!("{other:?}"),
        }
    }
    assert_eq!((with_key, without), (1, 15));
    Ok(())
}

#[tokio::test]
async fn another_account_another_session_and_a_plain_token_get_nothing() -> Result<()> {
    let couple = Couple::new().await?;
    let bob_token = couple.stack.account("bob", "pro").await?;
    let bob = lpm_tests::signin::SignIn::default().session(&couple.stack.gateway, &bob_token).await?;
    let code = couple.start().await?;
    let sealed = sealed_for(&couple.key.public(), &[6; 32])?;
    // for another account there is no such code
    assert_eq!(couple.show(&bob.token, &code).await?.json(), json!({"status": "expired"}));
    assert_eq!(
        refused(&couple.approve(&bob.token, &code, &sealed).await?),
        (410, "pairing_ended".to_owned())
    );
    assert_eq!(couple.consume(&bob.token, &code).await?.json(), json!({"status": "expired"}));
    // a token is no session
    for token in [&couple.stack.seed.alice, &bob_token] {
        let needed = (403, "session_needed".to_owned());
        assert_eq!(refused(&couple.show(token, &code).await?), needed);
        assert_eq!(refused(&couple.approve(token, &code, &sealed).await?), needed);
        assert_eq!(refused(&couple.consume(token, &code).await?), needed);
        assert_eq!(refused(&couple.revoke_all(token).await?), needed);
        let body = json!({"browserPublicKey": couple.key.public()});
        assert_eq!(refused(&couple.stack.gateway.post("/api/vault/pair", Some(token), &body).await?), needed);
    }
    // and what was approved is for the session that asked
    couple.approve(&couple.machine.token, &code, &sealed).await?;
    assert_eq!(couple.consume(&couple.machine.token, &code).await?.json(), json!({"status": "expired"}));
    assert_eq!(couple.consume(&couple.browser.token, &code).await?.member("status"), "approved");
    Ok(())
}

#[tokio::test]
async fn keys_that_are_none_are_refused_before_anything_is_stored() -> Result<()> {
    let couple = Couple::new().await?;
    let good = couple.key.public();
    let mut off_curve = couple.key.point.clone();
    off_curve[64] ^= 1;
    let compressed = [&[2_u8 | (couple.key.point[64] & 1)], &couple.key.point[1..33]].concat();
    for (case, key) in [
        ("nothing", String::new()),
        ("prose", "key".to_owned()),
        ("a point that is not on the curve", STANDARD.encode(&off_curve)),
        ("a compressed point", STANDARD.encode(compressed)),
        ("a key of another curve", STANDARD.encode([9; 32])),
        ("without padding", good.trim_end_matches('=').to_owned()),
    ] {
        let body = json!({"browserPublicKey": key});
        let reply = couple.stack.gateway.post("/api/vault/pair", Some(&couple.browser.token), &body).await?;
        assert_eq!(refused(&reply), (400, "blob_invalid".to_owned()), "{case}");
    }
    assert_eq!(couple.stack.database().value("select count(*) from lpm.pairing_session")?, "0");
    let code = couple.start().await?;
    let sealed = sealed_for(&good, &[7; 32])?;
    for (case, field, value) in [
        ("a short ciphertext", "encryptedWrappingKey", "AAAA:AAAA".to_owned()),
        ("one part", "encryptedWrappingKey", "A".repeat(81)),
        ("a key that is none", "ephemeralPublicKey", STANDARD.encode(&off_curve)),
    ] {
        let mut wrong = sealed.clone();
        wrong[field] = value.into();
        let reply = couple.approve(&couple.machine.token, &code, &wrong).await?;
        assert_eq!(refused(&reply), (400, "blob_invalid".to_owned()), "{case}");
        assert!(reply.member("error").contains(field), "{case}: {}", reply.text());
    }
    assert_eq!(couple.show(&couple.machine.token, &code).await?.member("status"), "pending");
    Ok(())
}

#[tokio::test]
async fn a_browser_that_asks_again_waits_with_its_last_code_only() -> Result<()> {
    let couple = Couple::new().await?;
    let (first, second) = (couple.start().await?, couple.start().await?);
    assert_ne!(first, second);
    assert_eq!(couple.show(&couple.machine.token, &first).await?.json(), json!({"status": "expired"}));
    assert_eq!(couple.show(&couple.machine.token, &second).await?.member("status"), "pending");
    Ok(())
}

#[tokio::test]
async fn a_code_that_somebody_waits_with_is_not_given_out_again() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = lpm_tests::signin::SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    let bob = stack.account("bob", "pro").await?;
    let bob = lpm_tests::signin::SignIn::default().session(&stack.gateway, &bob).await?;
    let login = stack.database().connect_as(&stack.seed.gateway_login).await?;
    let start = "select (r).status, (r).body from (select lpm_api.start_pairing(gen_random_uuid(), null, $1, $2, $3, null) r offset 0) s";
    let hash =
        |session: &lpm_tests::signin::Session| lpm_core::bearer::hash(session.token.as_bytes()).to_vec();
    let key = Pair::fresh()?.public();
    for (session, candidates, expected) in [
        (&alice, vec!["AAAAAA", "BBBBBB"], (201, "AAAAAA")),
        (&bob, vec!["AAAAAA", "BBBBBB"], (201, "BBBBBB")),
        (&bob, vec!["AAAAAA"], (503, "unavailable")),
    ] {
        let row = login.query_one(start, &[&hash(session), &candidates, &key]).await?;
        let (status, body): (i32, String) = (row.get(0), row.get(1));
        assert_eq!(status, expected.0, "{body}");
        assert!(body.contains(expected.1), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_browser_whose_session_has_ended_reads_nothing() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    couple.approve(&couple.machine.token, &code, &sealed_for(&couple.key.public(), &[7; 32])?).await?;
    couple
        .stack
        .database()
        .value("update lpm.session set ended_at = clock_timestamp() where device = 'browser' returning 1")?;
    assert_eq!(
        refused(&couple.consume(&couple.browser.token, &code).await?),
        (401, "session_ended".to_owned())
    );
    Ok(())
}
