//! Issuers that are down, slow or wrong, that rotate their keys, and tokens of keys that they never had: whoever has a
//! valid token goes on, an issuer is asked once per cool-down, and a key that is withdrawn stops working.

use crate::site::{HASTY, PULL, Site};
use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::gateway;
use lpm_tests::issuer::{Endpoint, Fault, Rotation, SignWith, TokenRequest};
use lpm_tests::load::{Load, REPOSITORY};
use reqwest::Method;
use serde_json::json;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Least time between two fetches, and the age at which keys are fetched again.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// Tokens of keys that nobody has.
const STRANGERS: usize = 400;

async fn site() -> Result<Site> {
    Site::of(cluster::Options::default().start()?, |database, login| {
        gateway::Options::new(database.url_as(login))
            .argument(HASTY)
            .argument("--keys-refresh=1s")
            .argument("--keys-cool-down=1s")
    })
    .await
}

/// How often an issuer is asked, from now on.
struct Fetches<'a> {
    site: &'a Site,
    before: u64,
    began: Instant,
}

impl<'a> Fetches<'a> {
    fn of(site: &'a Site) -> Self {
        Self { site, before: site.issuer.requests(Endpoint::Discovery), began: Instant::now() }
    }

    fn count(&self) -> u64 {
        self.site.issuer.requests(Endpoint::Discovery) - self.before
    }

    /// One for each cool-down that has passed, and one that was due when counting began.
    fn are_few(&self) -> Result<()> {
        // in this order: what is asked after the count has had its time as well
        let (count, elapsed) = (self.count(), self.began.elapsed());
        let most = elapsed.as_millis() / COOL_DOWN.as_millis() + 1;
        anyhow::ensure!(u128::from(count) <= most, "{count} fetches in {elapsed:?}");
        Ok(())
    }

    /// Returns when so many more fetches have begun, and the last but one has ended.
    async fn more(&self, fetches: u64) {
        let now = self.site.issuer.requests(Endpoint::Discovery);
        self.site.issuer.asked(Endpoint::Discovery, now + fetches).await;
    }
}

/// Nobody has met anything but grants and the denials that are theirs.
fn all_well(load: &Load) {
    let tally = load.tally();
    assert_eq!((tally.unavailable, tally.unanswered, tally.wrong), (0, 0, 0), "{tally:?}");
}

