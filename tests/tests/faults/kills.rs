//! A random victim at a random moment, again and again.

use crate::gateway;
use crate::server::{forgetful, kill_backend, kill_postmaster};
use crate::site::{POOL, eventually};
use anyhow::{Context, Result};
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// Numbers that a seed decides (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}

/// What the environment says, or something else.
fn variable<T: FromStr<Err: Display>>(name: &str, otherwise: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| anyhow::anyhow!("{name}: {error}")),
        Err(_) => Ok(otherwise),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make check-slow"]
async fn a_thousand_kills_lose_no_row() -> Result<()> {
    let kills: u32 = variable("LPM_KILLS", 1000)?;
    let seed: u64 = variable("LPM_SEED", Uuid::new_v4().as_u64_pair().0)?;
    println!("LPM_SEED={seed} chooses these victims again");
    let mut random = Random(seed);
    let mut site = forgetful().await?;
    let load = site.load();
    let mut victims = [0; 3];
    for number in 1..=kills {
        load.goes_well(1).await.with_context(|| format!("before kill {number}, after {victims:?}"))?;
        // not an event to wait for: a moment that nobody chose
        sleep(Duration::from_micros(random.below(50_000))).await;
        let victim = usize::try_from(random.below(3))?;
        victims[victim] += 1;
        match victim {
            0 => kill_backend(&site).context("a backend")?,
            1 => kill_postmaster(&site).context("the postmaster")?,
            _ => {
                gateway::kill(&mut site).context("the gateway")?;
                site.start_gateway()?;
                load.redirect(&site.gateway);
            }
        }
    }
    load.goes_well(10).await.context("after the last")?;
    eventually("no backend stays behind", async || Ok(site.backends()? <= POOL)).await?;
    let [backends, postmasters, gateways] = victims;
    println!(
        "{kills} kills ({backends} of a backend, {postmasters} of the postmaster, {gateways} of the gateway): {}",
        site.audited(load).await?
    );
    Ok(())
}
