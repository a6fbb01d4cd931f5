//! Vault ids under attack: they stand in committed files, so strangers know them before their owner pushes.

use crate::{NONE, World};
use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, answer, code};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// How many ids an account may hold without a push.
const WAITING_CLAIMS: usize = 20;

fn conflict() -> (i32, String) {
    (409, "vault_claimed".to_owned())
}

fn limited() -> (i32, String) {
    (429, "claim_rate_limited".to_owned())
}

/// A policy for `acme/web`.
fn policy(vault_id: &str) -> String {
    json!({"vaultId": vault_id, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false})
    .to_string()
}

/// The answer to an `allow` of `acme/web`.
async fn allow(world: &World, who: &Escrowed, vault_id: &str) -> Result<(i32, String)> {
    let policy = policy(vault_id);
    answer(&world.client, "create_policy", &[&Uuid::now_v7(), &NONE, &who.token, &policy]).await.map(code)
}

/// The answer to an escrow of the machine's wrapping key.
async fn escrow(world: &World, who: &Escrowed, vault_id: &str) -> Result<(i32, String)> {
    let sealed = who.sealed(&world.client, vault_id).await?;
    let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &who.token, &vault_id, &sealed];
    answer(&world.client, "put_escrow", &asked).await.map(code)
}

/// Makes every claim of this vault id so much older.
fn age(world: &World, vault_id: &str, by: &str) -> Result<()> {
    let sql = "update lpm.vault_claim set claimed_at = claimed_at - interval";
    world.value(&format!("{sql} '{by}' where vault_id = '{vault_id}' returning 1"))?;
    Ok(())
}

fn id_of(world: &World, handle: &str) -> Result<Uuid> {
    Ok(world.value(&format!("select id from lpm.account where handle = '{handle}'"))?.parse()?)
}

#[tokio::test]
async fn a_squatters_variables_do_not_reach_a_job_that_names_its_owner() -> Result<()> {
    let world = World::new().await?;
    let squatter = world.alice.account("squatter", "pro")?;
    let vault_id = Uuid::new_v4().to_string();
    // everything that an owner would do, before the owner does it
    let poison = r#"{"environments":{"production":{"API_KEY":"the-squatters"}}}"#;
    squatter.push_payload(&world.client, &vault_id, poison).await?;
    squatter.allow(&world.client, &vault_id).await?;
    squatter.escrow(&world.client, &vault_id).await?;
    world.alice.push(&world.client, &vault_id).await?;
    assert_eq!(allow(&world, &world.alice, &vault_id).await?, conflict());
    assert_eq!(escrow(&world, &world.alice, &vault_id).await?, conflict());
    let denials = "select string_agg(concat_ws(' ', action, reason), ', ' order by id) from lpm.audit_log where decision = 'denied'";
    assert_eq!(world.value(denials)?, "policy_create vault_claimed, escrow_on vault_claimed");

    let job = || Ok::<_, anyhow::Error>(world.job().owner(id_of(&world, "alice")?));
    let met = job()?.pull(&world.client, &vault_id).await?;
    let issuer = world.alice.issuer.clone();
    world.is_a_stranger("the owner's uuid goes with the pull", &met, &issuer, "")?;
    assert_eq!(
        met.body,
        job()?.pull(&world.client, "no-such-vault").await?.body,
        "and the answer is that of an unknown vault"
    );
    let met = world.job().pull(&world.client, &vault_id).await?;
    assert_eq!(met.body["vars"]["API_KEY"], "the-squatters", "what a client that names nobody risks");

    world.value(&format!("select lpm.transfer_vault('{vault_id}', 'alice')"))?;
    assert_eq!(allow(&world, &squatter, &vault_id).await?, conflict());
    world.alice.allow(&world.client, &vault_id).await?;
    world.alice.escrow(&world.client, &vault_id).await?;
    world.serves(job()?, &vault_id).await?;
    world.serves(world.job(), &vault_id).await
}

