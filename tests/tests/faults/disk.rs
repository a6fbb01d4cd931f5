//! The disk is full: the one with the tables, or the one with the WAL.

use crate::site::{HASTY, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster::{self, Disk};

#[tokio::test(flavor = "multi_thread")]
async fn d2_a_full_disk_makes_pulls_503_and_they_go_on_when_there_is_space_again() -> Result<()> {
    let site = Site::alone(cluster::Options::default().durable().disk(Disk::Data), HASTY).await?;
    let load = site.load();
    load.goes_well(5).await?;
    let rest = load.tally();
    Disk::Data.fill(&site.cluster)?;
    load.is_refused(20).await?;
    assert!(site.cluster.log().contains("No space left on device"), "{}", site.cluster.log());
    assert!(site.cluster.is_running(), "only statements fail");
    Disk::Data.free(&site.cluster)?;
    load.goes_well(10).await.context("there is space again")?;
    assert!(load.tally().unanswered == rest.unanswered, "everybody was answered");
    println!("the tables' disk full: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_wal_disk_stops_the_server_and_no_answer_loses_its_row() -> Result<()> {
    // old segments are not kept for later, so that the next one needs space
    let options = cluster::Options::default().durable().disk(Disk::Wal).setting("wal_recycle", "off");
    let site = Site::alone(options, HASTY).await?;
    let load = site.load();
    load.goes_well(5).await?;
    Disk::Wal.fill(&site.cluster)?;
    load.is_refused(20).await?;
    assert!(site.cluster.log().contains("PANIC:"), "{}", site.cluster.log());
    Disk::Wal.free(&site.cluster)?;
    // a server whose recovery failed as well has ended, and its service manager starts it
    eventually("the server answers", async || {
        if !site.cluster.is_running() {
            site.cluster.start()?;
        }
        Ok(site.escrowed.database.psql("select 1")?.status.success())
    })
    .await?;
    load.goes_well(10).await.context("there is space again")?;
    println!("the WAL's disk full: {}", site.audited(load).await?);
    Ok(())
}
