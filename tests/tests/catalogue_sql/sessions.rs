//! D7: one connection serves many, and nothing of one request is there for the next.

use crate::{NONE, World};
use anyhow::Result;
use lpm_tests::escrowed::{answer, call};
use lpm_tests::sources;
use serde_json::json;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// Everything that a scope says; only a superuser may ask.
const SCOPE: &str = "select concat_ws(' ', lpm.scope_account(), nullif(lpm.scope_orgs(), '{}')::text, nullif(lpm.scope_led_orgs(), '{}')::text,
    lpm.scope_vault(), lpm.scope_vault_user(), lpm.scope_vault_org())";

async fn scope(client: &Client) -> Result<String> {
    Ok(client.query_one(SCOPE, &[]).await?.get(0))
}

#[tokio::test]
async fn d7_a_scope_ends_with_its_transaction_however_that_ends() -> Result<()> {
    let world = World::new().await?;
    // a superuser may ask for the scope, and enters it as the gateway does
    let client = world.alice.database.connect().await?;
    let (id, hash) = (Uuid::now_v7(), vec![9_u8; 32]);
    assert_eq!(world.job().exchange(&world.client, &world.vault_id, &hash).await?.status, 200);
    let granted = world.job().decide(&world.client, &world.vault_id).await?;
    let claims = world.job().payload();
    let issuer = &world.alice.issuer;
    let calls: [(&str, Vec<&(dyn ToSql + Sync)>); 6] = [
        ("list_vaults", vec![&id, &NONE, &world.alice.token]),
        ("list_policies", vec![&id, &NONE, &world.alice.token, &world.vault_id]),
        ("explain", vec![&id, &NONE, &world.alice.token, &world.vault_id, issuer, &claims, &"production"]),
        ("open", vec![&granted.request]),
        ("decide_ci", vec![&id, &NONE, &hash, &world.vault_id, &"staging"]),
        (
            "decide",
            vec![&granted.request, &NONE, issuer, &claims, &world.vault_id, &"staging", &None::<Uuid>],
        ),
    ];
    for (function, arguments) in &calls {
        for ending in ["commit", "rollback", "select 1/0; commit", "savepoint s; select 1/0", "discard all"] {
            client.batch_execute("begin").await?;
            // a request id serves once, so some of these fail: that is one more way to end
            if let Ok(row) = client.query_one(&call(function, arguments.len()), arguments).await {
                let status: i32 = row.get(0);
                let entered = scope(&client).await?;
                assert!(!entered.is_empty() || status >= 400, "D7 {function}: no scope was entered");
            }
            let _ = client.batch_execute(ending).await;
            let _ = client.batch_execute("rollback").await;
            assert_eq!(scope(&client).await?, "", "D7 {function}, {ending}: the next transaction");
            client.batch_execute("begin").await?;
            assert_eq!(scope(&client).await?, "", "D7 {function}, {ending}: the next block");
            client.batch_execute("rollback").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn d7_on_one_connection_each_caller_gets_their_own_and_nothing_else() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "org")?;
    let own = Uuid::new_v4().to_string();
    mallory.push(&world.client, &own).await?;
    let nobody = vec![7_u8; 32];
    let list =
        async |token: &Vec<u8>| answer(&world.client, "list_vaults", &[&Uuid::now_v7(), &NONE, token]).await;
    let policies = async |token: &Vec<u8>| {
        answer(&world.client, "list_policies", &[&Uuid::now_v7(), &NONE, token, &world.vault_id]).await
    };
    // alternately, often enough that plans are cached; in transactions of their own, and in one
    for block in [false, true] {
        for round in 0..12 {
            if block {
                world.client.batch_execute("begin").await?;
            }
            let (_, body) = list(&world.alice.token).await?;
            assert_eq!(body["vaults"][0]["vaultId"], json!(world.vault_id), "D7 round {round}: {body}");
            assert_eq!(policies(&world.alice.token).await?.1["policies"].as_array().map(Vec::len), Some(1));
            assert_eq!(world.job().decide(&world.client, &world.vault_id).await?.status, 200);
            let (_, body) = list(&mallory.token).await?;
            let ids: Vec<_> = body["vaults"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|vault| vault["vaultId"].clone())
                .collect();
            assert_eq!(ids, [json!(own)], "D7 round {round}: mallory after alice and a job");
            assert_eq!(policies(&mallory.token).await?.1["policies"], json!([]), "D7 round {round}");
            assert_eq!(list(&nobody).await?.0, 401, "D7 round {round}: nobody after mallory");
            assert_eq!(policies(&nobody).await?.0, 401, "D7 round {round}");
            // a stranger's claims after alice's, for her vault: no policy of hers is found through her scope
            let stranger = world.job().repository("evil/repo", "666");
            assert_eq!(
                stranger.decide(&world.client, &world.vault_id).await?.seen(),
                (403, "no_policy"),
                "D7 round {round}"
            );
            if block {
                world.client.batch_execute("rollback").await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn d7_nothing_of_a_request_stays_in_the_session() -> Result<()> {
    let world = World::new().await?;
    let marker = "marker-4711-of-this-request";
    let client = world.alice.database.connect().await?;
    let state = "select concat_ws(' ', (select count(*) from pg_settings where setting like '%marker-' || '4711%'), (select count(*) from pg_settings where source = 'session' and name not in ('client_encoding')),
        (select count(*) from pg_cursors where name <> ''), (select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'),
        (select count(*) from pg_listening_channels()), pg_my_temp_schema(),
        (select count(*) from pg_prepared_statements where statement like '%marker-' || '4711%'), current_user = session_user)";
    let fresh: String = client.query_one(state, &[]).await?.get(0);
    let met =
        world.job().claim("actor", marker).claim("workflow", marker).pull(&client, &world.vault_id).await?;
    assert_eq!(met.status, 200, "{}", met.body);
    let denied = world.job().branch(marker).decide(&client, &world.vault_id).await?;
    assert_eq!(denied.seen(), (403, "branch_not_allowed"));
    answer(&client, "list_vaults", &[&Uuid::now_v7(), &NONE, &world.alice.token]).await?;
    let after: String = client.query_one(state, &[]).await?.get(0);
    assert_eq!((after.as_str(), fresh.as_str()), ("0 0 0 0 0 0 0 t", "0 0 0 0 0 0 0 t"), "D7");
    Ok(())
}

/// A setting of one's own making is in no list of settings, so the functions are looked at instead. The one setting is
/// changed in Rust, by `lpm.refuse_session`.
#[tokio::test]
async fn d7_the_one_setting_that_a_function_changes_is_no_ones_secret_and_ends_with_the_transaction()
-> Result<()> {
    let world = World::new().await?;
    let settings = world.value(
        "select string_agg(p.oid::regproc || ': ' || m[1], ', ' order by p.proname)
           from pg_proc p, regexp_matches(p.prosrc, '(set_config\\s*\\([^;]*?\\)|\\mset\\s+(?:local\\s+|session\\s+)[a-z_.]+)', 'gi') m
          where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)",
    )?;
    assert_eq!(settings, "", "D7");
    let extension = sources::extension()?;
    let settings: Vec<&str> = extension
        .split("set_config_option(")
        .skip(1)
        .map(|call| call.trim_start().lines().next().unwrap_or_default())
        .collect();
    assert_eq!(settings, [r#"c"synchronous_commit".as_ptr(),"#], "D7");
    world.client.batch_execute("set synchronous_commit = off").await?;
    for _ in 0..2 {
        assert_eq!(world.job().decide(&world.client, &world.vault_id).await?.status, 200);
        let row = world.client.query_one("show synchronous_commit", &[]).await?;
        assert_eq!(row.get::<_, &str>(0), "off", "D7: as the session had it");
    }
    Ok(())
}
