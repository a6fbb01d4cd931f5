//! There are no more connections: none in the pool, none on the server.

use crate::site::{HASTY, PATIENT, POOL, PULL, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::gateway::Reply;

fn assert_come_back_soon(reply: &Reply) {
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "busy"), "{}", reply.text());
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.member("hint"), "try again in a moment");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_the_pool_exhausted_is_sent_away_and_who_is_in_it_is_served() -> Result<()> {
    let site = Site::shared(PATIENT).await?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    let mut pulls = Vec::new();
    for _ in 0..POOL {
        pulls.push(site.pull(&site.job()?));
    }
    site.waiting(POOL).await?;
    assert_come_back_soon(&site.gateway.post(PULL, None, &site.job()?).await?);
    assert_eq!(site.health().await?, (503, 200), "nobody else can be served, but the process is well");
    held.release().await?;
    for pull in pulls {
        let reply = pull.await??;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    }
    assert_eq!(site.decisions()?, format!("granted {POOL}"), "who was sent away has used nothing up");
    assert_eq!(site.health().await?, (200, 200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_leave_their_rows_and_give_their_connections_back() -> Result<()> {
    let site = Site::shared(PATIENT).await?;
    site.gateway.post(PULL, None, &site.job()?).await?;
    let rest = site.rest().await?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    let mut pulls = Vec::new();
    for _ in 0..POOL {
        pulls.push(site.pull(&site.job()?));
    }
    site.waiting(POOL).await?;
    pulls.iter().for_each(tokio::task::JoinHandle::abort);
    assert_come_back_soon(&site.gateway.post(PULL, None, &site.job()?).await?);
    held.release().await?;
    eventually("what was under way ends", async || Ok(site.decisions()? == format!("granted {}", POOL + 1)))
        .await?;
    let mut pulls = Vec::new();
    for _ in 0..POOL {
        pulls.push(site.pull(&site.job()?));
    }
    for pull in pulls {
        assert_eq!(pull.await??.status.as_u16(), 200, "the whole pool is there again");
    }
    site.leaks_nothing(rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_others_hold_every_connection_of_the_server_pulls_get_503() -> Result<()> {
    // whoever is turned away takes a place for as long as that takes, so the superuser needs some to spare
    let options = cluster::Options::default()
        .setting("max_connections", "30")
        .setting("superuser_reserved_connections", "15");
    let site = Site::alone(options, HASTY).await?;
    let others = site.escrowed.database.login(&[]).await?;
    let load = site.load();
    load.goes_well(5).await?;
    let mut taken = Vec::new();
    // some are the superuser's alone, which is why the gateway's can be ended while nobody else gets in
    eventually("others hold all connections", async || {
        while let Ok(client) = site.escrowed.database.connect_as(&others).await {
            taken.push(client);
        }
        let sql =
            format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {}", site.mine());
        Ok(site.escrowed.database.value(&sql)? == "0")
    })
    .await?;
    load.is_refused(20).await?;
    assert_eq!(site.health().await?, (503, 200));
    taken.clear();
    load.goes_well(5).await.context("they are free again")?;
    assert_eq!(site.health().await?, (200, 200));
    println!("no connections: {}", site.audited(load).await?);
    Ok(())
}
