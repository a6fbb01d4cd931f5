//! `/healthz` and `/readyz`: what load balancers go by.

use crate::world::{PULL, World};
use anyhow::{Context, Result, ensure};
use lpm_tests::cluster::{self, random_key};
use lpm_tests::escrowed::Escrowed;
use lpm_tests::gateway::{self, Gateway};
use lpm_tests::process::{Signal, eventually};
use lpm_tests::raw_http::RawHttp;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

async fn ready(gateway: &Gateway) -> Result<(u16, String)> {
    let reply = gateway.get("/readyz", None).await?;
    Ok((reply.status.as_u16(), reply.code()))
}

fn not_ready(code: &str) -> (u16, String) {
    (503, code.to_owned())
}

#[tokio::test]
async fn a_fenced_primary_is_not_ready_until_it_takes_writes_again() -> Result<()> {
    let (cluster, alice) = Escrowed::alone(cluster::Options::default()).await?;
    let logs = tempfile::tempdir()?;
    let gateway =
        gateway::Options::new(alice.database.url_as(&alice.login)).start(&logs.path().join("gateway.log"))?;
    let reply = gateway.get("/readyz", None).await?;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({"status": "ready", "escrowKey": true})));
    for (setting, expected) in [("on", not_ready("read_only")), ("off", (200, String::new()))] {
        cluster.set("default_transaction_read_only", setting)?;
        cluster.reload()?;
        eventually(&format!("read-only: {setting}"), async || Ok(ready(&gateway).await? == expected)).await?;
        assert_eq!(gateway.get("/healthz", None).await?.status, 200, "the process itself is well");
    }
    Ok(())
}

#[tokio::test]
async fn without_an_escrow_key_no_ci_job_is_sent_here_and_developers_are_told_that_all_is_well() -> Result<()>
{
    let (cluster, alice) = Escrowed::alone(cluster::Options::default().without_escrow_key()).await?;
    let logs = tempfile::tempdir()?;
    let gateway =
        gateway::Options::new(alice.database.url_as(&alice.login)).start(&logs.path().join("gateway.log"))?;
    assert_eq!(ready(&gateway).await?, not_ready("no_escrow_key"));
    let health = gateway.get("/api/registry/health", None).await?;
    assert_eq!((health.status.as_u16(), health.json()["escrowKey"].clone()), (200, json!(false)));
    alice.push(&alice.gateway().await?, &Uuid::new_v4().to_string()).await?;

    cluster.write_escrow_keys(&format!("k1:{}", random_key()))?;
    cluster.set("pg_lpm.escrow_key_file", &cluster.escrow_key_file().to_string_lossy())?;
    cluster.reload()?;
    eventually("the key is loaded", async || Ok(ready(&gateway).await? == (200, String::new()))).await
}

/// Anybody may ask, so asking must not take the connections of those who pull.
#[tokio::test]
async fn however_many_ask_whether_it_is_ready_one_connection_is_enough() -> Result<()> {
    let world = World::with(|options| options.argument("--pool-size=8")).await?;
    let mut asked = JoinSet::new();
    for number in 0..200 {
        let path = if number % 2 == 0 { "/readyz" } else { "/api/registry/health" };
        let request = world.gateway.request(Method::GET, path);
        asked.spawn(async move { Ok::<_, reqwest::Error>(request.send().await?.status()) });
    }
    while let Some(status) = asked.join_next().await {
        assert_eq!(status??, 200);
    }
    // and one more for the issuers, which are read now and then
    let size = world.scrape().await?.value("pool_size");
    ensure!((1.0..=2.0).contains(&size), "{size} connections");
    Ok(())
}

#[tokio::test]
async fn from_sigterm_on_it_is_not_ready_and_still_answers_for_the_delay() -> Result<()> {
    let mut world = World::with(|options| options.argument("--drain-delay=1h")).await?;
    let mut used = RawHttp::connect(&world.gateway).await?;
    used.send(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let before = used.reply().await?.context("no answer")?;
    assert_eq!((before.status.as_u16(), before.header("connection")), (200, String::new()));
    world.gateway.signal(Signal::TERM)?;
    eventually("it says so", async || Ok(ready(&world.gateway).await? == not_ready("stopping"))).await?;

    // a connection from before and one from after: each is answered once more, and ended
    let mut fresh = RawHttp::connect(&world.gateway).await?;
    for connection in [&mut used, &mut fresh] {
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let reply = connection.reply().await?.context("no answer")?;
        assert_eq!((reply.status.as_u16(), reply.header("connection")), (200, "close".to_owned()));
        ensure!(connection.reply().await?.is_none(), "it goes on");
    }
    let pulled = world.pull("main").await?;
    assert_eq!((pulled.status.as_u16(), pulled.header("connection")), (200, "close".to_owned()));

    // told twice, it does not wait
    world.gateway.signal(Signal::TERM)?;
    ensure!(world.gateway.wait()?.success(), "it did not end in order");
    ensure!(world.gateway.post(PULL, None, &world.job("main")?).await.is_err(), "somebody answers");
    Ok(())
}

/// What the system has taken for the gateway, and what has arrived on connections that looked idle, is answered too.
#[tokio::test]
async fn whoever_has_sent_a_request_when_it_stops_is_answered() -> Result<()> {
    let mut world = World::new().await?;
    let mut connections = Vec::new();
    for _ in 0..20 {
        let mut used = RawHttp::connect(&world.gateway).await?;
        used.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        used.reply().await?.context("no answer")?;
        connections.push(used);
    }
    // stopped, so that it finds requests, connections and the signal all at once
    lpm_tests::process::freeze(world.gateway.pid().try_into()?)?;
    for _ in 0..20 {
        connections.push(RawHttp::connect(&world.gateway).await?);
    }
    for connection in &mut connections {
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    }
    world.gateway.signal(Signal::TERM)?;
    world.gateway.signal(Signal::CONT)?;
    for (number, connection) in connections.iter_mut().enumerate() {
        let reply = connection.reply().await?.with_context(|| format!("no answer to {number}"))?;
        assert_eq!(reply.status, 200);
    }
    ensure!(world.gateway.wait()?.success(), "it did not end in order");
    Ok(())
}
