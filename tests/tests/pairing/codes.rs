//! Codes that are wrong, late, or tried too often.

use crate::{Couple, refused, sealed_for, trail};
use anyhow::Result;
use serde_json::json;

#[tokio::test]
async fn five_wrong_codes_in_ten_minutes_close_pairing_for_the_account_also_to_the_right_one() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    let sealed = sealed_for(&couple.key.public(), &[7; 32])?;
    let limited = (429, "pairing_limited".to_owned());
    for wrong in ["AAAAAA", "O01I00", "zzzzzz"] {
        assert_eq!(
            couple.show(&couple.machine.token, wrong).await?.json(),
            json!({"status": "expired"}),
            "{wrong}"
        );
    }
    for wrong in ["BBBBBB", "CCCCCC"] {
        let reply = couple.approve(&couple.machine.token, wrong, &sealed).await?;
        assert_eq!(refused(&reply), (410, "pairing_ended".to_owned()), "{wrong}");
    }
    for tried in ["DDDDDD", &code] {
        let reply = couple.show(&couple.machine.token, tried).await?;
        assert_eq!(refused(&reply), limited, "{tried}");
        assert_eq!(reply.header("retry-after"), "60");
        assert_eq!(
            refused(&couple.approve(&couple.machine.token, tried, &sealed).await?),
            limited,
            "{tried}"
        );
    }
    // whichever session tries
    assert_eq!(refused(&couple.show(&couple.browser.token, &code).await?), limited);
    assert!(trail(&couple.stack, "pair_approve")?.starts_with(&["denied pairing_ended"; 5].join(", ")));
    couple
        .stack
        .database()
        .value("update lpm.pairing_miss set created_at = created_at - interval '10 minutes' returning 1")?;
    assert_eq!(couple.approve(&couple.machine.token, &code, &sealed).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn wrong_codes_that_are_tried_at_once_are_counted_one_by_one() -> Result<()> {
    let couple = Couple::new().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let path = format!("/api/vault/pair/WRNG{}", 22 + number);
        let request =
            couple.stack.gateway.request(reqwest::Method::GET, &path).bearer_auth(&couple.machine.token);
        tasks.spawn(async move { request.send().await.map(|reply| reply.status().as_u16()) });
    }
    let mut looked = 0;
    while let Some(done) = tasks.join_next().await {
        looked += usize::from(done?? == 200);
    }
    assert_eq!(looked, 5);
    Ok(())
}

#[tokio::test]
async fn one_accounts_wrong_codes_limit_nobody_else() -> Result<()> {
    let couple = Couple::new().await?;
    let code = couple.start().await?;
    let bob = couple.stack.account("bob", "pro").await?;
    let bob = lpm_tests::signin::SignIn::default().session(&couple.stack.gateway, &bob).await?;
    for _ in 0..5 {
        // that of somebody else is a wrong one, and counts
        assert_eq!(couple.show(&bob.token, &code).await?.json(), json!({"status": "expired"}));
    }
    assert_eq!(couple.show(&bob.token, &code).await?.status, 429);
    assert_eq!(couple.show(&couple.machine.token, &code).await?.member("status"), "pending");
    Ok(())
}

#[tokio::test]
async fn a_code_ends_after_five_minutes_and_what_was_approved_is_read_in_time_or_never() -> Result<()> {
    let couple = Couple::new().await?;
    let sealed = sealed_for(&couple.key.public(), &[7; 32])?;
    let later = "update lpm.pairing_session set expires_at = expires_at - interval '5 minutes' where expires_at > clock_timestamp() returning 1";
    let code = couple.start().await?;
    couple.stack.database().value(later)?;
    assert_eq!(couple.show(&couple.machine.token, &code).await?.json(), json!({"status": "expired"}));
    assert_eq!(
        refused(&couple.approve(&couple.machine.token, &code, &sealed).await?),
        (410, "pairing_ended".to_owned())
    );
    assert_eq!(couple.consume(&couple.browser.token, &code).await?.json(), json!({"status": "expired"}));

    let code = couple.start().await?;
    couple.approve(&couple.machine.token, &code, &sealed).await?;
    couple.stack.database().value(later)?;
    assert_eq!(couple.consume(&couple.browser.token, &code).await?.json(), json!({"status": "expired"}));
    couple.stack.database().value("select lpm.remove_expired()")?;
    assert_eq!(
        couple.stack.database().value("select count(*) from lpm.pairing_session")?,
        "0",
        "with its ciphertext"
    );
    // nobody was guessing: codes of one's own that are over are not wrong
    assert_eq!(couple.stack.database().value("select count(*) from lpm.pairing_miss")?, "0");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_a_code_is_refused_in_words_and_counts_for_nothing() -> Result<()> {
    let couple = Couple::new().await?;
    for wrong in ["ABC23", "ABC2345", "ABC%2034", "ABC-34", "%C3%80BC2", "x"] {
        let reply = couple.show(&couple.machine.token, wrong).await?;
        assert_eq!(refused(&reply), (400, "bad_request".to_owned()), "{wrong}");
        assert_eq!(reply.member("error"), "a pairing code has six letters and digits", "{wrong}");
    }
    assert_eq!(couple.stack.database().value("select count(*) from lpm.pairing_miss")?, "0");
    Ok(())
}
