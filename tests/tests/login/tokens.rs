//! Tokens that replace and end themselves.

use crate::codes::futures;
use crate::{is_good, refused, trail, whoami};
use anyhow::Result;
use lpm_core::bearer::{self, Kind};
use lpm_tests::gateway::Reply;
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::Stack;
use serde_json::json;

const A_MINUTE_LATER: &str = "update lpm.access_token set rotated_at = rotated_at - interval '31 seconds' where rotated_at is not null returning 1";

async fn rotate(stack: &Stack, token: &str) -> Result<Reply> {
    stack.gateway.post("/api/registry/-/token/rotate", Some(token), &json!({})).await
}

async fn revoke(stack: &Stack, bearer: &str, token: &str) -> Result<Reply> {
    stack.gateway.post("/api/registry/tokens/revoke", Some(bearer), &json!({"token": token})).await
}

#[tokio::test]
async fn a_rotated_token_is_dead_at_once_and_its_successor_has_its_name_scope_and_end() -> Result<()> {
    let stack = Stack::new().await?;
    let facts =
        "select concat_ws(' ', id, name, scope, expires_at) from lpm.access_token where name = 'laptop'";
    let before = stack.database().value(facts)?;
    let reply = rotate(&stack, &stack.seed.alice).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let successor = reply.member("token");
    assert_eq!(bearer::kind(&successor), Some(Kind::PersonalAccess));
    assert!(!is_good(&stack, &stack.seed.alice).await? && is_good(&stack, &successor).await?);
    assert_eq!(stack.database().value(facts)?, before);
    let ends = format!(
        "select '{}'::timestamptz = expires_at from lpm.access_token where name = 'laptop'",
        reply.member("expiresAt")
    );
    assert_eq!(stack.database().value(&ends)?, "t", "rotating prolongs nothing");
    assert_eq!(trail(&stack, "token_rotate")?, "done");
    Ok(())
}

#[tokio::test]
async fn who_lost_the_answer_gets_another_successor_for_half_a_minute_and_the_first_one_dies() -> Result<()> {
    let stack = Stack::new().await?;
    let lost = rotate(&stack, &stack.seed.alice).await?.member("token");
    let second = rotate(&stack, &stack.seed.alice).await?.member("token");
    assert!(!is_good(&stack, &lost).await?, "two successors would be one too many");
    assert!(is_good(&stack, &second).await? && !is_good(&stack, &stack.seed.alice).await?);
    stack.database().value(A_MINUTE_LATER)?;
    assert_eq!(refused(&rotate(&stack, &stack.seed.alice).await?), (401, "unauthorized".to_owned()));
    assert!(is_good(&stack, &second).await?);
    // once the successor is rotated itself, nothing of the old one counts
    let third = rotate(&stack, &second).await?.member("token");
    assert_eq!(refused(&rotate(&stack, &stack.seed.alice).await?), (401, "unauthorized".to_owned()));
    assert!(is_good(&stack, &third).await?);
    Ok(())
}

#[tokio::test]
async fn of_many_who_rotate_at_once_one_has_the_token_in_the_end() -> Result<()> {
    let stack = Stack::new().await?;
    let replies = futures(8, || rotate(&stack, &stack.seed.alice)).await?;
    let mut good = 0;
    for reply in &replies {
        assert_eq!(reply.status, 200, "{}", reply.text());
        good += usize::from(is_good(&stack, &reply.member("token")).await?);
    }
    assert_eq!(good, 1);
    Ok(())
}

