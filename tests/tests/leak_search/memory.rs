//! What the gateway's memory holds when all requests have been answered: what a core dump would show.

use crate::client::{Vault, job};
use crate::world::World;
use anyhow::{Result, ensure};
use lpm_tests::leaks::{Form, Search};
use serde_json::json;
use std::time::{Duration, Instant};

const PASSWORD: &str = "password of the gateway's login";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_gateways_memory_holds_no_secret() -> Result<()> {
    let mut world = World::quiet().await?;
    // it needs that to connect again, so the search has to find it
    world.markers.planted(PASSWORD, world.seed.gateway_login.password.as_bytes());
    let (small, large) = (world.markers.secret("a small value"), world.markers.secret("a value of 1 MiB"));
    let payload = json!({"environments": {"production": {"SMALL": small, "LARGE": format!("{large} ").repeat(20_000)}}});
    let vault = Vault::opened(&mut world, "memory", "maria", payload.to_string().as_bytes()).await?;
    for _ in 0..3 {
        let jwt = world.mint("of the job", &job())?;
        let pulled = vault.one_step(&world, &jwt, "production").await?;
        ensure!(pulled.text().contains(&small), "{}", pulled.text());
        let jwt = world.mint("of the job in two steps", &job())?;
        let exchanged = vault.exchange(&mut world, &jwt, "production").await?;
        let pulled = vault.ci_pull(&world, &exchanged.member("token"), "production").await?;
        ensure!(pulled.text().contains(&large), "two steps");
    }
    // an open connection has its last answer in its buffer, until the next one
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = ";
    world.seed.database.value(&format!("{ended}'{}'", world.seed.gateway_login.user))?;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut search = Search::new(&world.markers)?;
        search.memory("memory", world.gateway.pid())?;
        ensure!(search.has("memory", PASSWORD, Form::Plain), "the memory was not searched");
        let leaks = search.leaks();
        if leaks.is_empty() || Instant::now() > deadline {
            println!("{search}");
            assert_eq!(leaks, "");
            return Ok(());
        }
    }
}
