//! Vault ids, versions and pins: what accounts may do to their vaults, and to each other's.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, SECRET, answer, claims};
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

/// Another account of the same database.
fn account(of: &Escrowed, handle: &str, plan: &str) -> Result<Escrowed> {
    of.database.value(&format!("select lpm.create_user('{handle}', plan => '{plan}')"))?;
    let token = of.database.value(&format!("select lpm.create_token('{handle}')"))?;
    Ok(Escrowed::of(of.database.clone(), of.login.clone(), &token, &of.issuer))
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

fn code((status, body): (i32, Value)) -> (i32, String) {
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn denied(code: &str) -> (i32, String) {
    (403, code.to_owned())
}

fn granted() -> (i32, String) {
    (200, String::new())
}

// ---- versions ---------------------------------------------------------------------------------------------

async fn push_expecting(
    escrowed: &Escrowed,
    client: &Client,
    vault_id: &str,
    expected: Option<i32>,
    force: bool,
) -> Result<(i32, Value)> {
    use lpm_core::envelope::{aead, vault};
    let key = lpm_core::secret::Secret::new(aead::random::<32>()?.to_vec());
    let blob = vault::seal_blob(&key, &aead::random()?, b"{}")?;
    let wrapped = vault::wrap_key(&key, &aead::random()?, &key)?;
    let arguments: [&(dyn ToSql + Sync); 10] = [
        &Uuid::now_v7(),
        &NONE,
        &escrowed.token,
        &vault_id,
        &blob,
        &wrapped,
        &expected,
        &force,
        &NONE,
        &NONE,
    ];
    answer(client, "push", &arguments).await
}

#[tokio::test]
async fn a_push_replaces_only_what_its_caller_has_seen() -> Result<()> {
    let (alice, client) = ready().await?;
    let push = |expected, force| push_expecting(&alice, &client, "v", expected, force);
    let (status, body) = push(Some(7), false).await?;
    assert_eq!((status, &body["version"]), (201, &json!(1)), "`expectedVersion` without a row creates it");
    let (status, body) = push(None, false).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("version_expected")));
    assert!(
        body["error"].as_str().is_some_and(|text| text.contains("version 1") && text.contains("--force")),
        "{body}"
    );
    assert_eq!(code(push(Some(2), false).await?), (409, "version_conflict".to_owned()));
    assert_eq!(push(Some(1), false).await?.1["version"], 2);
    assert_eq!(push(None, true).await?.1["version"], 3);
    Ok(())
}

#[tokio::test]
async fn ten_versions_are_kept_and_a_dba_brings_one_back() -> Result<()> {
    let (alice, client) = ready().await?;
    for _ in 0..13 {
        push_expecting(&alice, &client, "v", None, true).await?;
    }
    let kept = alice
        .database
        .value("select string_agg(version::text, ' ' order by version) from lpm.vault_version")?;
    assert_eq!(kept, "4 5 6 7 8 9 10 11 12");
    let before =
        alice.database.value("select md5(encrypted_blob) from lpm.vault_version where version = 6")?;
    assert_eq!(alice.database.value("select lpm.restore_version('v', 6, 'alice')")?, "14");
    assert_eq!(alice.database.value("select md5(encrypted_blob) from lpm.vault_sync")?, before);
    let missing = alice.database.psql("select lpm.restore_version('v', 3, 'alice')")?;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("keeps no version 3"));
    Ok(())
}

#[tokio::test]
async fn ciphertext_of_one_vault_is_not_accepted_for_another() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.vault(&client).await?;
    let (blob, wrapped) = (
        alice.database.value("select encrypted_blob from lpm.vault_sync")?,
        alice.database.value("select wrapped_key from lpm.vault_sync")?,
    );
    let mallory = account(&alice, "mallory", "pro")?;
    for (who, vault) in [(&mallory, "elsewhere"), (&alice, "elsewhere")] {
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&Uuid::now_v7(), &NONE, &who.token, &vault, &blob, &wrapped, &None::<i32>, &false, &NONE, &NONE];
        assert_eq!(code(answer(&client, "push", &arguments).await?), (409, "blob_known".to_owned()));
    }
    assert_eq!(
        alice.database.value(
            "select count(*) from lpm.audit_log where decision = 'denied' and reason = 'blob_known'"
        )?,
        "2"
    );
    Ok(())
}

#[tokio::test]
async fn ciphertext_is_recognised_long_after_its_version_is_gone() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.push(&client, "secret").await?;
    let stolen = (
        alice.database.value("select encrypted_blob from lpm.vault_sync")?,
        alice.database.value("select wrapped_key from lpm.vault_sync")?,
    );
    for _ in 0..12 {
        push_expecting(&alice, &client, "secret", None, true).await?;
    }
    alice.database.value("select lpm.delete_vault('secret', owner => 'alice')")?;
    let arguments: [&(dyn ToSql + Sync); 10] = [
        &Uuid::now_v7(),
        &NONE,
        &alice.token,
        &"escrowed",
        &stolen.0,
        &stolen.1,
        &None::<i32>,
        &true,
        &NONE,
        &NONE,
    ];
    assert_eq!(code(answer(&client, "push", &arguments).await?), (409, "blob_known".to_owned()));
    Ok(())
}

