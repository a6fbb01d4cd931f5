//! More than can be served: who waits, who is sent away, and who is not in anybody's way.

use crate::site::{PULL, Site, job};
use anyhow::{Context, Result, ensure};
use lpm_tests::gateway::{Options, Reply};
use lpm_tests::issuer::SignWith;
use lpm_tests::raw_http::{HANG, RawHttp};
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;

/// What nobody here waits for so long.
const NEVER: &str = "--pool-wait=10m";

/// Two connections, and so many places to wait for one.
fn small(options: Options, queue: u32) -> Options {
    let options = options.argument("--pool-size=2").argument(format!("--pool-queue={queue}"));
    options.argument("--statement-timeout=10m")
}

/// Keeps pulls from ending, until it is committed.
async fn hold(site: &Site) -> Result<Client> {
    let login = &site.escrowed.login.user;
    // how long a statement waits is the gateway's alone to say
    let name = site.escrowed.database.name();
    site.escrowed
        .database
        .value(&format!(r#"alter role "{login}" in database "{name}" set lock_timeout = 0"#))?;
    let client = site.escrowed.database.connect().await?;
    client.batch_execute("begin; lock table lpm.audit_log in share row exclusive mode").await?;
    Ok(client)
}

fn pulls(site: &Site, number: usize) -> Result<Vec<JoinHandle<Result<Reply>>>> {
    let one = |_| {
        let request = site.gateway.request(Method::POST, PULL).json(&site.body(&job())?);
        Ok(tokio::spawn(async move { Reply::read(request.send().await?).await }))
    };
    (0..number).map(one).collect()
}

/// Returns when `holds` does; there is no event to wait for.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !holds().await? {
        ensure!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn waiting_for_the_lock(site: &Site, number: u32) -> Result<()> {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = '{}' and usename = '{}' and wait_event_type = 'Lock'",
        site.escrowed.database.name(),
        site.escrowed.login.user
    );
    let what = format!("{number} pulls wait for the lock");
    eventually(&what, async || Ok(site.escrowed.database.value(&sql)? == number.to_string())).await
}

fn assert_busy(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "busy"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_queue_a_request_is_refused_before_its_token_is_verified() -> Result<()> {
    let site = Site::new(|options| small(options, 1).argument(NEVER)).await?;
    // the pool is warm and the issuer's keys are known
    assert_eq!(site.pull(&job()).await?.status, 200);
    let held = hold(&site).await?;
    let mut served = pulls(&site, 2)?;
    waiting_for_the_lock(&site, 2).await?;
    let forged = job().key(SignWith::Stranger);
    assert_eq!(site.pull(&forged).await?.code(), "token_signature", "while there is a place, it is");
    served.extend(pulls(&site, 1)?);
    eventually("the queue is full", async || Ok(site.pull(&forged).await?.code() == "busy")).await?;
    assert_busy(&site.pull(&forged).await?);
    assert_busy(&site.pull(&job()).await?);
    let vault = format!("/api/vaults/{}/ci-pull", site.vault_id);
    let ci = lpm_core::bearer::token(lpm_core::bearer::Kind::Ci, &[7; 32]);
    assert_busy(&site.gateway.get(&vault, ci.expose_str()).await?);
    // what needs no connection is answered as ever
    assert_eq!(site.gateway.post(PULL, None, &site.body_with("a.b.c")).await?.code(), "token_malformed");
    assert_eq!(site.gateway.get("/healthz", None).await?.status, 200);
    held.batch_execute("commit").await?;
    for pull in served {
        let reply = pull.await??;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(site.pull(&job()).await?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_connection_comes_back_nobody_waits_for_one() -> Result<()> {
    let site = Site::new(|options| small(options, 100)).await?;
    assert_eq!(site.pull(&job()).await?.status, 200);
    let held = hold(&site).await?;
    let served = pulls(&site, 2)?;
    waiting_for_the_lock(&site, 2).await?;
    for _ in 0..20 {
        assert_busy(&site.pull(&job()).await?);
    }
    held.batch_execute("commit").await?;
    for pull in served {
        assert_eq!(pull.await??.status, 200);
    }
    assert_eq!(site.pull(&job()).await?.status, 200, "at once, and not after some time of quiet");
    Ok(())
}

/// Has the files that so many connections need.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_or_dribbling_connections_do_not_stop_others() -> Result<()> {
    raise_file_limit()?;
    let site = Site::new(|options| options.soft_file_limit(256).argument("--header-timeout=10m")).await?;
    let mut held = Vec::new();
    for n in 0..10_000 {
        let mut connection = RawHttp::connect(&site.gateway).await?;
        match n % 4 {
            0 => {}
            1 => connection.send(b"P").await?,
            2 => {
                connection
                    .send(b"POST /api/vault/oidc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n")
                    .await?
            }
            _ => {
                connection
                    .send(b"POST /api/vault/oidc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
                    .await?
            }
        }
        held.push(connection);
    }
    for _ in 0..20 {
        for (n, connection) in held.iter_mut().enumerate().take(1000).filter(|(n, _)| n % 4 == 2) {
            connection.send(format!("X-{n}: drip\r\n").as_bytes()).await?;
        }
        // each over a connection of its own
        let mut fresh = RawHttp::connect(&site.gateway).await?;
        let body = site.body(&job())?.to_string();
        let head = format!("POST {PULL} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        fresh.send(format!("{head}{body}").as_bytes()).await?;
        let reply = timeout(HANG, fresh.reply()).await.context("others wait")??.context("no answer")?;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_takes_the_place_of_the_one_that_was_idle_longest() -> Result<()> {
    let site = Site::new(|options| {
        options
            .argument("--max-connections=4")
            .argument("--header-timeout=10m")
            .argument("--statement-timeout=10m")
    })
    .await?;
    let healthy = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = RawHttp::connect(&site.gateway).await?;
    first.send(healthy).await?;
    first.reply().await?.context("no answer")?;
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut connection = RawHttp::connect(&site.gateway).await?;
        // whoever has been answered has been let in
        connection.send(healthy).await?;
        connection.reply().await?.context("no answer")?;
        connection.send(b"GET /healthz HTTP/1.1\r\n").await?;
        others.push(connection);
    }
    // it has said something since, so it is not the one that goes
    first.send(healthy).await?;
    first.reply().await?.context("no answer")?;
    let mut fresh = RawHttp::connect(&site.gateway).await?;
    fresh.send(healthy).await?;
    assert_eq!(fresh.reply().await?.context("no answer")?.status, 200);
    ensure!(others.remove(0).bytes(1).await.map_or(true, |bytes| bytes.is_empty()), "it is still there");
    first.send(healthy).await?;
    assert_eq!(first.reply().await?.context("no answer")?.status, 200);
    others[0].send(b"Host: x\r\n\r\n").await?;
    assert_eq!(others[0].reply().await?.context("no answer")?.status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_every_connection_is_being_answered_a_new_one_is_closed_and_they_are_not() -> Result<()> {
    let site =
        Site::new(|options| options.argument("--max-connections=2").argument("--statement-timeout=10m"))
            .await?;
    let held = hold(&site).await?;
    let served = pulls(&site, 2)?;
    waiting_for_the_lock(&site, 2).await?;
    let mut refused = RawHttp::connect(&site.gateway).await?;
    ensure!(refused.bytes(1).await.map_or(true, |bytes| bytes.is_empty()), "an answer");
    held.batch_execute("commit").await?;
    for pull in served {
        assert_eq!(pull.await??.status, 200);
    }
    assert!(site.gateway.log().contains("LPM_GATEWAY_MAX_CONNECTIONS"), "{}", site.gateway.log());
    Ok(())
}
