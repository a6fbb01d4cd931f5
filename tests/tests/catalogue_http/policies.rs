//! P25, P33, P34: policies are what is stored, from the next request on, and nothing is a no.

use crate::world::{EXCHANGE, PULL, World, granted, job, no_policy, seen};
use anyhow::{Context, Result};
use lpm_tests::escrowed::{answer, claims, code};
use lpm_tests::gateway::{Gateway, Reply};
use lpm_tests::issuer::{Provider, TokenRequest};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

const POLICIES: &str = "/api/vault/oidc/policies";

/// Main of `acme/api`, and what is changed in it.
fn policy(world: &World, changes: &Value) -> Value {
    let mut policy = json!({"vaultId": world.vault_id, "provider": "github", "subject": "repo:acme/api", "allowedBranches": ["main", "release/*"],
        "allowedEnvironments": ["production", "staging"], "allowForks": false});
    for (name, value) in changes.as_object().into_iter().flatten() {
        policy[name] = value.clone();
    }
    policy
}

async fn create(world: &World, changes: &Value) -> Result<String> {
    let reply = world.gateway.post(POLICIES, Some(&world.stack.seed.alice), &policy(world, changes)).await?;
    assert_eq!(reply.status.as_u16(), 201, "{changes}: {}", reply.text());
    Ok(reply.member("id"))
}

async fn revoke(gateway: &Gateway, world: &World, id: &str) -> Result<Reply> {
    gateway.delete(&format!("{POLICIES}/{id}"), Some(&world.stack.seed.alice)).await
}

#[tokio::test]
async fn p25_the_same_policy_twice_is_one_and_a_changed_one_is_another() -> Result<()> {
    let world = World::new().await?;
    let count = || {
        world.stack.database().value("select count(*) from lpm.oidc_policy where subject = 'repo:acme/api'")
    };
    let first = create(&world, &json!({})).await?;
    for (name, changes) in [
        ("the very same", json!({})),
        (
            "lists in another order",
            json!({"allowedBranches": ["release/*", "main"], "allowedEnvironments": ["staging", "production"]}),
        ),
        ("items twice", json!({"allowedBranches": ["main", "main", "release/*"]})),
        ("the subject in another case", json!({"subject": "repo:ACME/Api"})),
        (
            "what is left out written down",
            json!({"issuer": world.issuer.url(), "scope": "personal", "protectedRefOnly": false}),
        ),
        ("null is absent", json!({"runner": null, "workflow": null})),
    ] {
        assert_eq!(create(&world, &changes).await?, first, "P25 {name}");
        assert_eq!(count()?, "1", "P25 {name}");
    }
    let mut same = JoinSet::new();
    for n in 0..16 {
        let request = world.gateway.request(Method::POST, POLICIES).bearer_auth(&world.stack.seed.alice);
        let request =
            request.json(&policy(&world, &json!({"allowedBranches": [format!("at-once-{}", n % 2)]})));
        same.spawn(async move {
            Ok::<_, anyhow::Error>((n % 2, Reply::read(request.send().await?).await?.member("id")))
        });
    }
    let mut ids = std::collections::BTreeSet::new();
    while let Some(made) = same.join_next().await {
        ids.insert(made??);
    }
    assert_eq!((ids.len(), count()?.as_str()), (2, "3"), "P25: at once, {ids:?}");

    // a policy that differs stands beside the first: nothing is merged into it, nothing of it is lost
    let document = || {
        world
            .stack
            .database()
            .value(&format!("select document::text from lpm.oidc_policy where id = '{first}'"))
    };
    let before = document()?;
    let changed = create(&world, &json!({"allowedBranches": ["develop"]})).await?;
    assert_ne!(changed, first);
    assert_eq!(document()?, before, "P25: a stored policy never changes");
    for method in [Method::PUT, Method::PATCH, Method::POST] {
        let path = format!("{POLICIES}/{first}");
        let request = world.gateway.request(method.clone(), &path).bearer_auth(&world.stack.seed.alice);
        let reply =
            Reply::read(request.json(&policy(&world, &json!({"allowedBranches": []}))).send().await?).await?;
        assert_eq!(seen(&reply), (405, "method_not_allowed".to_owned()), "P25 {method}: {}", reply.text());
    }
    assert_eq!(document()?, before);
    // and ends alone
    assert_eq!(revoke(&world.gateway, &world, &changed).await?.status.as_u16(), 200);
    let api = |branch: &str| TokenRequest::github().repository("acme/api").branch(branch);
    assert_eq!(seen(&world.pull_by(&api("develop")).await?), (403, "branch_not_allowed".to_owned()), "P25");
    assert_eq!(seen(&world.pull_by(&api("main")).await?), granted(), "P25");
    Ok(())
}

