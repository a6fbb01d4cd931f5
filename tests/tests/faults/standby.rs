//! A synchronous standby that is missing, slow, or no longer waited for. Nobody gets plaintext for a row that is not
//! on the standby, so a failover loses no trace.

use crate::site::{HASTY, POOL, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::process::{Signal, freeze, signal};

impl Site {
    /// Demands a synchronous standby of this name, or none.
    fn demand_standby(&self, name: &str) -> Result<()> {
        self.cluster.set("synchronous_standby_names", name)?;
        self.cluster.reload()
    }
}

/// A site with a synchronous standby.
async fn with_standby(options: cluster::Options) -> Result<(Site, Cluster)> {
    let site = Site::alone(options, HASTY).await?;
    let standby = site.cluster.standby("standby")?;
    site.demand_standby("standby")?;
    let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    eventually("the standby is synchronous", async || Ok(site.escrowed.database.value(sql)? == "1")).await?;
    Ok((site, standby))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_missing_makes_pulls_503_and_no_backend_stays_behind() -> Result<()> {
    let site = Site::alone(cluster::Options::default(), HASTY).await?;
    let load = site.load();
    load.goes_well(5).await?;
    site.demand_standby("nobody")?;
    load.is_refused(1).await?;
    let before = load.tally();
    // long enough for each connection of the pool to have waited in vain more than once
    load.is_refused(3 * POOL).await?;
    assert_eq!(load.tally().pulls, before.pulls, "nobody got plaintext");
    assert!(site.backends()? <= POOL, "{} backends wait for the standby", site.backends()?);
    site.demand_standby("")?;
    load.goes_well(10).await.context("nobody is waited for any more")?;
    println!("standby missing: {}", site.audited(load).await?);

    // and a load balancer learns it before anybody has waited in vain
    for (name, expected) in [("nobody", (503, 200)), ("", (200, 200))] {
        site.demand_standby(name)?;
        eventually("readiness says so", async || Ok(site.health().await? == expected)).await.context(name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_slow_slows_pulls_and_one_that_stands_still_makes_them_503() -> Result<()> {
    let (site, standby) =
        with_standby(cluster::Options::default().setting("synchronous_commit", "remote_apply")).await?;
    standby.set("recovery_min_apply_delay", "100ms")?;
    standby.reload()?;
    let load = site.load();
    load.goes_well(5).await.context("slow")?;
    let receiver = standby.database("postgres").value("select pid from pg_stat_wal_receiver")?.parse()?;
    freeze(receiver)?;
    load.is_refused(POOL).await.context("still")?;
    signal(receiver, Signal::CONT)?;
    load.goes_well(5).await.context("moving again")?;
    standby.database("postgres").value("select pg_wal_replay_pause()")?;
    load.is_refused(POOL).await.context("receiving, but not applying")?;
    let answers = site.answers(load).await?;
    println!("standby slow: {}", answers.audited(&site.escrowed.database).await?);
    // still paused: nobody was answered before it had been applied there
    answers.opened_audited(&standby.database(site.escrowed.database.name())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_waiting_for_the_standby_gets_no_plaintext_and_a_failover_loses_no_trace() -> Result<()> {
    let (site, standby) = with_standby(cluster::Options::default().durable()).await?;
    let load = site.load();
    load.goes_well(5).await?;
    standby.stop("fast")?;
    let (before, mut turn, mut ended) = (load.tally(), 0_u32, 0_u32);
    eventually("many waits are ended", async || {
        // a wait that is cancelled ends in success with a mere warning; one that is terminated ends the session
        let end = if turn.is_multiple_of(4) { "pg_terminate_backend" } else { "pg_cancel_backend" };
        turn += 1;
        let sql = format!("select count({end}(pid)) from pg_stat_activity where wait_event = 'SyncRep'");
        ended += site.escrowed.database.value(&sql)?.parse::<u32>()?;
        Ok(ended >= 40)
    })
    .await?;
    let granted = "select count(*) from lpm.audit_log where decision = 'granted' and action = 'ci_pull'";
    let here: u64 = site.escrowed.database.value(granted)?.parse()?;
    site.cluster.kill()?;
    let (after, told) = (load.tally(), load.answered_with("audit_not_durable"));
    let answers = site.answers(load).await?;

    standby.start()?;
    standby.promote()?;
    let survivor = standby.database(site.escrowed.database.name());
    let there: u64 = survivor.value(granted)?.parse()?;
    assert!(
        there < here,
        "every grant reached the standby after all, so this shows nothing: {there} of {here}"
    );
    println!("standby gone, waits ended: {}", answers.opened_audited(&survivor).await?);
    // in time were those that were answered before the standby stopped, and nobody else
    assert!(after.pulls - before.pulls <= POOL, "{} pulls without a standby", after.pulls - before.pulls);
    assert!(told > 0, "nobody was told that their row is not durable");
    Ok(())
}
