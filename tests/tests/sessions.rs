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
        let error = client.batch_execute("prepare transaction 'decision'").await.unwrap_err();
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
