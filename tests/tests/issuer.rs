//! The development issuer over HTTP, checked with a second implementation of JWT.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use lpm_tests::issuer::{Algorithm, Endpoint, Fault, Issuer, Provider, Rotation, SignWith, TokenRequest};
use reqwest::StatusCode;
use serde_json::{Value, json};

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client without options")
}

async fn get(url: &str) -> Result<Value> {
    Ok(client().get(url).send().await?.error_for_status()?.json().await?)
}

async fn post(url: &str, body: Value) -> Result<(StatusCode, Value)> {
    let response = client().post(url).json(&body).send().await?;
    Ok((response.status(), response.json().await?))
}

/// The claims of a token, verified with the keys that its issuer publishes.
async fn verified(token: &str, issuer: &str) -> Result<Value> {
    let discovery = get(&format!("{issuer}/.well-known/openid-configuration")).await?;
    assert_eq!(discovery["issuer"], issuer);
    let keys: JwkSet =
        serde_json::from_value(get(discovery["jwks_uri"].as_str().context("jwks_uri")?).await?)?;
    let header = decode_header(token)?;
    let key = keys.find(&header.kid.context("kid")?).context("the key is not published")?;
    let mut rules = Validation::new(header.alg);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&["https://lpm.dev"]);
    Ok(decode::<Value>(token, &DecodingKey::from_jwk(key)?, &rules)?.claims)
}

fn claims_of(token: &str) -> Value {
    part(token, 1)
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("a token has three parts");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn a_github_token_verifies_and_looks_like_githubs() -> Result<()> {
    let issuer = Issuer::start()?;
    let claims = verified(&issuer.mint(&TokenRequest::github())?, issuer.url()).await?;
    assert_eq!(claims["repository"], "octo-org/octo-repo");
    assert_eq!(claims["repository_id"], "456789");
    assert_eq!(claims["ref"], "refs/heads/main");
    assert_eq!(claims["sub"], "repo:octo-org@123456/octo-repo@456789:ref:refs/heads/main");
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(300));
    Ok(())
}

#[tokio::test]
async fn a_gitlab_token_verifies_under_an_issuer_and_keys_of_its_own() -> Result<()> {
    let issuer = Issuer::start()?;
    let gitlab = issuer.issuer(Provider::GitLab);
    assert_eq!(gitlab, format!("{}/gitlab", issuer.url()));
    let claims = verified(&issuer.mint(&TokenRequest::gitlab())?, &gitlab).await?;
    assert_eq!((&claims["project_id"], &claims["job_project_id"]), (&json!("20"), &json!("20")));
    assert_ne!(issuer.jwks(Provider::GitHub), issuer.jwks(Provider::GitLab));
    Ok(())
}

#[tokio::test]
async fn mint_changes_what_is_said_and_derives_the_rest() -> Result<()> {
    let issuer = Issuer::start()?;
    let body = json!({ "provider": "github", "claims": { "repository": "acme/web", "ref": "refs/tags/v1", "environment": "production" } });
    let (status, reply) = post(&format!("{}/mint", issuer.url()), body).await?;
    assert_eq!(status, StatusCode::OK);
    let claims = verified(reply["token"].as_str().context("token")?, issuer.url()).await?;
    assert_eq!((&claims["repository_owner"], &claims["ref_type"]), (&json!("acme"), &json!("tag")));
    assert_eq!(claims["workflow_ref"], "acme/web/.github/workflows/deploy.yml@refs/tags/v1");
    assert!(claims["sub"].as_str().context("sub")?.ends_with(":environment:production"));
    let other = issuer.mint(&TokenRequest::github().repository("acme/web"))?;
    assert_eq!(claims_of(&other)["repository_id"], claims["repository_id"]);
    assert_ne!(claims_of(&other)["jti"], claims["jti"]);
    Ok(())
}

