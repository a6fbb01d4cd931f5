//! `PgBouncer` in transaction mode, of a version that knows no statements' names (Debian 12 has 1.18).

use crate::site::{HASTY, PATIENT, POOL, PULL, Site, eventually};
use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::gateway;
use lpm_tests::pooler::Pooler;

const UNNAMED: &str = "--database-unnamed-statements";

/// A site whose gateway goes through a pool of so many connections.
async fn pooled(connections: u32, arguments: &[&str]) -> Result<(Site, Pooler)> {
    let cluster = cluster::Options::default().start()?;
    let mut pooler = None;
    let home = cluster.home().to_owned();
    let site = Site::of(cluster, |database, login| {
        let cluster = cluster::Cluster::attach(&home).expect("the cluster runs");
        let started = pooler.insert(Pooler::start(&cluster, login, connections).expect("PgBouncer starts"));
        let options = gateway::Options::new(started.url(database, login));
        arguments.iter().fold(options, |options, argument| options.argument(*argument))
    })
    .await?;
    Ok((site, pooler.context("the pooler was started")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_without_names_go_through_a_pool_of_other_size() -> Result<()> {
    for connections in [1, 2, 8] {
        let (site, _pooler) = pooled(connections, &[UNNAMED, HASTY]).await?;
        let load = site.load();
        load.goes_well(25).await?;
        let tally = load.tally();
        assert_eq!((tally.unavailable, tally.unanswered), (0, 0), "{connections}: {tally:?}");
        assert!(site.backends()? <= u64::from(connections), "{}", site.backends()?);
        println!("pool of {connections}: {}", site.audited(load).await?);
        assert_eq!(site.health().await?, (200, 200));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_waits_for_the_decisions_commit_although_other_backends_are_free() -> Result<()> {
    // twice as many as can be needed, so that an opening that did not wait would find one
    let (site, _pooler) = pooled(4 * u32::try_from(POOL)?, &[UNNAMED, PATIENT]).await?;
    // until each of the pool's backends has been made
    let load = site.load();
    load.goes_well(20).await?;
    site.audited(load).await?;
    let before = site.decisions()?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    let mut pulls = Vec::new();
    for _ in 0..POOL {
        pulls.push(site.pull(&site.job()?));
    }
    site.waiting(POOL).await?;
    assert_eq!(site.decisions()?, before, "nothing is committed");
    assert!(pulls.iter().all(|pull| !pull.is_finished()), "and nobody is answered");
    held.release().await?;
    for pull in pulls {
        let reply = pull.await??;
        // an opening that had overtaken its decision would have been answered 403 `not_openable`
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_another_replica_has_taken_are_refused_and_the_log_names_the_setting() -> Result<()> {
    let (site, pooler) = pooled(1, &[HASTY]).await?;
    for _ in 0..4 {
        assert_eq!(site.gateway.post(PULL, None, &site.job()?).await?.status.as_u16(), 200);
    }
    let log = site.cluster.log_dir().join("second.log");
    let url = pooler.url(&site.escrowed.database, &site.escrowed.login);
    let second = gateway::Options::new(url).start(&log)?;
    eventually("the second gateway meets a name of the first", async || {
        second.get("/readyz", None).await?;
        Ok(second.log().contains("LPM_GATEWAY_DATABASE_UNNAMED_STATEMENTS=true"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_went_with_its_backend_is_prepared_anew_and_nobody_notices() -> Result<()> {
    let (site, _pooler) = pooled(1, &[HASTY]).await?;
    for round in 1..=5 {
        let reply = site.gateway.post(PULL, None, &site.job()?).await?;
        assert_eq!(reply.status.as_u16(), 200, "round {round}: {}", reply.text());
        let sql = format!(
            "select count(pg_terminate_backend(pid, 60000)) from pg_stat_activity where {} and state = 'idle'",
            site.mine()
        );
        assert_eq!(site.escrowed.database.value(&sql)?, "1", "one backend serves everybody");
    }
    assert_eq!(site.decisions()?, "granted 5");
    Ok(())
}
