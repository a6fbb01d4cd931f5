//! What systemd is told, over a socket like its own, and its unit.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use lpm_tests::binaries;
use lpm_tests::gateway;
use lpm_tests::process::{Signal, stdout_of};
use lpm_tests::raw_http::HANG;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// systemd's side of `NOTIFY_SOCKET`.
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _home: TempDir,
}

impl Manager {
    pub(crate) fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(HANG))?;
        Ok(Self { socket, path, _home: home })
    }

    /// Has a gateway tell this one.
    pub(crate) fn of(&self, options: gateway::Options) -> gateway::Options {
        options.variable("NOTIFY_SOCKET", self.path.to_string_lossy())
    }

    /// The next message.
    pub(crate) fn told(&self) -> Result<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).context("nothing is said")?;
        Ok(std::str::from_utf8(&buffer[..length])?.trim_end().to_owned())
    }

    /// Whether nothing more was said.
    fn has_heard_all(&self) -> Result<bool> {
        self.socket.set_nonblocking(true)?;
        let more = self.socket.recv(&mut [0; 4096]);
        self.socket.set_nonblocking(false)?;
        Ok(more.is_err())
    }
}

#[tokio::test]
async fn it_is_ready_when_it_listens_and_knows_the_issuers_and_says_when_it_stops() -> Result<()> {
    let manager = Manager::new()?;
    let mut world = World::with(|options| manager.of(options).argument("--drain-delay=1h")).await?;
    assert_eq!(manager.told()?, "READY=1");
    assert_eq!(world.pull("main").await?.status, 200);
    ensure!(manager.has_heard_all()?, "more was said");
    world.gateway.signal(Signal::TERM)?;
    assert_eq!(manager.told()?, "STOPPING=1");
    assert_eq!(world.pull("main").await?.status, 200, "the drain has only begun");
    world.gateway.signal(Signal::TERM)?;
    ensure!(world.gateway.wait()?.success(), "it did not end in order");
    ensure!(manager.has_heard_all()?, "more was said");
    Ok(())
}

#[tokio::test]
async fn a_watchdog_hears_of_it_again_and_again() -> Result<()> {
    let manager = Manager::new()?;
    let _world = World::with(|options| manager.of(options).variable("WATCHDOG_USEC", "100000")).await?;
    let mut said = vec![manager.told()?, manager.told()?, manager.told()?];
    said.sort();
    assert_eq!(said, ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    Ok(())
}

#[tokio::test]
async fn without_a_database_it_is_ready_all_the_same() -> Result<()> {
    let (manager, logs) = (Manager::new()?, tempfile::tempdir()?);
    let options = gateway::Options::new("host=/no/such/directory user=gateway dbname=lpm");
    let gateway = manager.of(options).start(&logs.path().join("gateway.log"))?;
    assert_eq!(manager.told()?, "READY=1");
    assert_eq!(gateway.get("/readyz", None).await?.code(), "unavailable");
    Ok(())
}

#[tokio::test]
async fn a_start_that_fails_is_never_ready() -> Result<()> {
    let manager = Manager::new()?;
    let world = World::new().await?;
    let address = world.gateway.url().strip_prefix("http://").context("plain HTTP")?;
    let logs = tempfile::tempdir()?;
    let options = gateway::Options::new(world.escrowed.database.url_as(&world.escrowed.login));
    let started =
        manager.of(options).argument(format!("--listen={address}")).start(&logs.path().join("gateway.log"));
    let error = format!("{:#}", started.err().context("two on one port")?);
    ensure!(error.contains("--listen") && error.contains("LPM_GATEWAY_LISTEN"), "{error}");
    ensure!(manager.has_heard_all()?, "it said that it was ready");
    Ok(())
}

#[tokio::test]
async fn a_manager_that_is_gone_is_no_reason_to_stop() -> Result<()> {
    let world = World::with(|options| options.variable("NOTIFY_SOCKET", "/no/such/socket")).await?;
    assert_eq!(world.pull("main").await?.status, 200);
    ensure!(world.gateway.log().contains("NOTIFY_SOCKET"), "{}", world.gateway.log());
    Ok(())
}

#[test]
fn the_unit_sets_nothing_that_the_program_does_not_know() -> Result<()> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/systemd/lpm-gateway.service");
    let unit = std::fs::read_to_string(unit)?;
    let help = stdout_of(Command::new(binaries::path("lpm-gateway")?).arg("--help"))?;
    let set: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next()).collect();
    ensure!(!set.is_empty(), "the unit sets nothing");
    for variable in set {
        ensure!(help.contains(&format!("[env: {variable}=")), "{variable}");
    }
    Ok(())
}
