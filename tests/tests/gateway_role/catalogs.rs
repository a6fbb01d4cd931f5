//! What the catalogs list: relations, functions, schemas, roles.

use crate::{Intruder, RIGHTS};
use anyhow::Result;

/// Every relation but the system's.
const RELATIONS: &str =
    "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

#[tokio::test]
async fn the_catalogs_give_it_execute_on_lpm_api_and_nothing_else_that_others_do_not_have() -> Result<()> {
    let intruder = Intruder::new().await?;
    let version: u32 = intruder.alice.database.value("show server_version_num")?.parse()?;
    let rights = |who: &str| {
        let parameters = if version >= 150_000 {
            format!(
                "union all select 'parameter', s.name, p, has_parameter_privilege('{who}', s.name, p) from pg_settings s, unnest('{{set, alter system}}'::text[]) p"
            )
        } else {
            String::new()
        };
        format!(
            "select concat_ws(' ', kind, name, p) from (
                select 'relation' as kind, c.oid::regclass::text as name, p, has_table_privilege('{who}', c.oid, p) as has from pg_class c,
                       unnest('{{select, insert, update, delete, truncate, references, trigger}}'::text[]) p where c.relkind in ('r', 'p', 'v', 'm', 'f')
                union all select 'column of', c.oid::regclass::text, p, has_any_column_privilege('{who}', c.oid, p) from pg_class c,
                       unnest('{{select, insert, update, references}}'::text[]) p where c.relkind in ('r', 'p', 'v', 'm', 'f')
                union all select 'sequence', c.oid::regclass::text, p, has_sequence_privilege('{who}', c.oid, p) from pg_class c,
                       unnest('{{usage, select, update}}'::text[]) p where c.relkind = 'S'
                union all select 'function', f.oid::regprocedure::text, 'execute', has_function_privilege('{who}', f.oid, 'execute') from pg_proc f
                union all select 'schema', n.nspname, p, has_schema_privilege('{who}', n.oid, p) from pg_namespace n, unnest('{{create, usage}}'::text[]) p
                union all select 'type', t.oid::regtype::text, 'usage', has_type_privilege('{who}', t.oid, 'usage') from pg_type t
                union all select 'language', l.lanname, 'usage', has_language_privilege('{who}', l.oid, 'usage') from pg_language l
                union all select 'database', d.datname, p, has_database_privilege('{who}', d.oid, p) from pg_database d, unnest('{{create, connect, temporary}}'::text[]) p
                union all select 'tablespace', t.spcname, 'create', has_tablespace_privilege('{who}', t.oid, 'create') from pg_tablespace t
                union all select 'wrapper', w.fdwname, 'usage', has_foreign_data_wrapper_privilege('{who}', w.oid, 'usage') from pg_foreign_data_wrapper w
                union all select 'server', s.srvname, 'usage', has_server_privilege('{who}', s.oid, 'usage') from pg_foreign_server s
                union all select 'role', r.rolname, p, pg_has_role('{who}', r.oid, p) from pg_roles r,
                       unnest('{{usage, member, member with admin option}}'::text[]) p where r.rolname <> '{who}'
                union all select 'attribute', a.key, null, true from pg_roles r, jsonb_each_text(to_jsonb(r)) a where r.rolname = '{who}' and a.value = 'true'
                {parameters}) x where has"
        )
    };
    let (mine, others) = (rights(&intruder.login.user), rights(&intruder.bare.user));
    let extra = intruder.lines(&format!("({mine}) except ({others})"))?;
    let mut expected = intruder.lines("select 'function ' || p.oid::regprocedure || ' execute' from pg_proc p where p.pronamespace = 'lpm_api'::regnamespace")?;
    expected.extend(
        ["role lpm_gateway member", "role lpm_gateway usage", "schema lpm_api usage"].map(str::to_owned),
    );
    assert_eq!(extra, expected);
    // and what everybody has is nothing of ours: a type's name, which is worth nothing without its schema
    let common = intruder.lines(&format!("select * from ({others}) o (x) where x ~ '\\mlpm'"))?;
    assert!(
        common.iter().all(|right| right.starts_with("type ")
            || right.starts_with("database ")
            || right.starts_with("parameter ")),
        "{common:?}"
    );
    Ok(())
}

