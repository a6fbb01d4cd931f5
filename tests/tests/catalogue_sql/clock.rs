//! D4: what has expired has expired, also for a transaction that began before.

use crate::{NONE, World};
use anyhow::{Result, ensure};
use lpm_core::token::LEEWAY;
use lpm_tests::escrowed::{answer, code};
use std::time::{Duration, Instant};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

impl World {
    /// Returns when the database's clock has passed what `sql` says.
    async fn passes(&self, moment: &str) -> Result<()> {
        let client = self.alice.database.connect().await?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while !client
            .query_one(&format!("select clock_timestamp() > ({moment})"), &[])
            .await?
            .get::<_, bool>(0)
        {
            ensure!(Instant::now() < deadline, "{moment} does not pass");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn d4_tokens_that_expire_during_a_long_transaction_are_refused_in_it() -> Result<()> {
    let world = World::new().await?;
    let hash = vec![9_u8; 32];
    assert_eq!(world.job().exchange(&world.client, &world.vault_id, &hash).await?.status, 200);
    let (id, token) = (Uuid::now_v7(), &world.alice.token);
    let account: [&(dyn ToSql + Sync); 3] = [&id, &NONE, token];
    let job: [&(dyn ToSql + Sync); 5] = [&id, &NONE, &hash, &world.vault_id, &"production"];

    world.client.batch_execute("set idle_in_transaction_session_timeout = 0; begin").await?;
    assert_eq!(answer(&world.client, "list_vaults", &account).await?.0, 200, "before");
    for table in ["access_token", "ci_token"] {
        // after the beginning of the transaction, and before the next statement
        world.value(&format!("update lpm.{table} set expires_at = clock_timestamp()"))?;
    }
    let frozen = "select bool_and(expires_at > now()) from (select expires_at from lpm.access_token union all select expires_at from lpm.ci_token) t";
    let superuser = world.alice.database.connect().await?;
    superuser.batch_execute("begin").await?;
    world.value("update lpm.access_token set expires_at = clock_timestamp(); update lpm.ci_token set expires_at = clock_timestamp()")?;
    assert!(
        superuser.query_one(frozen, &[]).await?.get::<_, bool>(0),
        "by the transaction's clock they are good"
    );
    assert_eq!(
        code(answer(&world.client, "list_vaults", &account).await?),
        (401, "unauthorized".to_owned()),
        "D4"
    );
    assert_eq!(
        code(answer(&world.client, "decide_ci", &job).await?),
        (401, "ci_token_invalid".to_owned()),
        "D4"
    );
    Ok(())
}

#[tokio::test]
async fn d4_a_grant_grows_old_during_a_long_transaction() -> Result<()> {
    let world = World::new().await?;
    let (young, old) = (
        world.job().decide(&world.client, &world.vault_id).await?,
        world.job().decide(&world.client, &world.vault_id).await?,
    );
    world.client.batch_execute("begin").await?;
    let row = world.client.query_one("select now()::text", &[]).await?;
    let began: &str = row.get(0);
    // it is 30 seconds old a moment after the transaction began
    let over = format!("timestamptz '{began}' + interval '100 milliseconds'");
    world.value(&format!(
        "update lpm.audit_log set created_at = {over} - interval '30 seconds' where request_id = '{}'",
        old.request
    ))?;
    world.passes(&over).await?;
    let refused = answer(&world.client, "open", &[&old.request]).await?;
    assert_eq!(code(refused), (403, "not_openable".to_owned()), "D4");
    assert_eq!(answer(&world.client, "open", &[&young.request]).await?.0, 200, "and a younger one opens");
    Ok(())
}

#[tokio::test]
async fn d4_policies_and_claims_lapse_during_a_long_transaction() -> Result<()> {
    let world = World::new().await?;
    let mallory = world.alice.account("mallory", "pro")?;
    let claimed = Uuid::new_v4().to_string();
    world.alice.allow(&world.client, &claimed).await?;
    assert!(mallory.allow(&world.client, &claimed).await.is_err(), "alice has claimed it");
    world.client.batch_execute("set idle_in_transaction_session_timeout = 0; begin").await?;
    world.client.query_one("select now()", &[]).await?;
    // both are over a moment after the transaction began
    world.value(
        "update lpm.vault_claim set claimed_at = clock_timestamp() - interval '24 hours' where not pushed",
    )?;
    world.value("update lpm.oidc_subject_pin set waiting_since = clock_timestamp() - interval '30 days' + interval '1 second'")?;
    world.passes("select max(waiting_since) + interval '30 days 1 second' from lpm.oidc_subject_pin").await?;
    let met = world.job().decide(&world.client, &world.vault_id).await?;
    assert_eq!(met.seen(), (403, "policy_lapsed"), "D4");
    mallory.allow(&world.client, &claimed).await?;
    Ok(())
}

#[tokio::test]
async fn d4_an_oidc_token_ends_during_a_long_transaction() -> Result<()> {
    let world = World::new().await?;
    world.client.batch_execute("begin").await?;
    let row = world.client.query_one("select floor(extract(epoch from now()))::bigint", &[]).await?;
    let began: i64 = row.get(0);
    // within the leeway when the transaction began
    let expires = began + 1 - LEEWAY;
    let job = || world.job().claim("iat", began - 300).claim("exp", expires);
    world.passes(&format!("to_timestamp({expires}) + interval '{LEEWAY} seconds'")).await?;
    assert_eq!(job().decide(&world.client, &world.vault_id).await?.seen(), (401, "token_expired"), "D4");
    let exchanged = job().exchange(&world.client, &world.vault_id, &[7; 32]).await?;
    assert_eq!(exchanged.seen(), (401, "token_expired"), "D4");
    Ok(())
}

#[tokio::test]
async fn d4_no_function_asks_for_the_transactions_time() -> Result<()> {
    let world = World::new().await?;
    let frozen = r"\m(now|transaction_timestamp|statement_timestamp)\s*\(|\mcurrent_(timestamp|time|date)\M|\mlocal(timestamp|time)\M|'(now|today)'::|\mtimestamp(tz)?\s+''?(now|today)";
    let found = world.value(&format!(
        "select string_agg(what, ' ') from (
             select p.oid::regproc::text as what, p.prosrc as text from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
             union all select c.oid::regclass::text, pg_get_viewdef(c.oid) from pg_class c where c.relkind = 'v' and c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace)
             union all select d.adrelid::regclass::text, pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d join pg_class c on c.oid = d.adrelid and c.relnamespace = 'lpm'::regnamespace
         ) x where text ~* '{}'",
        frozen.replace('\'', "''")
    ))?;
    assert_eq!(found, "", "D4");
    Ok(())
}
