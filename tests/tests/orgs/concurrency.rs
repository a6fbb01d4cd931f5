//! Many at once: one of them wins, nobody who leaves keeps anything, and nothing is locked out.

use crate::world::{Person, VAULT, World, refused, seen};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The outcomes of the tasks, counted.
async fn outcomes(mut tasks: JoinSet<Result<(u16, String)>>) -> Result<BTreeMap<(u16, String), u32>> {
    let mut outcomes = BTreeMap::new();
    while let Some(outcome) = tasks.join_next().await {
        *outcomes.entry(outcome??).or_default() += 1;
    }
    Ok(outcomes)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_shares_that_have_seen_the_same_version_one_wins() -> Result<()> {
    let world = Arc::new(World::new().await?);
    for round in 0..2 {
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                let who = world.members()[number % 4];
                let seen_version = if round == 0 { json!({}) } else { json!({"expectedVersion": round}) };
                Ok(seen(&world.share(who, &world.members(), seen_version).await?))
            });
        }
        let outcomes = outcomes(tasks).await?;
        let (won, lost) = if round == 0 {
            ((201, String::new()), refused(409, "org_version_expected"))
        } else {
            ((200, String::new()), refused(409, "org_version_conflict"))
        };
        assert_eq!(outcomes, BTreeMap::from([(won, 1), (lost, 63)]));
    }
    assert_eq!(world.sql("select version from lpm.vault_sync")?, "2");
    assert_eq!(world.sql("select string_agg(version::text, ' ') from lpm.vault_version")?, "1");
    let keys = "select string_agg(distinct version || ':' || (select count(*) from lpm.vault_org_keys o where o.version = k.version), ' ') from lpm.vault_org_keys k";
    assert_eq!(world.sql(keys)?, "1:4 2:4");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_shares_leave_no_gap_and_keys_for_each_version() -> Result<()> {
    let world = Arc::new(World::new().await?);
    let mut tasks = JoinSet::new();
    for number in 0..24 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let reply =
                world.share(world.members()[number % 4], &world.members(), json!({"force": true})).await?;
            ensure!(reply.status.is_success(), "{}", reply.text());
            Ok((0, reply.json()["version"].to_string()))
        });
    }
    let outcomes = outcomes(tasks).await?;
    assert_eq!(outcomes.len(), 24, "each has its own version: {outcomes:?}");
    assert_eq!(world.sql("select version from lpm.vault_sync")?, "24");
    let kept = "select string_agg(k.version || ':' || k.n, ' ' order by k.version) from
                (select version, count(*) n from lpm.vault_org_keys group by version) k";
    assert_eq!(world.sql(kept)?, "15:4 16:4 17:4 18:4 19:4 20:4 21:4 22:4 23:4 24:4");
    Ok(())
}

