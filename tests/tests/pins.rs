//! Pins, strangers and uses: who a job is, and how often its token counts.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, answer, claims, code, denied, granted};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

async fn ready() -> Result<(Escrowed, Client)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    Ok((escrowed, client))
}

/// A pull by a push of the repository with these ids.
async fn pull_as(
    escrowed: &Escrowed,
    client: &Client,
    vault_id: &str,
    name: &str,
    id: &str,
    owner_id: &str,
) -> Result<(i32, Value)> {
    let mut claimed: Value = serde_json::from_slice(&claims(&escrowed.issuer, "main"))?;
    claimed["repository"] = json!(name);
    claimed["repository_id"] = json!(id);
    claimed["repository_owner_id"] = json!(owner_id);
    let bytes = claimed.to_string().into_bytes();
    let arguments: [&(dyn ToSql + Sync); 7] =
        [&Uuid::now_v7(), &NONE, &escrowed.issuer, &bytes, &vault_id, &"production", &None::<Uuid>];
    answer(client, "decide", &arguments).await
}

#[tokio::test]
async fn the_first_grant_pins_the_ids_for_every_policy_of_the_subject() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    alice.allow_with(&client, &vault_id, &json!({"allowedBranches": ["release/*"]})).await?;
    let pull = |name, id, owner| pull_as(&alice, &client, &vault_id, name, id, owner);
    assert_eq!(code(pull("acme/web", "42", "7").await?), granted());
    assert_eq!(
        alice.database.value("select subject_id || ' ' || owner_id from lpm.oidc_subject_pin")?,
        "42 7"
    );
    assert_eq!(
        code(pull("acme/web", "43", "7").await?),
        denied("identity_changed"),
        "re-created under the same name"
    );
    assert_eq!(code(pull("acme/web", "42", "8").await?), denied("owner_changed"), "transferred");
    assert_eq!(code(pull("ACME/Web", "42", "7").await?), granted(), "GitHub's names have no case");
    assert_eq!(code(pull("acme/renamed", "42", "7").await?), granted(), "renamed, same ids");
    let renamed = alice
        .database
        .value("select count(*) from lpm.audit_log where decision = 'granted' and reason = 'renamed'")?;
    assert_eq!(renamed, "1");
    // whoever takes the old name has other ids
    assert_eq!(code(pull("acme/web", "99", "7").await?), denied("identity_changed"));
    assert_eq!(alice.database.value(&format!("select lpm.repin('{vault_id}', 'repo:ACME/web')"))?, "1");
    assert_eq!(code(pull("acme/web", "99", "7").await?), granted());
    assert_eq!(code(pull("acme/web", "42", "7").await?), denied("identity_changed"));
    Ok(())
}

#[tokio::test]
async fn ids_given_at_creation_pin_at_once_and_never_pin_again() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    alice
        .allow_with(
            &client,
            &vault_id,
            &json!({"repositoryId": "42", "ownerId": "7", "allowedBranches": ["x"]}),
        )
        .await?;
    assert_eq!(
        code(pull_as(&alice, &client, &vault_id, "acme/web", "43", "7").await?),
        denied("identity_changed")
    );
    alice.database.value("update lpm.oidc_subject_pin set waiting_since = '2026-01-01'")?;
    let other = alice
        .allow_with(&client, &vault_id, &json!({"repositoryId": "43", "ownerId": "7"}))
        .await
        .expect_err("pinned to 42");
    assert!(format!("{other:#}").contains("pinned_otherwise"), "{other:#}");
    let pin = alice.database.value(
        "select subject_id || ' ' || owner_id || ' ' || waiting_since::date from lpm.oidc_subject_pin",
    )?;
    assert_eq!(pin, "42 7 2026-01-01", "a refusal changes nothing");
    Ok(())
}

#[tokio::test]
async fn two_first_grants_at_once_pin_one_identity() -> Result<()> {
    let (alice, client) = ready().await?;
    for _ in 0..8 {
        let vault_id = alice.vault(&client).await?;
        let mut tasks = tokio::task::JoinSet::new();
        for id in ["42", "43", "42", "43"] {
            let (client, vault_id) = (alice.gateway().await?, vault_id.clone());
            let issuer = alice.issuer.clone();
            tasks.spawn(async move {
                let mut claimed: Value = serde_json::from_slice(&claims(&issuer, "main"))?;
                claimed["repository_id"] = json!(id);
                let bytes = claimed.to_string().into_bytes();
                let arguments: [&(dyn ToSql + Sync); 7] =
                    [&Uuid::now_v7(), &NONE, &issuer, &bytes, &vault_id, &"production", &None::<Uuid>];
                Ok::<_, anyhow::Error>((id, answer(&client, "decide", &arguments).await?))
            });
        }
        let mut winners = std::collections::BTreeSet::new();
        while let Some(result) = tasks.join_next().await {
            let (id, (status, body)) = result??;
            if status == 200 {
                winners.insert(id);
            } else {
                assert_eq!(body["code"], "identity_changed");
            }
        }
        assert_eq!(winners.len(), 1, "one identity, however many asked at once");
    }
    Ok(())
}

#[tokio::test]
async fn a_subject_that_was_never_pinned_lapses_after_thirty_days() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    alice
        .database
        .value("update lpm.oidc_subject_pin set waiting_since = waiting_since - interval '31 days'")?;
    let (status, body) = alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?;
    assert_eq!((status, body["code"].as_str()), (403, Some("policy_lapsed")), "{body}");
    alice.allow(&client, &vault_id).await?;
    assert_eq!(
        alice.database.value("select count(*) from lpm.oidc_policy")?,
        "1",
        "the same policy, awake again"
    );
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), granted());
    Ok(())
}