#[tokio::test]
async fn every_relation_refuses_every_operation() -> Result<()> {
    let intruder = Intruder::new().await?;
    let mut attempts = intruder.each(
        &format!("{RELATIONS} and c.relkind in ('r', 'p', 'v', 'm', 'f')"),
        &[
            "select * from %s",
            "select count(*) from %s",
            "select 1 from %s for update",
            "begin; declare c cursor for select * from %s",
            "prepare p as select * from %s",
            "explain select * from %s",
            "create temp view v as select * from %s",
            "create temp table t as select * from %s",
            "create temp table t (like %s)",
            "select query_to_xml('select * from %s', true, false, '')",
            "copy %s to stdout",
            "copy (select * from %s) to stdout",
            "copy %s from stdin",
            "insert into %s default values",
            "delete from %s",
            "begin; lock table %s in access share mode",
            "create rule r as on delete to %s do instead nothing",
            "grant select on %s to current_user",
            "grant all on %s to public",
        ],
    )?;
    attempts.extend(intruder.each(
        &format!("{RELATIONS} and c.relkind in ('r', 'p')"),
        &[
            "truncate %s",
            "create temp table t () inherits (%s)",
            "create trigger t before insert on %s for each row execute function suppress_redundant_updates_trigger()",
            "create policy p on %s to public using (true)",
            "create statistics mine on ctid, tableoid from %s",
            "cluster %s",
            "reindex table %s",
            "alter table %s owner to current_user",
            "alter table %s disable row level security",
            "alter table %s disable trigger all",
            "alter table %s add column x int",
            "comment on table %s is 'mine'",
            "drop table %s cascade",
        ],
    )?);
    attempts.extend(intruder.each(
        &format!("{RELATIONS} and c.relkind = 'v'"),
        &[
            "alter view %s owner to current_user",
            "drop view %s cascade",
            "create or replace view %s as select 1",
        ],
    )?);
    let columns = "from pg_attribute a join pg_class c on c.oid = a.attrelid where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'v')
        and c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace)";
    for template in [
        "select %1$I from %2$s",
        "update %2$s set %1$I = default",
        "create temp table t (x %3$s references %2$s (%1$I))",
        "create index on %2$s (%1$I)",
        "grant select (%1$I) on %2$s to current_user",
    ] {
        let format =
            format!("select format('{template}', a.attname, c.oid::regclass, a.atttypid::regtype) {columns}");
        attempts.extend(intruder.lines(&format)?);
    }
    // by number no name is looked up, so the schema does not help
    let sequences = "select c.oid::text from pg_class c where c.relkind = 'S'";
    attempts.extend(
        intruder.each(sequences, &["select nextval(%s)", "select currval(%s)", "select setval(%s, 1)"])?,
    );
    attempts.extend(intruder.each(
        &format!("{RELATIONS} and c.relkind = 'S'"),
        &[
            "select * from %s",
            "alter sequence %s restart",
            "alter sequence %s owner to current_user",
            "drop sequence %s cascade",
        ],
    )?);
    // the system's own that not everybody may read
    let hidden = format!(
        "select c.oid::regclass::text from pg_class c where c.relkind in ('r', 'v') and c.relnamespace = 'pg_catalog'::regnamespace
           and not has_any_column_privilege('{}', c.oid, 'select')",
        intruder.bare.user
    );
    attempts.extend(intruder.each(&hidden, &["select * from %s"])?);
    for needed in ["pg_authid", "pg_statistic", "lpm.vault_sync", "lpm.oidc_stranger", "lpm_dashboard.audit"]
    {
        assert!(attempts.contains(&format!("select * from {needed}")), "{needed} is not attacked");
    }
    intruder.is_refused(&attempts, RIGHTS).await
}

