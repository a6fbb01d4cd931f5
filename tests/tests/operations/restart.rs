//! Restarting replicas behind a load balancer.

use crate::world::{PULL, World};
use anyhow::{Context, Result, ensure};
use lpm_tests::balancer::Balancer;
use lpm_tests::load::Load;
use lpm_tests::process::{Signal, eventually};
use reqwest::Client;

/// Longer than the balancer needs to notice by far, so that a slow machine does not break it.
const DELAY: &str = "--drain-delay=4s";
/// Connections that the balancer keeps are not closed under its hands.
const PATIENT: &str = "--header-timeout=10m";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_restarted_by_sigterm_under_pulls_fail_none() -> Result<()> {
    let world = World::with(|options| options.argument(DELAY).argument(PATIENT)).await?;
    let mut replicas = [world.another_gateway()?, world.another_gateway()?];
    let balancer = Balancer::start(&[&replicas[0], &replicas[1]])?;
    for replica in 0..2 {
        balancer.takes_for_ready(replica, true).await;
    }
    let load = Load::through(balancer.url(), &world.issuer, &world.vault_id);
    for turn in 0..4 {
        let replica = turn % 2;
        load.goes_well(10).await?;
        replicas[replica].signal(Signal::TERM)?;
        balancer.takes_for_ready(replica, false).await;
        load.goes_well(10).await?;
        let status = replicas[replica].wait()?;
        ensure!(status.success(), "turn {turn}: it ended with {status}");
        replicas[replica] = world.another_gateway()?;
        balancer.replace(replica, &replicas[replica])?;
        balancer.takes_for_ready(replica, true).await;
    }
    load.goes_well(10).await?;
    let answers = load.finish().await?;
    let tally = answers.tally();
    assert_eq!((tally.unanswered, tally.unavailable), (0, 0), "{tally:?}");
    println!("four restarts: {}", answers.audited(&world.escrowed.database).await?);
    Ok(())
}

/// The balancer of the test above hides nothing: without a drain, a pull that was under way fails, and nobody gets it a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_a_killed_replica_had_is_sent_to_no_other() -> Result<()> {
    let world = World::with(|options| options.argument(PATIENT)).await?;
    let mut replicas = [world.another_gateway()?, world.another_gateway()?];
    let balancer = Balancer::start(&[&replicas[0], &replicas[1]])?;
    for replica in 0..2 {
        balancer.takes_for_ready(replica, true).await;
    }
    let blocker = world.escrowed.database.connect().await?;
    blocker.batch_execute("begin; lock table lpm.audit_log in share row exclusive mode").await?;
    let request = Client::builder().no_proxy().build()?.post(format!("{}{PULL}", balancer.url()));
    let request = request.json(&world.job("main")?);
    let pull = tokio::spawn(async move { request.send().await });
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    eventually("it waits", async || Ok(world.escrowed.database.value(waiting)? == "1")).await?;
    // the first request is the first replica's
    replicas[0].signal(Signal::KILL)?;
    replicas[0].wait()?;
    assert_eq!(pull.await??.status(), 502);
    blocker.batch_execute("commit").await?;
    let metrics = reqwest::get(replicas[1].metrics_url()?).await?.text().await?;
    ensure!(metrics.contains("lpm_gateway_build_info") && !metrics.contains(PULL), "the other one was asked");
    balancer.takes_for_ready(0, false).await;
    let again = Client::builder().no_proxy().build()?.post(format!("{}{PULL}", balancer.url()));
    let again = again.json(&world.job("main")?).send().await.context("the other one")?;
    assert_eq!(again.status(), 200);
    Ok(())
}
