//! J12, J14 to J16: a token counts once, wherever it comes, whatever became of it, and however long ago.

use crate::world::{EXCHANGE, PULL, World, granted, job, replayed, seen};
use anyhow::{Context, Result};
use lpm_core::token::LEEWAY;
use lpm_tests::issuer::{Issuer, TokenRequest};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> Result<i64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?)
}

#[tokio::test]
async fn j12_the_second_use_of_a_token_is_denied_wherever_it_comes() -> Result<()> {
    let world = World::new().await?;
    let second = world.another_gateway()?;
    let other_vault = world.alice.vault(&world.client).await?;
    for first_path in [PULL, EXCHANGE] {
        let body = world.ask(world.issuer.mint(&job())?);
        let with = |name: &str, value: &str| {
            let mut body = body.clone();
            body[name] = json!(value);
            body
        };
        let first = world.gateway.post(first_path, None, &body).await?;
        assert_eq!(seen(&first), granted(), "J12 {first_path}: {}", first.text());
        for (name, gateway, path, body) in [
            ("the same again", &world.gateway, first_path, body.clone()),
            ("as a pull", &world.gateway, PULL, body.clone()),
            ("as an exchange", &world.gateway, EXCHANGE, body.clone()),
            ("at another gateway", &second, PULL, body.clone()),
            ("for another environment", &world.gateway, PULL, with("env", "staging")),
            ("for another vault", &world.gateway, PULL, with("vaultId", &other_vault)),
        ] {
            let reply = gateway.post(path, None, &body).await?;
            assert_eq!(seen(&reply), replayed(), "J12 {first_path}, then {name}: {}", reply.text());
            assert_eq!(world.audited(&reply)?, "denied replayed", "J12 {first_path}, then {name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn j12_the_audit_row_of_a_replay_names_the_request_that_used_the_token() -> Result<()> {
    let world = World::new().await?;
    let token = world.issuer.mint(&job())?;
    let first = world.pull(&token).await?;
    for replay in [world.pull(&token).await?, world.pull(&token).await?] {
        let named = world.stack.database().value(&format!(
            "select metadata ->> 'firstUse' from lpm.audit_log where request_id = '{}'",
            replay.header("x-request-id")
        ))?;
        assert_eq!(named, first.header("x-request-id"), "J12");
    }
    Ok(())
}

#[tokio::test]
async fn j14_a_use_is_remembered_beyond_the_leeway_whatever_is_cleaned_up() -> Result<()> {
    let world = World::new().await?;
    let clean_up = || world.stack.database().value("select lpm.remove_expired()");
    // from freshly minted to expired, within what the leeway still accepts
    for (name, lasts) in
        [("fresh", 300), ("one second", 1), ("just expired", 0), ("within the leeway", -LEEWAY / 2)]
    {
        let (now, expires) = (now()?, now()? + lasts);
        let request = job().claim("iat", now - 300).claim("nbf", now - 300).claim("exp", expires);
        let token = world.issuer.mint(&request)?;
        assert_eq!(seen(&world.pull(&token).await?), granted(), "J14 {name}");
        clean_up()?;
        assert_eq!(seen(&world.pull(&token).await?), replayed(), "J14 {name}: after the clean-up");
        // a gateway whose clock is minutes behind would still take the token
        let kept = world.stack.database().value(&format!(
            "select min(expires_at) >= to_timestamp({expires}) + interval '{LEEWAY} seconds' + interval '5 minutes' from lpm.oidc_token_use"
        ))?;
        assert_eq!(kept, "t", "J14 {name}: kept too short");
        world
            .stack
            .database()
            .value("update lpm.oidc_token_use set expires_at = clock_timestamp() - interval '1 second'")?;
        clean_up()?;
        let kept = world.stack.database().value("select count(*) from lpm.oidc_token_use")?;
        assert_eq!(kept, "0", "J14 {name}: and no longer than that");
    }
    let token = world.issuer.mint(&job().claim("iat", now()? - 300).claim("exp", now()? - LEEWAY - 1))?;
    assert_eq!(seen(&world.pull(&token).await?), (401, "token_expired".to_owned()), "J14: beyond the leeway");
    Ok(())
}

/// How what broke is mended.
enum Mended {
    Sql(String),
    Policy(Value),
    Escrow,
    Push,
}

/// One way to be refused, and what the same token is worth once the reason is gone.
struct Refused {
    name: &'static str,
    policy: Value,
    job: TokenRequest,
    environment: &'static str,
    broken: String,
    code: (u16, &'static str),
    mended: Mended,
    used_up: bool,
}

/// A job of the ids that the pins below are about.
fn pinned_job() -> TokenRequest {
    job().claim("repository_id", "42").claim("repository_owner_id", "7")
}

/// A job that policies, pins and plans admit, to be changed in one thing.
fn refused(name: &'static str, status: u16, code: &'static str, mended: Mended) -> Refused {
    let (policy, broken) = (json!({}), "select 1".to_owned());
    let (job, environment, code) = (pinned_job(), "production", (status, code));
    Refused { name, policy, job, environment, broken, code, mended, used_up: true }
}

fn refusals(vault_id: &str) -> Vec<Refused> {
    let here = format!("where vault_id = '{vault_id}'");
    let pin = |set: &str| format!("update lpm.oidc_subject_pin set {set} {here}");
    let unpin = || Mended::Sql(pin("subject_id = null, owner_id = null"));
    let escrow = |set: &str| format!("update lpm.vault_sync set {set} {here}");
    let key = |from: &str, to: &str| {
        escrow(&format!("ci_escrow_wrapping_key = replace(ci_escrow_wrapping_key, 'v1.{from}.', 'v1.{to}.')"))
    };
    let policy = |changes: Value| Mended::Policy(changes);
    vec![
        Refused {
            broken: pin("subject_id = '41', owner_id = '7'"),
            ..refused("4 another id", 403, "identity_changed", unpin())
        },
        Refused {
            broken: pin("subject_id = '42', owner_id = '8'"),
            ..refused("4 another owner", 403, "owner_changed", unpin())
        },
        Refused {
            broken: pin("waiting_since = clock_timestamp() - interval '31 days'"),
            ..refused("4 lapsed", 403, "policy_lapsed", Mended::Sql(pin("waiting_since = clock_timestamp()")))
        },
        Refused {
            job: pinned_job().event("workflow_run"),
            ..refused(
                "5 event",
                403,
                "event_not_allowed",
                policy(json!({"allowedEvents": ["workflow_run"], "allowForks": true})),
            )
        },
        Refused {
            job: pinned_job().event("pull_request"),
            ..refused("5 fork", 403, "fork_not_allowed", policy(json!({"allowForks": true})))
        },
        Refused {
            job: pinned_job().branch("x"),
            ..refused("6 branch", 403, "branch_not_allowed", policy(json!({"allowedBranches": ["x"]})))
        },
        Refused {
            job: pinned_job().claim("ref", "refs/tags/v1"),
            ..refused("6 tag", 403, "tag_not_allowed", policy(json!({"allowedTags": ["v1"]})))
        },
        Refused {
            environment: "staging",
            ..refused(
                "7 environment",
                403,
                "environment_not_allowed",
                policy(json!({"allowedEnvironments": ["staging"]})),
            )
        },
        Refused {
            policy: json!({"runner": "self-hosted"}),
            ..refused("8 narrowing", 403, "runner_not_allowed", policy(json!({})))
        },
        Refused {
            broken: "select lpm.set_plan('alice', 'free')".to_owned(),
            ..refused(
                "9 plan",
                403,
                "plan_ci_pull",
                Mended::Sql("select lpm.set_plan('alice', 'org')".to_owned()),
            )
        },
        Refused {
            broken: escrow("ci_escrow_wrapping_key = null, escrow_kind = null"),
            ..refused("10 escrow off", 403, "escrow_off", Mended::Escrow)
        },
        Refused {
            broken: escrow("version = 0, encrypted_blob = null, wrapped_key = null, blob_sha256 = null"),
            ..refused("11 never pushed", 404, "never_pushed", Mended::Push)
        },
        // granted, and then there is nothing to hand out
        Refused {
            policy: json!({"allowedEnvironments": []}),
            environment: "nowhere",
            ..refused("15 no such environment", 404, "environment_absent", Mended::Sql("select 1".to_owned()))
        },
        // a stranger, and a failure that is not the job's
        Refused {
            job: pinned_job().repository("acme/api"),
            used_up: false,
            ..refused("2 no policy", 403, "no_policy", policy(json!({"subject": "repo:acme/api"})))
        },
        Refused {
            broken: key("dev", "gone"),
            used_up: false,
            ..refused("12 no key", 503, "no_escrow_key", Mended::Sql(key("gone", "dev")))
        },
    ]
}

#[tokio::test]
async fn j15_a_denial_from_step_4_on_uses_the_token_up() -> Result<()> {
    let world = World::new().await?;
    for at in 0..refusals("").len() {
        let vault_id = uuid::Uuid::new_v4().to_string();
        let case = refusals(&vault_id).swap_remove(at);
        world.alice.push(&world.client, &vault_id).await?;
        world.alice.allow_with(&world.client, &vault_id, &case.policy).await?;
        world.alice.escrow(&world.client, &vault_id).await?;
        world.stack.database().value(&case.broken).with_context(|| case.name)?;
        let pull = async |token: String| {
            let body = json!({"oidcToken": token, "vaultId": vault_id, "env": case.environment});
            world.gateway.post(PULL, None, &body).await
        };
        let token = world.issuer.mint(&case.job)?;
        let first = pull(token.clone()).await?;
        assert_eq!(
            seen(&first),
            (case.code.0, case.code.1.to_owned()),
            "J15 {}: {}",
            case.name,
            first.text()
        );
        match &case.mended {
            Mended::Sql(sql) => drop(world.stack.database().value(sql)?),
            Mended::Policy(changes) => world.alice.allow_with(&world.client, &vault_id, changes).await?,
            Mended::Escrow => world.alice.escrow(&world.client, &vault_id).await?,
            Mended::Push => world.alice.push(&world.client, &vault_id).await?,
        }
        let second = pull(token).await?;
        let expected = if case.used_up { replayed() } else { granted() };
        assert_eq!(seen(&second), expected, "J15 {}, once the reason is gone: {}", case.name, second.text());
        if case.environment != "nowhere" {
            let fresh = pull(world.issuer.mint(&case.job)?).await?;
            assert_eq!(seen(&fresh), granted(), "J15 {}: a fresh token, {}", case.name, fresh.text());
        }
    }
    Ok(())
}

#[tokio::test]
async fn j16_an_issuer_cannot_use_up_the_tokens_of_another() -> Result<()> {
    let world = World::new().await?;
    let evil = Issuer::start()?;
    world.stack.database().value(&format!(
        "select lpm.trust_issuer('github', '{}', allow_private_addresses => true)",
        evil.url()
    ))?;
    let gateway = world.another_gateway()?;
    let their_vault = world.vault_with(&world.alice, &json!({"issuer": evil.url()})).await?;
    let request = |jti: &str| pinned_job().claim("jti", jti);
    let pull = async |issuer: &Issuer, jti: &str, vault: &str| -> Result<_> {
        let body = json!({"oidcToken": issuer.mint(&request(jti))?, "vaultId": vault, "env": "production"});
        gateway.post(PULL, None, &body).await.map(|reply| seen(&reply))
    };
    // at a vault that admits them, and at ours, which does not know them
    for (name, vault, theirs) in
        [("granted", &their_vault, granted()), ("a stranger", &world.vault_id, (403, "no_policy".to_owned()))]
    {
        let jti = format!("copied or guessed, {name}");
        assert_eq!(pull(&evil, &jti, vault).await?, theirs, "J16 {name}");
        assert_eq!(
            pull(&world.issuer, &jti, &world.vault_id).await?,
            granted(),
            "J16 {name}: ours is not used up"
        );
        assert_eq!(pull(&world.issuer, &jti, &world.vault_id).await?, replayed(), "J16 {name}: but once");
    }
    // an issuer and a jti that together read like another issuer and jti
    let (issuer, jti) = (evil.url(), "x");
    assert_eq!(pull(&evil, jti, &their_vault).await?, granted());
    for jti in [format!("{issuer}{jti}"), format!("{issuer}\n{jti}"), format!(" {jti}"), jti.to_uppercase()] {
        assert_eq!(pull(&evil, &jti, &their_vault).await?, granted(), "J16 `{jti}` is another");
    }
    Ok(())
}
