//! Guarantee 2, attacked with the rights of the gateway's login: nobody gets plaintext without a committed
//! audit row, whatever they do with transactions.

use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::escrowed::{Escrowed, SECRET, answer, call, claims};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

async fn ready() -> Result<(Escrowed, Client, String)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    Ok((escrowed, client, vault_id))
}

fn is_refused((status, body): &(i32, serde_json::Value)) -> bool {
    (*status, body["code"].as_str()) == (403, Some("not_openable"))
}

#[tokio::test]
async fn a_granted_request_is_opened_after_its_row_is_committed() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    assert_eq!(escrowed.decide(&client, request, &vault_id, "main").await?.0, 200);
    assert_eq!(escrowed.granted_rows(request)?, 1);
    let (status, body) = escrowed.open(&client, request).await?;
    assert_eq!((status, body["vars"]["API_KEY"].as_str()), (200, Some(SECRET)), "{body}");
    assert_eq!(body["env"], "production");
    Ok(())
}

#[tokio::test]
async fn open_in_the_transaction_that_decided_gets_nothing() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    for ending in ["rollback", "commit"] {
        let request = Uuid::now_v7();
        client.batch_execute("begin").await?;
        assert_eq!(escrowed.decide(&client, request, &vault_id, "main").await?.0, 200);
        assert!(is_refused(&escrowed.open(&client, request).await?), "{ending}");
        client.batch_execute(ending).await?;
        assert_eq!(escrowed.granted_rows(request)?, u32::from(ending == "commit"));
    }
    Ok(())
}

#[tokio::test]
async fn open_behind_a_savepoint_gets_nothing() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    client.batch_execute("begin; savepoint a").await?;
    assert_eq!(escrowed.decide(&client, request, &vault_id, "main").await?.0, 200);
    client.batch_execute("release savepoint a; savepoint b").await?;
    assert!(is_refused(&escrowed.open(&client, request).await?));
    client.batch_execute("rollback to savepoint b").await?;
    assert!(is_refused(&escrowed.open(&client, request).await?));
    client.batch_execute("rollback").await?;
    assert_eq!(escrowed.granted_rows(request)?, 0);
    Ok(())
}

#[tokio::test]
async fn decide_and_open_in_one_statement_get_nothing() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let (none, claims) = (None::<&str>, claims(&escrowed.issuer, "main"));
    for sql in [
        "select (lpm_api.decide($1, $2, $3, $4, $5, $6, $7)).status, (lpm_api.open($1)).body",
        "with d as materialized (select lpm_api.decide($1, $2, $3, $4, $5, $6, $7) r) select (d.r).status, (lpm_api.open($1)).body from d",
        "select (lpm_api.decide($1, $2, $3, $4, $5, $6, $7)).status, (select (lpm_api.open($1)).body where random() < 2)",
    ] {
        let request = Uuid::now_v7();
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&request, &none, &escrowed.issuer, &claims, &vault_id, &"production", &None::<Uuid>];
        let row = client.query_one(sql, &arguments).await.with_context(|| sql.to_owned())?;
        let body: String = row.get(1);
        assert!(body.contains("not_openable") && !body.contains(SECRET), "{sql}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_grant_opens_once() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    // a rollback does not give the one opening back
    client.batch_execute("begin").await?;
    assert_eq!(escrowed.open(&client, request).await?.0, 200);
    client.batch_execute("rollback").await?;
    assert!(is_refused(&escrowed.open(&client, request).await?));
    assert!(is_refused(&escrowed.open(&escrowed.gateway().await?, request).await?), "another connection");
    Ok(())
}

#[tokio::test]
async fn parallel_openings_of_one_grant_succeed_once() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let client = escrowed.gateway().await?;
        tasks.spawn(async move { answer(&client, "open", &[&request]).await });
    }
    let mut opened = 0;
    while let Some(result) = tasks.join_next().await {
        opened += u32::from(result??.0 == 200);
    }
    assert_eq!(opened, 1);
    Ok(())
}

