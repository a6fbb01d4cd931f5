//! Statements, locks and sessions that take too long, by everybody's settings.

use crate::site::{HASTY, PATIENT, POOL, Site, eventually, in_database};
use anyhow::{Context, Result};

/// What a pull reads or writes, and how it can be kept from it.
const LOCKS: [(&str, &str); 6] = [
    ("lpm.audit_log", "share row exclusive"),
    ("lpm.oidc_token_use", "share row exclusive"),
    ("lpm.ci_token", "share row exclusive"),
    ("lpm.oidc_policy", "access exclusive"),
    ("lpm.vault_sync", "access exclusive"),
    ("lpm.vault_claim", "access exclusive"),
];

/// Sets something for the gateway's login in this database, from its next connection on.
fn set(site: &Site, setting: &str) -> Result<()> {
    site.escrowed.database.value(&format!("alter role {} set {setting}", in_database(&site.escrowed)))?;
    let sql = format!("select count(pg_terminate_backend(pid)) from pg_stat_activity where {}", site.mine());
    site.escrowed.database.value(&sql).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_holds_a_lock_that_pulls_need_makes_them_503_until_it_is_released() -> Result<()> {
    let site = Site::shared(PATIENT).await?;
    set(&site, "lock_timeout = '100ms'")?;
    let load = site.load();
    load.goes_well(1).await?;
    for (table, mode) in LOCKS {
        let held = site.hold(table, mode).await?;
        load.is_refused(5).await.context(table)?;
        held.release().await?;
        load.goes_well(2).await.context(table)?;
    }
    println!("locks: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_the_server_cancels_is_503_and_costs_no_connection() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    let load = site.load();
    eventually("every connection of the pool is made", async || Ok(site.backends()? == POOL)).await?;
    let before = site.escrowed.database.value("select clock_timestamp()")?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    load.is_refused(8).await?;
    held.release().await?;
    load.goes_well(5).await?;
    assert_eq!(
        site.count(&format!("backend_start > '{before}'"))?,
        0,
        "the connections are the same as before"
    );
    println!("statement_timeout: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_idles_with_a_lock_is_ended_by_the_server_and_pulls_go_on() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    let load = site.load();
    load.goes_well(1).await?;
    site.escrowed.database.value(&format!(
        r#"alter database "{}" set idle_in_transaction_session_timeout = '3s'"#,
        site.escrowed.database.name()
    ))?;
    let held = site.hold("lpm.audit_log", "share row exclusive").await?;
    load.is_refused(2).await?;
    load.goes_well(5).await.context("nobody released the lock")?;
    assert!(held.release().await.is_err(), "the session is still there");
    println!("idle_in_transaction_session_timeout: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_never_idles_in_a_transaction() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    set(&site, "idle_in_transaction_session_timeout = '1ms'")?;
    let load = site.load();
    load.goes_well(20).await?;
    // but for those that met the ends of the connections of before
    load.until("nobody is sent away", |met| met.pulls > 20 && met.unavailable == 0).await?;
    println!("idle_in_transaction_session_timeout of its own: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_the_server_ends_for_idleness_are_replaced() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    set(&site, "idle_session_timeout = '20ms'")?;
    let load = site.load();
    load.goes_well(40).await?;
    println!("idle_session_timeout: {}", site.audited(load).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_own_statement_timeout_counts_whatever_the_login_says() -> Result<()> {
    let site = Site::shared(HASTY).await?;
    set(&site, "statement_timeout = '1ms'")?;
    let load = site.load();
    load.goes_well(10).await?;
    println!("statement_timeout of the login: {}", site.audited(load).await?);
    Ok(())
}