/// Shares for everybody, pulls of the leaver and the removal, all at once. Whatever comes first: in the end the leaver
/// has no copy, and no share that includes them succeeds after the removal has been answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_among_shares_and_pulls_leaves_the_leaver_nothing() -> Result<()> {
    let world = Arc::new(World::new().await?);
    for round in 0..6 {
        world.sql("select lpm.add_member('acme', 'dan')")?;
        world.shared().await?;
        let mut tasks: JoinSet<Result<(u16, String)>> = JoinSet::new();
        for number in 0..8 {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                let who = if number % 2 == 0 { &world.alice } else { &world.dan };
                Ok(seen(&world.share(who, &world.members(), json!({"force": true})).await?))
            });
        }
        for _ in 0..4 {
            let world = Arc::clone(&world);
            tasks.spawn(async move { Ok(seen(&world.pull(&world.dan).await?)) });
        }
        let removal = {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                if round % 2 == 0 {
                    let reply = world.delete(&world.olga, "/api/orgs/acme/members/dan").await?;
                    ensure!(reply.status == 200, "{}", reply.text());
                } else {
                    world.sql("select * from lpm.remove_member('acme', 'dan')")?;
                }
                // answered: from now on nothing is for them
                ensure!(world.copies(&world.dan)? == 0, "a copy outlived the removal");
                let late = world.share(&world.alice, &world.members(), json!({"force": true})).await?;
                Ok::<_, anyhow::Error>(seen(&late))
            })
        };
        for (outcome, _) in outcomes(tasks).await? {
            let expected =
                [(200, String::new()), refused(409, "recipient_unknown"), refused(404, "org_unknown")];
            assert!(expected.contains(&outcome), "{outcome:?}");
        }
        assert_eq!(removal.await??, refused(409, "recipient_unknown"));
        assert_eq!(world.copies(&world.dan)?, 0, "round {round}");
        assert_eq!(seen(&world.pull(&world.dan).await?), refused(404, "org_unknown"));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_who_unmake_each_other_leave_one() -> Result<()> {
    let world = Arc::new(World::new().await?);
    for round in 0..6 {
        world.sql("select lpm.add_member('acme', 'olga', role => 'owner'); select lpm.add_member('acme', 'alice', role => 'owner')")?;
        let mut tasks = JoinSet::new();
        for (who, whom) in [("olga", "alice"), ("alice", "olga")] {
            let world = Arc::clone(&world);
            tasks.spawn(async move {
                let who: &Person = if who == "olga" { &world.olga } else { &world.alice };
                let path = format!("/api/orgs/acme/members/{whom}");
                let reply = if round % 2 == 0 {
                    world.put(who, &path, &json!({"role": "developer"})).await?
                } else {
                    world.delete(who, &path).await?
                };
                Ok(seen(&reply))
            });
        }
        let outcomes = outcomes(tasks).await?;
        assert_eq!(outcomes.get(&(200, String::new())), Some(&1), "{outcomes:?}");
        let owners = "select count(*) from lpm.org_member m join lpm.org o on o.id = m.org_id where o.slug = 'acme' and m.role = 'owner'";
        assert_eq!(world.sql(owners)?, "1");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_many_accept_at_once_makes_one_member() -> Result<()> {
    let world = Arc::new(World::new().await?);
    let invitation = json!({"handle": "eve", "role": "developer"});
    world.post(&world.alice, "/api/orgs/acme/invitations", &invitation).await?;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            Ok(seen(&world.post(&world.eve, "/api/orgs/acme/invitations/accept", &json!({})).await?))
        });
    }
    let expected = BTreeMap::from([((200, String::new()), 1), (refused(404, "invitation_unknown"), 15)]);
    assert_eq!(outcomes(tasks).await?, expected);
    assert_eq!(world.sql("select count(*) from lpm.audit_log where action = 'member_added' and metadata ->> 'invited' = 'true'")?, "1");
    Ok(())
}

/// Everything that locks rows of one org and one vault id, in every order that callers come in.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_runs_at_once_nobody_is_locked_out() -> Result<()> {
    let world = Arc::new(World::new().await?);
    world.sql("select lpm.set_plan('dan', 'pro')")?;
    world.shared().await?;
    let policy = json!({"vaultId": VAULT, "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false, "scope": "org", "org": "acme"});
    let mut tasks: JoinSet<Result<(u16, String)>> = JoinSet::new();
    for worker in 0..8 {
        let (world, policy) = (Arc::clone(&world), policy.clone());
        tasks.spawn(async move {
            for _ in 0..6 {
                let force = json!({"force": true});
                let role = |role: &str| json!({"role": role});
                let reply = match worker {
                    0 => world.share(&world.dan, &world.members(), force).await?,
                    1 => world.share(&world.alice, &world.members(), force).await?,
                    2 => world.post(&world.alice, "/api/vault/oidc/policies", &policy).await?,
                    3 => world.put(&world.olga, "/api/orgs/acme/members/mia", &role("admin")).await?,
                    4 => world.put(&world.olga, "/api/orgs/acme/members/mia", &role("maintainer")).await?,
                    5 => world.pull(&world.mia).await?,
                    6 => {
                        world
                            .put(&world.alice, "/api/orgs/acme/settings", &json!({"mayShare": "developer"}))
                            .await?
                    }
                    _ => {
                        world.sql("select lpm.transfer_vault('vault-123', 'acme')")?;
                        world.get(&world.dan, "/api/orgs/acme/members").await?
                    }
                };
                ensure!(reply.status.is_success(), "{worker}: {}", reply.text());
            }
            Ok((200, String::new()))
        });
    }
    assert_eq!(outcomes(tasks).await?, BTreeMap::from([((200, String::new()), 8)]));
    let _: Value = world.pull(&world.dan).await?.json();
    Ok(())
}
