//! Section 4.4 and 4.5: `pull --oidc`.

use crate::world::{World, seen};
use anyhow::Result;
use lpm_tests::issuer::TokenRequest;
use lpm_tests::published::{CiPull, Policy};
use std::collections::BTreeMap;

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl World {
    /// Exchanges a fresh token and pulls with it, both for this environment.
    async fn pull(&self, vault: &str, env: Option<&str>) -> Result<Result<CiPull, String>> {
        let token = match self.nobody().exchange(vault, &self.job()?, env).await?.0 {
            Ok(token) => token,
            Err(message) => return Ok(Err(message)),
        };
        Ok(self.nobody().with_token(token).ci_pull(vault, env).await?.0)
    }
}

#[tokio::test]
async fn a_job_pulls_the_environment_that_it_names() -> Result<()> {
    let world = World::new().await?;
    world.person("carol", "pro").await?.is_open_to_ci("vault-ci-123").await?;
    let expected = vars(&[("API_KEY", "sk-live"), ("NOTE", "a \"b\" = c\nd")]);
    for env in ["production", "prod"] {
        let pulled = world.pull("vault-ci-123", Some(env)).await?;
        assert_eq!(pulled, Ok(CiPull { env: "production".to_owned(), vars: expected.clone() }), "{env}");
    }
    Ok(())
}

