//! `/metrics`: what is counted, where it is served, and that no caller can make it grow.

use crate::world::{PULL, World};
use anyhow::{Context, Result, ensure};
use insta::assert_snapshot;
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::{Endpoint, Fault, Issuer, TokenRequest};
use lpm_tests::process::eventually;
use lpm_tests::raw_http::RawHttp;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn what_was_answered_is_counted_by_route_status_and_reason() -> Result<()> {
    let world = World::new().await?;
    assert_eq!(world.pull("main").await?.status, 200);
    let job = world.job("main")?;
    for expected in [200, 403] {
        assert_eq!(world.gateway.post(PULL, None, &job).await?.status, expected, "the second is a replay");
    }
    assert_eq!(world.pull("feature/x").await?.status, 403);
    assert_eq!(world.gateway.post("/api/vault/oidc", None, &world.job("main")?).await?.status, 200);
    assert_eq!(world.gateway.get("/api/vaults/v/ci-pull?env=x", Some("lpm_ci_none")).await?.status, 401);
    assert_eq!(world.gateway.get("/nowhere", None).await?.status, 404);
    assert_eq!(world.gateway.delete("/healthz", None).await?.status, 405);
    let mut raw = RawHttp::connect(&world.gateway).await?;
    raw.send(b"no HTTP\r\n\r\n").await?;
    assert_eq!(raw.reply().await?.context("no answer")?.status, 400);
    let metrics = world.scrape().await?;
    assert_snapshot!(metrics.family("requests_total"), @r#"
    lpm_gateway_requests_total{route="(malformed)",status="400"} 1
    lpm_gateway_requests_total{route="(no route)",status="404"} 1
    lpm_gateway_requests_total{route="(wrong method)",status="405"} 1
    lpm_gateway_requests_total{route="GET /api/vaults/{vault}/ci-pull",status="401"} 1
    lpm_gateway_requests_total{route="POST /api/vault/oidc",status="200"} 1
    lpm_gateway_requests_total{route="POST /api/vault/oidc/pull",status="200"} 2
    lpm_gateway_requests_total{route="POST /api/vault/oidc/pull",status="403"} 2
    "#);
    assert_snapshot!(metrics.family("ci_decisions_total"), @r#"
    lpm_gateway_ci_decisions_total{route="GET /api/vaults/{vault}/ci-pull",reason="ci_token_invalid"} 1
    lpm_gateway_ci_decisions_total{route="POST /api/vault/oidc",reason="granted"} 1
    lpm_gateway_ci_decisions_total{route="POST /api/vault/oidc/pull",reason="branch_not_allowed"} 1
    lpm_gateway_ci_decisions_total{route="POST /api/vault/oidc/pull",reason="granted"} 2
    lpm_gateway_ci_decisions_total{route="POST /api/vault/oidc/pull",reason="replayed"} 1
    "#);
    let durations = "request_duration_seconds";
    let pull = r#"route="POST /api/vault/oidc/pull""#;
    assert_eq!(metrics.value(&format!("{durations}_count{{{pull}}}")), 4.0);
    let all = format!(r#"{durations}_bucket{{{pull},le="+Inf"}}"#);
    assert_eq!(metrics.value(&all), 4.0, "{}", metrics.family(durations));
    ensure!(metrics.value(&format!("{durations}_sum{{{pull}}}")) > 0.0, "four pulls took no time");
    assert_snapshot!(metrics.family("build_info"), @r#"lpm_gateway_build_info{version="0.1.0"} 1"#);
    Ok(())
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() -> Result<()> {
    let world = World::new().await?;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = RawHttp::connect(&world.gateway).await?;
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        connection.reply().await?.context("no answer")?;
        open.push(connection);
    }
    assert_eq!(world.scrape().await?.value("connections_open"), 3.0);
    drop(open);
    eventually("none is open", async || Ok(world.scrape().await?.value("connections_open") == 0.0)).await
}

#[tokio::test]
async fn the_pool_shows_who_waits_and_who_got_nothing() -> Result<()> {
    let world = World::with(|options| options.argument("--pool-size=2").argument("--pool-wait=1ms")).await?;
    assert_eq!(world.pull("main").await?.status, 200);
    let before = world.scrape().await?;
    assert_eq!((before.value("pool_max"), before.value("pool_exhausted_total")), (2.0, 0.0));
    ensure!(before.value("pool_size") >= 1.0, "{before:?}");

    let blocker = world.escrowed.database.connect().await?;
    blocker.batch_execute("begin; lock table lpm.audit_log in share row exclusive mode").await?;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let request = world.gateway.request(Method::POST, PULL).json(&world.job("main")?);
        waiting.push(tokio::spawn(async move { Reply::read(request.send().await?).await }));
    }
    let busy = "pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    let count = format!("select count(*) from {busy}");
    eventually("both wait", async || Ok(world.escrowed.database.value(&count)? == "2")).await?;
    assert_eq!(world.scrape().await?.value("pool_in_use"), 2.0);
    assert_eq!(world.pull("main").await?.status, 503);
    ensure!(world.scrape().await?.value("pool_exhausted_total") >= 1.0, "nobody was sent away");

    blocker.batch_execute("commit").await?;
    for pull in waiting {
        assert_eq!(pull.await??.status, 200);
    }
    eventually("nobody holds a connection", async || Ok(world.scrape().await?.value("pool_in_use") == 0.0))
        .await
}

#[tokio::test]
async fn an_issuer_has_series_for_as_long_as_it_is_trusted() -> Result<()> {
    let world = World::with(|options| options.argument("--keys-cool-down=1s")).await?;
    let issuer = Issuer::start()?;
    let database = &world.escrowed.database;
    let failures = format!(r#"issuer_key_fetch_failures_total{{issuer="{}"}}"#, issuer.url());
    let age = format!(r#"issuer_keys_age_seconds{{issuer="{}"}}"#, issuer.url());
    let knows = async |series: &str| {
        let metrics = world.scrape().await?;
        Ok(metrics.series().contains(&format!("lpm_gateway_{series}").as_str()))
    };
    assert!(!knows(&failures).await?);
    database.value(&format!(
        "select lpm.trust_issuer('github', '{}', allow_private_addresses => true)",
        issuer.url()
    ))?;
    eventually("the issuer is known", async || knows(&failures).await).await?;
    assert!(!knows(&age).await?, "an issuer that nobody asked for has no keys yet");

    issuer.fault(Endpoint::Jwks, Some(Fault { status: Some(500), ..Fault::default() }));
    let job = async || {
        let token = issuer.mint(&TokenRequest::github())?;
        let body = json!({ "oidcToken": token, "vaultId": world.vault_id, "env": "production" });
        world.gateway.post(PULL, None, &body).await
    };
    assert_eq!(job().await?.code(), "issuer_unavailable");
    assert_eq!(world.scrape().await?.value(&failures), 1.0);

    issuer.fault(Endpoint::Jwks, None);
    eventually("its keys are there", async || Ok(job().await?.code() == "no_policy")).await?;
    assert!(knows(&age).await?);
    assert!((0.0..60.0).contains(&world.scrape().await?.value(&age)));

    database.value(&format!("select lpm.distrust_issuer('{}')", issuer.url()))?;
    eventually("the issuer is forgotten", async || Ok(!knows(&failures).await? && !knows(&age).await?)).await
}

/// One of each kind makes whatever series there are; hundreds more make no other.
#[tokio::test]
async fn nothing_that_callers_send_becomes_a_label() -> Result<()> {
    let world = World::new().await?;
    send_garbage(&world, 0).await?;
    let before = world.scrape().await?;
    for number in 1..=40 {
        send_garbage(&world, number).await?;
    }
    let after = world.scrape().await?;
    assert_eq!(before.series(), after.series());
    let all = after.series().join("\n");
    ensure!(!all.contains("garbage"), "{all}");
    assert_eq!(
        after.value(r#"ci_decisions_total{route="POST /api/vault/oidc/pull",reason="token_issuer"}"#),
        41.0
    );
    Ok(())
}

async fn send_garbage(world: &World, number: u32) -> Result<()> {
    let text = format!("garbage-{number}");
    let stranger = TokenRequest::github().claim("iss", format!("https://{text}.example"));
    let claims = |request: TokenRequest| request.repository(&format!("garbage/{text}")).branch(&text);
    let mut bodies = vec![json!({ "oidcToken": text, "vaultId": text, "env": text })];
    for request in [claims(stranger), claims(TokenRequest::github())] {
        let token = world.issuer.mint(&request)?;
        bodies.push(json!({ "oidcToken": token, "vaultId": text, "env": text }));
    }
    for body in bodies {
        for path in [PULL, "/api/vault/oidc"] {
            world.gateway.post(path, None, &body).await?;
        }
    }
    world.gateway.get(&format!("/api/vaults/{text}/ci-pull?env={text}"), Some(&text)).await?;
    world.gateway.get(&format!("/api/vaults/{text}/audit?org={text}"), Some(&text)).await?;
    world.gateway.get(&format!("/{text}"), None).await?;
    let method = Method::from_bytes(format!("GARBAGE{number}").as_bytes())?;
    for path in [PULL.to_owned(), format!("/{text}")] {
        Reply::read(world.gateway.request(method.clone(), &path).send().await?).await?;
    }
    let odd = world
        .gateway
        .request(Method::GET, "/healthz")
        .header("traceparent", &text)
        .header("x-request-id", &text);
    Reply::read(odd.send().await?).await?;
    let mut raw = RawHttp::connect(&world.gateway).await?;
    raw.send(format!("{text} {text}\r\n\r\n").as_bytes()).await?;
    ensure!(raw.reply().await?.is_some(), "no answer to {text}");
    Ok(())
}

#[tokio::test]
async fn metrics_are_on_their_own_address_and_nothing_else_is() -> Result<()> {
    let world = World::new().await?;
    assert_eq!(world.gateway.get("/metrics", None).await?.code(), "not_found");
    let document = world.gateway.get("/openapi.json", None).await?;
    ensure!(!document.text().contains("/metrics"), "the document names it");
    let url = world.gateway.metrics_url()?;
    let base = url.strip_suffix("/metrics").context("a path")?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    for path in ["/", "/healthz", "/metrics/", "/openapi.json", "/api/vault/oidc/pull"] {
        assert_eq!(client.get(format!("{base}{path}")).send().await?.status(), 404, "{path}");
    }
    let posted = client.post(&url).send().await?;
    assert_eq!((posted.status().as_u16(), posted.headers()["allow"].to_str()?), (405, "GET, HEAD"));
    let head = Reply::read(client.head(&url).send().await?).await?;
    assert_eq!((head.status.as_u16(), head.bytes.len()), (200, 0));
    Ok(())
}
