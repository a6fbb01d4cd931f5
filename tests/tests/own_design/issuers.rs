//! A policy is bound to one issuer: whoever is trusted to sign for another server's jobs signs nothing here.

use crate::{NONE, World};
use anyhow::{Result, ensure};
use lpm_tests::escrowed::{SECRET, answer, claims, code};
use lpm_tests::issuer::{Issuer, Provider, TokenRequest};
use lpm_tests::job::Job;
use lpm_tests::stack::Stack;
use serde_json::json;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Another server of the same kind, trusted for vaults of its own.
const LOOK_ALIKE: &str = "https://ghes.example.com/_services/token";

fn trust(world: &World, provider: &str, issuer: &str) -> Result<()> {
    world.value(&format!(
        "select lpm.trust_issuer('{provider}', '{issuer}', allow_private_addresses => true)"
    ))?;
    Ok(())
}

#[tokio::test]
async fn a_look_alike_project_on_another_trusted_issuer_is_a_stranger() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let honest = world.alice.issuer.clone();
    for pinned in [false, true] {
        for (case, issuer) in [
            ("another server", LOOK_ALIKE.to_owned()),
            ("a trailing slash", format!("{honest}/")),
            ("an enterprise's own path", format!("{honest}/octo-inc")),
            (
                "the built-in one, which is not the default here",
                "https://token.actions.githubusercontent.com".to_owned(),
            ),
        ] {
            trust(&world, "github", &issuer)?;
            let job = || Job::of(&issuer);
            let met = job().pull(&world.client, &vault_id).await?;
            world.is_a_stranger(case, &met, &issuer, &vault_id)?;
            let nowhere = job().pull(&world.client, "no-such-vault").await?;
            assert_eq!(met.body, nowhere.body, "{case}: says nothing of the vault");
            let exchanged = job().exchange(&world.client, &vault_id, &[7; 32]).await?;
            world.refused(case, &exchanged, (403, "no_policy"), "")?;
            world.value("truncate lpm.oidc_stranger; select 1")?;
        }
        let uses = world.value("select count(*) from lpm.oidc_token_use")?;
        assert_eq!(uses, u32::from(pinned).to_string(), "a stranger's token counts as no use");
        assert_eq!(world.value("select count(*) from lpm.ci_token")?, "0");
        world.serves(world.job(), &vault_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn claims_of_one_issuer_are_not_taken_from_another() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    trust(&world, "github", LOOK_ALIKE)?;
    let honest = world.alice.issuer.clone();
    for (case, signer, claimed) in [
        ("signed by the look-alike, claims of the honest one", LOOK_ALIKE, honest.as_str()),
        ("signed by the honest one, claims of the look-alike", &honest, LOOK_ALIKE),
        ("an issuer that nobody trusts", "https://evil.example", "https://evil.example"),
        ("no issuer at all", "", &honest),
    ] {
        let job = || Job::of(signer).claim("iss", claimed);
        let met = job().pull(&world.client, &vault_id).await?;
        world.refused(case, &met, (401, "token_issuer"), "")?;
        let met = job().exchange(&world.client, &vault_id, &[7; 32]).await?;
        world.refused(case, &met, (401, "token_issuer"), "")?;
    }
    assert_eq!(
        world.value("select count(*) from lpm.oidc_stranger")?,
        "0",
        "who is nobody is not even counted"
    );
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn pins_of_one_issuer_say_nothing_about_another() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    trust(&world, "github", LOOK_ALIKE)?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"issuer": LOOK_ALIKE})).await?;
    // the same name is another repository on each server
    let there = |id: &str| Job::of(LOOK_ALIKE).repository("acme/web", id).claim("repository_owner_id", "8");
    world.serves(world.job(), &vault_id).await?;
    world.serves(there("99"), &vault_id).await?;
    let pins = "select string_agg(concat_ws(' ', issuer, subject_id, owner_id), ', ' order by subject_id) from lpm.oidc_subject_pin";
    assert_eq!(world.value(pins)?, format!("{} 42 7, {LOOK_ALIKE} 99 8", world.alice.issuer));
    for (case, job, refusal) in [
        ("its id, there", there("42"), "identity_changed"),
        ("its id and owner, there", there("42").claim("repository_owner_id", "7"), "identity_changed"),
        ("their id, here", world.job().repository("acme/web", "99"), "identity_changed"),
        ("their owner, here", world.job().claim("repository_owner_id", "8"), "owner_changed"),
    ] {
        let met = job.pull(&world.client, &vault_id).await?;
        world.refused(case, &met, (403, refusal), &format!("ci_pull denied {refusal}"))?;
    }
    assert_eq!(world.value(pins)?, format!("{} 42 7, {LOOK_ALIKE} 99 8", world.alice.issuer), "unchanged");
    world.serves(world.job(), &vault_id).await?;
    world.serves(there("99"), &vault_id).await
}

#[tokio::test]
async fn a_rename_on_one_issuer_renames_nothing_on_another() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    trust(&world, "github", LOOK_ALIKE)?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"issuer": LOOK_ALIKE})).await?;
    world.serves(world.job(), &vault_id).await?;
    let renamed = |issuer: &str| Job::of(issuer).repository("acme/renamed", "42");
    for pinned_there in [false, true] {
        let met = renamed(LOOK_ALIKE).pull(&world.client, &vault_id).await?;
        world.is_a_stranger("the id is pinned on the other issuer only", &met, LOOK_ALIKE, &vault_id)?;
        if !pinned_there {
            world.serves(Job::of(LOOK_ALIKE).repository("acme/web", "99"), &vault_id).await?;
        }
    }
    world.serves(renamed(&world.alice.issuer), &vault_id).await
}

