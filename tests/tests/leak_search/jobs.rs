//! Jobs that pull, granted and denied in every way, in one step and in two; and what a developer asks about them.

use crate::client::{Vault, job};
use crate::world::World;
use anyhow::{Result, ensure};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::{Algorithm, SignWith, TokenRequest};
use reqwest::Method;
use serde_json::{Value, json};

/// Tokens that grant nothing, and the status.
fn refused() -> [(&'static str, TokenRequest, u16); 22] {
    let github = TokenRequest::github;
    [
        ("another branch", job().branch("feature/x"), 403),
        ("a tag", job().claim("ref", "refs/tags/main"), 403),
        ("a pull request", job().event("pull_request"), 403),
        ("an unknown event", job().event("party"), 403),
        ("a stranger", github().repository("evil/web"), 403),
        ("another repository of that name", job().claim("repository_id", "666"), 403),
        ("another owner of that name", job().claim("repository_owner_id", "666"), 403),
        ("another audience", job().audience("https://elsewhere.example"), 401),
        ("another issuer", job().claim("iss", "https://elsewhere.example"), 401),
        ("expired", job().claim("iat", 1_600_000_000).claim("exp", 1_600_000_300), 401),
        ("not yet valid", job().claim("nbf", 4_000_000_000_u64), 401),
        ("valid too long", job().claim("exp", 4_000_000_000_u64), 401),
        ("without an id", job().without("jti"), 401),
        ("with a number as a repository", job().claim("repository", 5), 401),
        ("with a list as a ref", job().claim("ref", json!(["refs/heads/main"])), 401),
        ("of another key", job().key(SignWith::Stranger), 401),
        ("of no algorithm", job().algorithm(Algorithm::None), 401),
        ("of the public key", job().key(SignWith::PublicPem).algorithm(Algorithm::HS256), 401),
        ("without a key id", job().without_header("kid"), 401),
        ("of an unknown key", job().header("kid", "nobody's"), 401),
        ("with a key of its own", job().header("jku", "https://elsewhere.example"), 401),
        ("with claims that are no JSON", job().payload("{\"iss\":"), 401),
    ]
}

pub(crate) async fn play(world: &mut World, round: usize) -> Result<()> {
    let secret = world.markers.secret("value for jobs");
    let payload =
        json!({"environments": {"production": {"API_KEY": secret}, "staging": {"API_KEY": "x"}}}).to_string();
    let vault = Vault::opened(world, &format!("jobs-{round}"), "jo", payload.as_bytes()).await?;
    granted(world, &vault, &secret).await?;
    denied(world, &vault).await?;
    tokens_in_between(world, &vault).await?;
    developer(world, &vault).await?;
    closed(world, &vault).await
}

async fn granted(world: &mut World, vault: &Vault, secret: &str) -> Result<()> {
    for _ in 0..3 {
        let jwt = world.mint("of the job", &job())?;
        expect(200, "one step", &vault.one_step(world, &jwt, "production").await?)?;
        expect(403, "the same token again", &vault.one_step(world, &jwt, "production").await?)?;
        let jwt = world.mint("of the job in two steps", &job())?;
        let exchanged = vault.exchange(world, &jwt, "production").await?;
        expect(200, "the first of two steps", &exchanged)?;
        let pulled = vault.ci_pull(world, &exchanged.member("token"), "production").await?;
        ensure!(pulled.text().contains(secret), "two steps: {}", pulled.text());
    }
    Ok(())
}

async fn denied(world: &mut World, vault: &Vault) -> Result<()> {
    for (case, request, status) in refused() {
        for two_steps in [false, true] {
            let jwt = world.mint(case, &request)?;
            let reply = match two_steps {
                false => vault.one_step(world, &jwt, "production").await?,
                true => vault.exchange(world, &jwt, "production").await?,
            };
            expect(status, case, &reply)?;
        }
    }
    for (case, environment) in
        [("an environment that is not allowed", "staging"), ("one that is not there", "nowhere")]
    {
        let jwt = world.mint(case, &job())?;
        expect(403, case, &vault.one_step(world, &jwt, environment).await?)?;
    }
    let jwt = world.mint("that was changed", &job())?;
    for (case, changed) in [("cut", &jwt[..jwt.len() - 2]), ("unsigned", jwt.trim_end_matches(|c| c != '.'))]
    {
        expect(401, case, &vault.one_step(world, changed, "production").await?)?;
    }
    expect(401, "longer", &vault.one_step(world, &format!("{jwt}AA"), "production").await?)?;
    let lost = Vault { id: "no-such-vault".to_owned(), token: String::new(), wrapping_key: [0; 32] };
    expect(403, "a vault that is not there", &lost.one_step(world, &jwt, "production").await?)
}

async fn tokens_in_between(world: &mut World, vault: &Vault) -> Result<()> {
    let jwt = world.mint("for a CI token", &job())?;
    let token = vault.exchange(world, &jwt, "production").await?.member("token");
    expect(403, "another environment", &vault.ci_pull(world, &token, "staging").await?)?;
    let reply =
        world.request(Method::GET, "/api/vaults/other/ci-pull?env=production", Some(&token)).send().await?;
    expect(403, "another vault", &Reply::read(reply).await?)?;
    expect(200, "the third use", &vault.ci_pull(world, &token, "production").await?)?;
    expect(401, "the fourth use", &vault.ci_pull(world, &token, "production").await?)?;
    expect(401, "a cut CI token", &vault.ci_pull(world, &token[..40], "production").await?)?;
    let pulled = vault.pull(world, &token).await?;
    ensure!(pulled.status.is_client_error(), "a CI token for a developer's pull: {}", pulled.text());
    Ok(())
}

async fn developer(world: &mut World, vault: &Vault) -> Result<()> {
    expect(200, "a developer's pull", &vault.pull(world, &vault.token).await?)?;
    let other = world.token("other")?;
    expect(404, "another account's pull", &vault.pull(world, &other).await?)?;
    for path in ["/api/vaults", &format!("/api/vaults/{}/audit", vault.id), "/api/vault/oidc/escrow-key"] {
        let reply = world.request(Method::GET, path, Some(&vault.token)).send().await?;
        expect(200, path, &Reply::read(reply).await?)?;
    }
    for (case, request, status) in
        [("a job that would be granted", job(), 200), ("another key", job().key(SignWith::Stranger), 401)]
    {
        let jwt = world.mint(case, &request)?;
        let body = json!({"vaultId": vault.id, "env": "production", "oidcToken": jwt}).to_string();
        expect(status, case, &world.post("/api/vault/oidc/explain", Some(&vault.token), body).await?)?;
    }
    Ok(())
}

/// A push of another machine, then a policy less, then no escrow: each ends the pulls in its own way.
async fn closed(world: &mut World, vault: &Vault) -> Result<()> {
    let secret = world.markers.secret("value of another machine");
    let wrapping_key = world.key("wrapping key of a second machine")?;
    let second = Vault { id: vault.id.clone(), token: vault.token.clone(), wrapping_key };
    second.push(world, json!({"environments": {"production": {"A": secret}}}).to_string().as_bytes()).await?;
    let jwt = world.mint("after another machine's push", &job())?;
    expect(409, "a stale escrow", &vault.one_step(world, &jwt, "production").await?)?;

    let path = format!("/api/vault/oidc/escrow?vaultId={}", vault.id);
    let reply = world.request(Method::DELETE, &path, Some(&vault.token)).send().await?;
    expect(200, "escrow off", &Reply::read(reply).await?)?;
    let jwt = world.mint("after the escrow was switched off", &job())?;
    expect(403, "no escrow", &vault.one_step(world, &jwt, "production").await?)?;

    let path = format!("/api/vault/oidc/policies?vaultId={}", vault.id);
    let listed = Reply::read(world.request(Method::GET, &path, Some(&vault.token)).send().await?).await?;
    for policy in listed.json()["policies"].as_array().into_iter().flatten() {
        let path = format!("/api/vault/oidc/policies/{}", policy["id"].as_str().unwrap_or_default());
        let reply = world.request(Method::DELETE, &path, Some(&vault.token)).send().await?;
        expect(200, "revoke", &Reply::read(reply).await?)?;
    }
    let jwt = world.mint("after the policy was revoked", &job())?;
    expect(403, "no policy", &vault.one_step(world, &jwt, "production").await?)
}

fn expect(status: u16, case: &str, reply: &Reply) -> Result<()> {
    ensure!(
        reply.status.as_u16() == status,
        "{case}: {} instead of {status}: {}",
        reply.status,
        reply.text()
    );
    ensure!(status == 200 || reply.json()["vars"] == Value::Null, "{case}: {}", reply.text());
    Ok(())
}
