//! Section 4.1 to 4.3: `oidc allow` and `oidc list`.

use crate::world::{World, seen};
use anyhow::{Context, Result};
use lpm_tests::published::Policy;
use serde_json::json;

#[tokio::test]
async fn an_allow_is_echoed_and_listed() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    let policy = Policy {
        allowed_branches: vec!["main".to_owned(), "release/*".to_owned()],
        allow_forks: true,
        ..Policy::of("v", "acme/web", &["development", "production"])
    };
    let echoed = carol.client.allow(&policy).await?.0.map_err(anyhow::Error::msg)?;
    for (member, expected) in [
        ("success", json!(true)),
        ("provider", json!("github")),
        ("subject", json!("repo:acme/web")),
        ("allowedBranches", json!(["main", "release/*"])),
        ("allowedEnvironments", json!(["development", "production"])),
        ("allowForks", json!(true)),
    ] {
        assert_eq!(echoed[member], expected, "{echoed}");
    }
    let (escrow, _) = carol.client.escrow("v", &carol.wrapping_key).await?;
    assert_eq!(escrow, Ok(()));

    // what is given without lists is for every branch and environment, and says so
    let broad = Policy { allowed_branches: Vec::new(), ..Policy::of("v", "acme/other", &[]) };
    let echoed = carol.client.allow(&broad).await?.0.map_err(anyhow::Error::msg)?;
    assert!(echoed["warnings"].as_array().is_some_and(|warnings| warnings.len() == 2), "{echoed}");

    let listed = carol.client.policies("v").await?.0.map_err(anyhow::Error::msg)?;
    let policies = listed["policies"].as_array().context("an array")?;
    let subjects: Vec<_> = policies.iter().filter_map(|policy| policy["subject"].as_str()).collect();
    assert_eq!(subjects, ["repo:acme/web", "repo:acme/other"]);
    assert_eq!(policies[1]["allowedEnvironments"], json!([]));

    // the same once more is the same policy
    let again = carol.client.allow(&policy).await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!(again["id"], policies[0]["id"]);
    Ok(())
}

#[tokio::test]
async fn gitlab_is_named_as_github_is() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let gitlab =
        |project: &str| Policy { provider: "gitlab".to_owned(), ..Policy::of("v", project, &["production"]) };
    assert!(carol.client.allow(&gitlab("group/sub/project")).await?.0.is_ok());
    let (printed, reply) = carol.client.allow(&gitlab("12345")).await?;
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.text().contains("project:12345"), "{printed:?} {}", reply.text());
    Ok(())
}

#[tokio::test]
async fn an_allow_works_before_the_first_push() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.allows("v").await?;
    assert_eq!(carol.client.list().await?.0, Ok(Vec::new()));
    assert_eq!(carol.client.pull("v").await?.1.status.as_u16(), 404);
    carol.has_pushed("v").await?;
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_an_allow_is_a_sentence() -> Result<()> {
    let world = World::new().await?;
    let (carol, free) = (world.person("carol", "pro").await?, world.person("freya", "free").await?);
    let good = Policy::of("v", "acme/web", &["production"]);

    let (printed, reply) = free.client.allow(&good).await?;
    assert_eq!(printed, Err("CI escrow requires a Pro or Org plan".to_owned()));
    assert_eq!(reply.status.as_u16(), 403);
    let (printed, _) = world.nobody().allow(&good).await?;
    assert_eq!(printed, Err("no valid token".to_owned()));

    let one = |branch: &str| Policy { allowed_branches: vec![branch.to_owned()], ..good.clone() };
    let provider = |name: &str| Policy { provider: name.to_owned(), ..good.clone() };
    for (policy, status, part) in [
        (provider("bitbucket"), 400, "`bitbucket` is not supported: use `github` or `gitlab`"),
        (provider(""), 400, "provider"),
        (one(""), 400, "allowedBranches"),
        (one("refs/heads/main"), 400, "must be a short name, such as `main`"),
        (Policy::of("v", "acme/web", &["prod uction"]), 400, "`prod uction` is no environment's name"),
        (Policy::of("v", "acme", &[]), 400, "subject"),
        (Policy::of("", "acme/web", &[]), 400, "vaultId"),
    ] {
        let (printed, reply) = carol.client.allow(&policy).await?;
        assert_eq!(reply.status.as_u16(), status, "{policy:?}: {}", reply.text());
        let message = printed.expect_err("refused");
        assert!(message.contains(part), "{message} has no `{part}`");
    }

    // an id that somebody else has claimed
    carol.has_pushed("v").await?;
    let dave = world.person("dave", "pro").await?;
    let (printed, reply) = dave.client.allow(&good).await?;
    assert_eq!(seen(&reply), (409, "vault_claimed".to_owned()));
    assert!(printed.is_err_and(|message| message.starts_with("the vault id `v` belongs to someone else")));
    assert!(reply.member("hint").contains("lpm.transfer_vault"), "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn a_raw_wrapping_key_is_kept_only_where_it_opens_the_vault() -> Result<()> {
    let world = World::new().await?;
    let (carol, free) = (world.person("carol", "pro").await?, world.person("freya", "free").await?);
    carol.is_open_to_ci("v").await?;
    let warning = "Failed to escrow wrapping key (CI pull may not work): ";
    for (client, key, status, part) in [
        (&carol.client, [0; 32], 409, "this wrapping key does not open the vault as it was last pushed"),
        (&free.client, free.wrapping_key, 403, "CI escrow requires a Pro or Org plan"),
        (world.nobody(), [0; 32], 401, "no valid token"),
    ] {
        let (printed, reply) = client.escrow("v", &key).await?;
        assert_eq!(printed, Err(format!("{warning}{part}")));
        assert_eq!(reply.status.as_u16(), status);
    }
    // the old one has stayed: rotating, which keeps the wrapping key, keeps it too
    let mut rotated = carol.forced(r#"{"A":"2"}"#)?;
    (rotated.name, rotated.schema) = (None, None);
    assert!(carol.client.push("v", &rotated).await?.0.is_ok());
    assert_eq!(carol.client.escrow("v", &carol.wrapping_key).await?.0, Ok(()));
    let dave = world.person("dave", "pro").await?;
    let (printed, _) = dave.client.escrow("v", &dave.wrapping_key).await?;
    assert!(printed.is_err_and(|message| message.contains("belongs to someone else")));
    Ok(())
}

#[tokio::test]
async fn a_list_of_policies_is_an_object_for_everyone() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    let listed = carol.client.policies("nowhere").await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!(listed["policies"], json!([]));
    carol.is_open_to_ci("v").await?;
    let mallory = world.person("mallory", "pro").await?;
    let listed = mallory.client.policies("v").await?.0.map_err(anyhow::Error::msg)?;
    assert_eq!((&listed["policies"], &listed["escrow"]), (&json!([]), &json!("off")));
    let (printed, reply) = world.nobody().policies("v").await?;
    assert_eq!((printed, reply.status.as_u16()), (Err("no valid token".to_owned()), 401));
    // raw in the query too, as 0.28 sends it
    let (printed, reply) = carol.client.policies("a&vaultId=b").await?;
    assert_eq!(reply.status.as_u16(), 400);
    assert_eq!(printed, Err("the parameter `vaultId` comes twice".to_owned()));
    Ok(())
}