#[tokio::test]
async fn every_function_but_those_of_lpm_api_is_refused_and_those_cannot_be_changed() -> Result<()> {
    let intruder = Intruder::new().await?;
    // with nulls of the right types, so that it is the very function that is refused; not constant ones, or a strict
    // function is never reached
    let call = "format('select %s(%s) from (select null::text offset 0) s (n)', p.oid::regproc,
        (select string_agg('n::' || t::regtype, ', ' order by i) from unnest(p.proargtypes) with ordinality a (t, i)))";
    let closed = format!("not has_function_privilege('{}', p.oid, 'execute')", intruder.bare.user);
    let mut attempts = intruder.lines(&format!(
        "select {call} from pg_proc p where p.prokind in ('f', 'w') and p.pronamespace <> 'lpm_api'::regnamespace and {closed}"
    ))?;
    for needed in [
        "lpm.open_vault(",
        "lpm.set_scope(",
        "lpm.count_stranger(",
        "pg_read_file(",
        "lo_import(",
        "pg_reload_conf(",
    ] {
        assert!(attempts.iter().any(|sql| sql.contains(needed)), "{needed}) is not attacked");
    }
    attempts.extend(intruder.each(
        "select p.oid::regprocedure::text from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)",
        &[
            "alter routine %s owner to current_user",
            "alter routine %s security invoker",
            "alter routine %s set search_path = pg_temp, pg_catalog",
            "alter routine %s rename to mine",
            "alter routine %s set schema public",
            "comment on routine %s is 'mine'",
            "drop routine %s cascade",
        ],
    )?);
    let redefined = "select replace(pg_get_functiondef(p.oid), E'\\n', ' ') from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)";
    attempts.extend(intruder.lines(redefined)?);
    intruder.is_refused(&attempts, RIGHTS).await
}

#[tokio::test]
async fn nothing_can_be_created_in_any_schema_nor_beside_the_schemas() -> Result<()> {
    let intruder = Intruder::new().await?;
    // before PostgreSQL 15 everybody creates in `public`, which no function of ours looks at
    let mut attempts = intruder.each(
        "select quote_ident(n.nspname) from pg_namespace n where n.nspname !~ '^pg_(toast_)?temp_'
            and not (n.nspname = 'public' and current_setting('server_version_num')::int < 150000)",
        &[
            "create table %s.mine (x int)",
            "create view %s.mine as select 1",
            "create sequence %s.mine",
            "create function %s.mine() returns int language sql as 'select 1'",
            "create procedure %s.mine() language sql as 'select 1'",
            "create type %s.mine as (x int)",
            "create domain %s.mine as int",
            "create aggregate %s.mine (int) (sfunc = int4pl, stype = int)",
            "create collation %s.mine from \"C\"",
            "create text search configuration %s.mine (copy = simple)",
            "alter schema %s owner to current_user",
            "alter schema %s rename to mine",
            "comment on schema %s is 'mine'",
            "drop schema %s cascade",
        ],
    )?;
    attempts.extend(intruder.lines("select format('create extension %I cascade', name) from pg_available_extensions where installed_version is null")?);
    attempts.extend(
        intruder
            .lines("select format('alter extension %I add table pg_class', extname) from pg_extension")?,
    );
    attempts.extend(intruder.lines("select format('drop extension %I cascade', extname) from pg_extension")?);
    attempts.extend(intruder.lines("select format('create function pg_temp.mine() returns int language %I as $$x$$', lanname) from pg_language where not lanpltrusted")?);
    attempts.extend(
        intruder
            .lines("select format('alter language %I owner to current_user', lanname) from pg_language")?,
    );
    attempts.extend(intruder.lines("select format(t, datname) from pg_database, unnest(array['alter database %I owner to current_user', 'alter database %I connection limit 0', 'create database mine template %I', 'drop database %I']) t where not datistemplate or t !~ '^drop'")?);
    attempts.extend(
        [
            "create schema mine",
            "create database mine",
            "create tablespace mine location '/nowhere'",
            "create language mine handler plpgsql_call_handler",
            "create event trigger mine on ddl_command_start execute function pg_catalog.suppress_redundant_updates_trigger()",
            "create publication mine for all tables",
            "create publication mine",
            "create foreign data wrapper mine",
            "create cast (int as bytea) with inout",
            "create access method mine type table handler heap_tableam_handler",
            "create operator class pg_temp.mine for type int using btree as storage int",
        ]
        .map(str::to_owned),
    );
    // a subscription is refused before its connection is tried
    attempts.push(
        "create subscription mine connection 'host=192.0.2.1' publication p with (connect = false)"
            .to_owned(),
    );
    intruder.is_refused(&attempts, RIGHTS).await
}

