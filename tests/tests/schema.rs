//! The installed schema itself: owners, rights, search paths, row security, installation and removal.

use anyhow::Result;
use lpm_tests::cluster;
use lpm_tests::stack::shared;

async fn findings(sql: &str) -> Result<String> {
    let shared = shared().await?;
    shared
        .seed
        .database
        .value(&format!("select coalesce(string_agg(f, E'\\n' order by f), '') from ({sql}) x (f)"))
}

#[tokio::test]
async fn every_security_definer_function_has_a_path_that_ends_in_pg_temp() -> Result<()> {
    let found = findings(
        "select p.oid::regprocedure::text from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and p.prosecdef
          and not exists (select from unnest(p.proconfig) c where c ~ '^search_path=.*pg_temp$')",
    )
    .await?;
    assert_eq!(found, "");
    Ok(())
}

#[tokio::test]
async fn nothing_is_granted_to_public() -> Result<()> {
    let found = findings(
        "select p.oid::regprocedure::text from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
          where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and a.grantee = 0
         union all
         select c.oid::regclass::text from pg_class c, aclexplode(c.relacl) a
          where c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace) and a.grantee = 0
         union all
         select n.nspname::text from pg_namespace n, aclexplode(n.nspacl) a where n.nspname like 'lpm%' and a.grantee = 0",
    )
    .await?;
    assert_eq!(found, "");
    Ok(())
}

#[tokio::test]
async fn owners_are_as_designed() -> Result<()> {
    let found = findings(
        "select format('%s %s', pg_get_userbyid(c.relowner), c.oid::regclass) from pg_class c
          where c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace) and c.relkind in ('r', 'v', 'S')
            and pg_get_userbyid(c.relowner) <> case c.relnamespace::regnamespace::text when 'lpm' then 'lpm_owner' else 'lpm_definer' end
         union all
         select format('%s %s', pg_get_userbyid(p.proowner), p.oid::regproc) from pg_proc p
          where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
            and pg_get_userbyid(p.proowner) <> case when p.pronamespace = 'lpm_api'::regnamespace and p.proname not in ('issuers', 'ready')
                                                    then 'lpm_definer' else 'lpm_owner' end",
    )
    .await?;
    assert_eq!(
        found.replace("postgres lpm.", ""),
        "commit_is_replicated\ncreate_gateway_login\ndigest\ngen_random_bytes\nhmac",
        "what needs the installing superuser, and nothing else"
    );
    Ok(())
}

#[tokio::test]
async fn every_table_has_row_security_and_is_dumped() -> Result<()> {
    let found = findings(
        "select c.oid::regclass::text from pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind = 'r' and not c.relrowsecurity
         union all
         select c.oid::regclass::text from pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind in ('r', 'S')
            and not exists (select from pg_extension e where e.extname = 'pg_lpm' and c.oid = any (e.extconfig))",
    )
    .await?;
    assert_eq!(found, "");
    Ok(())
}

#[tokio::test]
async fn the_roles_have_no_powers_of_their_own() -> Result<()> {
    let found = findings(
        "select rolname::text from pg_roles where rolname in ('lpm_owner', 'lpm_definer', 'lpm_gateway', 'lpm_admin', 'lpm_operator',
            'lpm_auditor', 'lpm_dashboard') and (rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication)",
    )
    .await?;
    assert_eq!(found, "");
    Ok(())
}

#[tokio::test]
async fn the_dashboard_shows_no_ciphertext_key_or_hash() -> Result<()> {
    let shared = shared().await?;
    let columns = findings(
        "select format('%s.%s', table_name, column_name) from information_schema.columns where table_schema = 'lpm_dashboard'
            and column_name ~ '(blob|wrapped|wrapping|hash|sha256|secret|token|key)' and column_name <> 'encrypted_bytes'",
    )
    .await?;
    assert_eq!(columns, "");
    // readers see the views, and nothing behind them
    let database = &shared.seed.database;
    for (role, may, may_not) in [
        (
            "lpm_dashboard",
            &[
                "lpm_dashboard.vaults",
                "lpm_dashboard.policies",
                "lpm_dashboard.audit",
                "lpm_dashboard.strangers",
            ][..],
            &["lpm.vault_sync", "lpm.audit_log", "lpm.health"][..],
        ),
        (
            "lpm_auditor",
            &["lpm_dashboard.audit"],
            &["lpm_dashboard.vaults", "lpm.audit_log", "lpm.vault_sync"],
        ),
        (
            "lpm_operator",
            &["lpm.health", "lpm.escrow_keys", "lpm.issuers"],
            &["lpm_dashboard.audit", "lpm.access_token", "lpm.vault_sync"],
        ),
        ("lpm_admin", &["lpm.health", "lpm.issuers"], &["lpm.access_token", "lpm.vault_sync"]),
    ] {
        let client = database.connect_as(&database.login(&[role]).await?).await?;
        for view in may {
            client
                .batch_execute(&format!("select * from {view}"))
                .await
                .map_err(|e| anyhow::anyhow!("{role} {view}: {e:?}"))?;
        }
        for relation in may_not {
            assert!(
                client.batch_execute(&format!("select * from {relation}")).await.is_err(),
                "{role} {relation}"
            );
        }
    }
    let auditor = database.connect_as(&database.login(&["lpm_auditor"]).await?).await?;
    let rows: i64 = auditor.query_one("select count(*) from lpm_dashboard.audit", &[]).await?.get(0);
    assert!(rows > 0, "an auditor sees the trail");
    let named: i64 = auditor
        .query_one(
            "select count(*) from lpm_dashboard.audit where owner = 'alice' and actor is not null",
            &[],
        )
        .await?
        .get(0);
    assert!(named > 0, "and whose it is");
    Ok(())
}