#[tokio::test]
async fn mint_refuses_what_it_does_not_know() -> Result<()> {
    let issuer = Issuer::start()?;
    for body in
        [json!({ "provider": "bitbucket" }), json!({ "claim": {} }), json!([]), json!({ "key": "previous" })]
    {
        let (status, reply) = post(&format!("{}/mint", issuer.url()), body.clone()).await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply["error"].is_string(), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn the_runtime_endpoint_wants_a_request_token_and_takes_any_audience() -> Result<()> {
    let issuer = Issuer::start()?;
    let claims = json!({ "repository": "acme/web" });
    let runtime = issuer.runtime(claims.as_object().context("claims")?);
    let url = format!("{}&audience=https://lpm.dev", runtime.url);
    assert_eq!(client().get(&url).send().await?.status(), StatusCode::UNAUTHORIZED);
    let reply: Value =
        client().get(&url).bearer_auth(&runtime.token).send().await?.error_for_status()?.json().await?;
    let token = reply["value"].as_str().context("value")?;
    assert_eq!(verified(token, issuer.url()).await?["repository"], "acme/web");
    let plain = format!("{}/runtime?repository=acme/api", issuer.url());
    let reply: Value = client().get(&plain).bearer_auth("x").send().await?.error_for_status()?.json().await?;
    assert_eq!(claims_of(reply["value"].as_str().context("value")?)["aud"], "https://github.com/acme");
    Ok(())
}

#[tokio::test]
async fn a_rotation_publishes_a_new_key_and_withdraws_old_ones_only_when_told() -> Result<()> {
    let issuer = Issuer::start()?;
    let before = issuer.mint(&TokenRequest::github())?;
    let (status, reply) = post(&format!("{}/rotate", issuer.url()), json!({})).await?;
    assert_eq!((status, reply["kids"].as_array().map(Vec::len)), (StatusCode::OK, Some(2)));
    verified(&before, issuer.url()).await?;
    verified(&issuer.mint(&TokenRequest::github())?, issuer.url()).await?;
    issuer.rotate(&Rotation { withdraw: true, ..Rotation::default() })?;
    assert!(verified(&before, issuer.url()).await.is_err());
    assert!(
        verified(&issuer.mint(&TokenRequest::github().key(SignWith::Previous))?, issuer.url()).await.is_err()
    );
    verified(&issuer.mint(&TokenRequest::github())?, issuer.url()).await?;
    Ok(())
}

#[tokio::test]
async fn broken_signatures_are_broken() -> Result<()> {
    let issuer = Issuer::start()?;
    let stranger = issuer.mint(&TokenRequest::github().key(SignWith::Stranger))?;
    assert_eq!(part(&stranger, 0)["kid"], issuer.jwks(Provider::GitHub)["keys"][0]["kid"]);
    assert!(verified(&stranger, issuer.url()).await.is_err());
    let confused = issuer.mint(&TokenRequest::github().key(SignWith::PublicPem))?;
    assert_eq!(part(&confused, 0)["alg"], "HS256");
    assert!(issuer.mint(&TokenRequest::github().algorithm(Algorithm::None))?.ends_with('.'));
    let exact = issuer.mint(
        &TokenRequest::github().payload(r#"{"iss":"a","iss":"b"}"#).header("jku", "https://evil.example"),
    )?;
    assert_eq!(part(&exact, 0)["jku"], "https://evil.example");
    assert_eq!(
        exact.split('.').nth(1),
        Some(BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"a","iss":"b"}"#).as_str())
    );
    Ok(())
}

#[tokio::test]
async fn other_algorithms_verify_once_their_key_is_published() -> Result<()> {
    for algorithm in [Algorithm::ES256, Algorithm::PS256, Algorithm::RS512] {
        let issuer = Issuer::start()?;
        issuer.rotate(&Rotation { algorithm, ..Rotation::default() })?;
        verified(&issuer.mint(&TokenRequest::github())?, issuer.url())
            .await
            .with_context(|| format!("{algorithm:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn endpoints_misbehave_on_request_and_count_who_asks() -> Result<()> {
    let issuer = Issuer::start()?;
    let jwks = format!("{}/.well-known/jwks", issuer.url());
    issuer.fault(Endpoint::Jwks, Some(Fault { status: Some(500), ..Fault::default() }));
    assert_eq!(client().get(&jwks).send().await?.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let off = json!({ "endpoint": "jwks", "fault": null });
    assert_eq!(post(&format!("{}/fault", issuer.url()), off).await?.1["requests"], 1);
    get(&jwks).await?;
    issuer.asked(Endpoint::Jwks, 2).await;
    assert_eq!((issuer.requests(Endpoint::Jwks), issuer.requests(Endpoint::Discovery)), (2, 0));
    Ok(())
}
