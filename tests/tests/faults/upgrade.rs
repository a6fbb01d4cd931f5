//! Functions are replaced under running pulls, as `ALTER EXTENSION … UPDATE` does it: no request fails, and no use of a
//! token is lost.

use crate::site::{HASTY, PULL, Site};
use anyhow::Result;

/// Puts another function in the place of one, with another type of result: statements that were prepared for the old one
/// fail with 0A000, `cached plan must not change result type`.
async fn replace(site: &Site, function: &str, turn: u32) -> Result<()> {
    let arguments: String = site.escrowed.database.value(&format!(
        "select pg_get_function_identity_arguments(oid) from pg_proc where proname = '{function}' and pronamespace = 'lpm_api'::regnamespace"
    ))?;
    let names: Vec<&str> =
        arguments.split(", ").filter_map(|argument| argument.split_once(' ')).map(|(name, _)| name).collect();
    let names = names.iter().map(|name| format!("{function}.{name}")).collect::<Vec<_>>().join(", ");
    // the old one keeps its name, which its body says, in another schema
    let (before, kind) = (format!("before_{turn}"), format!("answer_{turn}"));
    let length = 1_000_000 + turn;
    site.escrowed
        .database
        .connect()
        .await?
        .batch_execute(&format!(
            "begin;
             create type lpm_api.{kind} as (status int, body varchar({length}));
             create schema {before};
             grant usage on schema {before} to lpm_gateway;
             alter function lpm_api.{function} set schema {before};
             create function lpm_api.{function}({arguments}) returns lpm_api.{kind} language plpgsql volatile as $$
             begin
                 return (select row ((a.r).status, (a.r).body)::lpm_api.{kind} from (select {before}.{function}({names}) r offset 0) a);
             end
             $$;
             grant execute on function lpm_api.{function} to lpm_gateway;
             commit"
        ))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_the_old_function_is_prepared_anew_and_nobody_notices() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    let pull = async || site.gateway.post(PULL, None, &site.job()?).await;
    assert_eq!(pull().await?.status.as_u16(), 200);
    for (turn, function) in ["ready", "decide", "open", "decide", "open"].into_iter().enumerate() {
        replace(&site, function, u32::try_from(turn)?).await?;
        assert_eq!(site.health().await?, (200, 200), "{function}");
        let reply = pull().await?;
        assert_eq!(reply.status.as_u16(), 200, "{function}: {}", reply.text());
    }
    assert_eq!(site.decisions()?, "granted 6", "each pull has decided once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_replaced_under_running_pulls_and_none_fails() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    let load = site.load();
    load.goes_well(10).await?;
    for (turn, function) in
        ["open", "decide", "decide_ci", "exchange", "open", "issuers"].into_iter().enumerate()
    {
        replace(&site, function, u32::try_from(turn)?).await?;
        load.goes_well(8).await?;
    }
    let tally = load.tally();
    assert_eq!((tally.unavailable, tally.unanswered), (0, 0), "{tally:?}");
    println!("functions replaced: {}", site.audited(load).await?);
    Ok(())
}
