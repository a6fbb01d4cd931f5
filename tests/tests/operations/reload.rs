//! SIGHUP: what changes without a restart, and that a mistake changes nothing.

use crate::systemd::Manager;
use crate::world::World;
use anyhow::{Context, Result, ensure};
use lpm_tests::process::Signal;
use std::path::Path;
use tempfile::TempDir;

/// A gateway that is told by a file what to log.
async fn world(manager: &Manager, home: &TempDir, log: &str) -> Result<World> {
    let file = file(home.path());
    std::fs::write(&file, format!("log = \"{log}\"\n"))?;
    let world =
        World::with(|options| manager.of(options).argument(format!("--config={}", file.display()))).await?;
    assert_eq!(manager.told()?, "READY=1");
    Ok(world)
}

fn file(home: &Path) -> std::path::PathBuf {
    home.join("config.toml")
}

/// Sends SIGHUP, and returns when it is dealt with.
fn reload(manager: &Manager, world: &World) -> Result<()> {
    world.gateway.signal(Signal::HUP)?;
    let reloading = manager.told()?;
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").context("not reloading")?;
    ensure!(since.parse::<u64>()? > 0, "{reloading}");
    assert_eq!(manager.told()?, "READY=1");
    Ok(())
}

/// Whether a request is logged.
async fn logs_requests(world: &World) -> Result<bool> {
    let reply = world.pull("main").await?;
    assert_eq!(reply.status, 200);
    Ok(world.gateway.log().contains(&reply.header("x-request-id")))
}

#[tokio::test]
async fn the_log_s_filter_is_read_again() -> Result<()> {
    let (manager, home) = (Manager::new()?, tempfile::tempdir()?);
    let world = world(&manager, &home, "warn").await?;
    for (filter, expected) in [("warn", false), ("info", true), ("warn", false)] {
        std::fs::write(file(home.path()), format!("log = \"{filter}\"\n"))?;
        reload(&manager, &world)?;
        assert_eq!(logs_requests(&world).await?, expected, "{filter}");
    }
    // whatever is asked for: this would write down the segments of paths
    let filter = "info,warp=trace,warp::filters=trace,warp::filters::path=trace";
    std::fs::write(file(home.path()), format!("log = \"{filter}\"\n"))?;
    reload(&manager, &world)?;
    ensure!(logs_requests(&world).await?, "the filter is not used");
    world.gateway.get("/api/vaults/marker-in-a-path/ci-pull", None).await?;
    ensure!(!world.gateway.log().contains("marker"), "{}", world.gateway.log());
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_is_named() -> Result<()> {
    let (manager, home) = (Manager::new()?, tempfile::tempdir()?);
    let world = world(&manager, &home, "info").await?;
    for (text, problem) in [
        ("log = ", "is not TOML"),
        ("log = \"info,lpm_gateway=loud\"\n", "is not a filter"),
        ("log = true\n", "`log`"),
        ("no-such-setting = 1\n", "no-such-setting"),
        ("log = \"warn\"\npool-size = 0\n", "--pool-size"),
        ("log = \"warn\"\npool-size = \"many\"\n", "pool-size"),
        ("log = \"warn\"\npublic-url = \"ftp://x\"\n", "--public-url"),
    ] {
        std::fs::write(file(home.path()), text)?;
        let before = world.gateway.log().len();
        reload(&manager, &world)?;
        let said = world.gateway.log().split_off(before);
        ensure!(said.contains("Nothing was reloaded") && said.contains(problem), "{text}: {said}");
        ensure!(logs_requests(&world).await?, "{text}");
    }
    std::fs::remove_file(file(home.path()))?;
    reload(&manager, &world)?;
    ensure!(logs_requests(&world).await?, "without its file");
    Ok(())
}