#[tokio::test]
async fn an_operator_cannot_do_what_an_admin_does() -> Result<()> {
    let database = &shared().await?.seed.database;
    let operator = database.connect_as(&database.login(&["lpm_operator"]).await?).await?;
    for sql in [
        "select lpm.create_user('eve')",
        "select lpm.create_token('alice')",
        "select lpm.trust_issuer('github', 'https://evil.example')",
        "select lpm.create_gateway_login('evil')",
        "select lpm.set_plan('alice', 'free')",
        "select lpm.transfer_vault('x', 'alice')",
    ] {
        assert!(operator.batch_execute(sql).await.is_err(), "{sql}");
    }
    operator.batch_execute("select lpm.reload_escrow_keys(); select lpm.remove_expired()").await?;
    Ok(())
}

#[tokio::test]
async fn installation_refuses_what_someone_prepared() -> Result<()> {
    let cluster = cluster::Options::default().start()?;
    for (number, (prepare, expected)) in [
        ("create schema lpm; create table lpm.account (x int)", "already contains"),
        ("create schema lpm_api; create function lpm_api.open(uuid) returns int language sql as 'select 1'", "already contains"),
        ("create role other; create schema lpm_dashboard authorization other", "belongs to other"),
        ("create role lpm_gateway login", "has LOGIN"),
        ("alter role lpm_gateway nologin; create role lpm_definer; create role friend in role lpm_definer", "is a member of lpm_definer"),
        ("drop role friend; create role lpm_owner superuser", "has SUPERUSER"),
        ("alter role lpm_owner nosuperuser; grant pg_read_server_files to lpm_gateway", "lpm_gateway is a member of pg_read_server_files"),
        (
            "revoke pg_read_server_files from lpm_gateway; create role lpm_admin; create role early; grant lpm_admin to early with admin option",
            "early may grant lpm_admin to others",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let database = cluster.create_database(&format!("prepared_{number}"), None).await?;
        database.value(prepare)?;
        let output = database.psql("create extension pg_lpm cascade")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(expected), "{prepare}: {text}");
    }
    // a member without that right may come from another database of the cluster: it is named
    let database = cluster.database("prepared_7");
    database.value("revoke admin option for lpm_admin from early")?;
    let output = database.psql("create extension pg_lpm cascade")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && text.contains("role early is already a member of lpm_admin"),
        "{text}"
    );
    let latin = cluster
        .database("postgres")
        .psql("create database latin encoding 'LATIN1' locale 'C' template template0")?;
    assert!(latin.status.success());
    let output = cluster.database("latin").psql("create extension pg_lpm cascade")?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a UTF8 database"));
    // an empty schema of the installer's own is no obstacle, and pgcrypto may live anywhere
    let database = cluster.create_database("elsewhere", None).await?;
    database.value("create schema lpm; create schema crypto; create extension pgcrypto schema crypto; create extension pg_lpm")?;
    assert!(
        database
            .value("select lpm.create_user('alice'); select lpm.create_token('alice')")?
            .contains("lpm_pat_")
    );
    Ok(())
}

#[tokio::test]
async fn default_privileges_do_not_leak_into_the_installation() -> Result<()> {
    let cluster = cluster::Options::default().start()?;
    let database = cluster.create_database("generous", None).await?;
    database.value(
        "create role stranger; alter default privileges grant all on tables to stranger; alter default privileges grant execute on functions to stranger;
         create extension pg_lpm cascade",
    )?;
    let leaked = database.value(
        "select count(*) from pg_class c, aclexplode(c.relacl) a where c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace) and a.grantee = 'stranger'::regrole",
    )?;
    assert_eq!(leaked, "0");
    let leaked = database.value(
        "select count(*) from pg_proc p, aclexplode(p.proacl) a where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and a.grantee = 'stranger'::regrole",
    )?;
    assert_eq!(leaked, "0");
    Ok(())
}

#[tokio::test]
async fn drop_extension_without_cascade_keeps_the_vaults() -> Result<()> {
    let shared = shared().await?;
    let database = shared.cluster.fresh_database(Some(shared.seed.database.name())).await?;
    let output = database.psql("drop extension pg_lpm")?;
    assert!(String::from_utf8_lossy(&output.stderr).contains("vaults_would_be_lost"));
    assert_eq!(database.value("select count(*) from lpm.account")?, "1");
    database.value("drop view lpm.vaults_would_be_lost; drop extension pg_lpm")?;
    Ok(())
}

#[tokio::test]
async fn whoever_owns_the_database_cannot_replace_pgcrypto() -> Result<()> {
    let cluster = cluster::Options::default().start()?;
    let database = cluster.create_database("owned", None).await?;
    database.value("create role dbo; alter database owned owner to dbo; create extension pg_lpm cascade; select lpm.create_user('alice')")?;
    database.value(
        "set role dbo; alter schema public rename to old_public; create schema public; grant usage on schema public to public;
         create function public.gen_random_bytes(int) returns bytea language plpgsql as
             $$begin execute 'alter role dbo superuser'; return decode(repeat('00', $1), 'hex'); end$$",
    )?;
    let token = database.value("select lpm.create_token('alice')")?;
    assert!(!token.starts_with("lpm_pat_0000000000"), "{token}");
    assert_eq!(database.value("select rolsuper from pg_roles where rolname = 'dbo'")?, "f");
    Ok(())
}
