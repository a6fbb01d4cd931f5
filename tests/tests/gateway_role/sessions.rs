//! What a session could reach beside the catalogs' objects: settings, other sessions, files, its own temporary
//! objects.

use crate::{Intruder, RIGHTS};
use anyhow::{Context, Result};
use lpm_tests::database::Login;
use lpm_tests::escrowed::{SECRET, answer};
use lpm_tests::job::Job;

/// Not allowed, or not at this time: a setting that only a restart changes.
const SETTINGS: &[&str] = &["42501", "55P02"];

/// Not allowed, or a password was asked for and given, and the server wanted none.
const DBLINK: &[&str] = &["42501", "2F003"];

#[tokio::test]
async fn no_setting_that_is_not_everybodys_can_be_changed_nor_one_that_is_hidden_be_read() -> Result<()> {
    let intruder = Intruder::new().await?;
    let (me, database) = (&intruder.login.user, intruder.alice.database.name());
    let closed = "select name from pg_settings where context <> 'user'
                  union select unnest(array['pg_lpm.escrow_key_file', 'pg_lpm.escrow_key_command'])";
    let mut attempts = intruder.each(
        closed,
        &[
            "set %s = default",
            "set %s = '1'",
            "select set_config('%s', '1', false)",
            "reset %s",
            &format!("alter role {me} set %s = '1'"),
        ],
    )?;
    attempts.extend(intruder.each(
        &format!("select name from pg_settings union {closed}"),
        &[
            "alter system set %s = default",
            "alter system reset %s",
            &format!("alter database {database} set %s = default"),
            "alter role lpm_gateway set %s = default",
            "alter role all set %s = default",
        ],
    )?);
    attempts.push("alter system reset all".to_owned());
    intruder.is_refused(&attempts, SETTINGS).await?;

    let hidden = ["pg_lpm.escrow_key_file", "pg_lpm.escrow_key_command", "data_directory", "hba_file"];
    let shows: Vec<String> = hidden
        .iter()
        .flat_map(|name| {
            [
                format!("show {name}"),
                format!("select current_setting('{name}')"),
                format!("select current_setting('{name}', true)"),
            ]
        })
        .collect();
    intruder.is_refused(&shows, RIGHTS).await?;
    let seen: i64 = intruder
        .client
        .query_one("select count(*) from pg_settings where name = any ($1)", &[&hidden.as_slice()])
        .await?
        .get(0);
    assert_eq!(seen, 0);

    // nor at the start of a session
    for name in
        intruder.lines("select name from pg_settings where context in ('superuser', 'superuser-backend')")?
    {
        let url = format!("{}?options=-c%20{name}%3Don", intruder.alice.database.url_as(&intruder.login));
        let error = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.err();
        let code = error.as_ref().and_then(tokio_postgres::Error::code).map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{name}: {error:?}");
    }
    intruder.works().await
}

#[tokio::test]
async fn what_other_sessions_do_is_neither_seen_nor_ended() -> Result<()> {
    let intruder = Intruder::new().await?;
    let database = &intruder.alice.database;
    let user = format!("gateway_{}", uuid::Uuid::new_v4().simple());
    let password = database.value(&format!("select lpm.create_gateway_login('{user}')"))?;
    let neighbour = database.connect_as(&Login { user, password }).await?;
    let (superuser, watcher) = (database.connect().await?, database.connect().await?);
    let marker = "select pg_backend_pid() /* another session's */";
    let mut attempts = Vec::new();
    for (whose, session) in [("a superuser's", &superuser), ("another gateway's", &neighbour)] {
        let pid: i32 = session.query_one(marker, &[]).await?.get(0);
        let seen = format!("select query from pg_stat_activity where pid = {pid}");
        assert_eq!(watcher.query_one(&seen, &[]).await?.get::<_, &str>(0), marker, "{whose}");
        let row = intruder.client.query_one(&seen, &[]).await?;
        assert_eq!(row.get::<_, Option<&str>>(0), Some("<insufficient privilege>"), "{whose} statement");
        for sql in ["pg_cancel_backend", "pg_terminate_backend", "pg_log_backend_memory_contexts"] {
            attempts.push(format!("select {sql}({pid})"));
        }
    }
    intruder.is_refused(&attempts, RIGHTS).await?;
    for session in [&superuser, &neighbour] {
        session.batch_execute("select 1").await.context("it still lives")?;
    }
    Ok(())
}

#[tokio::test]
async fn statistics_of_our_tables_show_no_value() -> Result<()> {
    let intruder = Intruder::new().await?;
    intruder.alice.database.value("analyze; select 1")?;
    let about_ours = "select count(*) from pg_stats where schemaname in ('lpm', 'lpm_dashboard')";
    assert_ne!(intruder.alice.database.value(about_ours)?, "0", "there is something to see");
    for sql in [about_ours, "select count(*) from pg_stats_ext", "select count(*) from pg_stats_ext_exprs"] {
        assert_eq!(intruder.client.query_one(sql, &[]).await?.get::<_, i64>(0), 0, "{sql}");
    }
    intruder.works().await
}

