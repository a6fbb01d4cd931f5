//! Vault ids and plans: what accounts may do to their vaults, and to each other's.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, SECRET, answer, claims, code, denied, granted};
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

#[tokio::test]
async fn a_free_account_gets_the_promised_texts_and_a_downgrade_keeps_data() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    alice.database.value("select lpm.set_plan('alice', 'free')")?;
    let text =
        |answer: (i32, Value)| format!("{} {}", answer.0, answer.1["error"].as_str().unwrap_or_default());
    let sealed = alice.sealed(&client, &vault_id).await?;
    let policy = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:a/b", "allowedBranches": ["main"], "allowedEnvironments": ["x"], "allowForks": false}).to_string();
    let id = Uuid::now_v7();
    assert_eq!(
        text(alice.push_expecting(&client, &vault_id, None, true).await?),
        "403 Vault sync requires a Pro or Org plan"
    );
    assert_eq!(
        text(answer(&client, "pull", &[&id, &NONE, &alice.token, &vault_id]).await?),
        "403 Vault sync requires a Pro or Org plan"
    );
    assert_eq!(
        text(answer(&client, "create_policy", &[&id, &NONE, &alice.token, &policy]).await?),
        "403 CI escrow requires a Pro or Org plan"
    );
    assert_eq!(
        text(answer(&client, "put_escrow", &[&id, &NONE, &alice.token, &vault_id, &sealed]).await?),
        "403 CI escrow requires a Pro or Org plan"
    );
    assert_eq!(
        text(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?),
        "403 Vault CI pull requires a Pro or Org plan"
    );
    let reasons = alice.database.value("select string_agg(action || ' ' || reason, ', ' order by id) from lpm.audit_log where decision = 'denied'")?;
    assert_eq!(
        reasons,
        "push plan_sync, pull plan_sync, policy_create plan_ci_escrow, escrow_on plan_ci_escrow, ci_pull plan_ci_pull"
    );
    alice.database.value("select lpm.set_plan('alice', 'pro')")?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), granted());
    Ok(())
}

#[tokio::test]
async fn org_policies_take_an_org_plan_and_a_leading_role() -> Result<()> {
    let (alice, client) = ready().await?;
    let bob = alice.account("bob", "pro")?;
    alice.database.value("select lpm.add_member('acme', 'bob', role => 'developer')")?;
    let org = json!({"scope": "org", "org": "acme"});
    let create = async |who: &Escrowed, changes: &Value| {
        let mut policy = json!({"vaultId": "org-vault", "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
            "allowedEnvironments": ["production"], "allowForks": false});
        for (name, value) in changes.as_object().into_iter().flatten() {
            policy[name] = value.clone();
        }
        answer(&client, "create_policy", &[&Uuid::now_v7(), &NONE, &who.token, &policy.to_string()]).await
    };
    assert_eq!(code(create(&bob, &org).await?), denied("org_role"), "a developer does not lead");
    let mallory = alice.account("mallory", "pro")?;
    assert_eq!(
        code(create(&mallory, &org).await?),
        (404, "org_unknown".to_owned()),
        "a stranger learns nothing"
    );
    assert_eq!(
        code(create(&alice, &json!({"scope": "org", "org": "nobody"})).await?),
        (404, "org_unknown".to_owned())
    );
    alice.database.value("select lpm.set_plan('acme', 'pro')")?;
    let (status, body) = create(&alice, &org).await?;
    assert_eq!((status, &body["error"]), (403, &json!("Org-scoped policies require an Org plan")));
    alice.database.value("select lpm.set_plan('acme', 'org')")?;
    assert_eq!(create(&alice, &org).await?.0, 201);
    Ok(())
}

#[tokio::test]
async fn a_vault_id_belongs_to_whoever_claimed_it_first() -> Result<()> {
    let (alice, client) = ready().await?;
    let mallory = alice.account("mallory", "pro")?;
    let vault_id = alice.vault(&client).await?;
    // others may keep a row of their own under the same id, and cannot open it to CI
    mallory.push(&client, &vault_id).await?;
    for function in ["create_policy", "put_escrow"] {
        let sealed = mallory.sealed(&client, &vault_id).await?;
        let policy = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:acme/web", "allowedBranches": [], "allowedEnvironments": [], "allowForks": true}).to_string();
        let id = Uuid::now_v7();
        let (status, body) = match function {
            "create_policy" => answer(&client, function, &[&id, &NONE, &mallory.token, &policy]).await?,
            _ => answer(&client, function, &[&id, &NONE, &mallory.token, &vault_id, &sealed]).await?,
        };
        assert_eq!((status, body["code"].as_str()), (409, Some("vault_claimed")), "{function}: {body}");
        let hint = body["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("lpm env new-id") && hint.contains("lpm.transfer_vault"), "{hint}");
    }
    let request = Uuid::now_v7();
    alice.decide(&client, request, &vault_id, "main").await?;
    assert_eq!(alice.open(&client, request).await?.1["vars"]["API_KEY"], SECRET);

    // a transfer ends what the former owner attached
    alice.database.value(&format!("select lpm.transfer_vault('{vault_id}', 'mallory')"))?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), denied("no_policy"));
    assert!(alice.allow(&client, &vault_id).await.is_err());
    mallory.allow(&client, &vault_id).await?;
    assert_eq!(
        code(mallory.decide(&client, Uuid::now_v7(), &vault_id, "main").await?),
        denied("escrow_off"),
        "nobody else's escrow serves"
    );
    Ok(())
}

