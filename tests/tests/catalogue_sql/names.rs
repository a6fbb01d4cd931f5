//! D6: names in functions mean what they meant at the installation, whatever a search path offers instead.

use crate::World;
use anyhow::{Context, Result};
use lpm_tests::escrowed::{SECRET, answer};
use serde_json::json;
use uuid::Uuid;

/// A schema with an operator and a function for nearly every one that is used. Each notes that it was called, and agrees.
const EVIL: &str = r#"
create schema evil;
create sequence evil.calls;
grant usage on schema evil to public;
grant usage, select on evil.calls to public;
do $make$
declare
    made int := 0;
    item record;
    answer text;
begin
    -- operators, and with them everything that `=`, `<` or `~` could be taken for
    for item in
        select o.oprname, o.oprleft::regtype as l, o.oprright::regtype as r, o.oprresult::regtype as result
          from pg_operator o
         where o.oprkind = 'b' and o.oprnamespace = 'pg_catalog'::regnamespace
           and o.oprleft::regtype::text in ('text', 'uuid', 'bytea', 'integer', 'bigint', 'boolean', 'timestamp with time zone', 'json', 'jsonb', 'interval', 'pg_lsn', 'xid8')
           and o.oprright::regtype::text in ('text', 'uuid', 'bytea', 'integer', 'bigint', 'boolean', 'timestamp with time zone', 'json', 'jsonb', 'interval', 'pg_lsn', 'xid8')
    loop
        answer := case item.result::text when 'boolean' then 'true' else 'null' end;
        execute format('create function evil.operator_%s(a %s, b %s) returns %s language plpgsql volatile as $f$
                        begin perform pg_catalog.nextval(''evil.calls''); return %s; end $f$', made, item.l, item.r, item.result, answer);
        execute format('create operator evil.%s (leftarg = %s, rightarg = %s, function = evil.operator_%s)', item.oprname, item.l, item.r, made);
        made := made + 1;
    end loop;
    -- functions of the system and of ours, by name and arguments
    for item in
        select p.proname, pg_get_function_identity_arguments(p.oid) as arguments, format_type(p.prorettype, null) as result
          from pg_proc p
         where p.prokind = 'f' and not p.proretset and p.provariadic = 0 and p.prorettype <> 'trigger'::regtype
           and (p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) or p.pronamespace = 'pg_catalog'::regnamespace
                and exists (select from pg_proc f where f.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and f.prosrc ~ ('\m' || p.proname || '\s*\(')))
           and not exists (select from unnest(p.proargtypes || p.prorettype) t join pg_type y on y.oid = t where y.typtype = 'p' and y.typname not in ('void'))
    loop
        execute format('create function evil.%I(%s) returns %s language plpgsql volatile as $f$
                        begin perform pg_catalog.nextval(''evil.calls''); return%s; end $f$',
                       item.proname, item.arguments, item.result, case item.result when 'void' then '' else ' null' end);
        made := made + 1;
    end loop;
    -- tables and types of every name
    for item in
        select distinct c.relname from pg_class c where c.relkind in ('r', 'v') and c.relnamespace in ('lpm'::regnamespace, 'lpm_dashboard'::regnamespace, 'pg_catalog'::regnamespace)
    loop
        execute format('create table evil.%I (id uuid default gen_random_uuid(), granted boolean default true)', item.relname);
        execute format('grant all on evil.%I to public', item.relname);
    end loop;
    raise notice 'made %', made;
end
$make$;
"#;

