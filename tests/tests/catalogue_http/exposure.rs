//! P27, P28: what a denial says, and to whom; what callers learn of policies and vaults that are not theirs.

use crate::world::{EXCHANGE, PULL, World, job, no_policy, seen};
use anyhow::{Context, Result};
use lpm_core::bearer::{self, Kind};
use lpm_core::envelope::aead;
use lpm_tests::gateway::Reply;
use lpm_tests::issuer::Issuer;
use lpm_tests::stack::ORG;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// Everything of an answer but what differs between any two.
fn comparable(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = reply
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), format!("{value:?}")))
        .collect();
    headers.sort();
    (reply.status.as_u16(), headers, reply.text())
}

#[tokio::test]
async fn p27_a_denial_tells_the_caller_nothing_that_only_the_owner_knows_and_the_owner_everything()
-> Result<()> {
    let world = World::new().await?;
    let job = || job().claim("repository_id", "42").claim("repository_owner_id", "7");
    for (name, policy, job, code, hidden) in [
        (
            "subject",
            json!({"subject": "repo:zq-owner/zq-repo"}),
            job(),
            "no_policy",
            &["zq-owner", "zq-repo"][..],
        ),
        (
            "ids",
            json!({"repositoryId": "909090", "ownerId": "707070"}),
            job(),
            "identity_changed",
            &["909090"],
        ),
        ("owner", json!({"repositoryId": "42", "ownerId": "707070"}), job(), "owner_changed", &["707070"]),
        (
            "old name",
            json!({"subject": "repo:zq-old/web", "repositoryId": "42", "ownerId": "707070"}),
            job(),
            "owner_changed",
            &["zq-old", "707070"],
        ),
        ("event", json!({"allowedEvents": ["merge_group"]}), job(), "event_not_allowed", &["merge_group"]),
        (
            "branches",
            json!({"allowedBranches": ["zq-branch/*"]}),
            job(),
            "branch_not_allowed",
            &["zq-branch"],
        ),
        (
            "tags",
            json!({"allowedBranches": [], "allowedTags": ["zq-tag"]}),
            job().claim("ref", "refs/tags/v1"),
            "tag_not_allowed",
            &["zq-tag"],
        ),
        (
            "environments",
            json!({"allowedEnvironments": ["zq-env"]}),
            job(),
            "environment_not_allowed",
            &["zq-env"],
        ),
        (
            "CI environment",
            json!({"ciEnvironment": "zq-deploy"}),
            job().claim("environment", "review"),
            "ci_environment_not_allowed",
            &["zq-deploy"],
        ),
        (
            "workflow",
            json!({"workflow": ".github/workflows/zq-file.yml"}),
            job(),
            "workflow_not_allowed",
            &["zq-file"],
        ),
        (
            "reusable workflow",
            json!({"reusableWorkflow": "zq-shared/ci/.github/workflows/x.yml@refs/heads/zq-ref"}),
            job(),
            "reusable_workflow_not_allowed",
            &["zq-shared", "zq-ref"],
        ),
        ("runner", json!({"runner": "self-hosted"}), job(), "runner_not_allowed", &["self-hosted"]),
        (
            "audience",
            json!({"audience": "https://zq.example"}),
            job(),
            "audience_not_allowed",
            &["zq.example"],
        ),
    ] {
        let vault_id = world.vault_with(&world.alice, &policy).await?;
        // a policy beside it, which did not come as far
        let sibling = json!({"subject": "repo:zq-sibling/zq-sibling", "allowedBranches": ["zq-sibling"], "allowedEnvironments": ["zq-sibling"]});
        world.alice.allow_with(&world.client, &vault_id, &sibling).await?;
        for path in [PULL, EXCHANGE] {
            let reply = world.post_for(path, &job, &vault_id, "production").await?;
            assert_eq!(seen(&reply), (403, code.to_owned()), "P27 {name}: {}", reply.text());
            let shown = format!("{:?}", comparable(&reply));
            for hidden in hidden.iter().chain(&["zq", "alice"]) {
                assert!(!shown.contains(hidden), "P27 {name} tells `{hidden}`: {shown}");
            }
            let members: Vec<String> =
                reply.json().as_object().context("an object")?.keys().cloned().collect();
            assert!(
                members.iter().all(|member| ["error", "code", "hint"].contains(&member.as_str())),
                "P27 {name}: {members:?}"
            );
        }
        let body = json!({"vaultId": vault_id, "env": "production", "oidcToken": world.issuer.mint(&job)?});
        let told =
            world.gateway.post("/api/vault/oidc/explain", Some(&world.stack.seed.alice), &body).await?;
        // an owner who asks about a stranger sees that no policy is theirs; the list shows whose they are
        let shown = match code {
            "no_policy" => {
                let path = format!("/api/vault/oidc/policies?vaultId={vault_id}");
                world.gateway.get(&path, Some(&world.stack.seed.alice)).await?.text()
            }
            _ => told.text(),
        };
        assert_eq!(told.json()["reason"], *code, "P27 {name}: {}", told.text());
        for hidden in hidden {
            assert!(shown.contains(hidden), "P27 {name}: the owner is not told `{hidden}`: {shown}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn p28_a_stranger_cannot_tell_any_vault_from_none() -> Result<()> {
    let world = World::new().await?;
    let other = Issuer::start()?;
    world.stack.database().value(&format!(
        "select lpm.trust_issuer('github', '{}', allow_private_addresses => true)",
        other.url()
    ))?;
    let others = json!({"subject": "repo:somebody/else"});
    let bob = world.stack.escrowed(&world.stack.account("bob", "pro").await?);
    let bare = Uuid::new_v4().to_string();
    world.alice.push(&world.client, &bare).await?;
    let unpushed = Uuid::new_v4().to_string();
    world.alice.allow_with(&world.client, &unpushed, &others).await?;
    let unescrowed = Uuid::new_v4().to_string();
    world.alice.push(&world.client, &unescrowed).await?;
    world.alice.allow_with(&world.client, &unescrowed, &others).await?;
    let revoked = world.vault_with(&world.alice, &json!({})).await?;
    world.stack.database().value(&format!("delete from lpm.oidc_policy where vault_id = '{revoked}'"))?;
    let free = world.vault_with(&bob, &others).await?;
    world.stack.database().value("select lpm.set_plan('bob', 'free')")?;
    let orgs = Uuid::new_v4().to_string();
    let of_org = json!({"subject": "repo:somebody/else", "scope": "org", "org": ORG});
    world.alice.allow_with(&world.client, &orgs, &of_org).await?;
    let vaults = [
        ("no vault", Uuid::new_v4().to_string(), None),
        ("no vault, in other words", "x".to_owned(), None),
        ("no policy, no escrow", bare, None),
        ("never pushed", unpushed, None),
        ("no escrow", unescrowed, None),
        ("a free plan", free, None),
        ("a policy of others", world.vault_with(&world.alice, &others).await?, None),
        (
            "a policy for another issuer",
            world.vault_with(&world.alice, &json!({"issuer": other.url()})).await?,
            None,
        ),
        ("an org's", orgs, None),
        ("a policy that is revoked", revoked, None),
        ("another owner than lpm.json names", world.vault_id.clone(), Some(Uuid::new_v4())),
        ("no vault of that owner", Uuid::new_v4().to_string(), Some(Uuid::new_v4())),
    ];
    for path in [PULL, EXCHANGE] {
        let mut first = None;
        for (name, vault_id, owner) in &vaults {
            let body = json!({"oidcToken": world.issuer.mint(&job())?, "vaultId": vault_id, "env": "production", "owner": owner});
            let reply = world.gateway.post(path, None, &body).await?;
            assert_eq!(seen(&reply), no_policy(), "P28 {name}, {path}: {}", reply.text());
            assert_eq!(world.audited(&reply)?, "", "P28 {name}: counted, not audited");
            assert_eq!(&comparable(&reply), first.get_or_insert(comparable(&reply)), "P28 {name}, {path}");
        }
    }
    // a CI token that nobody issued, at a vault and at none; and one that is good for another vault
    let invented = bearer::token(Kind::Ci, &aead::random()?);
    let invented = invented.expose_str().context("text")?;
    let pull = async |vault_id: &str, token: &str| {
        world.gateway.get(&format!("/api/vaults/{vault_id}/ci-pull?env=production"), Some(token)).await
    };
    let elsewhere = world.vault_with(&world.alice, &others).await?;
    let nowhere = Uuid::new_v4().to_string();
    let (there, none) = (pull(&world.vault_id, invented).await?, pull(&nowhere, invented).await?);
    assert_eq!(seen(&there), (401, "ci_token_invalid".to_owned()));
    assert_eq!(comparable(&there), comparable(&none), "P28 an invented CI token");
    let ci_token =
        world.gateway.post(EXCHANGE, None, &world.ask(world.issuer.mint(&job())?)).await?.member("token");
    let (there, none) = (pull(&elsewhere, &ci_token).await?, pull(&nowhere, &ci_token).await?);
    assert_eq!(seen(&there), (403, "ci_token_scope".to_owned()));
    assert_eq!(comparable(&there), comparable(&none), "P28 a CI token of another vault");
    Ok(())
}

#[tokio::test]
async fn p28_an_account_cannot_tell_anothers_vault_from_none() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.stack.account("mallory", "org").await?;
    let policy = world.stack.database().value("select id from lpm.oidc_policy limit 1")?;
    let claims = json!({"repository": "acme/web"});
    for (method, path, body) in [
        (Method::GET, "/api/vaults/ID/sync", Value::Null),
        (Method::GET, "/api/vaults/ID/audit", Value::Null),
        (Method::GET, "/api/vault/oidc/policies?vaultId=ID", Value::Null),
        (Method::POST, "/api/vault/oidc/repin", json!({"vaultId": "ID", "subject": "repo:acme/web"})),
        (
            Method::POST,
            "/api/vault/oidc/explain",
            json!({"vaultId": "ID", "claims": claims, "env": "production"}),
        ),
        (Method::DELETE, "/api/vault/oidc/escrow?vaultId=ID", Value::Null),
        (Method::DELETE, "/api/vault/oidc/policies/ID", Value::Null),
    ] {
        let there = if path.ends_with("policies/ID") { &policy } else { &world.vault_id };
        let mut answers = Vec::new();
        for id in [there, &Uuid::new_v4().to_string()] {
            let request =
                world.gateway.request(method.clone(), &path.replace("ID", id)).bearer_auth(&mallory);
            let request = match &body {
                Value::Null => request,
                body => request
                    .header("content-type", "application/json")
                    .body(body.to_string().replace("ID", id)),
            };
            let (status, headers, text) = comparable(&Reply::read(request.send().await?).await?);
            // the signature of a pull covers the body, which names the id
            answers.push((status, headers, text.replace(id, "ID")));
        }
        assert_eq!(answers[0], answers[1], "P28 {method} {path}");
    }
    Ok(())
}
