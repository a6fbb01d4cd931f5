//! P31, P32: what a policy shows of somebody else's runs, and what a CI token opens.

use crate::world::{EXCHANGE, PULL, World, granted, job, seen};
use anyhow::{Context, Result};
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::TokenRequest;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn p31_a_policy_on_a_strangers_project_shows_nothing_of_that_projects_runs() -> Result<()> {
    let world = World::new().await?;
    let bobs = world.stack.account("bob", "pro").await?;
    let bob = world.stack.escrowed(&bobs);
    let ids = || {
        TokenRequest::github()
            .repository("bob/app")
            .claim("repository_id", "4242")
            .claim("repository_owner_id", "77")
    };
    let bobs_vault = world.vault_with(&bob, &json!({"subject": "repo:bob/app"})).await?;
    // the ids are public, so whoever likes can name them
    let guessed =
        json!({"subject": "repo:bob/app", "repositoryId": "4242", "ownerId": "77", "allowedBranches": []});
    let alices_vault = world.vault_with(&world.alice, &guessed).await?;
    // … and the vault id of a committed lpm.json, for a row of her own
    world.alice.push(&world.client, &bobs_vault).await?;

    for (branch, environment, status) in
        [("main", "production", 200), ("x", "production", 403), ("main", "staging", 403)]
    {
        let reply = world.post_for(PULL, &ids().branch(branch), &bobs_vault, environment).await?;
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
    }
    let trail = async |token: &str, vault_id: &str| -> Result<Vec<String>> {
        let reply = world.gateway.get(&format!("/api/vaults/{vault_id}/audit"), Some(token)).await?;
        let reply = reply.json();
        let entries = reply["entries"].as_array().context("entries")?;
        Ok(entries.iter().map(|entry| entry["action"].as_str().unwrap_or_default().to_owned()).collect())
    };
    let alice = world.stack.seed.alice.as_str();
    let runs = |actions: Vec<String>| actions.into_iter().filter(|action| action == "ci_pull").count();
    assert_eq!(runs(trail(&bobs, &bobs_vault).await?), 3, "P31: bob sees his own");
    assert_eq!(runs(trail(alice, &alices_vault).await?), 0, "P31: her policy harvests nothing");
    assert_eq!(
        trail(alice, &bobs_vault).await?,
        ["push"],
        "P31: nor does her row under his vault's id, beyond her own push"
    );
    let listed =
        world.gateway.get(&format!("/api/vault/oidc/policies?vaultId={bobs_vault}"), Some(alice)).await?;
    assert_eq!(listed.json()["policies"], json!([]), "P31: {}", listed.text());

    // a run of bob's that asks for her vault is hers to see, and not his
    assert_eq!(seen(&world.post_for(PULL, &ids(), &alices_vault, "production").await?), granted());
    assert_eq!(runs(trail(alice, &alices_vault).await?), 1);
    assert_eq!(runs(trail(&bobs, &alices_vault).await?), 0);
    assert_eq!(runs(trail(&bobs, &bobs_vault).await?), 3);
    Ok(())
}

/// The request lines of every route, from their own documentation: a new one cannot be forgotten here.
fn routes() -> Result<Vec<(Method, String)>> {
    let sources = lpm_tests::sources::routes()?;
    let lines = sources.lines();
    Ok(lines
        .filter_map(|line| line.trim().strip_prefix("/// `")?.strip_suffix('`')?.split_once(' '))
        .filter_map(|(method, path)| Some((method.parse().ok()?, path.to_owned())))
        .filter(|(_, path)| path.starts_with('/'))
        .collect())
}

#[tokio::test]
async fn p32_a_ci_token_opens_its_vault_once_and_no_other_route() -> Result<()> {
    let world = World::new().await?;
    // the widest grant there is: every branch, every environment, a vault of an org's admin
    let vault_id = world
        .vault_with(
            &world.alice,
            &json!({"allowedBranches": [], "allowedEnvironments": [], "allowForks": true}),
        )
        .await?;
    let policy = world
        .stack
        .database()
        .value(&format!("select id from lpm.oidc_policy where vault_id = '{vault_id}'"))?;
    let token = world.post_for(EXCHANGE, &job(), &vault_id, "production").await?.member("token");
    let stored = || {
        world.stack.database().value(
            "select md5(string_agg(t, ',' order by t)) from (select v::text t from lpm.vault_sync v union all select p::text from lpm.oidc_policy p
               union all select n::text from lpm.oidc_subject_pin n union all select c::text from lpm.vault_claim c
               union all select k::text from lpm.ci_token k union all select u::text from lpm.oidc_token_use u) x",
        )
    };
    let before = stored()?;
    let wide = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:evil/web", "allowedBranches": [], "allowedEnvironments": [],
        "allowForks": true, "oidcToken": token, "env": "production", "claims": {"repository": "acme/web"}, "wrappingKeyHex": "00".repeat(32),
        "encryptedBlob": "x", "wrappedKey": "x", "force": true});
    let routes = routes()?;
    assert!(routes.len() >= 18, "the routes were not found: {routes:?}");
    let open = ["/healthz", "/readyz", "/openapi.json", "/api/registry/health"];
    for (method, path) in
        routes.iter().filter(|(_, path)| !open.contains(&path.as_str()) && !path.contains("ci-pull"))
    {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path.replace("{vault}", &vault_id).replace("{policy}", &policy);
        let query = if query.starts_with("vaultId") { format!("?vaultId={vault_id}") } else { String::new() };
        let request = world.gateway.request(method.clone(), &format!("{path}{query}")).bearer_auth(&token);
        let reply = Reply::read(request.json(&wide).send().await?).await?;
        let expected = match path.as_str() {
            // here the token stands in the body, and is none
            PULL | EXCHANGE => (401, "token_malformed".to_owned()),
            // these look at nothing but their body
            "/api/cli/exchange" | "/api/cli/refresh" => (400, "bad_request".to_owned()),
            // and these are nobody's
            path if path.contains("/platforms/") => (501, "not_implemented".to_owned()),
            _ => (403, "ci_token_scope".to_owned()),
        };
        assert_eq!(seen(&reply), expected, "P32 {method} {path}: {}", reply.text());
        assert_eq!(stored()?, before, "P32 {method} {path} changed something");
    }
    // in SQL, where no gateway looks at the token's kind first
    let ci = world.stack.escrowed(&token);
    assert!(
        ci.allow(&world.client, &vault_id)
            .await
            .is_err_and(|error| format!("{error:#}").contains("unauthorized")),
        "P32"
    );
    assert_eq!(stored()?, before);
    let ci_pull = format!("/api/vaults/{vault_id}/ci-pull?env=production");
    assert_eq!(
        seen(&world.gateway.get(&ci_pull, Some(&token)).await?),
        granted(),
        "P32: and it was good all the time"
    );
    Ok(())
}
