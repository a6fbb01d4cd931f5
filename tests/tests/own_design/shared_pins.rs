//! Pins under attack: what the first grant of one policy records binds every policy that names the subject.

use crate::{NONE, World};
use anyhow::Result;
use lpm_tests::escrowed::{answer, code};
use lpm_tests::job::Job;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const PINS: &str = "select coalesce(string_agg(concat_ws(' ', subject, subject_id, owner_id), ', '), '') from lpm.oidc_subject_pin";

/// A second policy for the same subject: release branches.
async fn sibling(world: &World, vault_id: &str) -> Result<()> {
    world.alice.allow_with(&world.client, vault_id, &json!({"allowedBranches": ["release/*"]})).await
}

#[tokio::test]
async fn a_pin_binds_siblings_that_granted_nothing_yet_and_those_made_later() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    sibling(&world, &vault_id).await?;
    world.serves(world.job(), &vault_id).await?;
    world.alice.allow_with(&world.client, &vault_id, &json!({"allowedBranches": ["hotfix/*"]})).await?;
    for branch in ["main", "release/1", "hotfix/1"] {
        for (case, id, owner, refusal) in [
            ("a recycled name", "43", "7", "identity_changed"),
            ("a recycled name of a new owner", "43", "8", "identity_changed"),
            ("a transferred repository", "42", "8", "owner_changed"),
        ] {
            let job =
                world.job().branch(branch).repository("acme/web", id).claim("repository_owner_id", owner);
            let met = job.pull(&world.client, &vault_id).await?;
            world.refused(case, &met, (403, refusal), &format!("ci_pull denied {refusal}"))?;
            assert_eq!(met.body["vars"], json!(null));
        }
        world.serves(world.job().branch(branch), &vault_id).await?;
    }
    assert_eq!(world.value(PINS)?, "repo:acme/web 42 7");
    Ok(())
}

#[tokio::test]
async fn a_pin_outlives_the_policies_that_made_it() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    world.serves(world.job(), &vault_id).await?;
    let policy = world.value("select id from lpm.oidc_policy")?;
    let revoked =
        answer(&world.client, "revoke_policy", &[&Uuid::now_v7(), &NONE, &world.alice.token, &policy])
            .await?;
    assert_eq!(revoked.0, 200);
    let met = world.job().pull(&world.client, &vault_id).await?;
    let issuer = world.alice.issuer.clone();
    world.is_a_stranger("revoked", &met, &issuer, &vault_id)?;
    world.alice.allow(&world.client, &vault_id).await?;
    let met = world.job().repository("acme/web", "43").pull(&world.client, &vault_id).await?;
    world.refused("allowed again", &met, (403, "identity_changed"), "ci_pull denied identity_changed")?;
    world.serves(world.job(), &vault_id).await
}

/// First grants by many, all at once, through two sibling policies; who was granted, by what `tell` says of it.
async fn race(
    world: &World,
    vault_id: &str,
    jobs: Vec<(String, Job)>,
) -> Result<BTreeMap<String, Vec<String>>> {
    let start = Arc::new(Barrier::new(jobs.len()));
    let mut tasks = JoinSet::new();
    for (who, job) in jobs {
        let (client, start, vault_id) = (world.alice.gateway().await?, start.clone(), vault_id.to_owned());
        tasks.spawn(async move {
            start.wait().await;
            let met = job.pull(&client, &vault_id).await?;
            let outcome = if met.status == 200 { "granted" } else { met.seen().1 };
            anyhow::Ok((outcome.to_owned(), who))
        });
    }
    let mut outcomes = BTreeMap::<String, Vec<String>>::new();
    while let Some(result) = tasks.join_next().await {
        let (outcome, who) = result??;
        outcomes.entry(outcome).or_default().push(who);
    }
    Ok(outcomes)
}

