//! D11, D13: what the gateway's login can be made to do, and who can change what was audited.
//!
//! `gateway_role` attacks every relation, function and schema of the catalogs; here are the rows' own questions.

use crate::World;
use anyhow::{Context, Result};
use lpm_tests::database::Login;
use lpm_tests::escrowed::SECRET;
use tokio_postgres::Client;

/// Every statement is refused for want of rights.
async fn refused(client: &Client, row: &str, who: &str, statements: &[String]) -> Result<()> {
    for sql in statements {
        let error = client
            .batch_execute(sql)
            .await
            .err()
            .with_context(|| format!("{row} {who}: `{sql}` was not refused"))?;
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{row} {who}: `{sql}`: {error:?}");
        client.batch_execute("rollback").await?;
    }
    Ok(())
}

fn texts(statements: &[&str]) -> Vec<String> {
    statements.iter().map(|&sql| sql.to_owned()).collect()
}

#[tokio::test]
async fn d11_a_gateways_login_calls_the_api_and_neither_issuers_nor_keys_are_in_it() -> Result<()> {
    let world = World::new().await?;
    let login = &world.alice.login.user;
    let functions = world.value(&format!(
        "select string_agg(p.oid::regproc::text, ' ' order by p.proname) from pg_proc p
          where has_schema_privilege('{login}', p.pronamespace, 'usage') and has_function_privilege('{login}', p.oid, 'execute')
            and p.pronamespace <> 'pg_catalog'::regnamespace and p.pronamespace <> 'information_schema'::regnamespace
            and not exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid and e.extname = 'pgcrypto' where d.objid = p.oid and d.deptype = 'e')"
    ))?;
    let expected = [
        "accept_invitation",
        "approve_pairing",
        "audit",
        "begin_login",
        "check_account",
        "consume_pairing",
        "create_policy",
        "decide",
        "decide_ci",
        "disable_escrow",
        "end_invitation",
        "end_session",
        "escrow_key",
        "exchange",
        "exchange_code",
        "explain",
        "invite",
        "issuers",
        "list_org_vaults",
        "list_policies",
        "list_sessions",
        "list_vaults",
        "list_versions",
        "member_keys",
        "members",
        "open",
        "org_invitations",
        "org_pull",
        "org_settings",
        "own_invitations",
        "public_key",
        "pull",
        "push",
        "put_escrow",
        "put_public_key",
        "ready",
        "refresh_session",
        "remove_member",
        "repin",
        "restore_version",
        "revoke_pairings",
        "revoke_policy",
        "revoke_token",
        "rotate_token",
        "set_role",
        "share",
        "show_pairing",
        "start_pairing",
        "whoami",
    ]
    .map(|name| format!("lpm_api.{name}"));
    assert_eq!(functions, expected.join(" "), "D11");
    let attempts = texts(&[
        "select lpm.trust_issuer('github', 'https://evil.example')",
        "select lpm.distrust_issuer('https://gitlab.com')",
        "insert into lpm.oidc_issuer (issuer, provider, audiences, algorithms, max_token_uses, max_lifetime, max_age) values ('https://evil.example', 'github', '{x}', '{RS256}', 1, '1 h', '1 h')",
        "update lpm.oidc_issuer set jwks = '{\"keys\":[]}'",
        "delete from lpm.oidc_issuer",
        "select * from lpm.oidc_issuer",
        "select * from lpm.issuers",
        "create or replace view lpm.builtin_issuer as select 1",
        "select lpm.reload_escrow_keys()",
        "select * from lpm.escrow_keys",
        "select * from lpm.loaded_escrow_keys()",
        "set pg_lpm.escrow_key_file = '/nowhere/keys'",
        "alter system set pg_lpm.escrow_key_file = '/nowhere/keys'",
        "alter role current_user set pg_lpm.escrow_key_command = 'cat /nowhere'",
        "select lpm.create_token('alice')",
        "select lpm.create_gateway_login('another')",
        "select lpm.set_scope(null, null, null, null, null, null)",
        "select lpm.open_vault(null, null, null, null, null, null, null, null, null, null)",
        "select lpm.judge(null, null, null)",
        "set role lpm_owner",
        "set session authorization postgres",
    ]);
    // settings that nobody may change are no matter of rights
    for sql in &attempts {
        let error = world
            .client
            .batch_execute(sql)
            .await
            .err()
            .with_context(|| format!("D11 `{sql}` was not refused"))?;
        let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
        assert!(["42501", "55P02"].contains(&code.as_str()), "D11 `{sql}`: {error:?}");
    }
    Ok(())
}

