//! J20, J21, J30, J32, J33: several issuers, and how often and where their keys are asked for.

use crate::world::{Canary, PULL, World, granted, job, no_policy, seen};
use anyhow::Result;
use lpm_tests::gateway;
use lpm_tests::issuer::{Endpoint, Fault, Issuer, Provider, Rotation, SignWith, TokenRequest};
use serde_json::{Value, json};

#[tokio::test]
async fn j20_the_same_repository_of_another_trusted_issuer_is_a_stranger() -> Result<()> {
    let world = World::new().await?;
    let other = Issuer::start()?;
    for provider in [Provider::GitHub, Provider::GitLab] {
        world.stack.database().value(&format!(
            "select lpm.trust_issuer('{}', '{}', allow_private_addresses => true)",
            provider.as_str(),
            other.issuer(provider)
        ))?;
    }
    let gateway = world.another_gateway()?;
    let gitlab = TokenRequest::gitlab();
    // pin the ids first: then only the issuer differs
    for request in [&job(), &gitlab] {
        assert_eq!(seen(&world.pull_by(request).await?), granted());
    }
    let pull = async |token: String| gateway.post(PULL, None, &world.ask(token)).await;
    for (name, request) in [("GitHub", &job()), ("GitLab", &gitlab)] {
        let reply = pull(other.mint(request)?).await?;
        assert_eq!(seen(&reply), no_policy(), "J20 {name}: {}", reply.text());
        assert_eq!(world.audited(&reply)?, "", "J20 {name}: strangers are counted");
    }
    let strangers =
        world.stack.database().value("select count(*), min(issuer), max(issuer) from lpm.oidc_stranger")?;
    assert_eq!(strangers, format!("2|{}|{}", other.url(), other.issuer(Provider::GitLab)));

    // a token of one issuer under the name of the other, in both directions and between the providers of one server
    for (name, token) in [
        ("ours by theirs", other.mint(&job().claim("iss", world.issuer.url()))?),
        ("theirs by ours", world.issuer.mint(&job().claim("iss", other.url()))?),
        (
            "GitLab's by GitHub's",
            world.issuer.mint(&job().claim("iss", world.issuer.issuer(Provider::GitLab)))?,
        ),
    ] {
        let reply = pull(token).await?;
        assert_eq!(seen(&reply), (401, "token_key".to_owned()), "J20 {name}: {}", reply.text());
    }

    // a policy for the other issuer is one for the other issuer only
    let vault_id = world.vault_with(&world.alice, &json!({"issuer": other.url()})).await?;
    for (issuer, expected) in [(&world.issuer, no_policy()), (&other, granted())] {
        let mut ask = world.ask(issuer.mint(&job())?);
        ask["vaultId"] = json!(vault_id);
        let reply = gateway.post(PULL, None, &ask).await?;
        assert_eq!(seen(&reply), expected, "J20 {}: {}", issuer.url(), reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn j21_enterprises_that_share_keys_are_told_apart_by_their_issuer() -> Result<()> {
    let world = World::new().await?;
    let keys = world.issuer.jwks(Provider::GitHub);
    let public = "https://token.ci.example";
    let enterprise = |name: &str| format!("{public}/{name}");
    for issuer in [public.to_owned(), enterprise("acme-inc"), enterprise("evil-inc")] {
        world
            .stack
            .database()
            .value(&format!("select lpm.trust_issuer('github', '{issuer}', jwks => '{keys}')"))?;
    }
    let gateway = world.another_gateway()?;
    let vault_id = world.vault_with(&world.alice, &json!({"issuer": enterprise("acme-inc")})).await?;
    for (issuer, expected) in [
        (enterprise("acme-inc"), granted()),
        (enterprise("evil-inc"), no_policy()),
        (public.to_owned(), no_policy()),
        (enterprise("unknown-inc"), (401, "token_issuer".to_owned())),
        (enterprise("acme-inc/"), (401, "token_issuer".to_owned())),
        (enterprise("Acme-Inc"), (401, "token_issuer".to_owned())),
    ] {
        let mut ask = world.ask(world.issuer.mint(&job().claim("iss", issuer.as_str()))?);
        ask["vaultId"] = json!(vault_id);
        let reply = gateway.post(PULL, None, &ask).await?;
        assert_eq!(seen(&reply), expected, "J21 {issuer}: {}", reply.text());
    }
    Ok(())
}

#[tokio::test]
async fn j30_a_flood_of_unknown_keys_neither_asks_the_issuer_again_nor_delays_anybody() -> Result<()> {
    let world = World::new().await?;
    assert_eq!(seen(&world.pull_by(&job()).await?).0, 200);
    let asked = world.issuer.requests(Endpoint::Jwks);
    // whoever asked now would get no answer
    world.issuer.fault(Endpoint::Jwks, Some(Fault { hang: true, ..Fault::default() }));
    for n in 0..100 {
        let reply = world.pull_by(&job().header("kid", format!("{n:032x}"))).await?;
        assert_eq!(seen(&reply), (401, "token_key".to_owned()), "J30: {}", reply.text());
    }
    assert_eq!(seen(&world.pull_by(&job()).await?).0, 200);
    assert_eq!(world.issuer.requests(Endpoint::Jwks), asked, "J30: within the cool-down");
    Ok(())
}

#[tokio::test]
async fn j32_a_key_that_is_withdrawn_stops_working_although_nobody_asks_for_another() -> Result<()> {
    let world = World::new().await?;
    let logs = tempfile::tempdir()?;
    let gateway = gateway::Options::new(world.stack.database().url_as(&world.stack.seed.gateway_login))
        .argument("--keys-refresh=1s")
        .argument("--keys-cool-down=1s")
        .start(&logs.path().join("gateway.log"))?;
    let pull = async |key: SignWith| {
        let token = world.issuer.mint(&job().key(key))?;
        gateway.post(PULL, None, &world.ask(token)).await
    };
    assert_eq!(seen(&pull(SignWith::Current).await?).0, 200);
    world.issuer.rotate(&Rotation { withdraw: true, ..Rotation::default() })?;
    // the scheduled refresh: nobody uses the new key meanwhile
    let asked = world.issuer.requests(Endpoint::Jwks);
    world.issuer.asked(Endpoint::Jwks, asked + 2).await;
    let reply = pull(SignWith::Previous).await?;
    assert_eq!(seen(&reply), (401, "token_key".to_owned()), "J32: {}", reply.text());
    assert_eq!(seen(&pull(SignWith::Current).await?).0, 200, "J32: the new key");
    Ok(())
}

#[tokio::test]
async fn j33_no_address_in_a_token_is_ever_contacted() -> Result<()> {
    let (world, canary) = (World::new().await?, Canary::new()?);
    let url = canary.url()?;
    let at = |path: &str| format!("{url}{path}");
    for (name, token, code) in [
        ("iss", job().claim("iss", url.as_str()), "token_issuer"),
        ("iss with a path", job().claim("iss", at("/acme")), "token_issuer"),
        (
            "iss behind a name of ours",
            job().claim("iss", url.replace("://", &format!("://{}@", "gitlab.com"))),
            "token_issuer",
        ),
        (
            "iss of a trusted one and ours",
            job().claim("iss", format!("{} {url}", world.issuer.url())),
            "token_issuer",
        ),
        ("GitLab's iss", TokenRequest::gitlab().claim("iss", url.as_str()), "token_issuer"),
        ("jku", job().header("jku", at("/jwks")), "token_header"),
        ("x5u", job().header("x5u", at("/chain")), "token_header"),
        ("kid", job().header("kid", at("/key")), "token_key"),
        (
            "jwks_uri as a claim",
            job().claim("jwks_uri", at("/jwks")).key(SignWith::Stranger),
            "token_signature",
        ),
        ("sub", job().claim("sub", at("/sub")).key(SignWith::Stranger), "token_signature"),
        ("a list of issuers", job().claim("iss", json!([world.issuer.url(), url])), "token_malformed"),
        ("an issuer of null", job().claim("iss", Value::Null), "token_malformed"),
    ] {
        world.refuses(&format!("J33 {name}"), &world.issuer.mint(&token)?, 401, code).await?;
    }
    canary.heard_nothing()
}
