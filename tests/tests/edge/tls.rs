//! Versions of TLS, and certificates that change while the gateway runs.

use crate::certificate::{Files, Pair, connect, name, replace};
use crate::overload::eventually;
use crate::site::Site;
use anyhow::{Result, ensure};
use lpm_tests::gateway::{Gateway, Options};
use lpm_tests::process::Signal;
use openssl::ssl::SslVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

const HTTP1: &[u8] = b"\x08http/1.1";

async fn site(files: &Files) -> Result<Site> {
    Site::new(|options| files.options(options)).await
}

async fn shown(gateway: &Gateway) -> Result<String> {
    name(&connect(gateway, SslVersion::TLS1_3, HTTP1).await?)
}

/// Sends a request and returns when its answer, a success, begins.
async fn ask(stream: &mut SslStream<TcpStream>) -> Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await?;
    ensure!(&answer == b"HTTP/1.1 200 OK", "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() -> Result<()> {
    let files = Files::new(&Pair::new("one")?)?;
    let site = site(&files).await?;
    for (newest, spoken) in [(SslVersion::TLS1_3, "TLSv1.3"), (SslVersion::TLS1_2, "TLSv1.2")] {
        let mut stream = connect(&site.gateway, newest, HTTP1).await?;
        assert_eq!(stream.ssl().version_str(), spoken);
        ask(&mut stream).await?;
    }
    for newest in [SslVersion::TLS1_1, SslVersion::TLS1] {
        assert!(connect(&site.gateway, newest, HTTP1).await.is_err(), "{newest:?}");
    }
    let strange = connect(&site.gateway, SslVersion::TLS1_3, b"\x03foo").await;
    assert!(strange.is_err(), "a protocol that nobody speaks here");
    Ok(())
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_old_ones_go_on() -> Result<()> {
    let files = Files::new(&Pair::new("one")?)?;
    let site = site(&files).await?;
    let mut old = connect(&site.gateway, SslVersion::TLS1_3, HTTP1).await?;
    assert_eq!(name(&old)?, "one");
    files.put(&Pair::new("two")?)?;
    eventually("the new one is shown", async || Ok(shown(&site.gateway).await? == "two")).await?;
    ask(&mut old).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_changes_nothing_and_the_log_says_so() -> Result<()> {
    let (one, two) = (Pair::new("one")?, Pair::new("two")?);
    let files = Files::new(&one)?;
    let site = site(&files).await?;
    let complaints = || site.gateway.log().matches("the one before stays in use").count();
    let mut before = 0;
    for (case, cert, key) in [
        ("a certificate that is none", b"garbage".as_slice(), one.key.as_slice()),
        ("an empty one", b"", &one.key),
        ("half of one", &two.cert[..two.cert.len() / 2], &one.key),
        ("a key that is none", &one.cert, b"garbage"),
        ("a certificate whose key is to come", &two.cert, &one.key),
    ] {
        replace(&files.cert(), cert)?;
        replace(&files.key(), key)?;
        eventually(case, async || Ok(complaints() > before)).await?;
        before = complaints();
        assert_eq!(shown(&site.gateway).await?, "one", "{case}");
    }
    std::fs::remove_file(files.cert())?;
    eventually("a certificate that is gone", async || Ok(complaints() > before)).await?;
    assert_eq!(shown(&site.gateway).await?, "one");
    replace(&files.cert(), &two.cert)?;
    replace(&files.key(), &two.key)?;
    eventually("the new one is shown", async || Ok(shown(&site.gateway).await? == "two")).await?;
    assert!(!site.gateway.log().contains("PRIVATE KEY"), "{}", site.gateway.log());
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_certificate_again_and_ends_nothing() -> Result<()> {
    let files = Files::new(&Pair::new("one")?)?;
    let site = site(&files).await?;
    let reads = || site.gateway.log().matches("The certificate has been read").count();
    eventually("it is read", async || Ok(reads() == 1)).await?;
    let mut open = connect(&site.gateway, SslVersion::TLS1_3, HTTP1).await?;
    site.gateway.signal(Signal::HUP)?;
    eventually("it is read again", async || Ok(reads() == 2)).await?;
    ask(&mut open).await?;
    assert_eq!(shown(&site.gateway).await?, "one");
    Ok(())
}

#[test]
fn the_gateway_does_not_start_with_a_key_that_does_not_belong_to_the_certificate() -> Result<()> {
    let files = Files::new(&Pair::new("one")?)?;
    replace(&files.key(), &Pair::new("two")?.key)?;
    refused(&files, &["--tls-key (LPM_GATEWAY_TLS_KEY)", "belong"])?;
    replace(
        &files.key(),
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )?;
    refused(&files, &["--tls-key (LPM_GATEWAY_TLS_KEY)", "passphrase"])?;
    replace(&files.cert(), b"")?;
    refused(&files, &["--tls-cert (LPM_GATEWAY_TLS_CERT)", "cannot be used"])
}

fn refused(files: &Files, texts: &[&str]) -> Result<()> {
    let options = files.options(Options::new("host=/no/such/directory user=gateway"));
    let log = tempfile::NamedTempFile::new()?;
    ensure!(options.start(log.path()).is_err(), "it runs");
    let log = std::fs::read_to_string(log.path())?;
    for text in texts {
        ensure!(log.contains(text), "`{text}` is not in: {log}");
    }
    Ok(())
}
