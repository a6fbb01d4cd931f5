//! How sessions end: by name, with their token, with their user; and what is left of them.

use crate::{is_good, refused, trail};
use anyhow::Result;
use lpm_tests::signin::{Session, SignIn};
use lpm_tests::stack::Stack;

async fn begin(stack: &Stack, token: &str) -> Result<Session> {
    SignIn::default().session(&stack.gateway, token).await
}

/// The id of the bearer's own session.
async fn own_id(stack: &Stack, token: &str) -> Result<String> {
    let listed = stack.gateway.get("/api/cli/sessions", Some(token)).await?.json();
    let own = listed["sessions"].as_array().into_iter().flatten().find(|session| session["current"] == true);
    Ok(own.and_then(|session| session["id"].as_str()).unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_session_ends_by_name_at_once_and_the_others_go_on() -> Result<()> {
    let stack = Stack::new().await?;
    let (one, other) = (begin(&stack, &stack.seed.alice).await?, begin(&stack, &stack.seed.alice).await?);
    let id = own_id(&stack, &one.token).await?;
    let path = format!("/api/cli/sessions/{id}");
    assert_eq!(
        stack.gateway.delete(&path, Some(&other.token)).await?.json(),
        serde_json::json!({"success": true})
    );
    assert!(!is_good(&stack, &one.token).await?);
    assert_eq!(refused(&one.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    assert!(is_good(&stack, &other.token).await?);
    let again = stack.gateway.delete(&path, Some(&other.token)).await?;
    assert_eq!(refused(&again), (404, "session_unknown".to_owned()));
    assert_eq!(again.member("hint"), "`lpm sessions` shows them");
    assert_eq!(trail(&stack, "session_end")?, "done, denied session_unknown");
    let listed = stack.gateway.get("/api/cli/sessions", Some(&other.token)).await?.json();
    assert_eq!(listed["sessions"].as_array().map(Vec::len), Some(1), "{listed}");
    Ok(())
}

#[tokio::test]
async fn another_accounts_session_is_one_that_does_not_exist() -> Result<()> {
    let stack = Stack::new().await?;
    let bob = stack.account("bob", "pro").await?;
    let session = begin(&stack, &stack.seed.alice).await?;
    let id = own_id(&stack, &session.token).await?;
    for wrong in [id.as_str(), "00000000-0000-4000-8000-000000000000", "x", "'%20or%20true--"] {
        let reply = stack.gateway.delete(&format!("/api/cli/sessions/{wrong}"), Some(&bob)).await?;
        assert_eq!(refused(&reply), (404, "session_unknown".to_owned()), "{wrong}");
    }
    let listed = stack.gateway.get("/api/cli/sessions", Some(&bob)).await?.json();
    assert_eq!(listed, serde_json::json!({"sessions": []}));
    assert!(is_good(&stack, &session.token).await?);
    Ok(())
}

#[tokio::test]
async fn a_revoked_token_ends_its_sessions_at_once_and_no_others() -> Result<()> {
    let stack = Stack::new().await?;
    let second = stack.database().value("select lpm.create_token('alice', name => 'second')")?;
    let (of_first, of_second) = (begin(&stack, &stack.seed.alice).await?, begin(&stack, &second).await?);
    assert_eq!(stack.database().value("select lpm.revoke_tokens('alice', 'second')")?, "1");
    let reply = stack.gateway.get("/api/vaults", Some(&of_second.token)).await?;
    assert_eq!(refused(&reply), (401, "session_ended".to_owned()));
    assert_eq!(reply.member("hint"), "run `lpm login`");
    assert_eq!(refused(&of_second.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    assert!(is_good(&stack, &of_first.token).await?);
    assert_eq!(
        stack.database().value("select lpm.revoke_tokens('alice')")?,
        "1",
        "sessions' tokens are not counted"
    );
    assert!(!is_good(&stack, &of_first.token).await?);
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_named_like_a_device_is_not_mixed_up_with_it() -> Result<()> {
    let stack = Stack::new().await?;
    let session = SignIn::device("spare").session(&stack.gateway, &stack.seed.alice).await?;
    stack.database().value("select lpm.create_token('alice', name => 'spare')")?;
    assert_eq!(stack.database().value("select lpm.revoke_tokens('alice', 'spare')")?, "1");
    assert!(is_good(&stack, &session.token).await?);
    Ok(())
}

#[tokio::test]
async fn a_dba_sees_a_users_sessions_and_ends_them_with_an_entry_in_the_trail() -> Result<()> {
    let stack = Stack::new().await?;
    let session = begin(&stack, &stack.seed.alice).await?;
    let waiting = SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    let admin = stack.database().connect_as(&stack.database().login(&["lpm_admin"]).await?).await?;
    let listed = admin.query("select device, token from lpm.list_sessions('alice')", &[]).await?;
    assert_eq!(listed.len(), 1);
    let ended: i64 = admin.query_one("select lpm.end_sessions('alice')", &[]).await?.get(0);
    assert_eq!(ended, 1);
    assert!(!is_good(&stack, &session.token).await?);
    let late = stack.gateway.post("/api/cli/exchange", None, &serde_json::json!({"code": waiting})).await?;
    assert_eq!(
        refused(&late),
        (401, "login_code_invalid".to_owned()),
        "nor does one begin that was on its way"
    );
    assert!(is_good(&stack, &stack.seed.alice).await?, "the token stays");
    let trail = "select decision || ' ' || (metadata->>'sessions') from lpm.audit_log where action = 'session_end' and login is not null";
    assert_eq!(stack.database().value(trail)?, "done 1");
    for role in ["lpm_operator", "lpm_auditor", "lpm_dashboard", "lpm_gateway"] {
        let login = stack.database().connect_as(&stack.database().login(&[role]).await?).await?;
        for sql in [
            "select * from lpm.list_sessions('alice')",
            "select lpm.end_sessions('alice')",
            "select * from lpm.session",
        ] {
            assert!(login.batch_execute(sql).await.is_err(), "{role}: {sql}");
        }
    }
    assert!(admin.query("select lpm.end_sessions('nobody')", &[]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_session_never_has_more_scope_than_its_token() -> Result<()> {
    let stack = Stack::new().await?;
    let reader =
        stack.database().value("select lpm.create_token('alice', name => 'reader', scope => 'read')")?;
    let (session, other) = (begin(&stack, &reader).await?, begin(&stack, &stack.seed.alice).await?);
    let push = serde_json::json!({"vaultId": "v", "subject": "repo:acme/web"});
    for pair in [session.clone(), Session::of(&session.refresh(&stack.gateway).await?)?] {
        assert_eq!(stack.gateway.get("/api/vaults", Some(&pair.token)).await?.status, 200);
        let reply = stack.gateway.post("/api/vault/oidc/repin", Some(&pair.token), &push).await?;
        assert_eq!(refused(&reply), (403, "token_scope".to_owned()));
    }
    // it may end itself, and nobody else
    let id = own_id(&stack, &other.token).await?;
    let reply = stack.gateway.delete(&format!("/api/cli/sessions/{id}"), Some(&session.token)).await?;
    assert_eq!(refused(&reply), (403, "token_scope".to_owned()));
    let id = own_id(&stack, &session.token).await?;
    assert_eq!(
        stack.gateway.delete(&format!("/api/cli/sessions/{id}"), Some(&session.token)).await?.status,
        200
    );
    assert!(!is_good(&stack, &session.token).await? && is_good(&stack, &other.token).await?);
    // and what a DBA takes from the token, the session loses too
    stack.database().value("update lpm.access_token set scope = 'none' where name = 'laptop' returning 1")?;
    assert_eq!(
        refused(&stack.gateway.get("/api/vaults", Some(&other.token)).await?),
        (403, "token_scope".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn a_dropped_user_leaves_no_session_code_or_pairing() -> Result<()> {
    let stack = Stack::new().await?;
    let bob = stack.account("bob", "pro").await?;
    let session = begin(&stack, &bob).await?;
    SignIn::default().code(&stack.gateway, &bob).await?;
    stack.database().value("select lpm.drop_user('bob')")?;
    assert_eq!(refused(&crate::whoami(&stack, &session.token).await?), (401, "unauthorized".to_owned()));
    assert_eq!(stack.database().value(LEFT)?, "0");
    Ok(())
}

/// Everything that sessions leave in the tables.
const LEFT: &str = "select (select count(*) from lpm.session) + (select count(*) from lpm.session_refresh) + (select count(*) from lpm.login_code)
    + (select count(*) from lpm.access_token where session_id is not null) + (select count(*) from lpm.pairing_session)
    + (select count(*) from lpm.pairing_miss)";

#[tokio::test]
async fn what_has_ended_is_removed_and_what_goes_on_is_not() -> Result<()> {
    let stack = Stack::new().await?;
    let (ended, kept) = (begin(&stack, &stack.seed.alice).await?, begin(&stack, &stack.seed.alice).await?);
    Session::of(&kept.refresh(&stack.gateway).await?)?;
    let id = own_id(&stack, &ended.token).await?;
    stack.gateway.delete(&format!("/api/cli/sessions/{id}"), Some(&ended.token)).await?;
    SignIn::default().code(&stack.gateway, &stack.seed.alice).await?;
    stack.database().value(&format!(
        "update lpm.login_code set expires_at = expires_at - interval '1 hour';
         insert into lpm.pairing_miss (user_id, created_at) select id, clock_timestamp() - interval '11 minutes' from lpm.account;
         update lpm.session set ended_at = ended_at - interval '2 hours' where id = '{id}' returning 1"
    ))?;
    // two codes were exchanged; their rows, a third code's, a miss, and the session with its two tokens
    stack.database().value("select lpm.remove_expired()")?;
    assert_eq!(stack.database().value(LEFT)?, "5", "a session, two refresh tokens, two access tokens");
    assert!(is_good(&stack, &kept.token).await?);
    assert_eq!(refused(&ended.refresh(&stack.gateway).await?), (401, "session_ended".to_owned()));
    Ok(())
}