#[tokio::test]
async fn a_job_that_names_none_gets_the_default_one_in_both_payload_shapes() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    assert!(carol.client.allow(&Policy::of("v", "acme/web", &["default", "production"])).await?.0.is_ok());
    assert_eq!(carol.client.escrow("v", &carol.wrapping_key).await?.0, Ok(()));
    let default = |pairs| Ok(CiPull { env: "default".to_owned(), vars: vars(pairs) });
    assert_eq!(world.pull("v", None).await?, default(&[("A", "1")]));

    // `rotate-key` pushes a flat map, which has no other environment
    assert!(carol.client.push("v", &carol.forced(r#"{"A":"2","B":""}"#)?).await?.0.is_ok());
    assert_eq!(world.pull("v", None).await?, default(&[("A", "2"), ("B", "")]));
    let absent = "the vault has no environment `production`";
    assert_eq!(world.pull("v", Some("production")).await?, Err(absent.to_owned()));
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_an_exchange_has_a_reason_and_a_next_step() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.is_open_to_ci("v").await?;
    let job = || TokenRequest::github().repository("acme/web");
    let stranger = TokenRequest::github().repository("evil/web");
    let branch = world.mint(&job().branch("feature/x"))?;
    for (vault, token, env, status, code, error, hint) in [
        (
            "v",
            world.mint(&stranger)?,
            "production",
            403,
            "no_policy",
            "no OIDC policy of this vault allows",
            "lpm env oidc allow",
        ),
        (
            "w",
            world.job()?,
            "production",
            403,
            "no_policy",
            "no OIDC policy of this vault allows",
            "lpm env oidc allow",
        ),
        ("v", branch, "production", 403, "branch_not_allowed", "`feature/x`", "lpm use vars oidc allow"),
        ("v", world.job()?, "staging", 403, "environment_not_allowed", "`staging`", "--env=staging"),
        ("v", "not.a.token".to_owned(), "production", 401, "token_malformed", "malformed", "fresh token"),
        ("v", String::new(), "production", 401, "token_malformed", "malformed", "fresh token"),
    ] {
        let (printed, reply) = world.nobody().exchange(vault, &token, Some(env)).await?;
        assert_eq!(seen(&reply), (status, code.to_owned()), "{}", reply.text());
        let message = printed.expect_err("refused");
        let (said, next) = message.split_once("\n  Hint: ").unwrap_or((&message, ""));
        assert!(said.contains(error) && next.contains(hint), "{message}");
    }
    // used once, whatever it was used for
    let token = world.job()?;
    assert!(world.nobody().exchange("v", &token, Some("production")).await?.0.is_ok());
    let (printed, _) = world.nobody().exchange("v", &token, Some("production")).await?;
    assert!(
        printed.is_err_and(
            |message| message.starts_with("this OIDC token has been used already (once per token)")
        )
    );

    let never = world.person("dave", "pro").await?;
    never.allows("unpushed").await?;
    let (printed, reply) = world.nobody().exchange("unpushed", &world.job()?, Some("production")).await?;
    assert_eq!(seen(&reply), (404, "never_pushed".to_owned()));
    assert!(printed.is_err_and(|message| message.contains("lpm use vars push")));

    world.sql("select lpm.set_plan('carol', 'free')")?;
    let (printed, _) = world.nobody().exchange("v", &world.job()?, Some("production")).await?;
    let expected = "Vault CI pull requires a Pro or Org plan\n  Hint: ";
    assert!(printed.is_err_and(|message| message.starts_with(expected)));
    Ok(())
}

#[tokio::test]
async fn without_escrow_no_job_gets_anything() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.has_pushed("v").await?;
    assert!(carol.client.allow(&Policy::of("v", "acme/web", &["production"])).await?.0.is_ok());
    let (printed, reply) = world.nobody().exchange("v", &world.job()?, Some("production")).await?;
    assert_eq!(seen(&reply), (403, "escrow_off".to_owned()));
    assert!(printed.is_err_and(|message| message.starts_with("CI escrow is off for this vault\n  Hint: ")));
    Ok(())
}

#[tokio::test]
async fn every_refusal_of_a_ci_pull_is_json() -> Result<()> {
    let world = World::new().await?;
    let carol = world.person("carol", "pro").await?;
    carol.is_open_to_ci("v").await?;
    let token = async || -> Result<_> {
        let exchanged = world.nobody().exchange("v", &world.job()?, Some("production")).await?.0;
        Ok(world.nobody().with_token(exchanged.map_err(anyhow::Error::msg)?))
    };

    // bound to vault and environment, and good for three uses
    let client = token().await?;
    for (vault, env, error) in [
        ("v", None, "the CI token is not good for the environment `default`"),
        ("v", Some("staging"), "the CI token is not good for the environment `staging`"),
        ("w", Some("production"), "the CI token is not good for this vault"),
    ] {
        let (printed, reply) = client.ci_pull(vault, env).await?;
        assert_eq!((printed, reply.status.as_u16()), (Err(error.to_owned()), 403));
    }
    let invalid = Err("the CI token is unknown, expired or used up".to_owned());
    for client in [&client, world.nobody(), &carol.client, &client.with_token("lpm_ci_mistyped")] {
        let (printed, reply) = client.ci_pull("v", Some("production")).await?;
        assert_eq!((printed, reply.status.as_u16()), (invalid.clone(), 401));
    }
    // an environment cannot bring parameters of its own
    let (_, reply) = token().await?.ci_pull("v", Some("production&env=staging")).await?;
    assert_eq!(seen(&reply), (400, "bad_request".to_owned()));

    // a CI token opens nothing else
    let client = token().await?;
    for reply in [
        client.list().await?.1,
        client.pull("v").await?.1,
        client.policies("v").await?.1,
        client.push("v", &carol.sealed(Some(1))?).await?.1,
    ] {
        assert_eq!(seen(&reply), (403, "ci_token_scope".to_owned()));
    }
    Ok(())
}

#[tokio::test]
async fn an_escrow_that_is_stale_and_a_payload_of_the_wrong_type_are_told_apart() -> Result<()> {
    let world = World::new().await?;
    let mut carol = world.person("carol", "pro").await?;
    carol.is_open_to_ci("v").await?;
    assert!(
        carol.client.push("v", &carol.forced(r#"{"environments":{"production":{"A":7}}}"#)?).await?.0.is_ok()
    );
    let pulled = world.pull("v", Some("production")).await?;
    assert!(pulled.is_err_and(|message| message.contains("must be a string")));

    // another machine of the same person
    carol.wrapping_key = [7; 32];
    assert!(carol.client.push("v", &carol.forced(r#"{"A":"1"}"#)?).await?.0.is_ok());
    let pulled = world.pull("v", Some("production")).await?;
    assert_eq!(pulled, Err("the escrowed key no longer opens the vault".to_owned()));
    assert_eq!(carol.client.escrow("v", &carol.wrapping_key).await?.0, Ok(()));
    let absent = Err("the vault has no environment `production`".to_owned());
    assert_eq!(world.pull("v", Some("production")).await?, absent);
    Ok(())
}