#[tokio::test]
async fn what_was_not_granted_is_not_opened() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    assert!(is_refused(&escrowed.open(&client, Uuid::now_v7()).await?), "a request that nobody made");
    let denied = Uuid::now_v7();
    assert_eq!(escrowed.decide(&client, denied, &vault_id, "feature/x").await?.0, 403);
    assert!(is_refused(&escrowed.open(&client, denied).await?), "a denied request");

    let exchanged = Uuid::now_v7();
    let (none, claims) = (None::<&str>, claims(&escrowed.issuer, "main"));
    let arguments: [&(dyn ToSql + Sync); 8] = [
        &exchanged,
        &none,
        &escrowed.issuer,
        &claims,
        &vault_id,
        &"production",
        &None::<Uuid>,
        &vec![7_u8; 32],
    ];
    assert_eq!(answer(&client, "exchange", &arguments).await?.0, 200);
    assert!(is_refused(&escrowed.open(&client, exchanged).await?), "an exchange is no pull");
    Ok(())
}

#[tokio::test]
async fn the_request_of_another_connection_opens_only_after_its_commit() -> Result<()> {
    let (escrowed, first, vault_id) = ready().await?;
    let second = escrowed.gateway().await?;
    let request = Uuid::now_v7();
    first.batch_execute("begin").await?;
    escrowed.decide(&first, request, &vault_id, "main").await?;
    assert!(is_refused(&escrowed.open(&second, request).await?), "not committed");
    first.batch_execute("commit").await?;
    assert_eq!(escrowed.open(&second, request).await?.0, 200, "committed, with its row");
    Ok(())
}

#[tokio::test]
async fn a_request_id_serves_one_decision() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    let again = escrowed.decide(&client, request, &vault_id, "main").await;
    assert!(again.is_err(), "a second decision under the same id: {again:?}");
    Ok(())
}

#[tokio::test]
async fn an_open_that_fails_hands_out_nothing_and_leaves_a_row() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    // someone moves the row's ciphertext behind the escrow's back
    escrowed.database.value("update lpm.vault_sync set wrapped_key = encode(decode(repeat('00', 12), 'hex'), 'base64') || ':' || encode(decode(repeat('00', 48), 'hex'), 'base64')")?;
    let request = Uuid::now_v7();
    assert_eq!(escrowed.decide(&client, request, &vault_id, "main").await?.0, 200);
    let (status, body) = escrowed.open(&client, request).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("escrow_mismatch")), "{body}");
    assert!(is_refused(&escrowed.open(&client, request).await?), "once, also where it failed");
    let rows = escrowed.database.value(&format!(
        "select string_agg(action || ' ' || decision || ' ' || coalesce(reason, '-'), ', ' order by id) from lpm.audit_log where request_id = '{request}'"
    ))?;
    assert_eq!(rows, "ci_pull granted -, ci_open failed escrow_mismatch");
    Ok(())
}