/// Trusted until the extension verifies signatures itself; but never without a trace.
#[tokio::test]
async fn d11_claims_that_a_gateway_invents_pull_no_more_than_a_policy_grants_and_leave_their_row()
-> Result<()> {
    let world = World::new().await?;
    let invented = world.job().claim("actor", "nobody").pull(&world.client, &world.vault_id).await?;
    assert_eq!(invented.body["vars"]["API_KEY"], SECRET, "D11: {}", invented.body);
    let row = world.value(&format!(
        "select concat_ws(' ', action, decision, actor) from lpm.audit_log where request_id = '{}'",
        invented.request
    ))?;
    assert_eq!(row, "ci_pull granted nobody", "D11");
    for (name, job, code) in [
        ("another environment", world.job().environment("staging"), "environment_not_allowed"),
        ("another repository", world.job().repository("acme/other", "43"), "no_policy"),
    ] {
        assert_eq!(job.pull(&world.client, &world.vault_id).await?.seen(), (403, code), "D11 {name}");
    }
    let elsewhere =
        lpm_tests::job::Job::of("https://evil.example").pull(&world.client, &world.vault_id).await?;
    assert_eq!(elsewhere.seen(), (401, "token_issuer"), "D11: an issuer that nobody trusts");
    assert_eq!(elsewhere.trail(&world.alice.database)?, "");
    Ok(())
}

/// What tampering would be.
const TAMPERING: [&str; 13] = [
    "update lpm.audit_log set decision = 'granted'",
    "update lpm.audit_log set reason = null where false",
    "delete from lpm.audit_log",
    "delete from lpm.audit_log where false",
    "truncate lpm.audit_log",
    "insert into lpm.audit_log (request_id, action, decision) values (gen_random_uuid(), 'ci_pull', 'granted')",
    "begin; lock table lpm.audit_log in share row exclusive mode",
    "alter table lpm.audit_log disable trigger all",
    "alter table lpm.audit_log disable row level security",
    "alter table lpm.audit_log add column x int",
    "drop table lpm.audit_log",
    "create rule r as on insert to lpm.audit_log do instead nothing",
    "drop index lpm.audit_log_request",
];

