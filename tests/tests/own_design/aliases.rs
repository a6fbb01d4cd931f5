//! Aliases under attack: a name of the pushed `schema.envConfig` leads to an environment that a policy permits,
//! and only where the vault has none of that name.

use crate::{NONE, World};
use anyhow::{Context, Result};
use lpm_core::bearer::{self, Kind};
use lpm_tests::escrowed::{Escrowed, answer, code};
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// `production` and `staging` as named environments, and one whose name holds a control character.
const PAYLOAD: &str = r#"{"environments":{"default":{"A":"1"},"production":{"API_KEY":"sk-live-marker-4711"},
    "staging":{"API_KEY":"sk-staging"},"pre\tview":{"API_KEY":"sk-preview"}}}"#;

/// Pushes the vault's ciphertext again, with these aliases.
async fn push_aliases(world: &World, who: &Escrowed, vault_id: &str, aliases: &Value) -> Result<()> {
    let pull: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &who.token, &vault_id];
    let (status, stored) = answer(&world.client, "pull", &pull).await?;
    let text = |name: &str| stored[name].as_str().context(status);
    let config: serde_json::Map<String, Value> = aliases
        .as_object()
        .into_iter()
        .flatten()
        .map(|(alias, canonical)| (alias.clone(), json!({"canonical": canonical})))
        .collect();
    let schema = json!({"version": 2, "envConfig": config}).to_string();
    let push: [&(dyn ToSql + Sync); 10] = [
        &Uuid::now_v7(),
        &NONE,
        &who.token,
        &vault_id,
        &text("encryptedBlob")?,
        &text("wrappedKey")?,
        &None::<i32>,
        &true,
        &NONE,
        &schema,
    ];
    let (status, body) = answer(&world.client, "push", &push).await?;
    anyhow::ensure!(status == 200, "push: {status} {body}");
    Ok(())
}

/// A vault with these aliases, for policies that allow these environments.
async fn vault(world: &World, payload: &str, aliases: &Value, allowed: &Value) -> Result<String> {
    let vault_id = Uuid::new_v4().to_string();
    world.alice.push_payload(&world.client, &vault_id, payload).await?;
    push_aliases(world, &world.alice, &vault_id, aliases).await?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"allowedEnvironments": allowed})).await?;
    world.alice.escrow(&world.client, &vault_id).await?;
    Ok(vault_id)
}