#[tokio::test]
async fn d6_operators_and_functions_of_a_malicious_search_path_are_never_called() -> Result<()> {
    let mut world = World::new().await?;
    let database = world.alice.database.clone();
    let superuser = database.connect().await?;
    superuser.batch_execute(EVIL).await?;
    let made: i64 = superuser
        .query_one("select count(*) from pg_proc p where p.pronamespace = 'evil'::regnamespace", &[])
        .await?
        .get(0);
    assert!(made > 200, "only {made} traps");
    // a superuser may set this for everybody, on the server, the database or a role
    let path = "evil, public, pg_catalog";
    superuser
        .batch_execute(&format!(
            "alter database {} set search_path = {path}; alter role gateway set search_path = {path}",
            database.name()
        ))
        .await?;
    let sprung = async || -> Result<bool> {
        Ok(superuser.query_one("select is_called from evil.calls", &[]).await?.get(0))
    };
    superuser.batch_execute("select setval('evil.calls', 1, false)").await?;

    // control: in such a session names mean something else
    let gateway = world.alice.gateway().await?;
    let hijacked: bool = gateway.query_one("select 'a'::text = 'b'::text", &[]).await?.get(0);
    assert!(hijacked && sprung().await?, "the traps are set");
    superuser.batch_execute("select setval('evil.calls', 1, false)").await?;

    // everything that a gateway asks for, on a connection of its own: nothing but calls, so every operator is ours
    world.client = gateway;
    let (alice, client) = (&world.alice, &world.client);
    let vault_id = alice.vault(client).await?;
    alice.push(client, &vault_id).await?;
    let met = world.job().pull(client, &vault_id).await?;
    assert_eq!((met.status, met.body["vars"]["API_KEY"].as_str()), (200, Some(SECRET)), "D6: {}", met.body);
    for (name, job, expected) in [
        ("branch", world.job().branch("x"), (403, "branch_not_allowed")),
        ("environment", world.job().environment("staging"), (403, "environment_not_allowed")),
        ("another id", world.job().repository("acme/web", "43"), (403, "identity_changed")),
        ("stranger", world.job().repository("evil/repo", "666"), (403, "no_policy")),
    ] {
        let met = job.decide(client, &vault_id).await?;
        assert_eq!(met.seen(), expected, "D6 {name}: {}", met.body);
    }
    let used = world.job();
    let hash = vec![9_u8; 32];
    assert_eq!(used.exchange(client, &vault_id, &hash).await?.status, 200);
    assert_eq!(used.decide(client, &vault_id).await?.seen(), (403, "replayed"), "D6");
    let none = None::<&str>;
    let (id, token) = (Uuid::now_v7(), &alice.token);
    let policies = answer(client, "list_policies", &[&id, &none, token, &vault_id]).await?.1;
    let policy = policies["policies"][0]["id"].as_str().context("an id")?.to_owned();
    for (function, status) in [
        ("list_vaults", answer(client, "list_vaults", &[&id, &none, token]).await?),
        ("pull", answer(client, "pull", &[&id, &none, token, &vault_id]).await?),
        ("audit", answer(client, "audit", &[&id, &none, token, &vault_id, &none]).await?),
        (
            "explain",
            answer(
                client,
                "explain",
                &[
                    &id,
                    &none,
                    token,
                    &vault_id,
                    &none,
                    &br#"{"repository":"acme/web"}"#.to_vec(),
                    &"production",
                ],
            )
            .await?,
        ),
        ("repin", answer(client, "repin", &[&id, &none, token, &vault_id, &"repo:acme/web"]).await?),
        (
            "decide_ci",
            answer(client, "decide_ci", &[&Uuid::now_v7(), &none, &hash, &vault_id, &"production"]).await?,
        ),
        ("disable_escrow", answer(client, "disable_escrow", &[&id, &none, token, &vault_id]).await?),
        ("list_versions", answer(client, "list_versions", &[&id, &none, token, &vault_id]).await?),
        ("revoke_policy", answer(client, "revoke_policy", &[&id, &none, token, &policy]).await?),
        ("issuers", answer(client, "issuers", &[]).await?),
        ("ready", answer(client, "ready", &[]).await?),
    ]
    .map(|(function, (status, body))| (function, (status, body)))
    {
        assert_eq!(status.0, 200, "D6 {function}: {}", status.1);
    }
    for function in ["list_vaults", "escrow_key"] {
        assert_eq!(
            answer(client, function, &[&id, &none, &vec![7_u8; 32]]).await?.0,
            401,
            "D6 {function} of nobody"
        );
    }
    assert!(!sprung().await?, "D6: a trap was sprung by a gateway's call");

    // and what DBAs call and look at, in a session of the same path
    let dba = database.connect().await?;
    for sql in [
        "select lpm.create_user('bob', plan => 'pro')".to_owned(),
        "select lpm.create_token('bob', name => 'laptop', valid_for => '90 days')".to_owned(),
        "select lpm.create_org('evil-inc')".to_owned(),
        "select lpm.add_member('evil-inc', 'bob')".to_owned(),
        "select * from lpm.remove_member('evil-inc', 'bob', revoke_policies => true)".to_owned(),
        "select lpm.set_plan('bob', 'free')".to_owned(),
        "select lpm.trust_issuer('github', 'https://ghes.example/_services/token')".to_owned(),
        "select lpm.distrust_issuer('https://ghes.example/_services/token')".to_owned(),
        "select lpm.reserve_vault('reserved', 'bob')".to_owned(),
        "select lpm.transfer_vault('reserved', 'alice')".to_owned(),
        format!(
            "select * from lpm.explain('{vault_id}', '{}', 'production')",
            json!({"repository": "acme/web"})
        ),
        format!("select lpm.repin('{vault_id}', 'repo:acme/web')"),
        format!("select lpm.restore_version('{vault_id}', 1, 'alice')"),
        format!("select lpm.delete_vault('{vault_id}', 'alice')"),
        "select lpm.revoke_tokens('bob')".to_owned(),
        "select lpm.drop_user('bob')".to_owned(),
        "select lpm.remove_expired()".to_owned(),
        "select lpm.reload_escrow_keys()".to_owned(),
        "select lpm.create_gateway_login('second')".to_owned(),
        "select what, severity, fix from lpm.health".to_owned(),
        "select id from lpm.escrow_keys".to_owned(),
        "select issuer from lpm.issuers".to_owned(),
        "select id from lpm_dashboard.vaults".replace("id", "vault_id"),
        "select id from lpm_dashboard.policies".to_owned(),
        "select id from lpm_dashboard.audit".to_owned(),
        "select hour from lpm_dashboard.strangers".to_owned(),
    ] {
        dba.simple_query(&sql).await.with_context(|| format!("D6 {sql}"))?;
    }
    assert!(!sprung().await?, "D6: a trap was sprung by a DBA's call");
    Ok(())
}

#[tokio::test]
async fn d6_every_function_names_its_own_search_path() -> Result<()> {
    let world = World::new().await?;
    // a function of C finds everything by its id; all others look names up
    let open = world.value(
        "select string_agg(p.oid::regprocedure::text, ' ') from pg_proc p join pg_language l on l.oid = p.prolang
          where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and l.lanname not in ('c', 'internal')
            and p.proconfig is distinct from array['search_path=pg_catalog, pg_temp']",
    )?;
    assert_eq!(open, "", "D6");
    let empty_handed = world.value(
        "select count(*) > 20 from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace) and p.proconfig is not null",
    )?;
    assert_eq!(empty_handed, "t");
    Ok(())
}
