//! Refreshing: parallel, repeated, late, and with a token that somebody copied.

use crate::codes::futures;
use crate::{is_good, refused, trail};
use anyhow::Result;
use lpm_core::bearer::{self, Kind};
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::Stack;
use serde_json::json;

/// As if everything that was replaced had been replaced half a minute earlier.
const HALF_A_MINUTE_LATER: &str = "update lpm.session_refresh set replaced_at = replaced_at - interval '31 seconds' where replaced_at is not null;
    select 1";

async fn begin(stack: &Stack) -> Result<Session> {
    SignIn::default().session(&stack.gateway, &stack.seed.alice).await
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_that_is_good_for_an_hour_and_thirty_days() -> Result<()> {
    let stack = Stack::new().await?;
    let first = begin(&stack).await?;
    let second = Session::of(&first.refresh(&stack.gateway).await?)?;
    assert_ne!(first.token, second.token);
    assert_ne!(first.refresh, second.refresh);
    assert!(is_good(&stack, &first.token).await? && is_good(&stack, &second.token).await?);
    let ends = stack.database().value(&format!(
        "select '{}'::timestamptz - clock_timestamp() between '59 minutes' and '60 minutes'
            and (select bool_and(expires_at - issued_at between '29 days 23 hours' and '30 days 1 second') from lpm.session_refresh)
            and (select count(*) = 1 from lpm.session where expires_at > clock_timestamp() + interval '29 days 23 hours')",
        second.expires_at
    ))?;
    assert_eq!(ends, "t");
    assert!(second.expires_at.ends_with('Z') && second.expires_at.contains('T'), "{}", second.expires_at);
    Ok(())
}

#[tokio::test]
async fn sixteen_processes_that_refresh_at_once_log_nobody_out() -> Result<()> {
    let stack = Stack::new().await?;
    let first = begin(&stack).await?;
    let replies = futures(16, || first.refresh(&stack.gateway)).await?;
    let pairs = replies.iter().map(Session::of).collect::<Result<Vec<_>>>()?;
    for pair in &pairs {
        assert!(is_good(&stack, &pair.token).await?);
    }
    // the file of the machine holds what the last one wrote, whichever that was; an hour later it is used
    stack.database().value(HALF_A_MINUTE_LATER)?;
    let next = Session::of(&pairs[7].refresh(&stack.gateway).await?)?;
    assert!(is_good(&stack, &next.token).await?);
    assert_eq!(trail(&stack, "session_reused")?, "");
    Ok(())
}

#[tokio::test]
async fn a_refresh_whose_answer_was_lost_can_be_repeated_for_half_a_minute() -> Result<()> {
    let stack = Stack::new().await?;
    let first = begin(&stack).await?;
    let lost = Session::of(&first.refresh(&stack.gateway).await?)?;
    let repeated = Session::of(&first.refresh(&stack.gateway).await?)?;
    assert_ne!(lost.refresh, repeated.refresh);
    stack.database().value(HALF_A_MINUTE_LATER)?;
    let next = Session::of(&repeated.refresh(&stack.gateway).await?)?;
    assert!(is_good(&stack, &next.token).await?);
    Ok(())
}

#[tokio::test]
async fn an_old_refresh_token_that_comes_back_ends_the_whole_session() -> Result<()> {
    let stack = Stack::new().await?;
    let first = begin(&stack).await?;
    let other = begin(&stack).await?;
    let second = Session::of(&first.refresh(&stack.gateway).await?)?;
    let third = Session::of(&second.refresh(&stack.gateway).await?)?;
    stack.database().value(HALF_A_MINUTE_LATER)?;
    let reply = first.refresh(&stack.gateway).await?;
    assert_eq!(refused(&reply), (401, "session_reused".to_owned()));
    assert!(reply.member("hint").contains("lpm login"), "{}", reply.text());
    for pair in [&first, &second, &third] {
        let reply = stack.gateway.get("/api/vaults", Some(&pair.token)).await?;
        assert_eq!(refused(&reply), (401, "session_ended".to_owned()));
        assert_eq!(refused(&pair.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    }
    assert_eq!(trail(&stack, "session_reused")?, "denied session_reused");
    assert_eq!(
        trail(&stack, "session_refresh")?,
        "denied session_ended, denied session_ended, denied session_ended"
    );
    assert!(is_good(&stack, &other.token).await?, "another login of the same token goes on");
    assert!(is_good(&stack, &stack.seed.alice).await?, "and so does the token");
    Ok(())
}

#[tokio::test]
async fn a_thief_who_refreshes_within_the_grace_is_found_out_by_the_owners_next_refresh_but_one() -> Result<()>
{
    let stack = Stack::new().await?;
    let stolen = begin(&stack).await?;
    let owner = Session::of(&stolen.refresh(&stack.gateway).await?)?;
    let thief = Session::of(&stolen.refresh(&stack.gateway).await?)?;
    // the thief goes first an hour later, and with it replaces what the owner has
    let thief = Session::of(&thief.refresh(&stack.gateway).await?)?;
    stack.database().value(HALF_A_MINUTE_LATER)?;
    assert_eq!(refused(&owner.refresh(&stack.gateway).await?), (401, "session_reused".to_owned()));
    assert!(!is_good(&stack, &thief.token).await?);
    assert_eq!(refused(&thief.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_ends_thirty_days_after_its_issue() -> Result<()> {
    let stack = Stack::new().await?;
    let session = begin(&stack).await?;
    stack.database().value(
        "update lpm.session_refresh set expires_at = expires_at - interval '30 days';
         update lpm.session set expires_at = expires_at - interval '30 days' returning 1",
    )?;
    assert_eq!(refused(&session.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    assert!(!is_good(&stack, &session.token).await?, "and with it the session");
    Ok(())
}

#[tokio::test]
async fn what_is_no_refresh_token_is_refused_and_leaves_no_trace() -> Result<()> {
    let stack = Stack::new().await?;
    let session = begin(&stack).await?;
    let before = stack.database().value("select count(*) from lpm.audit_log")?;
    let unknown = bearer::token(Kind::Refresh, &[9; 32]).expose_str().unwrap_or_default().to_owned();
    for (case, wrong) in [
        ("nothing", String::new()),
        ("one that nobody made", unknown),
        ("one that was cut", session.refresh[1..].to_owned()),
        ("the access token", session.token.clone()),
        ("the personal access token", stack.seed.alice.clone()),
    ] {
        let reply = stack.gateway.post("/api/cli/refresh", None, &json!({"refreshToken": wrong})).await?;
        assert_eq!(refused(&reply), (401, "session_ended".to_owned()), "{case}");
    }
    assert_eq!(stack.database().value("select count(*) from lpm.audit_log")?, before);
    assert!(Session::of(&session.refresh(&stack.gateway).await?).is_ok(), "and ends nothing");
    Ok(())
}

#[tokio::test]
async fn another_fingerprint_refreshes_as_well() -> Result<()> {
    let stack = Stack::new().await?;
    let session = begin(&stack).await?;
    let body = json!({"refreshToken": session.refresh, "deviceFingerprint": "of another shell"});
    Session::of(&stack.gateway.post("/api/cli/refresh", None, &body).await?)?;
    Ok(())
}

#[tokio::test]
async fn a_session_of_a_token_that_ends_sooner_ends_with_it() -> Result<()> {
    let stack = Stack::new().await?;
    let short = stack
        .database()
        .value("select lpm.create_token('alice', name => 'short', valid_for => '10 minutes')")?;
    let session = SignIn::default().session(&stack.gateway, &short).await?;
    let within = format!(
        "select '{}'::timestamptz - clock_timestamp() between '9 minutes' and '10 minutes'",
        session.expires_at
    );
    assert_eq!(stack.database().value(&within)?, "t");
    stack.database().value(
        "update lpm.access_token set expires_at = clock_timestamp() where name = 'short' returning 1",
    )?;
    assert!(!is_good(&stack, &session.token).await?);
    assert_eq!(refused(&session.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    Ok(())
}