#[tokio::test]
async fn uses_of_a_token_are_counted_per_issuer() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    trust(&world, "github", LOOK_ALIKE)?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"issuer": LOOK_ALIKE})).await?;
    let (here, there) =
        (world.job().claim("jti", "one-and-the-same"), Job::of(LOOK_ALIKE).claim("jti", "one-and-the-same"));
    // whoever can sign `jti`s elsewhere must not be able to use up tokens here, nor the other way round
    world.serves(there.clone(), &vault_id).await?;
    world.serves(here.clone(), &vault_id).await?;
    for (case, job) in [("here", here), ("there", there)] {
        let met = job.pull(&world.client, &vault_id).await?;
        world.refused(case, &met, (403, "replayed"), "ci_pull denied replayed")?;
    }
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn an_issuer_that_is_distrusted_grants_nothing_and_its_pins_stay() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let issuer = world.alice.issuer.clone();
    world.serves(world.job(), &vault_id).await?;
    world.value(&format!("select lpm.distrust_issuer('{issuer}')"))?;
    let met = world.job().pull(&world.client, &vault_id).await?;
    world.refused("distrusted", &met, (401, "token_issuer"), "")?;
    trust(&world, "github", &issuer)?;
    let taken = world.job().repository("acme/web", "43").pull(&world.client, &vault_id).await?;
    world.refused("trusted again", &taken, (403, "identity_changed"), "ci_pull denied identity_changed")?;
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn an_issuer_that_becomes_another_kind_opens_no_policy_of_the_first() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let issuer = world.alice.issuer.clone();
    trust(&world, "gitlab", &issuer)?;
    let met = world.job().pull(&world.client, &vault_id).await?;
    world.refused("GitHub's claims", &met, (401, "token_claims"), "")?;
    let met = Job::gitlab(&issuer, "acme/web", "42").pull(&world.client, &vault_id).await?;
    world.is_a_stranger("GitLab's claims with the same names and ids", &met, &issuer, &vault_id)?;
    trust(&world, "github", &issuer)?;
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn a_policy_for_an_issuer_that_is_not_trusted_as_its_provider_is_refused() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    for (case, provider, issuer) in [
        ("nobody's", "github", LOOK_ALIKE),
        ("the other provider's", "github", "https://gitlab.com"),
        ("the other provider's, the other way round", "gitlab", world.alice.issuer.as_str()),
        ("nearly a trusted one", "gitlab", "https://gitlab.com/"),
    ] {
        let subject = if provider == "github" { "repo:acme/web" } else { "project:acme/web" };
        let policy = json!({"vaultId": vault_id, "provider": provider, "issuer": issuer, "subject": subject,
            "allowedBranches": ["main"], "allowedEnvironments": ["production"], "allowForks": false})
        .to_string();
        let met =
            answer(&world.client, "create_policy", &[&Uuid::now_v7(), &NONE, &world.alice.token, &policy])
                .await?;
        assert_eq!(code(met), (400, "issuer_not_trusted".to_owned()), "{case}");
    }
    assert_eq!(world.value("select count(*) from lpm.oidc_policy")?, "1");
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn through_http_a_look_alikes_key_signs_for_itself_only() -> Result<()> {
    let stack = Stack::new().await?;
    let alice = stack.escrowed(&stack.seed.alice);
    let vault_id = alice.vault(&alice.gateway().await?).await?;
    let look_alike = Issuer::start()?;
    let database = stack.database();
    database.value(&format!(
        "select lpm.trust_issuer('github', '{}', allow_private_addresses => true)",
        look_alike.url()
    ))?;
    let token = |issuer: &Issuer| {
        let claims = serde_json::from_slice(&claims(issuer.url(), "main"))?;
        anyhow::Ok(TokenRequest { claims, ..TokenRequest::github() })
    };
    let pull = async |token: String| {
        let body = json!({"oidcToken": token, "vaultId": vault_id, "env": "production"});
        stack.gateway.post("/api/vault/oidc/pull", None, &body).await
    };
    let own = || look_alike.mint(&token(&look_alike)?);
    let deadline = Instant::now() + Duration::from_secs(30);
    while pull(own()?).await?.code() == "token_issuer" {
        ensure!(Instant::now() < deadline, "the gateway never learnt of the issuer");
    }
    let honest_kid = stack.issuer.jwks(Provider::GitHub)["keys"][0]["kid"].clone();
    let forged = token(&look_alike)?.claim("iss", stack.issuer.url());
    for (case, token, status, code) in [
        ("the same claims, its own name", own()?, 403, "no_policy"),
        ("the honest issuer's name, its own key id", look_alike.mint(&forged)?, 401, "token_key"),
        (
            "the honest issuer's name and key id",
            look_alike.mint(&forged.clone().header("kid", honest_kid))?,
            401,
            "token_signature",
        ),
    ] {
        let reply = pull(token).await?;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (status, code),
            "{case}: {}",
            reply.text()
        );
    }
    assert_eq!(database.value("select count(*) from lpm.audit_log where action like 'ci_%'")?, "0");
    let reply = pull(stack.issuer.mint(&token(&stack.issuer)?)?).await?;
    assert_eq!(reply.json()["vars"]["API_KEY"], SECRET, "{}", reply.text());
    Ok(())
}
