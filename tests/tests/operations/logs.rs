//! One JSON object a line, and what it may not hold.

use crate::world::{PULL, World};
use anyhow::{Context, Result, ensure};
use insta::assert_json_snapshot;
use lpm_tests::gateway::Reply;
use lpm_tests::raw_http::RawHttp;
use reqwest::Method;
use serde_json::{Value, json};

/// The standard's own example.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn world() -> Result<World> {
    World::with(|options| options.argument("--log-format=json").argument("--log=debug")).await
}

/// The line about the request that was answered so.
fn line(world: &World, reply: &Reply) -> Result<Value> {
    let (id, log) = (reply.header("x-request-id"), world.gateway.log());
    let answered = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line["message"] == "Answered" && line["request.id"] == id.as_str());
    answered.with_context(|| format!("no line about {id}"))
}

#[tokio::test]
async fn a_request_is_one_line_with_its_id_route_status_code_time_address_and_trace() -> Result<()> {
    let world = world().await?;
    let request = world.gateway.request(Method::POST, PULL).header("traceparent", TRACEPARENT);
    let reply = Reply::read(request.json(&world.job("feature/x")?).send().await?).await?;
    assert_json_snapshot!(line(&world, &reply)?, {
        ".timestamp" => "[time]", ".latency_us" => "[time]", r#"["request.id"]"# => "[id]",
    }, @r#"
    {
      "client.address": "127.0.0.1",
      "code": "branch_not_allowed",
      "http.route": "POST /api/vault/oidc/pull",
      "http.status": 403,
      "latency_us": "[time]",
      "level": "INFO",
      "message": "Answered",
      "parent_id": "00f067aa0ba902b7",
      "request.id": "[id]",
      "target": "lpm_gateway::connection",
      "timestamp": "[time]",
      "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"
    }
    "#);
    Ok(())
}

#[tokio::test]
async fn a_trace_that_is_malformed_or_comes_twice_is_as_good_as_none() -> Result<()> {
    let world = world().await?;
    let upper = TRACEPARENT.to_uppercase();
    for headers in [vec![], vec!["x"], vec![&upper], vec![TRACEPARENT, TRACEPARENT], vec!["00-\"}"]] {
        let mut request = world.gateway.request(Method::GET, "/healthz");
        for header in &headers {
            request = request.header("traceparent", *header);
        }
        let reply = Reply::read(request.send().await?).await?;
        assert_eq!(reply.status, 200, "{headers:?}");
        let line = line(&world, &reply)?;
        assert_eq!((line.get("trace_id"), line.get("parent_id")), (None, None), "{headers:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_hyper_could_not_read_is_a_line_too() -> Result<()> {
    let world = world().await?;
    let mut raw = RawHttp::connect(&world.gateway).await?;
    raw.send(b"GET /marker-in-a-path HTTP/1.1\r\nmarker in a header\r\n\r\n").await?;
    let line = line(&world, &raw.reply().await?.context("no answer")?)?;
    assert_eq!(
        (&line["http.route"], &line["http.status"], &line["code"], &line["client.address"]),
        (&json!("(malformed)"), &json!(400), &json!("bad_request"), &json!("127.0.0.1"))
    );
    ensure!(!world.gateway.log().contains("marker"), "{}", world.gateway.log());
    Ok(())
}

#[tokio::test]
async fn no_line_holds_a_token_a_body_or_a_path() -> Result<()> {
    let world = world().await?;
    let job = world.job("main")?;
    assert_eq!(world.gateway.post(PULL, None, &job).await?.status, 200);
    let exchanged = world.gateway.post("/api/vault/oidc", None, &world.job("main")?).await?;
    let ci_token = exchanged.member("token");
    let path = format!("/api/vaults/{}/ci-pull?env=production", world.vault_id);
    assert_eq!(world.gateway.get(&path, Some(&ci_token)).await?.status, 200);
    let body = json!({ "oidcToken": "marker-token", "vaultId": "marker-vault", "env": "marker-env" });
    world.gateway.post(PULL, Some("marker-bearer"), &body).await?;
    world.gateway.get("/marker-path?marker-query", Some("marker-bearer")).await?;
    let log = world.gateway.log();
    ensure!(log.matches("\"Answered\"").count() == 5, "{log}");
    let token = job["oidcToken"].as_str().context("a token")?;
    for secret in ["marker", token, &ci_token, &world.vault_id, lpm_tests::escrowed::SECRET] {
        ensure!(!secret.is_empty() && !log.contains(secret), "the log holds {secret}");
    }
    Ok(())
}