#[tokio::test]
async fn d13_no_role_of_ours_changes_or_removes_an_audit_row() -> Result<()> {
    let world = World::new().await?;
    assert_eq!(world.job().decide(&world.client, &world.vault_id).await?.status, 200);
    let rows = || {
        world
            .value("select count(*) || ' ' || md5(string_agg(a::text, ',' order by id)) from lpm.audit_log a")
    };
    let before = rows()?;
    let gateway = world.alice.login.clone();
    let mut logins: Vec<(String, Login)> = vec![("lpm_gateway".to_owned(), gateway)];
    for role in ["lpm_admin", "lpm_operator", "lpm_auditor", "lpm_dashboard"] {
        logins.push((role.to_owned(), world.alice.database.login(&[role]).await?));
    }
    let all = ["lpm_gateway", "lpm_admin", "lpm_operator", "lpm_auditor", "lpm_dashboard"];
    logins.push(("all of them".to_owned(), world.alice.database.login(&all).await?));
    logins.push(("nobody".to_owned(), world.alice.database.login(&[]).await?));
    for (who, login) in &logins {
        let client = world.alice.database.connect_as(login).await?;
        refused(&client, "D13", who, &texts(&TAMPERING)).await?;
        refused(&client, "D13", who, &texts(&["set role lpm_owner", "set role lpm_definer"])).await?;
        assert_eq!(rows()?, before, "D13 {who}");
    }
    // lpm_definer writes rows and reads those in scope; only the owner, whom nobody is, and superusers can do more
    let rights = world.value(
        "select string_agg(concat(r.rolname, ' ', p), ', ' order by r.rolname, p) from pg_roles r, unnest(array['select', 'insert', 'update', 'delete', 'truncate', 'trigger']) p
          where not r.rolsuper and r.rolname not like 'pg\\_%' and has_table_privilege(r.oid, 'lpm.audit_log', p) and r.rolname <> 'lpm_owner'",
    )?;
    assert_eq!(rights, "lpm_definer insert, lpm_definer select", "D13");
    let acting = world.value("select count(*) from pg_auth_members m where m.roleid in ('lpm_owner'::regrole, 'lpm_definer'::regrole)")?;
    assert_eq!(acting, "0", "D13: nobody is a member of lpm_owner or lpm_definer");
    let views = "select string_agg(table_name, ' ') from information_schema.views
        where table_schema = 'lpm_dashboard' and table_name like '%audit%' and (is_updatable = 'YES' or is_insertable_into = 'YES')";
    assert_eq!(world.value(views)?, "", "D13: no view writes to it");
    let policies = world.value("select string_agg(polname || ' ' || polcmd::text, ', ' order by polname) from pg_policy where polrelid = 'lpm.audit_log'::regclass")?;
    assert_eq!(policies, "dashboard r, mine r, written a", "D13: row security lets nobody update or delete");
    // trusted by design until the trail is sealed: it is the table's owner that can, so the tests above mean something
    world.value("update lpm.audit_log set reason = 'tampered' where action = 'ci_pull'")?;
    assert_ne!(rows()?, before);
    Ok(())
}

#[tokio::test]
async fn d13_no_function_of_ours_changes_or_removes_an_audit_row() -> Result<()> {
    let world = World::new().await?;
    let found = world.value(
        "select string_agg(p.oid::regproc::text, ' ') from pg_proc p where p.pronamespace in ('lpm'::regnamespace, 'lpm_api'::regnamespace)
            and p.prosrc ~* '\\m(update|delete\\s+from|truncate|merge\\s+into)\\s+(only\\s+)?lpm\\.audit_log'",
    )?;
    assert_eq!(found, "", "D13");
    // the trail outlives what it speaks of
    for job in [world.job(), world.job().branch("x"), world.job().environment("staging")] {
        job.pull(&world.client, &world.vault_id).await?;
    }
    world.alice.push(&world.client, &world.vault_id).await?;
    let last = world.value("select max(id) from lpm.audit_log")?;
    let rows = || {
        world.value(&format!("select count(*) || ' ' || md5(string_agg(a::text, ',' order by id)) from lpm.audit_log a where id <= {last}"))
    };
    let before = rows()?;
    for sql in [
        format!("select lpm.restore_version('{}', 1, 'alice')", world.vault_id),
        format!("select lpm.repin('{}', 'repo:acme/web')", world.vault_id),
        "select lpm.remove_expired()".to_owned(),
        format!("select lpm.transfer_vault('{}', 'acme')", world.vault_id),
        format!("select lpm.delete_vault('{}', 'acme')", world.vault_id),
        "select count(*) from lpm.remove_member('acme', 'alice', revoke_policies => true)".to_owned(),
        "select lpm.revoke_tokens('alice')".to_owned(),
        format!("select lpm.distrust_issuer('{}')", world.alice.issuer),
        "select lpm.drop_user('alice')".to_owned(),
    ] {
        world.value(&sql)?;
        assert_eq!(rows()?, before, "D13 {sql}");
    }
    Ok(())
}
