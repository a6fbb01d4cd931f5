//! D1: a denial is a value, so its audit row and the use of its token are committed with it.

use crate::{NONE, World};
use anyhow::Result;
use lpm_tests::escrowed::answer;
use lpm_tests::job::Job;
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

#[tokio::test]
async fn d1_every_denial_returns_and_leaves_its_row_and_the_use() -> Result<()> {
    let world = World::new().await?;
    let here = format!("where vault_id = '{}'", world.vault_id);
    let pin = |id: &str, owner: &str| {
        format!("update lpm.oidc_subject_pin set subject_id = '{id}', owner_id = '{owner}' {here}")
    };
    let key = |from: &str, to: &str| {
        format!(
            "update lpm.vault_sync set ci_escrow_wrapping_key = replace(ci_escrow_wrapping_key, '.{from}.', '.{to}.') {here}"
        )
    };
    let nothing = || "select 1".to_owned();
    let job = || world.job();
    for (name, job, broken, mended, audited, used) in [
        ("granted", job(), nothing(), nothing(), "granted", true),
        ("another id", job(), pin("41", "7"), pin("42", "7"), "denied identity_changed", true),
        ("another owner", job(), pin("42", "8"), pin("42", "7"), "denied owner_changed", true),
        ("event", job().claim("event_name", "watch"), nothing(), nothing(), "denied event_not_allowed", true),
        ("fork", job().claim("head_ref", "x"), nothing(), nothing(), "denied fork_not_allowed", true),
        ("branch", job().branch("x"), nothing(), nothing(), "denied branch_not_allowed", true),
        (
            "tag",
            job().claim("ref", "refs/tags/v1").claim("ref_type", "tag"),
            nothing(),
            nothing(),
            "denied tag_not_allowed",
            true,
        ),
        (
            "no branch at all",
            job().claim("ref", "refs/pull/1/merge"),
            nothing(),
            nothing(),
            "denied ref_not_allowed",
            true,
        ),
        (
            "environment",
            job().environment("staging"),
            nothing(),
            nothing(),
            "denied environment_not_allowed",
            true,
        ),
        (
            "plan",
            job(),
            "select lpm.set_plan('alice', 'free')".to_owned(),
            "select lpm.set_plan('alice', 'org')".to_owned(),
            "denied plan_ci_pull",
            true,
        ),
        ("no key", job(), key("dev", "gone"), key("gone", "dev"), "failed no_escrow_key", false),
    ] {
        world.value(&broken)?;
        let uses = || world.value("select count(*) from lpm.oidc_token_use");
        let (before, action) = (uses()?, "ci_pull");
        let met = job.decide(&world.client, &world.vault_id).await?;
        // asked on another connection: what is seen there is committed
        assert_eq!(
            met.trail(&world.alice.database)?,
            format!("{action} {audited}"),
            "D1 {name}: {}",
            met.body
        );
        let expected = before.parse::<u32>()? + u32::from(used);
        assert_eq!(uses()?, expected.to_string(), "D1 {name}: the use");
        let again = job.decide(&world.client, &world.vault_id).await?;
        let replayed = if used { "denied replayed" } else { audited };
        assert_eq!(again.trail(&world.alice.database)?, format!("{action} {replayed}"), "D1 {name}: again");
        let exchanged = job.exchange(&world.client, &world.vault_id, &[7; 32]).await?;
        let expected = if used { "ci_exchange denied replayed" } else { "ci_exchange granted" };
        assert_eq!(exchanged.trail(&world.alice.database)?, expected, "D1 {name}: as an exchange");
        world.value(&mended)?;
    }
    Ok(())
}