#[tokio::test]
async fn pushes_and_escrows_of_one_vault_do_not_lock_each_other_out() -> Result<()> {
    let (alice, client) = ready().await?;
    alice.vault(&client).await?;
    let vault_id = alice.database.value("select vault_id from lpm.vault_claim")?;
    let alice = std::sync::Arc::new(alice);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..6 {
        let (alice, vault_id) = (alice.clone(), vault_id.clone());
        tasks.spawn(async move {
            let client = alice.gateway().await?;
            for _ in 0..20 {
                if worker % 2 == 0 {
                    alice.push(&client, &vault_id).await?;
                } else {
                    alice.escrow(&client, &vault_id).await?;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(())
}

#[tokio::test]
async fn malformed_pushes_are_answered_and_store_nothing() -> Result<()> {
    let (alice, client) = ready().await?;
    let good_blob = "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA==";
    let good_key = format!("AAECAwQFBgcICQoL:{}", "A".repeat(64));
    for (row, blob, key, schema) in [
        ("empty", "", good_key.as_str(), None),
        ("no colon", "AAAA", &good_key, None),
        ("url-safe", "AAECAwQFBgcICQoL:-_-_AAAAAAAAAAAAAAAAAA==", &good_key, None),
        ("unpadded", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA", &good_key, None),
        ("stray bits", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAB==", &good_key, None),
        ("no tag", "AAECAwQFBgcICQoL:AAAA", &good_key, None),
        ("short iv", "AAEC:AAAAAAAAAAAAAAAAAAAAAA==", &good_key, None),
        ("three parts", "AAECAwQFBgcICQoL:AAAAAAAAAAAAAAAAAAAAAA==:AAAA", &good_key, None),
        ("short key", good_blob, "AAECAwQFBgcICQoL:AAAA", None),
        ("no key", good_blob, "", None),
        ("schema is no object", good_blob, &good_key, Some("[1]")),
        ("schema is no JSON", good_blob, &good_key, Some("{")),
        ("schema twice", good_blob, &good_key, Some(r#"{"a":1,"a":2}"#)),
    ] {
        let arguments: [&(dyn ToSql + Sync); 10] =
            [&Uuid::now_v7(), &NONE, &alice.token, &"v", &blob, &key, &None::<i32>, &false, &NONE, &schema];
        let (status, body) = answer(&client, "push", &arguments).await?;
        assert_eq!(status, 400, "{row}: {body}");
    }
    assert_eq!(alice.database.value("select count(*) from lpm.vault_sync")?, "0");
    Ok(())
}

// ---- plans ------------------------------------------------------------------------------------------------

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
        text(push_expecting(&alice, &client, &vault_id, None, true).await?),
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
    let bob = account(&alice, "bob", "pro")?;
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
    assert_eq!(code(create(&bob, &org).await?), (404, "org_unknown".to_owned()), "a developer does not lead");
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

// ---- whose vault id -----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vault_id_belongs_to_whoever_claimed_it_first() -> Result<()> {
    let (alice, client) = ready().await?;
    let mallory = account(&alice, "mallory", "pro")?;
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
    let squatter = account(&alice, "squatter", "pro")?;
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
    let squatter = account(&alice, "squatter", "pro")?;
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
    let mallory = account(&alice, "mallory", "pro")?;
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
            push_expecting(&alice, &client, vault_id, None, false).await?.0,
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

// ---- pins ---------------------------------------------------------------------------------------------------

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
async fn a_restored_version_keeps_the_escrow_that_is_on_and_brings_none_back() -> Result<()> {
    let (alice, client) = ready().await?;
    let vault_id = Uuid::new_v4().to_string();
    alice.push(&client, &vault_id).await?;
    alice.push(&client, &vault_id).await?;
    alice.allow(&client, &vault_id).await?;
    alice.escrow(&client, &vault_id).await?;
    let restore = |version| {
        alice.database.value(&format!("select lpm.restore_version('{vault_id}', {version}, 'alice')"))
    };
    restore(1)?;
    let request = Uuid::now_v7();
    assert_eq!(code(alice.decide(&client, request, &vault_id, "main").await?), granted());
    assert_eq!(alice.open(&client, request).await?.1["vars"]["API_KEY"], SECRET);
    alice.database.value("update lpm.vault_sync set ci_escrow_wrapping_key = null, escrow_kind = null")?;
    restore(2)?;
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), denied("escrow_off"));
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

// ---- strangers and uses ---------------------------------------------------------------------------------------

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