/// How an owner or a DBA takes a right away.
enum Taken {
    Revoked,
    Narrowed,
    EscrowOff,
    Sql(&'static str),
}

#[tokio::test]
async fn p33_what_is_taken_away_counts_for_the_next_request_at_every_gateway_and_between_the_steps()
-> Result<()> {
    for (name, taken, pull, step) in [
        ("revoked", Taken::Revoked, (403, "no_policy"), (401, "ci_token_invalid")),
        ("narrowed", Taken::Narrowed, (403, "branch_not_allowed"), (401, "ci_token_invalid")),
        ("escrow off", Taken::EscrowOff, (403, "escrow_off"), (403, "escrow_off")),
        (
            "downgraded",
            Taken::Sql("select lpm.set_plan('alice', 'free')"),
            (403, "plan_ci_pull"),
            (403, "plan_ci_pull"),
        ),
        (
            "vault given away",
            Taken::Sql("select lpm.transfer_vault(vault_id, 'acme') from lpm.vault_claim"),
            (403, "no_policy"),
            (401, "ci_token_invalid"),
        ),
        (
            "vault deleted",
            Taken::Sql("select lpm.delete_vault(vault_id, 'alice') from lpm.vault_claim"),
            (403, "no_policy"),
            (401, "ci_token_invalid"),
        ),
        (
            "owner dropped",
            Taken::Sql("select lpm.drop_user('alice')"),
            (403, "no_policy"),
            (401, "ci_token_invalid"),
        ),
        (
            "pinned to others",
            Taken::Sql(
                "update lpm.oidc_subject_pin set subject_id = '1', owner_id = '1' where subject like 'repo:%'",
            ),
            (403, "identity_changed"),
            (403, "identity_changed"),
        ),
    ] {
        let world = World::new().await?;
        let second = world.another_gateway()?;
        // statements that are prepared and plans that are cached, at both
        for gateway in [&world.gateway, &second] {
            let reply = gateway.post(PULL, None, &world.ask(world.issuer.mint(&job())?)).await?;
            assert_eq!(seen(&reply), granted(), "P33 {name}: before, {}", reply.text());
        }
        let exchanged = second.post(EXCHANGE, None, &world.ask(world.issuer.mint(&job())?)).await?;
        let ci_token = exchanged.member("token");
        let ci_pull = format!("/api/vaults/{}/ci-pull?env=production", world.vault_id);
        let reply = second.get(&ci_pull, Some(&ci_token)).await?;
        assert_eq!(seen(&reply), granted(), "P33 {name}: before, {}", reply.text());

        let wide =
            world.stack.database().value("select id from lpm.oidc_policy where subject = 'repo:acme/web'")?;
        match taken {
            Taken::Sql(sql) => drop(world.stack.database().value(sql)?),
            Taken::EscrowOff => {
                let path = format!("/api/vault/oidc/escrow?vaultId={}", world.vault_id);
                assert_eq!(
                    world.gateway.delete(&path, Some(&world.stack.seed.alice)).await?.status.as_u16(),
                    200
                );
            }
            Taken::Revoked | Taken::Narrowed => {
                if matches!(taken, Taken::Narrowed) {
                    create(&world, &json!({"subject": "repo:acme/web", "allowedBranches": ["release"]}))
                        .await?;
                }
                assert_eq!(revoke(&world.gateway, &world, &wide).await?.status.as_u16(), 200);
            }
        }
        let reply = second.get(&ci_pull, Some(&ci_token)).await?;
        assert_eq!(
            seen(&reply),
            (step.0, step.1.to_owned()),
            "P33 {name}, between the steps: {}",
            reply.text()
        );
        for gateway in [&second, &world.gateway] {
            for path in [PULL, EXCHANGE] {
                let reply = gateway.post(path, None, &world.ask(world.issuer.mint(&job())?)).await?;
                assert_eq!(seen(&reply), (pull.0, pull.1.to_owned()), "P33 {name}, {path}: {}", reply.text());
            }
        }
    }
    Ok(())
}

impl World {
    /// What a pull of this vault meets once it meets anything but a grant, or once it is granted: the gateway reads
    /// the issuers again by itself.
    async fn settles(&self, vault_id: &str, on_a_grant: bool) -> Result<(u16, String)> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let met = seen(&self.post_for(PULL, &job(), vault_id, "production").await?);
            if (met == granted()) == on_a_grant || Instant::now() > deadline {
                return Ok(met);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn p34_nothing_configured_is_no() -> Result<()> {
    let world = World::new().await?;
    let nothing = "select 1";
    for (name, missing, mended, status, code) in [
        ("no policy", "delete from lpm.oidc_policy HERE", nothing, 403, "no_policy"),
        ("no claim of the vault id", "delete from lpm.vault_claim HERE", nothing, 403, "no_policy"),
        ("no vault", "delete from lpm.vault_sync HERE", nothing, 403, "escrow_off"),
        (
            "no escrow",
            "update lpm.vault_sync set ci_escrow_wrapping_key = null, escrow_kind = null HERE",
            nothing,
            403,
            "escrow_off",
        ),
        (
            "no key of that id",
            "update lpm.vault_sync set ci_escrow_wrapping_key = replace(ci_escrow_wrapping_key, '.dev.', '.gone.') HERE",
            nothing,
            503,
            "no_escrow_key",
        ),
        (
            "a policy that says nothing",
            "update lpm.oidc_policy set document = '{}' HERE",
            nothing,
            500,
            "internal",
        ),
        (
            "a policy without its branches",
            "update lpm.oidc_policy set document = (document::jsonb - 'allowedBranches')::json HERE",
            nothing,
            500,
            "internal",
        ),
        ("a policy of null", "update lpm.oidc_policy set document = 'null' HERE", nothing, 500, "internal"),
        (
            "no issuer",
            "create table saved as table lpm.oidc_issuer; delete from lpm.oidc_issuer",
            "insert into lpm.oidc_issuer table saved; drop table saved",
            401,
            "token_issuer",
        ),
        (
            "an issuer for nobody",
            "update lpm.oidc_issuer set audiences = '{}'",
            "update lpm.oidc_issuer set audiences = '{https://lpm.dev}'",
            401,
            "token_audience",
        ),
        (
            "an issuer without algorithms",
            "update lpm.oidc_issuer set algorithms = '{}'",
            "update lpm.oidc_issuer set algorithms = '{RS256}'",
            401,
            "token_algorithm",
        ),
        (
            "an issuer whose tokens may live no time",
            "update lpm.oidc_issuer set max_lifetime = '0'",
            "update lpm.oidc_issuer set max_lifetime = '10 minutes'",
            401,
            "token_lifetime",
        ),
        (
            "no audit",
            "alter table lpm.audit_log rename to gone",
            "alter table lpm.gone rename to audit_log",
            500,
            "internal",
        ),
        (
            "no count of uses",
            "alter table lpm.oidc_token_use rename to gone",
            "alter table lpm.gone rename to oidc_token_use",
            500,
            "internal",
        ),
        (
            "no pins",
            "alter table lpm.oidc_subject_pin rename to gone",
            "alter table lpm.gone rename to oidc_subject_pin",
            500,
            "internal",
        ),
        (
            "no right to audit",
            "revoke insert on lpm.audit_log from lpm_definer",
            "grant insert on lpm.audit_log to lpm_definer",
            500,
            "internal",
        ),
        (
            "no row security rule that shows the policies",
            "alter policy opened on lpm.oidc_policy to lpm_operator",
            "alter policy opened on lpm.oidc_policy to lpm_definer",
            403,
            "no_policy",
        ),
    ] {
        let vault_id = world.vault_with(&world.alice, &json!({})).await?;
        assert_eq!(world.settles(&vault_id, true).await?, granted(), "P34 {name}: before");
        let missing = missing.replace("HERE", &format!("where vault_id = '{vault_id}'"));
        world.stack.database().value(&missing).with_context(|| name)?;
        assert_eq!(world.settles(&vault_id, false).await?, (status, code.to_owned()), "P34 {name}");
        world.stack.database().value(mended).with_context(|| name)?;
    }
    assert_eq!(world.settles(&world.vault_id, true).await?, granted(), "P34: with everything in its place");
    Ok(())
}

#[tokio::test]
async fn p34_an_issuer_that_is_not_trusted_any_more_is_refused_by_the_database_at_once() -> Result<()> {
    let world = World::new().await?;
    let claims = claims(world.issuer.url(), "main");
    let decide = async |claims: &[u8]| {
        let none = None::<&str>;
        let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
            &Uuid::now_v7(),
            &none,
            &world.issuer.url(),
            &claims,
            &world.vault_id,
            &"production",
            &None::<Uuid>,
        ];
        answer(&world.client, "decide", &arguments).await.map(code)
    };
    world.stack.database().value(&format!("select lpm.distrust_issuer('{}')", world.issuer.url()))?;
    assert_eq!(
        decide(&claims).await?,
        (401, "token_issuer".to_owned()),
        "P34: with claims that a gateway has verified"
    );
    // a built-in issuer is trusted until somebody says no, and that no is a row
    for issuer in ["https://token.actions.githubusercontent.com", "https://gitlab.com"] {
        world.stack.database().value(&format!("select lpm.distrust_issuer('{issuer}')"))?;
    }
    world
        .stack
        .database()
        .value(&format!("select lpm.distrust_issuer('{}')", world.issuer.issuer(Provider::GitLab)))?;
    world.stack.database().value(&format!("select lpm.distrust_issuer('{}')", world.stack.issuer.url()))?;
    world
        .stack
        .database()
        .value(&format!("select lpm.distrust_issuer('{}')", world.stack.issuer.issuer(Provider::GitLab)))?;
    assert_eq!(world.stack.database().value("select count(*) from lpm.issuers")?, "0");
    let gateway = world.another_gateway()?;
    for token in [job(), job().claim("iss", "https://gitlab.com"), TokenRequest::gitlab()] {
        let reply = gateway.post(PULL, None, &world.ask(world.issuer.mint(&token)?)).await?;
        assert_eq!(
            seen(&reply),
            (401, "token_issuer".to_owned()),
            "P34, nobody is trusted: {}",
            reply.text()
        );
    }
    Ok(())
}

#[tokio::test]
async fn p34_a_pin_that_is_gone_is_made_anew_by_the_first_grant_and_not_ignored() -> Result<()> {
    let world = World::new().await?;
    let web = |id: &str| job().claim("repository_id", id).claim("repository_owner_id", "7");
    assert_eq!(seen(&world.pull_by(&web("42")).await?), granted());
    world.stack.database().value("delete from lpm.oidc_subject_pin")?;
    assert_eq!(
        seen(&world.pull_by(&web("43")).await?),
        granted(),
        "P34: as for a policy that was never pinned"
    );
    let second = world.pull_by(&web("44")).await?;
    assert_eq!(seen(&second), (403, "identity_changed".to_owned()), "P34: {}", second.text());
    assert_eq!(seen(&world.pull_by(&job().repository("acme/other")).await?), no_policy());
    Ok(())
}
