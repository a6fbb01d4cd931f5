//! The primary is lost, and another server of the gateway's list becomes it.

use crate::site::{HASTY, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::gateway;
use lpm_tests::process::{Signal, children, freeze, signal};

/// A primary with a synchronous standby, and a gateway that knows both, the standby first where it is `passed`.
async fn pair(passed: bool) -> Result<(Site, Cluster)> {
    let primary = cluster::Options::default().durable().start()?;
    let standby = primary.standby("standby")?;
    primary.set("synchronous_standby_names", "standby")?;
    primary.reload()?;
    let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    let server = primary.database("postgres");
    eventually("the standby is synchronous", async || Ok(server.value(sql)? == "1")).await?;
    let mut hosts =
        [&primary, &standby].map(|cluster| cluster.socket_dir().to_string_lossy().replace('/', "%2F"));
    if passed {
        hosts.reverse();
    }
    let site = Site::of(primary, |database, login| {
        let url = format!(
            "postgresql://{}:{}@{}/{}?target_session_attrs=read-write",
            login.user,
            login.password,
            hosts.join(","),
            database.name()
        );
        gateway::Options::new(url).argument(HASTY)
    })
    .await?;
    Ok((site, standby))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_the_gateway_finds_the_new_primary_by_itself() -> Result<()> {
    let (site, standby) = pair(false).await?;
    let load = site.load();
    load.goes_well(5).await?;
    site.cluster.kill()?;
    load.is_refused(5).await.context("there is no primary")?;
    assert_eq!(site.health().await?, (503, 200), "a standby alone is not ready");
    standby.promote()?;
    load.goes_well(10).await.context("there is one again")?;
    assert_eq!(site.health().await?, (200, 200));
    let survivor = standby.database(site.escrowed.database.name());
    println!("failover: {}", site.answers(load).await?.audited(&survivor).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_named_first_is_passed_over_until_it_is_promoted() -> Result<()> {
    let (site, standby) = pair(true).await?;
    let load = site.load();
    load.goes_well(5).await?;
    assert!(site.backends()? > 0, "the primary serves");
    let logged_in = format!("select count(*) from pg_stat_activity where {}", site.mine());
    assert_eq!(standby.database("postgres").value(&logged_in)?, "0", "the standby does not");
    site.cluster.stop("fast")?;
    standby.promote()?;
    load.goes_well(10).await.context("the standby was promoted")?;
    let survivor = standby.database(site.escrowed.database.name());
    println!("promoted: {}", site.answers(load).await?.audited(&survivor).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_stands_still_is_passed_over_once_another_is_promoted() -> Result<()> {
    let (site, standby) = pair(false).await?;
    let load = site.load();
    load.goes_well(5).await?;
    let first = site.cluster.postmaster()?;
    let mut family = vec![first];
    family.extend(children(first)?);
    for process in &family {
        // one that has ended meanwhile stands still as well
        let _ = freeze(*process);
    }
    load.is_refused(5).await.context("nobody answers")?;
    standby.promote()?;
    load.goes_well(10).await.context("another is primary")?;
    let survivor = standby.database(site.escrowed.database.name());
    println!("stood still: {}", site.answers(load).await?.audited(&survivor).await?);
    // fenced before it can serve anybody again
    signal(first, Signal::KILL)?;
    for process in &family[1..] {
        let _ = signal(*process, Signal::KILL);
    }
    Ok(())
}
