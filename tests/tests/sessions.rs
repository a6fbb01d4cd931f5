//! What a gateway's login can make of its own session, and does not gain by it: revocations hold at once, whatever
//! snapshot a client has kept, and a decision commits in the session that made it or not at all.

use anyhow::Result;
use lpm_tests::cluster::Options;
use lpm_tests::escrowed::{Escrowed, answer, code, denied, granted};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

/// A transaction that sees the tables as they are now, for as long as it lasts.
async fn snapshot(client: &Client, level: &str) -> Result<()> {
    client.batch_execute("set idle_in_transaction_session_timeout = 0").await?;
    client.batch_execute(&format!("begin isolation level {level}")).await?;
    client.query("select (lpm_api.issuers()).status", &[]).await?;
    Ok(())
}

#[tokio::test]
async fn an_old_snapshot_does_not_outlive_a_revocation() -> Result<()> {
    for level in ["repeatable read", "serializable"] {
        let alice = Escrowed::new().await?;
        let (old, client) = (alice.gateway().await?, alice.gateway().await?);
        let vault_id = alice.vault(&client).await?;
        snapshot(&old, level).await?;
        alice.database.value("delete from lpm.oidc_policy; select lpm.revoke_tokens('alice')")?;
        assert_eq!(
            code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?),
            denied("no_policy"),
            "{level}: everybody else"
        );

        let refused = (503, "isolation_level".to_owned());
        let request = Uuid::now_v7();
        assert_eq!(code(alice.decide(&old, request, &vault_id, "main").await?), refused, "{level}: decide");
        let account: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
        assert_eq!(code(answer(&old, "pull", &account).await?), refused, "{level}: a revoked token pulls");
        let policy = serde_json::json!({"vaultId": vault_id, "provider": "github", "subject": "repo:evil/x",
            "allowedBranches": [], "allowedEnvironments": [], "allowForks": false})
        .to_string();
        let allow: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &policy];
        assert_eq!(code(answer(&old, "create_policy", &allow).await?), refused, "{level}: it allows");
        assert_eq!(code(alice.open(&old, request).await?), refused, "{level}: open");
        old.batch_execute("commit").await?;
        assert_eq!(code(alice.open(&old, request).await?), denied("not_openable"), "{level}");
        assert_eq!(alice.granted_rows(request)?, 0, "{level}");
    }
    Ok(())
}

#[tokio::test]
async fn an_old_snapshot_does_not_open_an_escrow_that_was_switched_off() -> Result<()> {
    let alice = Escrowed::new().await?;
    let (old, client) = (alice.gateway().await?, alice.gateway().await?);
    let vault_id = alice.vault(&client).await?;
    let request = Uuid::now_v7();
    assert_eq!(code(alice.decide(&client, request, &vault_id, "main").await?), granted());
    snapshot(&old, "repeatable read").await?;
    let disable: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &vault_id];
    assert_eq!(answer(&client, "disable_escrow", &disable).await?.0, 200);
    assert_eq!(code(alice.open(&old, request).await?), (503, "isolation_level".to_owned()));
    let (status, body) = alice.open(&client, request).await?;
    assert!(status >= 400 && body["vars"].is_null(), "{status} {body}");
    Ok(())
}

#[tokio::test]
async fn the_server_s_default_does_not_reach_the_gateway_s_login() -> Result<()> {
    let (cluster, alice) = Escrowed::alone(Options::default()).await?;
    cluster.set("default_transaction_isolation", "serializable")?;
    cluster.reload()?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), granted());
    Ok(())
}

