//! The gateway by itself: how soon it listens, and what it holds in memory.

use anyhow::{Context, Result, ensure};
use lpm_tests::bench::report::{Report, median};
use lpm_tests::bench::world::{World, memory};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many connections the memory is measured with.
const CONNECTIONS: usize = 1_000;
/// How often it is started.
const STARTS: usize = 5;

pub(crate) async fn measure(world: &World, report: &mut Report) -> Result<()> {
    let starts = (0..STARTS).map(|_| start(world)).collect::<Result<_>>()?;
    report.add("gateway_ready_ms", median(starts), "ms");
    let address = world.gateway().url().trim_start_matches("http://").to_owned();
    let mut connecting = JoinSet::new();
    for _ in 0..CONNECTIONS {
        connecting.spawn(connect(address.clone()));
    }
    let connections = connecting.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let resident = memory(world.gateway().pid(), "VmRSS")?;
    drop(connections);
    report.add("gateway_resident_1000_connections_mib", resident as f64 / 1024.0, "MiB");
    Ok(())
}

/// Milliseconds from the start of the process to its word that it listens.
fn start(world: &World) -> Result<f64> {
    let mut command = world.gateway_options().command()?;
    let began = Instant::now();
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    let output = process.stdout.take().context("the gateway has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    process.kill()?;
    process.wait()?;
    ensure!(line.contains("listening on"), "the gateway says `{line}`");
    Ok(took)
}

/// A connection that has been answered once and stays open.
async fn connect(address: String) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(&address).await?;
    stream.write_all(format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(&answer == b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
    Ok(stream)
}