#[tokio::test]
async fn an_alias_reaches_nothing_that_its_policies_do_not_permit_and_shadows_nothing() -> Result<()> {
    let world = World::new().await?;
    let (denied, absent) =
        ("ci_pull denied environment_not_allowed", "ci_pull granted, ci_open failed environment_absent");
    let shadowed = "ci_pull granted, ci_open denied environment_not_allowed";
    for (case, aliases, allowed, asked, refusal, trail) in [
        (
            "to a forbidden environment",
            json!({"prod": "production"}),
            json!(["staging"]),
            "prod",
            403,
            denied,
        ),
        (
            "allowed by its own name, to a forbidden environment",
            json!({"ci": "production"}),
            json!(["ci"]),
            "ci",
            404,
            absent,
        ),
        (
            "of a chain whose end is allowed",
            json!({"a": "b", "b": "production"}),
            json!(["production"]),
            "a",
            403,
            denied,
        ),
        (
            "of a chain whose middle is allowed",
            json!({"a": "b", "b": "production"}),
            json!(["b"]),
            "a",
            404,
            absent,
        ),
        (
            "of a chain under a policy for everything",
            json!({"a": "b", "b": "production"}),
            json!([]),
            "a",
            404,
            absent,
        ),
        ("to itself", json!({"prod": "prod"}), json!(["production"]), "prod", 403, denied),
        ("of a circle", json!({"a": "b", "b": "a"}), json!(["a", "b"]), "a", 404, absent),
        (
            "named like a forbidden environment",
            json!({"staging": "production"}),
            json!(["production"]),
            "staging",
            403,
            shadowed,
        ),
        (
            "named like `default`",
            json!({"default": "production"}),
            json!(["production"]),
            "default",
            403,
            shadowed,
        ),
        ("in another case", json!({"prod": "production"}), json!(["production"]), "Prod", 403, denied),
        (
            "to a name that only looks alike",
            json!({"prod": "production "}),
            json!(["production"]),
            "prod",
            403,
            denied,
        ),
        ("to nothing", json!({"prod": ""}), json!(["production"]), "prod", 403, denied),
        ("in reverse", json!({"prod": "production"}), json!(["prod"]), "production", 403, denied),
        (
            "named like one with a control character",
            json!({"pre\tview": "production"}),
            json!(["production"]),
            "pre\tview",
            403,
            denied,
        ),
        (
            "named like a mark that `serde_json` keeps for itself",
            json!({"$serde_json::private::RawValue": "production"}),
            json!(["production"]),
            "prod",
            403,
            denied,
        ),
    ] {
        let vault_id = vault(&world, PAYLOAD, &aliases, &allowed).await?;
        let met = world.job().environment(asked).pull(&world.client, &vault_id).await?;
        let code = if refusal == 404 { "environment_absent" } else { "environment_not_allowed" };
        world.refused(case, &met, (refusal, code), trail)?;
        assert!(!met.body.to_string().contains("sk-"), "{case}: {}", met.body);
        world.alice.allow(&world.client, &vault_id).await?;
        world.serves(world.job(), &vault_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_environment_wins_over_an_alias_of_its_name() -> Result<()> {
    let world = World::new().await?;
    let aliases = json!({"staging": "production", "production": "staging", "pre\tview": "production"});
    let vault_id = vault(&world, PAYLOAD, &aliases, &json!([])).await?;
    for (name, value) in [("staging", "sk-staging"), ("pre\tview", "sk-preview")] {
        let met = world.job().environment(name).pull(&world.client, &vault_id).await?;
        assert_eq!(met.body, json!({"env": name, "vars": {"API_KEY": value}}));
    }
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn a_flat_vault_is_its_default_environment_whatever_an_alias_says() -> Result<()> {
    let world = World::new().await?;
    let flat = r#"{"API_KEY":"sk-live-marker-4711"}"#;
    let vault_id = vault(&world, flat, &json!({"default": "production"}), &json!(["production"])).await?;
    let met = world.job().environment("default").pull(&world.client, &vault_id).await?;
    let trail = "ci_pull granted, ci_open denied environment_not_allowed";
    world.refused("default", &met, (403, "environment_not_allowed"), trail)?;
    let met = world.job().pull(&world.client, &vault_id).await?;
    let trail = "ci_pull granted, ci_open failed environment_absent";
    world.refused("production", &met, (404, "environment_absent"), trail)?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"allowedEnvironments": ["default"]})).await?;
    world.serves(world.job().environment("default"), &vault_id).await
}

#[tokio::test]
async fn aliases_of_somebody_elses_row_lead_nowhere() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let vault_id = world.alice.vault(&world.client).await?;
    mallory.push(&world.client, &vault_id).await?;
    let aliases = json!({"preview": "production", "production": "staging"});
    push_aliases(&world, &mallory, &vault_id, &aliases).await?;
    let met = world.job().environment("preview").pull(&world.client, &vault_id).await?;
    world.refused(
        "hers",
        &met,
        (403, "environment_not_allowed"),
        "ci_pull denied environment_not_allowed",
    )?;
    world.serves(world.job(), &vault_id).await?;
    push_aliases(&world, &world.alice, &vault_id, &json!({"preview": "production"})).await?;
    world.serves(world.job().environment("preview"), &vault_id).await
}

#[tokio::test]
async fn an_exchanged_token_follows_no_alias_that_was_pushed_later() -> Result<()> {
    let world = World::new().await?;
    let vault_id = vault(&world, PAYLOAD, &json!({"prod": "production"}), &json!(["production"])).await?;
    let exchange = async |seed: u8, environment: &str| {
        let hash = bearer::hash(bearer::token(Kind::Ci, &[seed; 32]).expose()).to_vec();
        let met = world.job().environment(environment).exchange(&world.client, &vault_id, &hash).await?;
        anyhow::ensure!(met.status == 200, "{}", met.body);
        Ok(hash)
    };
    let pull = async |hash: &Vec<u8>, environment: &str| {
        let request = Uuid::now_v7();
        let asked: [&(dyn ToSql + Sync); 5] = [&request, &NONE, hash, &vault_id, &environment];
        let decided = answer(&world.client, "decide_ci", &asked).await?;
        if decided.0 != 200 {
            return Ok::<_, anyhow::Error>(decided);
        }
        answer(&world.client, "open", &[&request]).await
    };
    let token = exchange(1, "prod").await?;
    assert_eq!(pull(&token, "prod").await?.1["env"], "production");
    let met = pull(&token, "production").await?;
    assert_eq!(code(met), (403, "ci_token_scope".to_owned()), "the token is for the name that was exchanged");
    push_aliases(&world, &world.alice, &vault_id, &json!({"prod": "staging"})).await?;
    let met = pull(&token, "prod").await?;
    assert_eq!(
        code(met),
        (403, "environment_not_allowed".to_owned()),
        "what it leads to now is not permitted"
    );
    let last = "select concat_ws(' ', action, decision, reason, environment) from lpm.audit_log order by id desc limit 1";
    assert_eq!(world.value(last)?, "ci_pull denied environment_not_allowed prod");
    push_aliases(&world, &world.alice, &vault_id, &json!({"prod": "production"})).await?;
    let token = exchange(2, "prod").await?;
    assert_eq!(pull(&token, "prod").await?.1["env"], "production");
    world.serves(world.job(), &vault_id).await
}
