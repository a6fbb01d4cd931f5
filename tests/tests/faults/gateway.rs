//! The gateway is killed or restarted.

use crate::site::{HASTY, PATIENT, PULL, Site, eventually};
use anyhow::{Context, Result, ensure};
use lpm_tests::process::{Signal, freeze};
use serde_json::Value;
use std::process::ExitStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Kills the gateway and waits until it is gone.
pub(crate) fn kill(site: &mut Site) -> Result<ExitStatus> {
    site.gateway.signal(Signal::KILL)?;
    site.gateway.wait()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_between_the_databases_answer_and_its_own_leaves_the_row_and_tells_nobody()
-> Result<()> {
    let mut site = Site::shared(PATIENT).await?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    let job = site.job()?;
    let pull = site.pull(&job);
    site.waiting(1).await?;
    freeze(site.gateway.pid().cast_signed())?;
    held.release().await?;
    // decision and opening were sent together: when the backend has nothing more to do, both are answered
    eventually("the environment is in the gateway's socket", async || {
        Ok(site.count("state = 'idle' and query like '%lpm_api.open(%'")? == 1)
    })
    .await?;
    assert_eq!(site.decisions()?, "granted 1");
    kill(&mut site)?;
    let answer = pull.await?;
    ensure!(answer.is_err(), "a gateway that is no more answered {answer:?}");

    site.start_gateway()?;
    let again = site.gateway.post(PULL, None, &job).await?;
    assert_eq!(
        (again.status.as_u16(), again.code().as_str()),
        (403, "replayed"),
        "the grant was this token's use"
    );
    let fresh = site.gateway.post(PULL, None, &site.job()?).await?;
    assert_eq!(fresh.status.as_u16(), 200, "{}", fresh.text());
    assert_eq!(site.decisions()?, "denied 1, granted 2");
    Ok(())
}

/// A client that reads the head of an answer and no more: a small receive buffer, and it is soon full.
async fn stall(site: &Site, job: &Value) -> Result<(TcpStream, String)> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    let address = site.gateway.url().strip_prefix("http://").context("an address")?.to_owned();
    let mut stream = socket.connect(address.parse()?).await?;
    let body = job.to_string();
    let head = format!(
        "POST {PULL} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await?));
    }
    Ok((stream, head))
}

/// The value of a header in the head of an answer.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_reading_hold_no_connection_and_die_with_the_gateway() -> Result<()> {
    let mut site = Site::shared(PATIENT).await?;
    // more than the gateway's send buffer takes
    let payload = format!(r#"{{"environments":{{"production":{{"LARGE":"{}"}}}}}}"#, "x".repeat(6 << 20));
    let client = site.escrowed.gateway().await?;
    site.escrowed.push_payload(&client, &site.vault_id, &payload).await?;
    let mut stalled = Vec::new();
    for _ in 0..crate::site::POOL + 2 {
        let (stream, head) = stall(&site, &site.job()?).await?;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let id = header(&head, "x-request-id").context("no X-Request-Id")?;
        assert_eq!(site.escrowed.granted_rows(id.parse()?)?, 1);
        stalled.push(stream);
    }
    let reply = site.gateway.post(PULL, None, &site.job()?).await?;
    assert_eq!(reply.status.as_u16(), 200, "more clients are stalled than there are connections");
    assert_eq!(site.count("state <> 'idle'")?, 0, "nobody waits in the database");
    kill(&mut site)?;
    for mut stream in stalled {
        let mut rest = Vec::new();
        // the end of the stream or a reset, as the kernel likes it
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() < payload.len(), "the whole answer came after all, so this shows nothing");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_under_pulls_is_replaced_and_every_answer_has_its_row() -> Result<()> {
    let mut site = Site::shared(HASTY).await?;
    let load = site.load();
    for _ in 0..3 {
        load.goes_well(10).await?;
        kill(&mut site)?;
        load.until("somebody gets no answer", |met| met.unanswered > 0).await?;
        site.start_gateway()?;
        load.redirect(&site.gateway);
    }
    load.goes_well(10).await?;
    println!("three gateways killed: {}", site.audited(load).await?);
    eventually("the backends of killed gateways end", async || Ok(site.backends()? <= crate::site::POOL))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_open_requests_finish_and_nobody_new_in() -> Result<()> {
    let mut site = Site::shared(PATIENT).await?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(site.pull(&site.job()?));
    }
    site.waiting(3).await?;
    site.gateway.signal(Signal::TERM)?;
    eventually("new connections are refused", async || Ok(site.gateway.get("/healthz", None).await.is_err()))
        .await?;
    held.release().await?;
    for pull in open {
        let reply = pull.await??;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
        assert_eq!(site.escrowed.granted_rows(reply.header("x-request-id").parse()?)?, 1);
    }
    let status = site.gateway.wait()?;
    assert!(status.success(), "it ended with {status}");
    eventually("its connections are closed", async || Ok(site.backends()? == 0)).await
}
