//! Who has asked too often is answered 429; whoever has not is answered whatever their neighbours do.

use crate::site::{PULL, REPOSITORY_ID, Site, job};
use anyhow::Result;
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::{SignWith, TokenRequest};
use reqwest::Method;
use serde_json::Value;
use tokio::task::JoinSet;

/// Another repository, which no policy names.
fn stranger() -> TokenRequest {
    TokenRequest::github().repository("evil/repo").claim("repository_id", "666")
}

fn assert_limited(reply: &Reply, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (429, code), "{}", reply.text());
    let wait: u64 = reply.header("retry-after").parse().unwrap_or_default();
    assert!((1..=61).contains(&wait), "{wait}");
}

async fn codes(site: &Site, requests: &[TokenRequest]) -> Result<Vec<String>> {
    let mut codes = Vec::new();
    for request in requests {
        codes.push(site.pull(request).await?.code());
    }
    Ok(codes)
}

fn audited(site: &Site) -> Result<String> {
    site.escrowed.database.value(
        "select (select count(*) from lpm.audit_log) || ' rows, ' || (select count(*) from lpm.oidc_token_use) || ' uses'",
    )
}

/// A matrix as large as GitHub allows, behind the address of one runner host, at a gateway as it comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_of_256_jobs_of_one_repository_through_one_address_is_served() -> Result<()> {
    let site = Site::new(|options| options.as_it_comes()).await?;
    let bodies = (0..256).map(|_| site.body(&job())).collect::<Result<Vec<_>>>()?;
    let mut jobs = JoinSet::new();
    for body in bodies {
        let request = site.gateway.request(Method::POST, PULL).json(&body);
        jobs.spawn(async move { Reply::read(request.send().await?).await });
    }
    while let Some(reply) = jobs.join_next().await {
        let reply = reply??;
        assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
    }
    let granted = "select count(*) from lpm.audit_log where action = 'ci_pull' and decision = 'granted'";
    assert_eq!(site.escrowed.database.value(granted)?, "256");
    Ok(())
}

#[tokio::test]
async fn an_address_whose_tokens_fail_is_limited_and_a_valid_job_behind_it_is_not() -> Result<()> {
    let site = Site::new(|options| {
        options.argument("--failed-tokens-per-minute=3").argument("--trusted-proxies=127.0.0.1")
    })
    .await?;
    let forged = || job().key(SignWith::Stranger);
    let failing = [forged(), job().audience("https://other.example"), job().header("kid", "unknown")];
    assert_eq!(codes(&site, &failing).await?, ["token_signature", "token_audience", "token_key"]);
    for request in failing {
        assert_limited(&site.pull(&request).await?, "failed_tokens_limited");
        assert_eq!(
            site.pull(&job()).await?.status,
            200,
            "a token that holds is never refused for its address"
        );
    }
    let garbage = site.body_with("a.b.c");
    assert_limited(&site.gateway.post("/api/vault/oidc", None, &garbage).await?, "failed_tokens_limited");
    // another address has failed nothing yet, and is told why
    let request = site.gateway.request(Method::POST, PULL).header("X-Forwarded-For", "203.0.113.7");
    let reply = Reply::read(request.json(&site.body(&forged())?).send().await?).await?;
    assert_eq!((reply.status.as_u16(), reply.code().as_str()), (401, "token_signature"));
    Ok(())
}

#[tokio::test]
async fn a_repository_that_is_denied_too_often_is_limited_before_the_database_is_asked() -> Result<()> {
    let site = Site::new(|options| options.argument("--denials-per-minute=2")).await?;
    let denied = job().branch("feature/x");
    assert_eq!(site.pull(&job()).await?.status, 200, "a grant is no denial");
    assert_eq!(codes(&site, &[denied.clone(), denied.clone()]).await?, ["branch_not_allowed"; 2]);
    let before = audited(&site)?;
    assert_limited(&site.pull(&denied).await?, "denials_limited");
    assert_limited(&site.pull(&job()).await?, "denials_limited");
    let exchange = site.gateway.post("/api/vault/oidc", None, &site.body(&job())?).await?;
    assert_limited(&exchange, "denials_limited");
    assert_eq!(audited(&site)?, before, "nothing was asked, and no token used up");
    // the id is what counts, so a new name is no new budget
    let renamed = job().repository("acme/renamed").claim("repository_id", REPOSITORY_ID);
    assert_limited(&site.pull(&renamed).await?, "denials_limited");
    assert_eq!(codes(&site, &[stranger(), stranger()]).await?, ["no_policy"; 2]);
    assert_limited(&site.pull(&stranger()).await?, "denials_limited");
    Ok(())
}

#[tokio::test]
async fn a_repository_that_pulls_too_often_is_limited_by_itself() -> Result<()> {
    let site = Site::new(|options| options.argument("--pulls-per-minute=2")).await?;
    let other = || job().claim("repository_id", "4711").repository("acme/other");
    assert_eq!(site.pull(&job()).await?.status, 200);
    let exchange = site.gateway.post("/api/vault/oidc", None, &site.body(&job())?).await?;
    assert_eq!(exchange.status, 200, "{}", exchange.text());
    let before = audited(&site)?;
    assert_limited(&site.pull(&job()).await?, "pulls_limited");
    assert_eq!(audited(&site)?, before);
    assert_eq!(site.pull(&other()).await?.code(), "no_policy", "another repository has its own budget");
    // a token that was exchanged in time is still good for its pull
    let path = format!("/api/vaults/{}/ci-pull?env=production", site.vault_id);
    let reply = site.gateway.get(&path, Some(&exchange.member("token"))).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn without_limits_there_are_none() -> Result<()> {
    let none = ["failed-tokens", "denials", "pulls"].map(|what| format!("--{what}-per-minute=0"));
    let site =
        Site::new(|options| none.iter().fold(options.as_it_comes(), |all, one| all.argument(one))).await?;
    let body: Value = site.body_with("a.b.c");
    for _ in 0..150 {
        let reply = site.gateway.post(PULL, None, &body).await?;
        assert_eq!(reply.status, 401, "{}", reply.text());
    }
    assert_eq!(site.pull(&job()).await?.status, 200);
    Ok(())
}