#[tokio::test]
async fn it_becomes_no_other_role_and_gives_itself_nothing() -> Result<()> {
    let intruder = Intruder::new().await?;
    let me = &intruder.login.user;
    let others = format!(
        "select quote_ident(r.rolname) from pg_roles r where r.rolname not in ('{me}', 'lpm_gateway') and r.rolname !~ '^(login|gateway)_'"
    ); // those of tests that run beside this one
    let mut attempts = intruder.each(
        &others,
        &[
            "set role %s",
            "set local role %s",
            "set session authorization %s",
            "select set_config('role', '%s', false)",
            "select set_config('session_authorization', '%s', false)",
            &format!("grant %s to {me}"),
            &format!("grant {me} to %s"),
            "grant lpm_gateway to %s",
            "reassign owned by %s to current_user",
            "drop owned by %s",
            "drop role %s",
            "begin; create temp table mine (x int); alter table mine owner to %s",
        ],
    )?;
    // nobody alters the system's own roles
    attempts.extend(intruder.each(
        &format!("{others} and r.rolname !~ '^pg_'"),
        &[
            "alter role %s password 'known'",
            "alter role %s login",
            "alter role %s set search_path = pg_temp",
            "alter role %s rename to mine",
        ],
    )?);
    for attribute in [
        "superuser",
        "createrole",
        "createdb",
        "replication",
        "bypassrls",
        "connection limit 1000",
        "valid until 'infinity'",
    ] {
        attempts.push(format!("alter role {me} {attribute}"));
        attempts.push(format!("alter role lpm_gateway {attribute}"));
    }
    for role in ["mine", "mine superuser", "mine login in role lpm_admin", "mine role current_user"] {
        attempts.push(format!("create role {role}"));
    }
    // what keeps parameters out of the log
    attempts.push(format!("alter role {me} set log_parameter_max_length = -1"));
    attempts.push(format!("alter role {me} reset log_parameter_max_length"));
    assert!(
        attempts.iter().any(|sql| sql == "set role lpm_owner")
            && attempts.iter().any(|sql| sql == "set role postgres")
    );
    intruder.is_refused(&attempts, RIGHTS).await?;
    // what a member may do, and gains nothing by
    intruder.client.batch_execute("set role lpm_gateway; reset role").await?;
    let relations = format!("{RELATIONS} and c.relkind in ('r', 'v', 'S')");
    intruder
        .is_refused(&intruder.each(&relations, &["set role lpm_gateway; select * from %s"])?, RIGHTS)
        .await
}

#[tokio::test]
async fn what_postgresql_merely_warns_about_changes_nothing_either() -> Result<()> {
    let intruder = Intruder::new().await?;
    // with the right itself, but without the grant option, GRANT ends in a warning
    let mut attempts = intruder.each(
        "select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'lpm_api'::regnamespace",
        &[
            "grant execute on routine %s to public",
            "grant all on routine %s to public",
            "revoke execute on routine %s from lpm_gateway",
        ],
    )?;
    for sql in [
        "grant usage on schema lpm_api to public",
        "grant all on schema lpm_api to public",
        "revoke usage on schema lpm_api from lpm_gateway",
        "analyze",
    ] {
        attempts.push(sql.to_owned());
    }
    intruder.changes_nothing(&attempts).await
}