#[tokio::test]
async fn a_decision_cannot_be_prepared_and_committed_by_another_session() -> Result<()> {
    let (_cluster, alice) =
        Escrowed::alone(Options::default().setting("max_prepared_transactions", "10")).await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    client.batch_execute("begin; select (lpm_api.issuers()).status; prepare transaction 'harmless'").await?;
    client.batch_execute("rollback prepared 'harmless'").await?;
    for branch in ["main", "evil"] {
        let request = Uuid::now_v7();
        client.batch_execute("begin").await?;
        alice.decide(&client, request, &vault_id, branch).await?;
        let Err(error) = client.batch_execute("prepare transaction 'decision'").await else {
            anyhow::bail!("{branch}: it was prepared")
        };
        let text = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
        assert_eq!(text, "a transaction that has called lpm_api cannot be prepared", "{branch}");
        client.batch_execute("rollback").await?;
        assert_eq!(alice.database.value("select count(*) from pg_prepared_xacts")?, "0", "{branch}");
        assert_eq!(
            alice
                .database
                .value(&format!("select count(*) from lpm.audit_log where request_id = '{request}'"))?,
            "0"
        );
        assert_eq!(code(alice.open(&client, request).await?), denied("not_openable"), "{branch}");
    }
    Ok(())
}

#[tokio::test]
async fn a_grant_ends_with_its_policy_also_between_decision_and_opening() -> Result<()> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    let request = Uuid::now_v7();
    assert_eq!(code(alice.decide(&client, request, &vault_id, "main").await?), granted());
    alice.database.value("delete from lpm.oidc_policy")?;
    assert_eq!(code(alice.open(&client, request).await?), denied("not_openable"));
    Ok(())
}

/// A position behind the header of a page that nobody has begun cannot be flushed.
#[tokio::test]
async fn another_session_opens_a_grant_also_where_the_wal_ends_with_a_page() -> Result<()> {
    let (_cluster, alice) = Escrowed::alone(Options::default()).await?;
    let (one, two) = (alice.gateway().await?, alice.gateway().await?);
    let vault_id = alice.vault(&one).await?;
    let superuser = alice.database.connect().await?;
    let inserted = async || -> Result<i64> {
        Ok(superuser
            .query_one("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint", &[])
            .await?
            .get(0))
    };
    let write = async |bytes: i64| -> Result<()> {
        let text = "x".repeat(usize::try_from(bytes)?);
        superuser.execute("select pg_logical_emit_message(false, 'p', $1::text)", &[&text]).await?;
        Ok(())
    };
    // Another process may write in between, so until it was seen.
    let mut seen = false;
    for attempt in 0..200 {
        let request = Uuid::now_v7();
        assert_eq!(alice.decide(&one, request, &vault_id, "main").await?.0, 200);
        let left = 8192 - inserted().await? % 8192;
        // the record's own headers take some 60 bytes; its end is rounded up to 8
        write(if left < 300 { left + 8192 - 24 - 60 } else { left - 60 - attempt % 16 }).await?;
        seen |= inserted().await? % 8192 == 24;
        let (status, body) = alice.open(&two, request).await?;
        assert_eq!(status, 200, "{body}");
        if seen {
            return Ok(());
        }
    }
    anyhow::bail!("the WAL never ended with a page")
}

#[tokio::test]
async fn whoever_keeps_a_ci_token_locked_does_not_keep_its_policy_from_being_revoked() -> Result<()> {
    let alice = Escrowed::new().await?;
    let (holder, client) = (alice.gateway().await?, alice.gateway().await?);
    let vault_id = alice.vault(&client).await?;
    let hash = vec![7_u8; 32];
    let claims = lpm_tests::escrowed::claims(&alice.issuer, "main");
    let exchange: [&(dyn ToSql + Sync); 8] =
        [&Uuid::now_v7(), &NONE, &alice.issuer, &claims, &vault_id, &"production", &None::<Uuid>, &hash];
    assert_eq!(code(answer(&client, "exchange", &exchange).await?), granted());
    let pull = async |client: &Client| {
        let arguments: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &hash, &vault_id, &"production"];
        answer(client, "decide_ci", &arguments).await.map(code)
    };
    holder.batch_execute("begin").await?;
    assert_eq!(pull(&holder).await?, granted());
    let policy = alice.database.value("select id from lpm.oidc_policy")?;
    let revoke: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &policy];
    assert_eq!(answer(&client, "revoke_policy", &revoke).await?.0, 200);
    holder.batch_execute("commit").await?;
    assert_eq!(pull(&client).await?, denied("no_policy"), "the token is still there, and good for nothing");
    Ok(())
}