fn answer(status: u16, body: impl Into<String>) -> Fault {
    Fault { status: Some(status), body: Some(body.into()), ..Fault::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_slow_or_wrong_is_asked_once_per_cool_down_and_valid_pulls_go_on() -> Result<()> {
    let site = site().await?;
    // where a redirect leads; nobody may come
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0")?;
    elsewhere.set_nonblocking(true)?;
    let load = site.load();
    load.goes_well(5).await?;
    let redirect =
        Fault { location: Some(format!("http://{}/keys", elsewhere.local_addr()?)), ..answer(302, "") };
    for (name, endpoint, fault) in [
        ("slow", Endpoint::Discovery, Fault { hang: true, ..Fault::default() }),
        ("slow with its keys", Endpoint::Jwks, Fault { hang: true, ..Fault::default() }),
        ("broken", Endpoint::Discovery, answer(500, "")),
        ("redirecting", Endpoint::Discovery, redirect.clone()),
        ("redirecting for its keys", Endpoint::Jwks, redirect),
        ("garbage", Endpoint::Jwks, answer(200, "\u{0}<html>")),
        (
            "another's document",
            Endpoint::Discovery,
            answer(200, r#"{"issuer":"https://evil.example","jwks_uri":"https://evil.example"}"#),
        ),
        ("no keys", Endpoint::Jwks, answer(200, r#"{"keys":[]}"#)),
        ("too much", Endpoint::Jwks, answer(200, " ".repeat(200 * 1024))),
    ] {
        let fetches = Fetches::of(&site);
        site.issuer.fault(endpoint, Some(fault));
        fetches.more(2).await;
        load.goes_well(5).await.context(name)?;
        fetches.are_few().context(name)?;
        site.issuer.fault(endpoint, None);
        all_well(&load);
    }
    let failures = site.gateway.log().matches("An issuer's keys could not be fetched").count();
    assert!(failures >= 9, "each of them failed: {failures}");
    assert_eq!(elsewhere.accept().expect_err("a redirect was followed").kind(), ErrorKind::WouldBlock);
    println!("issuer wrong: {}", site.audited(load).await?);
    Ok(())
}

/// The way to an issuer, until it is cut.
struct Way {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Way {
    async fn to(issuer: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(issuer).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Ok(Self { address, server })
    }

    /// From now on whoever comes is refused.
    async fn cut(self) {
        self.server.abort();
        let _ = self.server.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_down_stops_nobody_whose_key_is_known_and_is_found_again() -> Result<()> {
    let mut site = site().await?;
    let way = Way::to(site.issuer.url().trim_start_matches("http://").parse()?).await?;
    let trust = |at: String| {
        format!(
            "select lpm.trust_issuer('github', '{}', jwks_uri => '{at}/.well-known/jwks', allow_private_addresses => true)",
            site.issuer.url()
        )
    };
    let (by_the_way, direct) =
        (trust(format!("http://{}", way.address)), trust(site.issuer.url().to_owned()));
    site.escrowed.database.value(&by_the_way)?;
    // a gateway that knows no other place of the keys
    site.start_gateway()?;
    let load = site.load();
    load.goes_well(5).await?;
    way.cut().await;
    load.goes_well(20).await.context("its keys are known")?;
    let failed = |gateway: &lpm_tests::gateway::Gateway| {
        gateway.log().matches("An issuer's keys could not be fetched").count()
    };
    crate::site::eventually("fetches fail", async || Ok(failed(&site.gateway) >= 2)).await?;
    load.goes_well(20).await.context("and stay so")?;
    all_well(&load);
    site.audited(load).await?;

    // a gateway that starts now knows no key: whoever comes is asked to come back
    site.start_gateway()?;
    let load = site.load();
    load.is_refused(10).await?;
    assert!(load.answered_with("issuer_unavailable") >= 10);
    let (log, began) = (failed(&site.gateway), Instant::now());
    load.is_refused(50).await?;
    let (fetches, elapsed) = (failed(&site.gateway) - log, began.elapsed());
    assert!(fetches as u128 <= elapsed.as_millis() / COOL_DOWN.as_millis() + 1, "{fetches} in {elapsed:?}");
    assert_eq!(load.tally().pulls, 0);
    site.escrowed.database.value(&direct)?;
    load.goes_well(10).await.context("it is there again")?;
    println!("issuer down: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_running_pulls_and_those_that_are_withdrawn_stop_working() -> Result<()> {
    let site = site().await?;
    // a key that is newer than the last fetch is known at the next, a cool-down later
    let load = Load::tolerating(&site.gateway, &site.issuer, &site.vault_id, &["token_key"]);
    load.goes_well(5).await?;
    let fetches = Fetches::of(&site);
    let previous = async || {
        let token =
            site.issuer.mint(&TokenRequest::github().repository(REPOSITORY).key(SignWith::Previous))?;
        let body = json!({ "oidcToken": token, "vaultId": site.vault_id, "env": "production" });
        let reply = site.gateway.post(PULL, None, &body).await?;
        anyhow::Ok((reply.status.as_u16(), reply.code()))
    };
    for _ in 0..3 {
        site.issuer.rotate(&Rotation::default())?;
        load.goes_well(5).await.context("the new key is found")?;
        assert_eq!(previous().await?, (200, String::new()), "a key that is published still works");
    }
    site.issuer.rotate(&Rotation { withdraw: true, ..Rotation::default() })?;
    // of two fetches the first may have been under way
    fetches.more(3).await;
    assert_eq!(previous().await?, (401, "token_key".to_owned()), "a key that is withdrawn does not");
    load.goes_well(5).await?;
    fetches.are_few()?;
    assert_eq!((load.tally().unavailable, load.tally().unanswered), (0, 0));
    println!("keys rotated: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_neither_stops_valid_pulls_nor_reaches_the_issuer() -> Result<()> {
    let site = site().await?;
    let load = site.load();
    load.goes_well(5).await?;
    let fetches = Fetches::of(&site);
    let mut flood = Vec::new();
    for client in 0..8 {
        let mut asks = Vec::new();
        for n in 0..STRANGERS / 8 {
            let stranger =
                TokenRequest::github().repository(REPOSITORY).header("kid", format!("{client}-{n}"));
            let token = site.issuer.mint(&stranger)?;
            let body = json!({ "oidcToken": token, "vaultId": site.vault_id, "env": "production" });
            asks.push(site.gateway.request(Method::POST, PULL).json(&body));
        }
        flood.push(tokio::spawn(async move {
            let mut statuses = Vec::new();
            for ask in asks {
                statuses.push(ask.send().await?.status().as_u16());
            }
            anyhow::Ok(statuses)
        }));
    }
    load.goes_well(20).await?;
    for client in flood {
        for status in client.await?? {
            assert!([401, 429].contains(&status), "a stranger was answered {status}");
        }
    }
    fetches.are_few()?;
    all_well(&load);
    println!("flood: {}", site.audited(load).await?);
    Ok(())
}
