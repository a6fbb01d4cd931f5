//! A million pulls: what gateway and backends hold in memory early on, and at the end.

use crate::pulls::Runner;
use anyhow::Result;
use lpm_tests::bench::report::Report;
use lpm_tests::bench::world::{World, memory};
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Plan {
    /// How many pulls
    #[arg(long, default_value_t = 1_000_000)]
    pulls: u64,
    /// How many of them are let pass before memory is looked at
    #[arg(long, default_value_t = 50_000)]
    first: u64,
    /// How many vaults there are
    #[arg(long, default_value_t = 10_000)]
    vaults: usize,
}

/// Resident MiB.
#[derive(Debug)]
struct Held {
    gateway: f64,
    /// The largest of the backends, without what all of them share.
    backend: f64,
}

impl Plan {
    pub(crate) async fn measure(&self) -> Result<Report> {
        let world = World::new(self.vaults).await?;
        let mut runner = Runner::new(&world, Duration::from_secs(15));
        let (mut pulls, mut early, mut longest) = (0, None, 0_f64);
        while pulls < self.pulls {
            let turn = runner.keep_pulling()?;
            pulls += turn.requests;
            longest = longest.max(turn.longest_ms());
            let held = held(&world).await?;
            eprintln!("{pulls} pulls: {held:?}, the longest took {:.0} ms", turn.longest_ms());
            if early.is_none() && pulls >= self.first {
                early = Some((pulls, held));
            }
        }
        let late = held(&world).await?;
        let mut report = Report::default();
        report.add("soak_pulls", pulls as f64, "");
        report.add("soak_longest_ms", longest, "ms");
        if let Some((_, early)) = early {
            report.add("soak_gateway_early_mib", early.gateway, "MiB");
            report.add("soak_gateway_late_mib", late.gateway, "MiB");
            report.add("soak_backend_early_mib", early.backend, "MiB");
            report.add("soak_backend_late_mib", late.backend, "MiB");
        }
        Ok(report)
    }
}

async fn held(world: &World) -> Result<Held> {
    let client = world.database().connect().await?;
    let backends = client
        .query(
            // without autovacuum's workers, which hold what their own work takes
            "select pid from pg_stat_activity
              where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()",
            &[],
        )
        .await?;
    let mut largest = 0;
    for row in backends {
        // one that has ended since holds nothing
        largest = largest.max(memory(row.get::<_, i32>(0).cast_unsigned(), "RssAnon").unwrap_or_default());
    }
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(Held { gateway: mib(memory(world.gateway().pid(), "VmRSS")?), backend: mib(largest) })
}
