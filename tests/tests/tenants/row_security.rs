//! Row security holds by itself: the functions of `lpm_api` without their own filters still show and change nothing of
//! anybody else's. That the filters are really gone, and that row security is what answered, shows the same attack with
//! row security switched off.

use crate::world::{Met, World};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// Replaces, in every function that runs in `lpm_definer`'s rights, each comparison of a row's owner with who is asking by
/// `true`. Functions that run as `lpm_owner` choose the scope; row security does not bind them, and nothing is changed in
/// them.
const REMOVE_FILTERS: &str = r#"
do $patch$
declare
    patched record;
    body text;
    changed int := 0;
begin
    for patched in
        select p.oid, p.oid::regprocedure as name, pg_get_functiondef(p.oid) as definition
          from pg_proc p join pg_roles r on r.oid = p.proowner
         where p.prokind = 'f' and (p.pronamespace = 'lpm_api'::regnamespace and r.rolname = 'lpm_definer'
                                    or p.pronamespace = 'lpm'::regnamespace and not p.prosecdef and p.prolang = (select oid from pg_language where lanname = 'plpgsql'))
    loop
        body := regexp_replace(patched.definition,
            '\m[a-z]+\.(user_id|org_id|owner_user_id|owner_org_id|session_id|holder) = (\(\w+\.caller\)|caller|member|me)\.\w+', 'true', 'g');
        body := regexp_replace(body, '\m[a-z]+\.(user_id|org_id|owner_user_id|owner_org_id) = (of_org|of_user|\w+\.of_org|\w+\.of_user)\M', 'true', 'g');
        body := regexp_replace(body, '(\m[a-z]\.holder|coalesce\([a-z]\.user_id, [a-z]\.org_id\)) = coalesce\(caller\.org_id, caller\.user_id\)', 'true', 'g');
        if body <> patched.definition then
            execute body;
            changed := changed + 1;
        end if;
    end loop;
    if changed < 30 then
        raise exception 'only % functions had a filter', changed;
    end if;
end
$patch$"#;

const SWITCH_OFF: &str = r#"
do $off$
declare
    relation regclass;
begin
    for relation in select c.oid::regclass from pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind = 'r' loop
        execute format('alter table %s disable row level security', relation);
    end loop;
end
$off$"#;

/// The operations whose answers show something of alice's.
fn leaking(world: &World, met: &[Met]) -> BTreeSet<String> {
    met.iter().filter(|met| world.shows_alices(&met.text)).map(|met| met.operation.clone()).collect()
}

#[tokio::test]
async fn without_their_own_filters_the_functions_still_show_and_change_nothing() -> Result<()> {
    let world = World::new().await?;
    let carol = world.stranger("carol").await?;
    let client = world.stack.database().connect().await?;
    client.batch_execute(REMOVE_FILTERS).await?;
    let before = world.alices_rows()?;
    let met = world.walk(&carol, &world.alices).await?;
    assert_eq!(leaking(&world, &met), BTreeSet::new());
    assert_eq!(world.alices_rows()?, before);
    Ok(())
}

#[tokio::test]
async fn without_filters_and_without_row_security_the_same_attack_succeeds() -> Result<()> {
    let world = World::new().await?;
    let carol = world.stranger("carol").await?;
    let client = world.stack.database().connect().await?;
    client.batch_execute(REMOVE_FILTERS).await?;
    client.batch_execute(SWITCH_OFF).await?;
    let leaking = leaking(&world, &world.walk(&carol, &world.alices).await?);
    // what a filter and row security guard both
    for operation in [
        "GET /api/vaults",
        "GET /api/vaults/{vault}/sync",
        "GET /api/vaults/{vault}/audit",
        "GET /api/vault/oidc/policies",
        "GET /api/cli/sessions",
        "GET /api/vault/pair/{code}",
    ] {
        ensure!(
            leaking.contains(operation),
            "`{operation}` shows nothing even so; those that do: {leaking:?}"
        );
    }
    Ok(())
}