#[tokio::test]
async fn neither_files_nor_programs_nor_large_objects_nor_links_are_within_reach() -> Result<()> {
    let intruder = Intruder::new().await?;
    let database = &intruder.alice.database;
    let object = database.value("select lo_from_bytea(0, 'somebody''s')")?;
    database.value("create extension dblink")?;
    let mut attempts: Vec<String> = [
        "copy (select 1) to program 'cat'",
        "copy (select 1) to '/nowhere/file'",
        "create temp table t (x text) on commit drop; copy t from '/etc/hostname'",
        "create temp table t (x text) on commit drop; copy t from program 'id'",
        "select lo_import('/etc/hostname')",
        "select lo_export(OBJECT, '/nowhere/file')",
        "select lo_get(OBJECT)",
        "select lo_put(OBJECT, 0, 'x')",
        "select lo_open(OBJECT, 262144)",
        "select lo_unlink(OBJECT)",
        "alter large object OBJECT owner to current_user",
        "grant select on large object OBJECT to current_user",
        "select * from pg_largeobject",
        "select pg_read_file('postgresql.conf')",
        "select pg_read_binary_file('postgresql.conf')",
        "select pg_ls_dir('.')",
        "select pg_stat_file('postgresql.conf')",
        "select pg_ls_waldir()",
        "select pg_create_physical_replication_slot('mine')",
        "select pg_create_logical_replication_slot('mine', 'test_decoding')",
        "select pg_switch_wal()",
        "select pg_export_snapshot(), pg_read_file('x')",
        "load 'dblink'",
        "checkpoint",
        "do language plpgsql $$ begin execute 'copy (select 1) to program ''cat'''; end $$",
    ]
    .iter()
    .map(|sql| sql.replace("OBJECT", &object))
    .collect();
    // a link to the very server that trusts whoever comes through its socket as superuser
    let server = format!("host={} dbname={} user=postgres", database.socket_dir().display(), database.name());
    for connection in [server.clone(), format!("{server} password=x")] {
        attempts.push(format!("select * from dblink('{connection}', 'select 1') t (x int)"));
        attempts.push(format!("select dblink_connect('{connection}')"));
        attempts.push(format!("select dblink_exec('{connection}', 'select 1')"));
        attempts.push(format!("select dblink_connect_u('{connection}')"));
    }
    intruder.is_refused(&attempts, DBLINK).await?;
    assert_eq!(database.value(&format!("select lo_get({object})"))?, r"\x736f6d65626f64792773");
    Ok(())
}

#[tokio::test]
async fn temporary_objects_and_settings_of_the_session_shadow_nothing() -> Result<()> {
    let intruder = Intruder::new().await?;
    let (alice, client) = (&intruder.alice, &intruder.client);
    let pull = async |job: Job| job.pull(client, &intruder.vault_id).await;
    let honest = || Job::of(&alice.issuer);
    // a table for every relation, a domain that takes no value for every type, a function of every name
    let names = intruder.lines(
        "select distinct quote_ident(c.relname) from pg_class c where c.relkind in ('r', 'v', 'c')
            and c.relnamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace, 'lpm_dashboard'::regnamespace, 'pg_catalog'::regnamespace)",
    )?;
    for name in names {
        client
            .batch_execute(&format!("create temp table {name} (id uuid, granted boolean default true)"))
            .await?;
    }
    for name in intruder.lines("select typname from pg_type where typtype = 'b' and typnamespace = 'pg_catalog'::regnamespace and typelem = 0")? {
        client.batch_execute(&format!("create domain pg_temp.\"{name}\" as pg_catalog.text check (value is null)")).await?;
    }
    for name in intruder.lines("select distinct quote_ident(p.proname) from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
                                union select unnest(array['sha256', 'clock_timestamp', 'pg_xact_status', 'current_setting', 'count', 'json_build_object'])")? {
        let body = "$$begin raise exception 'shadowed'; end$$";
        client.batch_execute(&format!("create function pg_temp.{name}(variadic pg_catalog.text[]) returns pg_catalog.bool language plpgsql as {body}")).await?;
    }
    client.batch_execute("create operator pg_temp.= (function = pg_catalog.texteq, leftarg = pg_catalog.text, rightarg = pg_catalog.text)").await?;
    for session in [
        "set search_path = pg_temp",
        "set search_path = pg_temp, pg_catalog, lpm, lpm_api",
        "set search_path = ''",
        "set datestyle = 'German'; set intervalstyle = 'sql_standard'; set timezone = 'Pacific/Kiritimati'; set bytea_output = 'escape'; set extra_float_digits = -15",
        "set standard_conforming_strings = off; set transform_null_equals = on; set array_nulls = off; set quote_all_identifiers = on",
        "set plan_cache_mode = force_generic_plan; set enable_indexscan = off; set enable_seqscan = off",
        "set default_transaction_deferrable = on; set synchronous_commit = off",
        "set xmloption = 'document'; set lc_numeric = 'C'; set client_encoding = 'UTF8'; set check_function_bodies = off",
    ] {
        client.batch_execute(session).await.context(session)?;
        let met = pull(honest()).await.context(session)?;
        assert_eq!(
            (met.status, met.body["vars"]["API_KEY"].as_str()),
            (200, Some(SECRET)),
            "{session}: {}",
            met.body
        );
        assert_eq!(met.trail(&alice.database)?, "ci_pull granted", "{session}");
        let met = pull(honest().repository("evil/repo", "666")).await.context(session)?;
        assert_eq!((met.seen(), met.trail(&alice.database)?.as_str()), ((403, "no_policy"), ""), "{session}");
        let unknown = answer(client, "list_vaults", &[&met.request, &None::<&str>, &vec![7_u8; 32]]).await?;
        assert_eq!(unknown.0, 401, "{session}");
        let known = answer(client, "list_vaults", &[&met.request, &None::<&str>, &alice.token]).await?;
        assert_eq!(known.1["vaults"][0]["vaultId"], intruder.vault_id.as_str(), "{session}");
        client.batch_execute("reset all").await?;
    }
    // row security cannot be switched off, only be run into
    client.batch_execute("set row_security = off").await?;
    let error = pull(honest()).await.err().context("row security was off")?;
    assert!(format!("{error:?}").contains("row-level security"), "{error:?}");
    client.batch_execute("reset all").await?;
    intruder.works().await
}
