//! J13, D3, D12: uses of tokens that meet each other, a client that leaves, and the clean-up.

use crate::world::{EXCHANGE, Locked, PULL, World, granted, job, replayed, seen};
use anyhow::Result;
use lpm_tests::gateway::{self, Reply};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

#[tokio::test]
async fn j13_of_64_parallel_uses_at_two_gateways_exactly_one_is_granted() -> Result<()> {
    let world = World::new().await?;
    let second = world.another_gateway()?;
    for path in [PULL, EXCHANGE] {
        let body = world.ask(world.issuer.mint(&job())?);
        let mut requests = JoinSet::new();
        for n in 0..64 {
            let gateway = if n % 2 == 0 { &world.gateway } else { &second };
            let request = gateway.request(Method::POST, path).json(&body);
            requests.spawn(async move { Reply::read(request.send().await?).await });
        }
        let mut answers = BTreeMap::new();
        let mut ids = Vec::new();
        while let Some(reply) = requests.join_next().await {
            let reply = reply??;
            ids.push(format!("'{}'", reply.header("x-request-id")));
            *answers.entry(seen(&reply)).or_insert(0) += 1;
        }
        assert_eq!(answers, BTreeMap::from([(granted(), 1), (replayed(), 63)]), "J13 {path}");
        let audited = world.stack.database().value(&format!(
            "select string_agg(n || ' ' || d, ', ' order by d) from (select count(*) n, concat_ws(' ', decision, reason) d
               from lpm.audit_log where request_id in ({}) group by 2) x",
            ids.join(", ")
        ))?;
        assert_eq!(audited, "63 denied replayed, 1 granted", "J13 {path}");
    }
    Ok(())
}

#[tokio::test]
async fn d3_a_client_that_leaves_before_the_answer_has_used_its_token_and_left_its_row() -> Result<()> {
    let world = World::new().await?;
    let logs = tempfile::tempdir()?;
    // one connection, so that whoever comes next uses the one that was left
    let gateway = gateway::Options::new(world.stack.database().url_as(&world.stack.seed.gateway_login))
        .argument("--pool-size=1")
        .argument("--pool-wait=30s")
        .start(&logs.path().join("gateway.log"))?;
    let token = world.issuer.mint(&job())?;
    let body = world.ask(token.as_str()).to_string();
    let host = gateway.url().trim_start_matches("http://").to_owned();
    let request = format!(
        "POST {PULL} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let locked = Locked::new(world.stack.database()).await?;
    let mut socket = tokio::net::TcpStream::connect(&host).await?;
    socket.write_all(request.as_bytes()).await?;
    locked.is_met().await?;
    drop(socket);
    locked.release().await?;
    let granted_rows = "select count(*) from lpm.audit_log where action = 'ci_pull' and decision = 'granted'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.stack.database().value(granted_rows)? != "1" {
        anyhow::ensure!(Instant::now() < deadline, "D3: the decision leaves no row");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // the answer that nobody read is nobody else's
    let list = gateway.get("/api/vaults", Some(&world.stack.seed.alice)).await?;
    let ids: Vec<Value> =
        list.json()["vaults"].as_array().into_iter().flatten().map(|v| v["vaultId"].clone()).collect();
    assert_eq!(ids, [json!(world.vault_id)], "D3: {}", list.text());
    assert_eq!(seen(&gateway.post(PULL, None, &world.ask(token)).await?), replayed(), "D3: the same token");
    let fresh = gateway.post(PULL, None, &world.ask(world.issuer.mint(&job())?)).await?;
    assert_eq!(seen(&fresh), granted(), "D3: a fresh one, {}", fresh.text());
    Ok(())
}

#[tokio::test]
async fn d12_cleaning_up_and_replays_do_not_lock_each_other_out() -> Result<()> {
    let world = World::new().await?;
    let database = world.stack.database();
    // a clean-up that has deleted and does not end
    let cleaner = database.connect().await?;
    database.value(
        "insert into lpm.oidc_token_use select sha256(n::text::bytea), 1, clock_timestamp() - interval '1 minute', gen_random_uuid() from generate_series(1, 5000) n",
    )?;
    cleaner.batch_execute("begin; select lpm.remove_expired()").await?;
    let token = world.issuer.mint(&job())?;
    assert_eq!(seen(&world.pull(&token).await?), granted(), "D12: during the clean-up");
    assert_eq!(seen(&world.pull(&token).await?), replayed(), "D12: during the clean-up");
    cleaner.batch_execute("commit").await?;
    assert_eq!(seen(&world.pull(&token).await?), replayed(), "D12: after it");

    // an exchange that has counted and does not end: the clean-up neither waits for it nor forgets it
    let exchange = database.connect_as(&world.stack.seed.gateway_login).await?;
    exchange.batch_execute("begin").await?;
    world.alice.decide(&exchange, uuid::Uuid::now_v7(), &world.vault_id, "main").await?;
    database.value("set lock_timeout = '1s'; select lpm.remove_expired()")?;
    exchange.batch_execute("commit").await?;

    // both at once, again and again: each token is granted once, and what is left are the tokens that live
    let before: i64 = database.value("select count(*) from lpm.oidc_token_use")?.parse()?;
    let stop = tokio::sync::watch::channel(false);
    let cleaning = tokio::spawn(async move {
        let mut rounds = 0;
        while !*stop.1.borrow() {
            cleaner.batch_execute("select lpm.remove_expired()").await?;
            rounds += 1;
        }
        Ok::<_, anyhow::Error>(rounds)
    });
    const TOKENS: i64 = 12;
    let mut requests = JoinSet::new();
    for n in 0..TOKENS {
        let token = world.issuer.mint(&job())?;
        for _ in 0..8 {
            let request = world.gateway.request(Method::POST, PULL).json(&world.ask(token.as_str()));
            requests.spawn(async move {
                Ok::<_, anyhow::Error>((n, seen(&Reply::read(request.send().await?).await?)))
            });
        }
    }
    let mut grants = BTreeMap::new();
    while let Some(answer) = requests.join_next().await {
        let (token, answer) = answer??;
        if answer == granted() {
            *grants.entry(token).or_insert(0) += 1;
        } else {
            assert_eq!(answer, replayed(), "D12: nobody is locked out");
        }
    }
    stop.0.send(true)?;
    assert!(cleaning.await?? > 0);
    assert_eq!(grants, (0..TOKENS).map(|n| (n, 1)).collect(), "D12: each token once");
    let after: i64 = database.value("select count(*) from lpm.oidc_token_use")?.parse()?;
    assert_eq!(after - before, TOKENS, "D12: one row per token, however often it comes");
    Ok(())
}