#[tokio::test]
async fn a_claim_without_a_push_lapses_and_many_are_refused() -> Result<()> {
    let (alice, client) = ready().await?;
    let squatter = alice.account("squatter", "pro")?;
    squatter.allow(&client, "wanted").await?;
    assert!(alice.allow(&client, "wanted").await.is_err(), "for a day the claim holds");
    alice.push(&client, "wanted").await?;
    alice.database.value("update lpm.vault_claim set claimed_at = claimed_at - interval '25 hours'")?;
    alice.allow(&client, "wanted").await?;
    assert_eq!(
        alice.database.value("select count(*) from lpm.oidc_policy")?,
        "1",
        "the squatter's policy went with the claim"
    );
    for number in 0..20 {
        squatter.allow(&client, &format!("squat-{number}")).await?;
    }
    let refused = squatter.allow(&client, "squat-20").await.expect_err("too many");
    assert!(format!("{refused:#}").contains("429"), "{refused:#}");
    Ok(())
}

#[tokio::test]
async fn a_claim_whose_owner_has_pushed_does_not_lapse() -> Result<()> {
    let (alice, client) = ready().await?;
    let squatter = alice.account("squatter", "pro")?;
    squatter.allow(&client, "wanted").await?;
    alice.push(&client, "wanted").await?;
    let age = "update lpm.vault_claim set claimed_at = claimed_at - interval '25 hours'";
    alice.database.value(age)?;
    alice.allow(&client, "wanted").await?;
    alice.database.value(age)?;
    assert!(squatter.allow(&client, "wanted").await.is_err(), "the owner's vault is there");
    assert_eq!(alice.database.value("select count(*) from lpm.oidc_policy")?, "1");
    Ok(())
}

#[tokio::test]
async fn what_an_org_holds_survives_the_member_who_claimed_it() -> Result<()> {
    let (alice, client) = ready().await?;
    let mallory = alice.account("mallory", "pro")?;
    alice.allow_with(&client, "org-vault", &json!({"scope": "org", "org": "acme"})).await?;
    alice.database.value("select lpm.drop_user('alice')")?;
    assert_eq!(alice.database.value("select count(*) from lpm.oidc_policy where org_id is not null")?, "1");
    assert!(mallory.allow(&client, "org-vault").await.is_err(), "the id is not free");
    alice.database.value("select lpm.delete_vault('org-vault', owner => 'acme')")?;
    assert_eq!(alice.database.value("select count(*) from lpm.vault_claim")?, "0");
    Ok(())
}

#[tokio::test]
async fn answers_stay_answers_whatever_the_arguments_are() -> Result<()> {
    let (alice, client) = ready().await?;
    let long = "x".repeat(300);
    let id = Uuid::now_v7();
    for vault_id in ["", long.as_str()] {
        assert_eq!(
            alice.push_expecting(&client, vault_id, None, false).await?.0,
            400,
            "{} bytes",
            vault_id.len()
        );
        let sealed = alice.sealed(&client, vault_id).await?;
        assert_eq!(
            answer(&client, "put_escrow", &[&id, &NONE, &alice.token, &vault_id, &sealed]).await?.0,
            400
        );
    }
    assert_eq!(answer(&client, "create_policy", &[&id, &NONE, &alice.token, &NONE]).await?.0, 400);
    let nothing = None::<Vec<u8>>;
    let owner = None::<Uuid>;
    assert_eq!(
        answer(&client, "decide", &[&id, &NONE, &alice.issuer, &nothing, &"v", &"production", &owner])
            .await?
            .0,
        401
    );
    assert_eq!(
        answer(
            &client,
            "exchange",
            &[&id, &NONE, &alice.issuer, &nothing, &"v", &"production", &owner, &vec![1_u8; 32]]
        )
        .await?
        .0,
        401
    );
    alice.push(&client, "v").await?;
    let claims = br#"{"repository": "acme/web", "exp": 9007199254740991}"#.to_vec();
    assert_eq!(
        answer(&client, "explain", &[&id, &NONE, &alice.token, &"v", &NONE, &claims, &NONE]).await?.0,
        200
    );
    Ok(())
}

#[tokio::test]
async fn an_owner_that_does_not_match_is_like_a_vault_that_does_not_exist() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = alice.vault(&client).await?;
    let owner: Uuid = alice.database.value("select user_id from lpm.vault_claim")?.parse()?;
    let ask = async |vault: &str, owner: Option<Uuid>| {
        let claims = claims(&alice.issuer, "main");
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&Uuid::now_v7(), &NONE, &alice.issuer, &claims, &vault, &"production", &owner];
        answer(&client, "decide", &arguments).await
    };
    let unknown = ask("no-such-vault", None).await?;
    assert_eq!(ask(&vault_id, Some(Uuid::new_v4())).await?, unknown);
    assert_eq!(ask(&vault_id, Some(owner)).await?.0, 200);
    Ok(())
}
