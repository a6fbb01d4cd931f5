//! The server loses a process, crashes, or is restarted.

use crate::site::{HASTY, Site};
use anyhow::{Context, Result, ensure};
use lpm_tests::cluster;
use lpm_tests::process::{READY_LIMIT, Signal, signal};
use std::time::Instant;

/// A way to lose the server, and how it comes back.
struct Case {
    name: &'static str,
    happens: fn(&Site) -> Result<()>,
}

const CASES: [Case; 5] = [
    Case { name: "kill -9 of a backend", happens: kill_backend },
    Case { name: "kill -9 of the postmaster", happens: kill_postmaster },
    Case { name: "a fast restart", happens: |site| site.cluster.restart() },
    Case {
        name: "an immediate restart",
        happens: |site| {
            site.cluster.stop("immediate")?;
            site.cluster.start()
        },
    },
    Case { name: "pg_terminate_backend of all", happens: terminate_all },
];

/// Kills a process that works for the gateway; the others end with it, and the server recovers.
pub(crate) fn kill_backend(site: &Site) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let backends = site.cluster.backends(&site.escrowed.login.user)?;
        if backends.first().is_some_and(|&backend| signal(backend, Signal::KILL).is_ok()) {
            return Ok(());
        }
        // one may have just ended, and the kernel's list of children may lack one while others come and go
        ensure!(Instant::now() < deadline, "nobody works for the gateway");
    }
}

/// Kills the server as a whole; somebody (its service manager) starts it again.
pub(crate) fn kill_postmaster(site: &Site) -> Result<()> {
    site.cluster.kill()?;
    site.cluster.start()
}

fn terminate_all(site: &Site) -> Result<()> {
    let sql = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {}", site.mine());
    site.escrowed.database.value(&sql).map(drop)
}

/// A site whose server forgets in a crash whatever it was not made to keep: the gateway's login asks for commits that
/// nobody waits for, and the WAL writer comes late. Only because the functions insist on a durable commit does
/// every answer have its row.
pub(crate) async fn forgetful() -> Result<Site> {
    let options = cluster::Options::default()
        .durable()
        .setting("wal_writer_delay", "10s")
        .setting("wal_writer_flush_after", "1GB");
    let site = Site::alone(options, HASTY).await?;
    site.escrowed.database.value("alter role gateway set synchronous_commit = off")?;
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_pulls_loses_no_row_and_serves_on() -> Result<()> {
    let site = forgetful().await?;
    let warm = site.load();
    warm.goes_well(1).await?;
    site.audited(warm).await?;
    let rest = site.rest().await?;
    for case in CASES {
        let load = site.load();
        load.goes_well(10).await.context(case.name)?;
        (case.happens)(&site).context(case.name)?;
        load.goes_well(10).await.context(case.name)?;
        let audited = site.audited(load).await.context(case.name)?;
        println!("{}: {audited}", case.name);
        site.leaks_nothing(rest).await.context(case.name)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_down_everybody_gets_503_and_readiness_says_so() -> Result<()> {
    let site = Site::alone(cluster::Options::default(), HASTY).await?;
    let load = site.load();
    load.goes_well(5).await?;
    assert_eq!(site.health().await?, (200, 200), "up");
    site.cluster.stop("fast")?;
    load.is_refused(20).await?;
    assert_eq!(site.health().await?, (503, 200), "down: not ready, but alive");
    site.cluster.start()?;
    load.goes_well(5).await?;
    assert_eq!(site.health().await?, (200, 200), "up again, without a restart of the gateway");
    println!("{}", site.audited(load).await?);
    Ok(())
}
