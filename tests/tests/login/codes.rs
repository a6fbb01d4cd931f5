//! Login codes: good once, for two minutes, and no longer than the token that signed in.

use crate::{is_good, refused, trail};
use anyhow::Result;
use lpm_core::bearer::{self, Kind};
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::Stack;
use serde_json::json;

const INVALID: (u16, &str) = (401, "login_code_invalid");

#[tokio::test]
async fn a_code_buys_one_session() -> Result<()> {
    let stack = Stack::new().await?;
    let code = SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    let body = json!({"code": code});
    let session = Session::of(&stack.gateway.post("/api/cli/exchange", None, &body).await?)?;
    assert!(is_good(&stack, &session.token).await?);
    for _ in 0..2 {
        let again = stack.gateway.post("/api/cli/exchange", None, &body).await?;
        assert_eq!(refused(&again), (INVALID.0, INVALID.1.to_owned()));
    }
    assert!(is_good(&stack, &session.token).await?, "whoever finds a used code ends nobody's session");
    assert_eq!(trail(&stack, "session_begin")?, "done, denied login_code_invalid, denied login_code_invalid");
    Ok(())
}

#[tokio::test]
async fn of_sixteen_who_bring_the_same_code_at_once_one_gets_a_session() -> Result<()> {
    let stack = Stack::new().await?;
    let code = SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    let body = json!({"code": code});
    let replies = futures(16, || stack.gateway.post("/api/cli/exchange", None, &body)).await?;
    let (good, bad): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
    assert_eq!((good.len(), bad.len()), (1, 15));
    assert!(bad.iter().all(|reply| refused(reply) == (INVALID.0, INVALID.1.to_owned())));
    assert_eq!(stack.database().value("select count(*) from lpm.session")?, "1");
    Ok(())
}

#[tokio::test]
async fn a_code_ends_after_two_minutes_and_with_the_token_that_signed_in() -> Result<()> {
    let stack = Stack::new().await?;
    for (case, change) in [
        ("the time", "update lpm.login_code set expires_at = expires_at - interval '2 minutes' returning 1"),
        ("a revocation", "select lpm.revoke_tokens('alice')"),
        (
            "the token's end",
            "update lpm.access_token set expires_at = clock_timestamp() where name = 'other' returning 1",
        ),
    ] {
        let token = stack.database().value("select lpm.create_token('alice', name => 'other')")?;
        let code = SignIn::default().code(&stack.gateway, &token).await?;
        stack.database().value(change)?;
        let reply = stack.gateway.post("/api/cli/exchange", None, &json!({"code": code})).await?;
        assert_eq!(refused(&reply), (INVALID.0, INVALID.1.to_owned()), "{case}");
        stack.database().value("delete from lpm.access_token where name = 'other'")?;
    }
    assert_eq!(stack.database().value("select count(*) from lpm.session")?, "0");
    Ok(())
}

#[tokio::test]
async fn what_is_no_code_is_refused_and_leaves_no_trace() -> Result<()> {
    let stack = Stack::new().await?;
    let made = |kind| bearer::token(kind, &[9; 32]).expose_str().unwrap_or_default().to_owned();
    let code = SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    let rows = "select (select count(*) from lpm.audit_log) + (select count(*) from lpm.session)";
    let before = stack.database().value(rows)?;
    for (case, wrong) in [
        ("nothing", String::new()),
        ("prose", "please".to_owned()),
        ("one that nobody made", made(Kind::LoginCode)),
        ("one that was cut", code[..code.len() - 1].to_owned()),
        ("another kind", made(Kind::Refresh)),
        ("a personal access token", stack.seed.alice.clone()),
    ] {
        let reply = stack.gateway.post("/api/cli/exchange", None, &json!({"code": wrong})).await?;
        assert_eq!(refused(&reply), (INVALID.0, INVALID.1.to_owned()), "{case}");
        assert_eq!(reply.member("error"), "the login code is unknown, used or expired");
    }
    assert_eq!(stack.database().value(rows)?, before);
    let reply = stack.gateway.get("/api/vaults", Some(&code)).await?;
    assert_eq!(refused(&reply), (401, "unauthorized".to_owned()), "a code is no token");
    Ok(())
}

#[tokio::test]
async fn the_session_is_known_by_the_device_and_the_token_that_signed_in() -> Result<()> {
    let stack = Stack::new().await?;
    SignIn::device("alice%27s+%3Claptop%3E").session(&stack.gateway, &stack.seed.alice).await?;
    let listed = stack.gateway.get("/api/cli/sessions", Some(&stack.seed.alice)).await?;
    assert_eq!(listed.json()["sessions"][0]["device"], "alice's <laptop>");
    assert_eq!(listed.json()["sessions"][0]["current"], false);
    let of_admin = stack.database().value("select device || ' ' || token from lpm.list_sessions('alice')")?;
    assert_eq!(of_admin, "alice's <laptop> laptop");
    let entry = stack
        .database()
        .value("select metadata->>'device' from lpm.audit_log where action = 'session_begin'")?;
    assert_eq!(entry, "alice's <laptop>");
    Ok(())
}

/// The answers to `count` requests that are sent at once.
pub(crate) async fn futures<F, T>(count: usize, make: impl Fn() -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut waiting: Vec<std::pin::Pin<Box<F>>> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done: Vec<Option<T>> = (0..count).map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in waiting.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(answer) = future.as_mut().poll(context)
            {
                match answer {
                    Ok(answer) => *slot = Some(answer),
                    Err(error) => return std::task::Poll::Ready(Err(error)),
                }
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(Ok(()))
        } else {
            std::task::Poll::Pending
        }
    })
    .await?;
    Ok(done.into_iter().flatten().collect())
}
