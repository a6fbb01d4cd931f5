//! What one account or one job may cost.

use anyhow::Result;
use lpm_tests::escrowed::{Escrowed, answer, claims, code, denied, granted};
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const NONE: Option<&str> = None;

#[tokio::test]
async fn a_vault_has_at_most_a_hundred_policies_and_the_same_one_is_none_more() -> Result<()> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    let allow = async |branch: String| {
        let policy = json!({"vaultId": vault_id, "provider": "github", "subject": "repo:acme/web", "allowedBranches": [branch],
            "allowedEnvironments": ["production"], "allowForks": false})
        .to_string();
        let arguments: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &NONE, &alice.token, &policy];
        answer(&client, "create_policy", &arguments).await.map(code)
    };
    for number in 1..100 {
        assert_eq!(allow(format!("release/{number}")).await?.0, 201, "{number}");
    }
    assert_eq!(allow("release/100".to_owned()).await?, (409, "too_many_policies".to_owned()));
    assert_eq!(allow("main".to_owned()).await?.0, 201, "one that it has");
    assert_eq!(alice.database.value("select count(*) from lpm.oidc_policy")?, "100");
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), granted());
    alice.database.value("delete from lpm.oidc_policy where document ->> 'allowedBranches' like '%/7\"%'")?;
    assert_eq!(allow("release/100".to_owned()).await?.0, 201, "one was revoked");
    Ok(())
}

/// Patterns and a name that would take a machine that backtracks, or one that goes step by step, for ever.
#[tokio::test]
async fn the_most_that_a_vault_s_patterns_can_cost_is_answered() -> Result<()> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    for number in 0..30 {
        let patterns: Vec<String> =
            (0..100).map(|n| format!("{}{number}-{n}", "a*".repeat(100 + n % 20))).collect();
        alice
            .allow_with(&client, &vault_id, &json!({"allowedBranches": patterns, "allowedTags": patterns}))
            .await?;
    }
    for branch in ["a".repeat(500), "a/".repeat(250), "a".repeat(4000)] {
        let seen = code(alice.decide(&client, Uuid::now_v7(), &vault_id, &branch).await?);
        let expected = if branch.len() > 512 { "ref_not_allowed" } else { "branch_not_allowed" };
        assert_eq!(seen, denied(expected), "{} bytes", branch.len());
    }
    assert_eq!(code(alice.decide(&client, Uuid::now_v7(), &vault_id, "main").await?), granted());
    Ok(())
}

/// Both git hosts allow 255 bytes: `[]` is every branch, not every text.
#[tokio::test]
async fn a_name_that_no_host_allows_is_no_branch() -> Result<()> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    alice.allow_with(&client, &vault_id, &json!({"allowedBranches": []})).await?;
    let decide =
        async |branch: &str| alice.decide(&client, Uuid::now_v7(), &vault_id, branch).await.map(code);
    assert_eq!(decide(&"b".repeat(512)).await?, granted());
    assert_eq!(decide(&"b".repeat(513)).await?, denied("ref_not_allowed"));
    Ok(())
}

/// The functions answer with values, whatever the arguments are.
#[tokio::test]
async fn arguments_that_only_a_broken_gateway_sends_are_answered() -> Result<()> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    let (claims, no_id, issuer) = (claims(&alice.issuer, "main"), None::<Uuid>, &alice.issuer);
    let bad = (400, "bad_request".to_owned());
    for (row, request, vault) in
        [("no request id", None, Some(&vault_id)), ("no vault", Some(Uuid::now_v7()), None)]
    {
        let arguments: [&(dyn ToSql + Sync); 7] =
            [&request, &NONE, issuer, &claims, &vault, &"production", &no_id];
        assert_eq!(code(answer(&client, "decide", &arguments).await?), bad, "{row}");
    }
    for (row, hash) in [("none", None), ("a short one", Some(vec![7_u8; 31]))] {
        let arguments: [&(dyn ToSql + Sync); 8] =
            [&Uuid::now_v7(), &NONE, issuer, &claims, &vault_id, &"production", &no_id, &hash];
        assert_eq!(code(answer(&client, "exchange", &arguments).await?), bad, "hash: {row}");
    }
    assert_eq!(alice.database.value("select count(*) from lpm.oidc_token_use")?, "0", "nothing was used up");

    let (request, hash) = (Uuid::now_v7(), vec![7_u8; 32]);
    let exchange: [&(dyn ToSql + Sync); 8] =
        [&request, &NONE, issuer, &claims, &vault_id, &"production", &no_id, &hash];
    assert_eq!(code(answer(&client, "exchange", &exchange).await?), granted());
    let fresh = lpm_tests::escrowed::claims(issuer, "main");
    let exchange: [&(dyn ToSql + Sync); 8] =
        [&Uuid::now_v7(), &NONE, issuer, &fresh, &vault_id, &"production", &no_id, &hash];
    assert_eq!(
        code(answer(&client, "exchange", &exchange).await?),
        (401, "ci_token_invalid".to_owned()),
        "a hash that is taken"
    );
    Ok(())
}