#[tokio::test]
async fn a_client_that_never_syncs_gets_nothing() -> Result<()> {
    let (escrowed, _client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    let mut wire = lpm_tests::wire::Wire::connect(&escrowed.database, &escrowed.login).await?;
    let claims = format!("\\x{}", hex::encode(claims(&escrowed.issuer, "main")));
    let id = request.to_string();
    let decide: [Option<&str>; 7] =
        [Some(&id), None, Some(&escrowed.issuer), Some(&claims), Some(&vault_id), Some("production"), None];
    wire.execute(&call("decide", 7), &decide)?;
    wire.execute(&call("open", 1), &[Some(&id)])?;
    wire.flush().await?;
    // Both rows arrive although nothing is committed: the second must hold no plaintext.
    let rows = wire.rows(2).await?;
    assert!(rows[0].contains("200"), "{rows:?}");
    assert!(rows[1].contains("not_openable") && !rows[1].contains(SECRET), "{rows:?}");
    drop(wire);
    let client = escrowed.gateway().await?;
    assert!(is_refused(&escrowed.open(&client, request).await?), "the disconnect rolled the grant back");
    assert_eq!(escrowed.granted_rows(request)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_grant_from_before_a_restart_is_not_opened() -> Result<()> {
    let (cluster, escrowed) = Escrowed::alone(cluster::Options::default()).await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    cluster.restart()?;
    let client = escrowed.gateway().await?;
    assert_eq!(escrowed.granted_rows(request)?, 1);
    assert!(is_refused(&escrowed.open(&client, request).await?), "nobody remembers whether it was opened");
    Ok(())
}

#[tokio::test]
async fn a_commit_whose_wait_for_the_standby_was_cut_short_is_not_opened() -> Result<()> {
    let (cluster, escrowed) = Escrowed::alone(cluster::Options::default()).await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    let superuser = escrowed.database.connect().await?;
    superuser.batch_execute("alter system set synchronous_standby_names = 'nobody'").await?;
    cluster.reload()?;
    let request = Uuid::now_v7();
    for local in ["on", "off", "local"] {
        let request = if local == "on" { request } else { Uuid::now_v7() };
        client.batch_execute(&format!("set synchronous_commit = {local}")).await?;
        let waiting = escrowed.decide(&client, request, &vault_id, "main");
        let cancelled = async {
            // the commit waits for a standby that never comes; the cancelled wait reports success
            while superuser
                .query_one("select count(*) from (select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep') c", &[])
                .await?
                .get::<_, i64>(0)
                == 0
            {
                tokio::task::yield_now().await;
            }
            Ok::<_, anyhow::Error>(())
        };
        let (decided, cancelled) = tokio::join!(waiting, cancelled);
        cancelled?;
        assert_eq!(decided?.0, 200, "{local}");
        let (status, body) = escrowed.open(&client, request).await?;
        assert_eq!((status, body["code"].as_str()), (503, Some("audit_not_durable")), "{local}: {body}");
    }
    Ok(())
}

#[tokio::test]
async fn a_read_only_transaction_or_server_opens_nothing() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    client.batch_execute("begin read only").await?;
    let (status, body) = escrowed.open(&client, request).await?;
    assert_eq!((status, body["code"].as_str()), (503, Some("read_only")), "{body}");
    client.batch_execute("rollback").await?;
    assert_eq!(escrowed.open(&client, request).await?.0, 200, "nothing was used up");
    Ok(())
}

#[tokio::test]
async fn a_commit_that_the_client_made_asynchronous_is_flushed_before_anything_is_opened() -> Result<()> {
    // a WAL writer that would not come by itself
    let (_cluster, escrowed) = Escrowed::alone(
        cluster::Options::default()
            .setting("wal_writer_delay", "10s")
            .setting("wal_writer_flush_after", "1GB"),
    )
    .await?;
    let (one, two) = (escrowed.gateway().await?, escrowed.gateway().await?);
    let vault_id = escrowed.vault(&one).await?;
    for (row, opener) in [("the same connection", &one), ("another connection", &two)] {
        // Now and then another process flushes in between, so until the open was seen to do it.
        let mut waited_for_open = false;
        for _ in 0..50 {
            let request = Uuid::now_v7();
            one.batch_execute("begin").await?;
            escrowed.decide(&one, request, &vault_id, "main").await?;
            one.batch_execute("set local synchronous_commit = off; commit").await?;
            let written: String =
                one.query_one("select pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
            let flushed = format!("select pg_current_wal_flush_lsn() >= '{written}'::pg_lsn");
            waited_for_open = !one.query_one(&flushed, &[]).await?.get::<_, bool>(0);
            assert_eq!(escrowed.open(opener, request).await?.0, 200, "{row}");
            assert!(
                one.query_one(&flushed, &[]).await?.get::<_, bool>(0),
                "{row}: opened before its row was durable"
            );
            if waited_for_open {
                break;
            }
        }
        assert!(waited_for_open, "{row}: no commit was ever asynchronous, so this shows nothing");
    }
    Ok(())
}

#[tokio::test]
async fn an_exchange_that_meets_a_revocation_is_answered() -> Result<()> {
    let (escrowed, client, vault_id) = ready().await?;
    let superuser = escrowed.database.connect().await?;
    superuser.batch_execute("begin; delete from lpm.oidc_policy").await?;
    let (none, claims) = (None::<&str>, claims(&escrowed.issuer, "main"));
    let request = Uuid::now_v7();
    let arguments: [&(dyn ToSql + Sync); 8] = [
        &request,
        &none,
        &escrowed.issuer,
        &claims,
        &vault_id,
        &"production",
        &None::<Uuid>,
        &vec![7_u8; 32],
    ];
    let (status, _) = answer(&client, "exchange", &arguments).await?;
    superuser.batch_execute("commit").await?;
    assert_eq!((status, escrowed.granted_rows(request)?), (200, 1));
    // the token outlived its policy by a moment, and is worth nothing
    let arguments: [&(dyn ToSql + Sync); 5] =
        [&Uuid::now_v7(), &none, &vec![7_u8; 32], &vault_id, &"production"];
    let (status, body) = answer(&client, "decide_ci", &arguments).await?;
    assert!(status == 401 || status == 403, "{status} {body}");
    Ok(())
}
