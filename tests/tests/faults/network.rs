//! The network between gateway and database is lost.

use crate::site::{HASTY, POOL, Site};
use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::gateway;
use lpm_tests::network::Network;
use std::fs::OpenOptions;
use std::io::Write as _;

/// A site whose database is at the other end of a cable.
async fn apart(network: &Network) -> Result<Site> {
    let cluster = cluster::Options::default()
        .launcher(network.launcher())
        .setting("listen_addresses", network.address().to_string())
        .start()?;
    let mut hba = OpenOptions::new().append(true).open(cluster.data_dir().join("pg_hba.conf"))?;
    writeln!(hba, "host all all samenet scram-sha-256")?;
    cluster.reload()?;
    Site::of(cluster, |database, login| {
        let url = format!(
            "postgresql://{}:{}@{}/{}",
            login.user,
            login.password,
            network.address(),
            database.name()
        );
        // nobody else is on this cable
        gateway::Options::new(url).argument("--database-insecure").argument(HASTY)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_that_is_cut_makes_pulls_503_and_they_go_on_when_it_is_mended() -> Result<()> {
    let network = Network::new()?;
    let site = apart(&network).await?;
    let warm = site.load();
    warm.goes_well(5).await?;
    site.audited(warm).await?;
    let rest = site.rest().await?;
    let load = site.load();
    load.goes_well(5).await?;
    network.cut()?;
    load.is_refused(2 * POOL).await?;
    assert_eq!(site.health().await?, (503, 200));
    network.mend()?;
    load.goes_well(10).await.context("the cable is mended")?;
    println!("cable cut: {}", site.audited(load).await?);
    site.leaks_nothing(rest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_machine_that_was_replaced_are_given_up() -> Result<()> {
    let network = Network::new()?;
    let site = apart(&network).await?;
    let warm = site.load();
    // so many that the whole pool is connected
    warm.goes_well(20).await?;
    site.audited(warm).await?;
    let rest = site.rest().await?;
    network.cut()?;
    site.cluster.stop("immediate")?;
    network.replace()?;
    site.cluster.start()?;
    // One request finds out, and the others' connections go with its own: not each of them has to be tried.
    let mut answers = Vec::new();
    for _ in 0..2 {
        let reply = site.gateway.post(crate::site::PULL, None, &site.job()?).await?;
        answers.push(reply.status.as_u16());
    }
    assert_eq!(answers[1], 200, "{answers:?}");
    let load = site.load();
    load.goes_well(10).await?;
    println!("machine replaced: {}", site.audited(load).await?);
    site.leaks_nothing(rest).await
}