#[tokio::test]
async fn of_many_first_grants_at_once_exactly_one_id_wins_over_all_siblings() -> Result<()> {
    let world = World::new().await?;
    for _ in 0..4 {
        let vault_id = world.alice.vault(&world.client).await?;
        sibling(&world, &vault_id).await?;
        let jobs = (100..124).map(|id: u32| {
            let branch = if id.is_multiple_of(2) { "main" } else { "release/1" };
            (id.to_string(), world.job().branch(branch).repository("acme/web", &id.to_string()))
        });
        let outcomes = race(&world, &vault_id, jobs.collect()).await?;
        let winners = outcomes.get("granted").cloned().unwrap_or_default();
        assert_eq!((winners.len(), outcomes["identity_changed"].len()), (1, 23), "{outcomes:?}");
        let winner = winners[0].as_str();
        let here = format!("where vault_id = '{vault_id}'");
        assert_eq!(world.value(&format!("select subject_id from lpm.oidc_subject_pin {here}"))?, winner);
        assert_eq!(
            world.value(&format!(
                "select string_agg(n, ', ' order by n) from (select concat_ws(' ', decision, reason, count(*)) n
                   from lpm.audit_log {here} and action = 'ci_pull' group by decision, reason) x"
            ))?,
            "denied identity_changed 23, granted 1",
            "each of them in the trail"
        );
        for branch in ["main", "release/1"] {
            world.serves(world.job().branch(branch).repository("acme/web", winner), &vault_id).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_owner_that_was_not_given_at_creation_is_recorded_once() -> Result<()> {
    let world = World::new().await?;
    for _ in 0..4 {
        let vault_id = Uuid::new_v4().to_string();
        world.alice.push(&world.client, &vault_id).await?;
        world.alice.allow_with(&world.client, &vault_id, &json!({"repositoryId": "42"})).await?;
        world.alice.escrow(&world.client, &vault_id).await?;
        let other = world.job().repository("acme/web", "43").pull(&world.client, &vault_id).await?;
        world.refused("another id", &other, (403, "identity_changed"), "ci_pull denied identity_changed")?;
        let jobs = (7..15).map(|owner: u32| {
            (owner.to_string(), world.job().claim("repository_owner_id", owner.to_string()))
        });
        let outcomes = race(&world, &vault_id, jobs.collect()).await?;
        let winners = outcomes.get("granted").cloned().unwrap_or_default();
        assert_eq!((winners.len(), outcomes["owner_changed"].len()), (1, 7), "{outcomes:?}");
        world.serves(world.job().claim("repository_owner_id", winners[0].as_str()), &vault_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_transfer_is_refused_until_the_owner_repins_and_nobody_else_can() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    sibling(&world, &vault_id).await?;
    world.serves(world.job(), &vault_id).await?;
    let mallory = world.alice.account("mallory", "org")?;
    let moved = || world.job().claim("repository_owner_id", "8").claim("repository_owner", "evil");
    let repin = async |token: &Vec<u8>| {
        let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, token, &vault_id, &"repo:acme/web"];
        answer(&world.client, "repin", &asked).await.map(code)
    };
    assert_eq!(repin(&mallory.token).await?, (404, "subject_unknown".to_owned()));
    for branch in ["main", "release/1"] {
        let met = moved().branch(branch).pull(&world.client, &vault_id).await?;
        world.refused("transferred", &met, (403, "owner_changed"), "ci_pull denied owner_changed")?;
    }
    world.serves(world.job(), &vault_id).await?;
    assert_eq!(repin(&world.alice.token).await?, (200, String::new()));
    assert_eq!(world.value("select count(*) from lpm.audit_log where action = 'repin'")?, "1");
    world.serves(moved(), &vault_id).await?;
    let met = world.job().branch("release/1").pull(&world.client, &vault_id).await?;
    world.refused("and the former owner", &met, (403, "owner_changed"), "ci_pull denied owner_changed")?;
    world.serves(moved().branch("release/1"), &vault_id).await
}

#[tokio::test]
async fn a_rename_is_followed_and_whoever_takes_either_name_is_refused() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let issuer = world.alice.issuer.clone();
    let renamed = || world.job().repository("acme/renamed", "42");
    let met = renamed().pull(&world.client, &vault_id).await?;
    world.is_a_stranger("before anything is pinned a name is all there is", &met, &issuer, &vault_id)?;
    world.serves(world.job(), &vault_id).await?;

    let met = renamed().pull(&world.client, &vault_id).await?;
    assert_eq!((met.status, met.trail(world.database())?.as_str()), (200, "ci_pull granted renamed"));
    let row = format!("select repository from lpm.audit_log where request_id = '{}'", met.request);
    assert_eq!(world.value(&row)?, "acme/renamed", "under the name that it has now");
    assert_eq!(world.value(PINS)?, "repo:acme/web 42 7");

    let taken = world.job().repository("acme/web", "99").pull(&world.client, &vault_id).await?;
    world.refused(
        "the old name, recycled",
        &taken,
        (403, "identity_changed"),
        "ci_pull denied identity_changed",
    )?;
    let later = world.job().repository("acme/renamed", "99").pull(&world.client, &vault_id).await?;
    world.is_a_stranger("the new name, recycled", &later, &issuer, &vault_id)?;
    let moved = renamed().claim("repository_owner_id", "8").pull(&world.client, &vault_id).await?;
    world.refused(
        "renamed and transferred",
        &moved,
        (403, "owner_changed"),
        "ci_pull denied owner_changed",
    )?;
    world.serves(renamed(), &vault_id).await
}

#[tokio::test]
async fn what_was_never_pinned_lapses_for_all_siblings_and_only_its_owner_revives_it() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    sibling(&world, &vault_id).await?;
    let mallory = world.alice.account("mallory", "org")?;
    let age = |days: &str| {
        world.value(&format!(
            "update lpm.oidc_subject_pin set waiting_since = clock_timestamp() - interval '{days}' where vault_id = '{vault_id}'"
        ))
    };
    let lapsed = async |case: &str| {
        for branch in ["main", "release/1"] {
            let met = world.job().branch(branch).pull(&world.client, &vault_id).await?;
            world.refused(case, &met, (403, "policy_lapsed"), "ci_pull denied policy_lapsed")?;
        }
        anyhow::Ok(())
    };
    let with_ids = json!({"allowedBranches": ["hotfix/*"], "repositoryId": "42", "ownerId": "7"});
    for (case, way) in [
        ("the same policy again", json!({})),
        ("another policy for the subject", json!({"allowedBranches": ["next"]})),
        ("the ids, which pin at once", with_ids),
    ] {
        world.value(&format!("select lpm.repin('{vault_id}', 'repo:acme/web')"))?;
        age("30 days 1 minute")?;
        lapsed(case).await?;
        assert_eq!(world.value(PINS)?, "repo:acme/web", "{case}: a refusal pins nothing");
        assert!(mallory.allow(&world.client, &vault_id).await.is_err(), "{case}: not hers");
        lapsed("after a stranger's allow").await?;
        world.alice.allow_with(&world.client, &vault_id, &way).await?;
        for branch in ["main", "release/1"] {
            world.serves(world.job().branch(branch), &vault_id).await?;
        }
    }
    age("31 days")?;
    world.serves(world.job(), &vault_id).await?;
    world.value(&format!("select lpm.repin('{vault_id}', 'repo:acme/web')"))?;
    age("29 days 23 hours")?;
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn a_dry_run_neither_pins_nor_revives() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    let explain = async || {
        let (issuer, claims) = (Some(world.alice.issuer.as_str()), world.job().payload());
        let asked: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &world.alice.token, &vault_id, &issuer, &claims, &"production"];
        answer(&world.client, "explain", &asked).await
    };
    assert_eq!(explain().await?.1["granted"], true);
    assert_eq!(world.value(PINS)?, "repo:acme/web");
    world.value(
        "update lpm.oidc_subject_pin set waiting_since = waiting_since - interval '31 days' returning 1",
    )?;
    assert_eq!(explain().await?.1["reason"], "policy_lapsed");
    let met = world.job().pull(&world.client, &vault_id).await?;
    world.refused("still lapsed", &met, (403, "policy_lapsed"), "ci_pull denied policy_lapsed")?;
    world.alice.allow(&world.client, &vault_id).await?;
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn on_gitlab_a_recycled_path_is_refused_and_a_renamed_project_is_followed() -> Result<()> {
    let world = World::new().await?;
    let vault_id = Uuid::new_v4().to_string();
    let issuer = format!("{}/gitlab", world.alice.issuer);
    world.alice.push(&world.client, &vault_id).await?;
    let policy = json!({"provider": "gitlab", "subject": "project:acme/web"});
    world.alice.allow_with(&world.client, &vault_id, &policy).await?;
    world.alice.escrow(&world.client, &vault_id).await?;
    let job = |path: &str, id: &str| Job::gitlab(&issuer, path, id);
    world.serves(job("acme/web", "20"), &vault_id).await?;
    let met = job("acme/web", "30").pull(&world.client, &vault_id).await?;
    world.refused("recycled", &met, (403, "identity_changed"), "ci_pull denied identity_changed")?;
    let met = job("ACME/web", "30").pull(&world.client, &vault_id).await?;
    world.is_a_stranger("GitLab's paths have case", &met, &issuer, &vault_id)?;
    world.serves(job("acme/renamed", "20"), &vault_id).await?;
    world.serves(job("acme/web", "20"), &vault_id).await
}