#[tokio::test]
async fn a_claim_without_a_push_holds_for_a_day_and_ends_with_all_that_hangs_on_it() -> Result<()> {
    let world = World::new().await?;
    let squatter = world.alice.account("squatter", "pro")?;
    for (case, claims) in
        [("by a policy", "policy"), ("by an escrow", "escrow"), ("by both", "policy escrow")]
    {
        let vault_id = Uuid::new_v4().to_string();
        for claim in claims.split(' ') {
            let claimed = match claim {
                "policy" => allow(&world, &squatter, &vault_id).await?.0,
                _ => escrow(&world, &squatter, &vault_id).await?.0,
            };
            assert!((200..300).contains(&claimed), "{case}: {claimed}");
        }
        world.alice.push(&world.client, &vault_id).await?;
        age(&world, &vault_id, "23 hours 59 minutes")?;
        assert_eq!(allow(&world, &world.alice, &vault_id).await?, conflict(), "{case}: not yet");
        assert_eq!(escrow(&world, &world.alice, &vault_id).await?, conflict(), "{case}: not yet");
        // asking again does not prolong it
        let again = allow(&world, &squatter, &vault_id).await?;
        assert_eq!(again.0, 201, "{case}: {again:?}");
        age(&world, &vault_id, "2 minutes")?;
        world.alice.allow(&world.client, &vault_id).await?;
        world.alice.escrow(&world.client, &vault_id).await?;
        assert_eq!(allow(&world, &squatter, &vault_id).await?, conflict(), "{case}: and it is over");
        assert_eq!(escrow(&world, &squatter, &vault_id).await?, conflict(), "{case}: and it is over");
        let authors = format!(
            "select string_agg(a.handle, ' ') from lpm.oidc_policy p join lpm.account a on a.id = p.user_id where p.vault_id = '{vault_id}'"
        );
        assert_eq!(world.value(&authors)?, "alice", "{case}: the squatter's policies went with the claim");
        world.serves(world.job(), &vault_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_push_makes_a_claim_last() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    for (case, first) in [("allowed, then pushed", true), ("pushed at once", false)] {
        let vault_id = Uuid::new_v4().to_string();
        if first {
            world.alice.allow(&world.client, &vault_id).await?;
        }
        world.alice.push(&world.client, &vault_id).await?;
        world.alice.allow(&world.client, &vault_id).await?;
        world.alice.escrow(&world.client, &vault_id).await?;
        age(&world, &vault_id, "400 days")?;
        mallory.push(&world.client, &vault_id).await?;
        assert_eq!(allow(&world, &mallory, &vault_id).await?, conflict(), "{case}");
        assert_eq!(escrow(&world, &mallory, &vault_id).await?, conflict(), "{case}");
        world.serves(world.job(), &vault_id).await?;
    }
    Ok(())
}

#[tokio::test]
async fn claims_that_were_never_pushed_are_limited_per_account_whatever_makes_them() -> Result<()> {
    let world = World::new().await?;
    let squatter = world.alice.account("squatter", "pro")?;
    for number in 0..WAITING_CLAIMS {
        let vault_id = format!("squat-{number}");
        let claimed = if number % 2 == 0 {
            allow(&world, &squatter, &vault_id).await?
        } else {
            escrow(&world, &squatter, &vault_id).await?
        };
        assert!((200..300).contains(&claimed.0), "{number}: {claimed:?}");
    }
    let claims = "select count(*) from lpm.vault_claim";
    for case in ["one too many", "and again"] {
        assert_eq!(allow(&world, &squatter, "wanted").await?, limited(), "{case}");
        assert_eq!(escrow(&world, &squatter, "wanted").await?, limited(), "{case}");
        assert_eq!(world.value(claims)?, WAITING_CLAIMS.to_string(), "{case}");
    }
    let refusals = "select string_agg(distinct concat_ws(' ', action, decision, reason), ', ') from lpm.audit_log where vault_id = 'wanted'";
    assert_eq!(
        world.value(refusals)?,
        "escrow_on denied claim_rate_limited, policy_create denied claim_rate_limited"
    );
    // the limit is the squatter's own
    world.alice.allow(&world.client, "alices").await?;
    world.alice.push(&world.client, "wanted").await?;
    world.alice.allow(&world.client, "wanted").await?;
    world.alice.escrow(&world.client, "wanted").await?;
    world.serves(world.job(), "wanted").await?;
    // a push frees a place, and so does a day
    squatter.push(&world.client, "squat-0").await?;
    assert_eq!(allow(&world, &squatter, "one-more").await?.0, 201);
    assert_eq!(allow(&world, &squatter, "two-more").await?, limited());
    age(&world, "squat-1", "25 hours")?;
    assert_eq!(allow(&world, &squatter, "two-more").await?.0, 201);
    Ok(())
}

#[tokio::test]
async fn claims_made_at_once_do_not_pass_the_limit() -> Result<()> {
    let world = World::new().await?;
    let squatter = world.alice.account("squatter", "pro")?;
    let start = Arc::new(Barrier::new(2 * WAITING_CLAIMS));
    let mut tasks = JoinSet::new();
    for number in 0..2 * WAITING_CLAIMS {
        let (client, token, start) = (squatter.gateway().await?, squatter.token.clone(), start.clone());
        let policy = policy(&format!("squat-{number}"));
        tasks.spawn(async move {
            start.wait().await;
            answer(&client, "create_policy", &[&Uuid::now_v7(), &NONE, &token, &policy]).await.map(code)
        });
    }
    let mut claimed = 0;
    while let Some(result) = tasks.join_next().await {
        match result?? {
            (201, _) => claimed += 1,
            refusal => assert_eq!(refusal, limited()),
        }
    }
    assert_eq!(claimed, WAITING_CLAIMS);
    assert_eq!(world.value("select count(*) from lpm.vault_claim")?, WAITING_CLAIMS.to_string());
    Ok(())
}

#[tokio::test]
async fn a_strangers_row_under_the_same_id_changes_nothing_for_the_owner() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let vault_id = world.alice.vault(&world.client).await?;
    let poison = r#"{"environments":{"production":{"API_KEY":"mallorys"}}}"#;
    let owned = "select md5(string_agg(t, ' ' order by t)) from (select v::text t from lpm.vault_sync v where v.user_id <> all (select id from lpm.account where handle = 'mallory')
                  union all select c::text from lpm.vault_claim c union all select p::text from lpm.oidc_policy p) x";
    let before = world.value(owned)?;
    for _ in 0..2 {
        mallory.push_payload(&world.client, &vault_id, poison).await?;
        assert_eq!(allow(&world, &mallory, &vault_id).await?, conflict());
        assert_eq!(escrow(&world, &mallory, &vault_id).await?, conflict());
        let disabled =
            answer(&world.client, "disable_escrow", &[&Uuid::now_v7(), &NONE, &mallory.token, &vault_id])
                .await?;
        assert_eq!(disabled.0, 200, "her own row's, which has none");
    }
    assert_eq!(world.value(owned)?, before);
    let hers = "select count(*) from lpm.vault_sync v join lpm.account a on a.id = v.user_id where a.handle = 'mallory' and ci_escrow_wrapping_key is not null";
    assert_eq!(world.value(hers)?, "0");
    world.serves(world.job(), &vault_id).await?;
    let met = world.job().owner(id_of(&world, "mallory")?).pull(&world.client, &vault_id).await?;
    let issuer = world.alice.issuer.clone();
    world.is_a_stranger("naming her finds nothing", &met, &issuer, "")
}