#[tokio::test]
async fn the_sessions_of_a_rotated_token_go_on_and_end_with_its_successor() -> Result<()> {
    let stack = Stack::new().await?;
    let session = SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    let successor = rotate(&stack, &stack.seed.alice).await?.member("token");
    assert!(is_good(&stack, &session.token).await?);
    let next = Session::of(&session.refresh(&stack.gateway).await?)?;
    assert_eq!(revoke(&stack, &successor, &successor).await?.status, 200);
    assert!(!is_good(&stack, &next.token).await?);
    assert_eq!(refused(&next.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_sessions_token_rotates_too_and_can_still_be_refreshed() -> Result<()> {
    let stack = Stack::new().await?;
    let session = SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    let reply = rotate(&stack, &session.token).await?;
    let successor = reply.member("token");
    assert_eq!(bearer::kind(&successor), Some(Kind::Session));
    assert_eq!(reply.member("expiresAt"), session.expires_at);
    assert!(!is_good(&stack, &session.token).await? && is_good(&stack, &successor).await?);
    Session::of(&session.refresh(&stack.gateway).await?)?;
    assert!(is_good(&stack, &stack.seed.alice).await?, "the personal token is another one");
    Ok(())
}

#[tokio::test]
async fn a_token_without_rights_may_say_who_it_is_and_replace_or_end_itself() -> Result<()> {
    let stack = Stack::new().await?;
    let none = stack.database().value("select lpm.create_token('alice', name => 'none', scope => 'none')")?;
    assert_eq!(whoami(&stack, &none).await?.member("username"), "alice");
    let successor = rotate(&stack, &none).await?.member("token");
    let scope = "select scope from lpm.access_token where name = 'none'";
    assert_eq!(stack.database().value(scope)?, "none");
    for path in ["/api/vaults", "/api/cli/sessions"] {
        assert_eq!(
            refused(&stack.gateway.get(path, Some(&successor)).await?),
            (403, "token_scope".to_owned())
        );
    }
    assert_eq!(revoke(&stack, &successor, &successor).await?.status, 200);
    assert!(!is_good(&stack, &successor).await?);
    Ok(())
}

#[tokio::test]
async fn a_token_ends_other_tokens_of_its_account_and_nobody_elses() -> Result<()> {
    let stack = Stack::new().await?;
    let second = stack.database().value("select lpm.create_token('alice', name => 'second')")?;
    let bob = stack.account("bob", "pro").await?;
    let unknown = bearer::token(Kind::PersonalAccess, &[3; 32]).expose_str().unwrap_or_default().to_owned();
    for (case, wrong) in
        [("another account's", bob.clone()), ("one that nobody made", unknown), ("prose", "x".to_owned())]
    {
        let reply = revoke(&stack, &stack.seed.alice, &wrong).await?;
        assert_eq!(refused(&reply), (404, "token_unknown".to_owned()), "{case}");
    }
    assert!(is_good(&stack, &bob).await?);
    assert_eq!(revoke(&stack, &stack.seed.alice, &second).await?.json(), json!({"success": true}));
    assert!(!is_good(&stack, &second).await? && is_good(&stack, &stack.seed.alice).await?);
    assert_eq!(
        refused(&revoke(&stack, &stack.seed.alice, &second).await?),
        (404, "token_unknown".to_owned())
    );
    assert_eq!(refused(&revoke(&stack, &second, &second).await?), (401, "unauthorized".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_sessions_token_that_is_revoked_takes_its_whole_session_with_it() -> Result<()> {
    let stack = Stack::new().await?;
    let (one, other) = (
        SignIn::default().session(&stack.gateway, &stack.seed.alice).await?,
        SignIn::default().session(&stack.gateway, &stack.seed.alice).await?,
    );
    let next = Session::of(&one.refresh(&stack.gateway).await?)?;
    assert_eq!(revoke(&stack, &one.token, &one.token).await?.status, 200);
    assert!(!is_good(&stack, &next.token).await?);
    assert_eq!(refused(&next.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    assert!(is_good(&stack, &other.token).await? && is_good(&stack, &stack.seed.alice).await?);
    // a refresh token names its session as well
    assert_eq!(revoke(&stack, &stack.seed.alice, &other.refresh).await?.status, 200);
    assert!(!is_good(&stack, &other.token).await?);
    assert_eq!(trail(&stack, "session_end")?, "done, done");
    assert_eq!(trail(&stack, "token_revoke")?, "done, done");
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_is_no_bearer_and_buys_nothing_but_its_successor() -> Result<()> {
    let stack = Stack::new().await?;
    let session = SignIn::default().session(&stack.gateway, &stack.seed.alice).await?;
    for path in ["/api/vaults", "/api/cli/sessions", "/api/registry/-/whoami"] {
        assert_eq!(
            refused(&stack.gateway.get(path, Some(&session.refresh)).await?),
            (401, "unauthorized".to_owned())
        );
    }
    assert_eq!(refused(&rotate(&stack, &session.refresh).await?), (401, "unauthorized".to_owned()));
    Ok(())
}
