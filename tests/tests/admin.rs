//! What a DBA types at a psql prompt, well and ill.

use anyhow::Result;
use lpm_tests::database::Database;
use lpm_tests::escrowed::{Escrowed, answer};
use lpm_tests::stack::shared;
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

async fn fresh() -> Result<Database> {
    let shared = shared().await?;
    shared.cluster.fresh_database(Some(shared.seed.database.name())).await
}

/// What psql says to a statement that must fail.
fn refusal(database: &Database, sql: &str) -> Result<String> {
    let output = database.psql(sql)?;
    anyhow::ensure!(!output.status.success(), "`{sql}` succeeded");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn mistakes_name_the_thing_the_reason_and_the_next_step() -> Result<()> {
    let database = fresh().await?;
    for (sql, expected) in [
        ("select lpm.create_user('Alice')", "\"Alice\" is not a name"),
        ("select lpm.create_user('')", "is not a name"),
        ("select lpm.create_user(null)", "is not a name"),
        ("select lpm.create_user('alice')", "the name \"alice\" is taken"),
        ("select lpm.create_org('alice')", "the name \"alice\" is taken"),
        ("select lpm.create_user('bob', plan => 'gold')", "Plans are free, pro and org"),
        ("select lpm.create_token('nobody')", "select lpm.create_user('nobody')"),
        ("select lpm.create_token('alice', valid_for => '-1 day')", "valid for more than nothing"),
        ("select lpm.create_token('alice', valid_for => '100 years')", "at most 10 years"),
        ("select lpm.create_token('alice', scope => 'write')", "Scopes are all, read and none"),
        ("select lpm.set_plan('alcie', 'pro')", "no user or org named \"alcie\""),
        ("select lpm.set_plan('alice', 'platinum')", "there is no plan \"platinum\""),
        (
            "select lpm.add_member('acme', 'alice', role => 'boss')",
            "Roles are owner, admin, maintainer and developer",
        ),
        ("select lpm.add_member('acne', 'alice')", "no org named \"acne\""),
        ("select lpm.remove_member('acme', 'nobody')", "no user named \"nobody\""),
        ("select lpm.trust_issuer('bitbucket', 'https://b.example')", "Use github or gitlab"),
        ("select lpm.trust_issuer('gitlab', 'http://gitlab.example')", "must start with https://"),
        (
            "select lpm.trust_issuer('gitlab', 'https://user@gitlab.example')",
            "without user, query or fragment",
        ),
        (
            "select lpm.trust_issuer('gitlab', 'https://g.example', algorithms => '{HS256}')",
            "`HS256` is no signature algorithm that can be trusted",
        ),
        ("select lpm.trust_issuer('gitlab', 'https://g.example', jwks => '{}')", "jwks: the key set"),
        ("select lpm.distrust_issuer('https://nobody.example')", "select issuer from lpm.issuers"),
        ("select lpm.create_gateway_login('Robert''); drop')", "is not a name for a login"),
        ("select lpm.create_gateway_login('postgres')", "the role \"postgres\" exists already"),
        ("select lpm.transfer_vault('v', 'alice')", "nobody has claimed the vault \"v\""),
        ("select lpm.repin('v', 'repo:a/b')", "no policy of the vault \"v\" names \"repo:a/b\""),
        ("select lpm.delete_vault('v', 'alice')", "\"alice\" has no vault \"v\""),
        ("set pg_lpm.escrow_key_fiel = 'x'", "invalid configuration parameter name"),
    ] {
        let text = refusal(&database, sql)?;
        assert!(text.contains(expected), "{sql}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn every_admin_call_is_audited_with_who_made_it() -> Result<()> {
    let database = fresh().await?;
    let login = database.login(&["lpm_admin"]).await?;
    let admin = database.connect_as(&login).await?;
    admin
        .batch_execute(
            "select lpm.create_user('dora', plan => 'pro'); select lpm.create_token('dora', name => 'laptop');
             select lpm.set_plan('dora', 'org'); select lpm.create_org('shop'); select lpm.add_member('shop', 'dora', role => 'owner');
             select lpm.trust_issuer('gitlab', 'https://gitlab.example.com'); select lpm.distrust_issuer('https://gitlab.com');
             select lpm.reserve_vault('kept', owner => 'dora'); select lpm.transfer_vault('kept', 'shop');
             select lpm.delete_vault('kept', owner => 'shop'); select lpm.revoke_tokens('dora');
             select lpm.remove_member('shop', 'dora'); select lpm.drop_user('dora')",
        )
        .await?;
    let trail = database.value(&format!(
        "select string_agg(action, ' ' order by id) from lpm.audit_log where login = '{}'",
        login.user
    ))?;
    assert_eq!(
        trail,
        "user_create token_create plan_set org_create member_added issuer_trust issuer_distrust vault_reserve vault_transfer vault_delete \
         token_revoke member_removed user_drop"
    );
    Ok(())
}

#[tokio::test]
async fn tokens_expire_are_revoked_and_have_scopes() -> Result<()> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    escrowed.push(&client, "v").await?;
    let token = |sql: &str| -> Result<Escrowed> {
        let token = escrowed.database.value(sql)?;
        Ok(Escrowed::of(escrowed.database.clone(), escrowed.login.clone(), &token, &escrowed.issuer))
    };
    let none = None::<&str>;
    let pull = async |who: &Escrowed| {
        let arguments: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &none, &who.token, &"v"];
        let (status, body) = answer(&client, "pull", &arguments).await?;
        Ok::<_, anyhow::Error>((status, body["code"].as_str().unwrap_or_default().to_owned()))
    };
    let reader = token("select lpm.create_token('alice', name => 'reader', scope => 'read')")?;
    assert_eq!(pull(&reader).await?.0, 200);
    let refused = reader.push(&client, "v").await.expect_err("a reader does not push");
    assert!(format!("{refused:#}").contains("this token may only read"), "{refused:#}");
    let nothing = token("select lpm.create_token('alice', name => 'nothing', scope => 'none')")?;
    assert_eq!(pull(&nothing).await?, (403, "token_scope".to_owned()));

    let old = token("select lpm.create_token('alice', name => 'old')")?;
    assert_eq!(pull(&old).await?.0, 200);
    escrowed
        .database
        .value("update lpm.access_token set expires_at = clock_timestamp() where name = 'old'")?;
    assert_eq!(pull(&old).await?, (401, "unauthorized".to_owned()));
    assert_eq!(escrowed.database.value("select lpm.revoke_tokens('alice', name => 'reader')")?, "1");
    assert_eq!(pull(&reader).await?, (401, "unauthorized".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_built_in_issuer_can_be_distrusted_and_trusted_again() -> Result<()> {
    let database = fresh().await?;
    let builtin = "select string_agg(issuer || ' ' || max_token_uses, ', ' order by issuer) from lpm.issuers where issuer like 'https://%'";
    let both = "https://gitlab.com 20, https://token.actions.githubusercontent.com 1";
    assert_eq!(database.value(builtin)?, both);
    database.value("select lpm.distrust_issuer('https://gitlab.com')")?;
    assert_eq!(database.value(builtin)?, "https://token.actions.githubusercontent.com 1");
    database.value("select lpm.trust_issuer('gitlab', 'https://gitlab.com')")?;
    assert_eq!(database.value(builtin)?, both, "with its own defaults");
    database.value("select lpm.trust_issuer('github', 'https://token.actions.githubusercontent.com', max_token_uses => 2)")?;
    let default = "select is_default from lpm.issuers where issuer = 'https://gitlab.com'";
    database.value("select lpm.distrust_issuer(issuer) from lpm.issuers where provider = 'gitlab' and issuer <> 'https://gitlab.com'")?;
    database.value("select lpm.trust_issuer('gitlab', 'https://gitlab.com', max_token_uses => 20)")?;
    assert_eq!(
        database.value(default)?,
        "t",
        "what is built in stays the default when a setting of it changes"
    );
    // one default per provider, and what is not named stays
    database.value("select lpm.trust_issuer('gitlab', 'https://gitlab.example.com', audiences => '{https://lpm.example.com}', is_default => true)")?;
    database.value("select lpm.trust_issuer('gitlab', 'https://gitlab.example.com', max_token_uses => 5)")?;
    let row = database.value("select audiences || ' ' || max_token_uses || ' ' || is_default from (select audiences[1] audiences, max_token_uses, is_default from lpm.issuers where issuer = 'https://gitlab.example.com') i")?;
    assert_eq!(row, "https://lpm.example.com 5 true");
    assert_eq!(
        database.value("select count(*) from lpm.issuers where provider = 'gitlab' and is_default")?,
        "1"
    );
    Ok(())
}

#[tokio::test]
async fn a_leavers_policies_are_listed_and_can_go_along() -> Result<()> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    escrowed.allow_with(&client, "org-vault", &json!({"scope": "org", "org": "acme"})).await?;
    let listed = escrowed.database.value(
        "select vault_id || ' ' || subject || ' ' || revoked from lpm.remove_member('acme', 'alice')",
    )?;
    assert_eq!(listed, "org-vault repo:acme/web false");
    assert_eq!(escrowed.database.value("select count(*) from lpm.oidc_policy")?, "1");
    escrowed.database.value("select lpm.add_member('acme', 'alice', role => 'owner')")?;
    let listed = escrowed
        .database
        .value("select revoked from lpm.remove_member('acme', 'alice', revoke_policies => true)")?;
    assert_eq!(
        (listed.as_str(), escrowed.database.value("select count(*) from lpm.oidc_policy")?.as_str()),
        ("t", "0")
    );
    Ok(())
}

#[tokio::test]
async fn a_reserved_vault_id_is_its_owners_and_a_dropped_user_leaves_nothing() -> Result<()> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    escrowed.database.value("select lpm.create_user('dora', plan => 'pro'); select lpm.reserve_vault('reserved', owner => 'dora')")?;
    assert!(escrowed.allow(&client, "reserved").await.is_err(), "reserved for another");
    escrowed.vault(&client).await?;
    assert_eq!(escrowed.database.value("select lpm.drop_user('alice')")?, "1");
    let left = escrowed.database.value(
        "select (select count(*) from lpm.vault_sync) + (select count(*) from lpm.oidc_policy) + (select count(*) from lpm.oidc_subject_pin)
              + (select count(*) from lpm.access_token) + (select count(*) from lpm.vault_claim where vault_id <> 'reserved')",
    )?;
    assert_eq!(left, "0");
    let trail: u32 =
        escrowed.database.value("select count(*) from lpm.audit_log where action = 'push'")?.parse()?;
    assert!(trail > 0, "the trail outlives what it speaks of");
    Ok(())
}

#[tokio::test]
async fn what_has_expired_is_removed() -> Result<()> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    escrowed.decide(&client, Uuid::now_v7(), &vault_id, "main").await?;
    assert_eq!(
        escrowed.database.value("select lpm.remove_expired()")?,
        "0",
        "a use is kept beyond the token's expiry"
    );
    escrowed
        .database
        .value("update lpm.oidc_token_use set expires_at = clock_timestamp() - interval '1 second'")?;
    assert_eq!(escrowed.database.value("select lpm.remove_expired()")?, "1");
    Ok(())
}