#[tokio::test]
async fn d1_denials_of_ci_tokens_and_of_accounts_are_committed_too() -> Result<()> {
    let world = World::new().await?;
    let hash = vec![9_u8; 32];
    assert_eq!(world.job().exchange(&world.client, &world.vault_id, &hash).await?.status, 200);
    let (request, other) = (Uuid::now_v7(), "staging");
    let arguments: [&(dyn ToSql + Sync); 5] = [&request, &NONE, &hash, &world.vault_id, &other];
    assert_eq!(answer(&world.client, "decide_ci", &arguments).await?.0, 403);
    let row = world.value(&format!(
        "select concat_ws(' ', action, decision, reason) from lpm.audit_log where request_id = '{request}'"
    ))?;
    assert_eq!(row, "ci_pull denied ci_token_scope", "D1");
    assert_eq!(world.value("select uses from lpm.ci_token")?, "1", "D1: the use of the CI token");

    world.value("select lpm.set_plan('alice', 'free')")?;
    let body = json!({"vaultId": world.vault_id, "provider": "github", "subject": "repo:a/b", "allowedBranches": [], "allowedEnvironments": []}).to_string();
    let token = &world.alice.token;
    let (allow, escrow) = (Uuid::now_v7(), Uuid::now_v7());
    let calls: [(&str, Uuid, Vec<&(dyn ToSql + Sync)>, &str); 3] = [
        ("pull", request, vec![&request, &NONE, token, &world.vault_id], "pull denied plan_sync"),
        ("create_policy", allow, vec![&allow, &NONE, token, &body], "policy_create denied plan_ci_escrow"),
        (
            "put_escrow",
            escrow,
            vec![&escrow, &NONE, token, &world.vault_id, &"s1.x"],
            "escrow_on denied plan_ci_escrow",
        ),
    ];
    for (function, request, arguments, audited) in calls {
        let (status, body) = answer(&world.client, function, &arguments).await?;
        assert_eq!(status, 403, "D1 {function}: {body}");
        let row = world.value(&format!(
            "select concat_ws(' ', action, decision, reason) from lpm.audit_log where request_id = '{request}' and action !~ '^ci_'"
        ))?;
        assert_eq!(row, audited, "D1 {function}");
    }
    assert_eq!(world.alice.push_expecting(&world.client, &world.vault_id, None, true).await?.0, 403);
    let last = "select concat_ws(' ', action, decision, reason) from lpm.audit_log order by id desc limit 1";
    assert_eq!(world.value(last)?, "push denied plan_sync", "D1 push");
    Ok(())
}

/// What would take a row back: an exception that is thrown, or one that is caught around the insert.
#[tokio::test]
async fn d1_nothing_on_the_way_of_a_request_raises_or_catches() -> Result<()> {
    let world = World::new().await?;
    let found = world.value(
        "with recursive way (oid) as (
             select p.oid from pg_proc p where p.pronamespace = 'lpm_api'::regnamespace
             union
             select callee.oid from way
               join pg_proc caller on caller.oid = way.oid
               join pg_proc callee on callee.pronamespace = 'lpm'::regnamespace and caller.prosrc ~ ('\\mlpm\\.' || callee.proname || '\\M'))
         select concat_ws(' ', count(*) > 30, string_agg(p.proname, ' ' order by p.proname) filter (where p.prosrc ~* '\\mraise\\M|\\mexception\\M|\\mrollback\\M'))
           from way join pg_proc p on p.oid = way.oid join pg_language l on l.oid = p.prolang and l.lanname in ('plpgsql', 'sql')",
    )?;
    assert_eq!(found, "t", "D1: functions that raise or catch");
    Ok(())
}

#[tokio::test]
async fn d1_a_denial_inside_a_callers_transaction_goes_with_it_and_opens_nothing() -> Result<()> {
    let world = World::new().await?;
    let job = world.job().branch("x");
    world.client.batch_execute("begin").await?;
    let met = job.decide(&world.client, &world.vault_id).await?;
    assert_eq!(met.seen(), (403, "branch_not_allowed"));
    world.client.batch_execute("rollback").await?;
    // a gateway that throws its own denial away has learnt what it learns again, and nobody got anything
    assert_eq!(met.trail(&world.alice.database)?, "");
    let again: Job = job.branch("main");
    let met = again.pull(&world.client, &world.vault_id).await?;
    assert_eq!(
        (met.status, met.trail(&world.alice.database)?.as_str()),
        (200, "ci_pull granted"),
        "D1: {}",
        met.body
    );
    Ok(())
}