#[tokio::test]
async fn strangers_are_counted_in_a_bounded_number_of_rows() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    let before = alice.database.value("select count(*) from lpm.audit_log")?;
    for attempt in 0..40 {
        let vault = if attempt % 2 == 0 { vault_id.clone() } else { format!("made-up-{attempt}") };
        assert_eq!(
            code(pull_as(&alice, &client, &vault, "evil/repo", "666", "13").await?),
            denied("no_policy")
        );
    }
    assert_eq!(
        alice
            .database
            .value("select string_agg(attempts::text, ' ' order by vault_id) from lpm.oidc_stranger")?,
        "20 20"
    );
    assert_eq!(alice.database.value("select count(*) from lpm.audit_log")?, before);
    assert_eq!(alice.database.value("select count(*) from lpm.oidc_token_use")?, "0");
    Ok(())
}

#[tokio::test]
async fn a_token_is_used_up_across_vaults_and_after_a_denial() -> Result<()> {
    let (alice, client) = ready().await?;
    let (one, two) = (alice.vault(&client).await?, alice.vault(&client).await?);
    let claims = claims(&alice.issuer, "main");
    let ask = async |vault: &str, environment: &str| {
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &alice.issuer, &claims, &vault, &environment, &None::<Uuid>];
        answer(&client, "decide", &arguments).await.map(code)
    };
    assert_eq!(ask(&one, "staging").await?, denied("environment_not_allowed"));
    assert_eq!(ask(&one, "production").await?, denied("replayed"), "a denied token cannot probe on");
    assert_eq!(ask(&two, "production").await?, denied("replayed"), "nor elsewhere");
    Ok(())
}

#[tokio::test]
async fn parallel_uses_of_one_token_are_granted_once() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    let claims = claims(&alice.issuer, "main");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (client, vault_id, claims, issuer) =
            (alice.gateway().await?, vault_id.clone(), claims.clone(), alice.issuer.clone());
        tasks.spawn(async move {
            let arguments: [&(dyn ToSql + Sync); 7] =
                [&Uuid::now_v7(), &NONE, &issuer, &claims, &vault_id, &"production", &None::<Uuid>];
            answer(&client, "decide", &arguments).await
        });
    }
    let mut granted = 0;
    while let Some(result) = tasks.join_next().await {
        granted += u32::from(result??.0 == 200);
    }
    assert_eq!(granted, 1);
    assert_eq!(alice.database.value("select count(*) from lpm.audit_log where action = 'ci_pull'")?, "32");
    Ok(())
}

/// A vault id that an account claimed and then opened for its org can be opened to CI by both: the org's admins decide
/// for the org's row, never for the account's.
#[tokio::test]
async fn an_org_s_admin_pins_nothing_for_a_member_s_own_policies() -> Result<()> {
    let (alice, client) = ready().await?;
    let bob = alice.account("bob", "pro")?;
    alice.database.value("select lpm.add_member('acme', 'bob', role => 'admin')")?;
    let vault_id = Uuid::new_v4().to_string();
    let of_org = json!({"scope": "org", "org": "acme"});
    alice.push(&client, &vault_id).await?;
    alice.allow(&client, &vault_id).await?;
    alice.escrow(&client, &vault_id).await?;
    alice.allow_with(&client, &vault_id, &of_org).await?;
    let pull = |name, id, owner| pull_as(&alice, &client, &vault_id, name, id, owner);
    assert_eq!(code(pull("acme/web", "42", "7").await?), granted());

    let repin: [&(dyn ToSql + Sync); 5] = [&Uuid::now_v7(), &NONE, &bob.token, &vault_id, &"repo:acme/web"];
    assert_eq!(answer(&client, "repin", &repin).await?.0, 200, "the org's own");
    let mut stranger = of_org.clone();
    stranger["allowedEnvironments"] = json!([]);
    stranger["repositoryId"] = json!("666");
    stranger["ownerId"] = json!("66");
    bob.allow_with(&client, &vault_id, &stranger).await?;
    let pinned = "select coalesce(a.handle, o.slug) || ' ' || n.subject_id from lpm.oidc_subject_pin n
                  left join lpm.account a on a.id = n.holder left join lpm.org o on o.id = n.holder order by 1";
    assert_eq!(alice.database.value(pinned)?, "acme 666\nalice 42");

    let (status, body) = pull("evil/x", "666", "66").await?;
    assert_ne!(status, 200, "the org has no row of its own: {body}");
    assert_eq!(code(pull("acme/web", "42", "7").await?), granted(), "alice's job goes on");

    // A job that names the org is never answered from the account's row.
    let org: Uuid = alice.database.value("select id from lpm.org where slug = 'acme'")?.parse()?;
    let me: Uuid = alice.database.value("select id from lpm.account where handle = 'alice'")?.parse()?;
    for (owner, expected) in [(me, granted()), (org, denied("escrow_off"))] {
        let claims = claims(&alice.issuer, "main");
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &alice.issuer, &claims, &vault_id, &"production", &Some(owner)];
        let seen = code(answer(&client, "decide", &arguments).await?);
        assert_eq!(seen.0, expected.0, "{owner}: {seen:?}");
    }
    Ok(())
}
