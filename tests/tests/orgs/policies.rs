//! Policies of an org's vault.

use crate::world::{Person, VAULT, World, refused, seen};
use anyhow::Result;
use lpm_tests::gateway::Reply;
use serde_json::json;

async fn allow(world: &World, who: &Person) -> Result<Reply> {
    let policy = json!({"vaultId": VAULT, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false, "scope": "org", "org": "acme"});
    world.post(who, "/api/vault/oidc/policies", &policy).await
}

#[tokio::test]
async fn only_those_who_lead_open_an_orgs_vault_to_ci() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    for who in [&world.dan, &world.mia] {
        let reply = allow(&world, who).await?;
        assert_eq!(seen(&reply), refused(403, "org_role"), "{}", who.handle);
        let list = world.get(who, &format!("/api/vault/oidc/policies?vaultId={VAULT}&org=acme")).await?;
        assert_eq!(seen(&list), refused(403, "org_role"), "{}", who.handle);
    }
    assert_eq!(seen(&allow(&world, &world.eve).await?), refused(404, "org_unknown"));
    let created = allow(&world, &world.alice).await?;
    assert_eq!(created.status.as_u16(), 201, "{}", created.text());
    let org = world.sql("select id from lpm.org where slug = 'acme'")?;
    assert_eq!(created.member("owner"), org);
    let list =
        world.get(&world.olga, &format!("/api/vault/oidc/policies?vaultId={VAULT}&org=acme")).await?.json();
    assert_eq!((&list["owner"], &list["escrow"]), (&json!(org), &json!("off")));
    assert_eq!(
        (&list["policies"][0]["author"], &list["policies"][0]["subject"]),
        (&json!("alice"), &json!("repo:acme/web"))
    );
    let id = created.member("id");
    for who in [&world.dan, &world.mia, &world.eve] {
        let revoked = world.delete(who, &format!("/api/vault/oidc/policies/{id}")).await?;
        assert_eq!(seen(&revoked), refused(404, "policy_unknown"), "{}", who.handle);
        let plain = world.get(who, &format!("/api/vault/oidc/policies?vaultId={VAULT}")).await?.json();
        assert_eq!(plain["policies"], json!([]), "{}", who.handle);
    }
    assert_eq!(
        world.delete(&world.olga, &format!("/api/vault/oidc/policies/{id}")).await?.status.as_u16(),
        200
    );
    Ok(())
}

#[tokio::test]
async fn an_orgs_list_shows_the_orgs_policies_only() -> Result<()> {
    let world = World::new().await?;
    let alice = world.stack.escrowed(&world.alice.token);
    let client = alice.gateway().await?;
    alice.push(&client, VAULT).await?;
    alice.allow_with(&client, VAULT, &json!({"subject": "repo:alice/own"})).await?;
    world.shared().await?;
    allow(&world, &world.alice).await?;
    let subjects = async |query: &str| {
        let path = format!("/api/vault/oidc/policies?vaultId={VAULT}{query}");
        let list = world.get(&world.alice, &path).await?.json();
        let subjects: Vec<String> = list["policies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|policy| Some(policy["subject"].as_str()?.to_owned()))
            .collect();
        Ok::<_, anyhow::Error>(subjects)
    };
    assert_eq!(subjects("&org=acme").await?, ["repo:acme/web"]);
    assert_eq!(subjects("").await?, ["repo:alice/own", "repo:acme/web"]);
    Ok(())
}

#[tokio::test]
async fn an_org_policy_takes_an_org_plan_and_a_downgrade_keeps_it() -> Result<()> {
    let world = World::new().await?;
    world.shared().await?;
    assert_eq!(allow(&world, &world.alice).await?.status.as_u16(), 201);
    for plan in ["pro", "free"] {
        world.sql(&format!("select lpm.set_plan('acme', '{plan}')"))?;
        let reply = allow(&world, &world.alice).await?;
        assert_eq!(
            (seen(&reply), reply.member("error")),
            (refused(403, "plan_org_policy"), "Org-scoped policies require an Org plan".to_owned())
        );
    }
    assert_eq!(world.sql("select count(*) from lpm.oidc_policy")?, "1");
    world.sql("select lpm.set_plan('acme', 'org')")?;
    assert_eq!(allow(&world, &world.alice).await?.status.as_u16(), 201);
    Ok(())
}