#[tokio::test]
async fn an_owner_that_does_not_match_looks_like_an_unknown_vault_to_every_request() -> Result<()> {
    let world = World::new().await?;
    let vault_id = world.alice.vault(&world.client).await?;
    world.alice.account("mallory", "pro")?;
    let (alice, mallory) = (id_of(&world, "alice")?, id_of(&world, "mallory")?);
    let issuer = world.alice.issuer.clone();
    for (case, owner) in [("nobody", Uuid::new_v4()), ("somebody else", mallory), ("zeros", Uuid::nil())] {
        let job = || world.job().owner(owner);
        let unknown = job().pull(&world.client, "no-such-vault").await?;
        world.is_a_stranger(case, &unknown, &issuer, "")?;
        let met = job().pull(&world.client, &vault_id).await?;
        world.is_a_stranger(case, &met, &issuer, "")?;
        assert_eq!(met.body, unknown.body, "{case}");
        let met = job().exchange(&world.client, &vault_id, &[7; 32]).await?;
        world.is_a_stranger(case, &met, &issuer, "")?;
        assert_eq!(met.body, unknown.body, "{case}");
    }
    assert_eq!(world.value("select count(*) from lpm.ci_token")?, "0");
    assert_eq!(world.value("select count(*) from lpm.oidc_subject_pin where subject_id is not null")?, "0");
    world.serves(world.job().owner(alice), &vault_id).await
}

#[tokio::test]
async fn a_transfer_ends_what_the_former_owner_could_do_even_what_was_under_way() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let vault_id = world.alice.vault(&world.client).await?;
    let exchanged = world.job().exchange(&world.client, &vault_id, &[7; 32]).await?;
    assert_eq!(exchanged.status, 200, "{}", exchanged.body);
    let granted = world.job().decide(&world.client, &vault_id).await?;
    assert_eq!(granted.status, 200, "{}", granted.body);
    world.value(&format!("select lpm.transfer_vault('{vault_id}', 'mallory')"))?;

    let opened = answer(&world.client, "open", &[&granted.request]).await?;
    assert_eq!(code(opened), (403, "not_openable".to_owned()), "decided before, opened after");
    assert_eq!(granted.trail(world.database())?, "ci_pull granted");
    let asked: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &vec![7_u8; 32], &vault_id, &"production"];
    let pulled = answer(&world.client, "decide_ci", &asked).await?;
    assert_eq!(code(pulled), (401, "ci_token_invalid".to_owned()), "exchanged before, pulled after");
    let issuer = world.alice.issuer.clone();
    let met = world.job().pull(&world.client, &vault_id).await?;
    world.is_a_stranger("the former owner's job", &met, &issuer, &vault_id)?;
    assert_eq!(allow(&world, &world.alice, &vault_id).await?, conflict());
    assert_eq!(escrow(&world, &world.alice, &vault_id).await?, conflict());
    let pull: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &world.alice.token, &vault_id];
    assert_eq!(answer(&world.client, "pull", &pull).await?.0, 200, "the row stays with whoever pushed it");

    // the new owner starts from nothing, ids included
    mallory.push(&world.client, &vault_id).await?;
    mallory.allow(&world.client, &vault_id).await?;
    mallory.escrow(&world.client, &vault_id).await?;
    world.serves(world.job().repository("acme/web", "99"), &vault_id).await?;
    let trail =
        "select concat_ws(' ', action, decision, login) from lpm.audit_log where action = 'vault_transfer'";
    assert_eq!(world.value(trail)?, "vault_transfer done postgres");
    Ok(())
}
