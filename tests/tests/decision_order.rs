//! The order of the decision, through HTTP: a case per step, and each step's failure beside each later one.
//!
//! The first failure answers. So for every pair of steps, a request that fails at both is answered exactly
//! like one that fails at the earlier step alone: status, code, text, hint and audit row.

use anyhow::{Context, Result};
use lpm_tests::escrowed::{Escrowed, PAYLOAD};
use lpm_tests::issuer::{SignWith, TokenRequest};
use lpm_tests::stack::Stack;
use serde_json::json;
use uuid::Uuid;

/// The steps of the decision, each with one way to fail it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Signature = 1,
    Subject,
    Replay,
    Identity,
    Event,
    Branch,
    Environment,
    Narrowing,
    Plan,
    EscrowOff,
    NeverPushed,
    NoKey,
    Escrow,
    Payload,
    Absent,
}

use Step::*;

/// Step, status, code, text, and the audit row (decision and reason; `counted` or `none` where there is no row).
const ALONE: [(Step, u16, &str, &str, &str); 15] = [
    (Signature, 401, "token_signature", "the OIDC token's signature does not hold", "none"),
    (Subject, 403, "no_policy", "no OIDC policy of this vault allows repo:evil/other", "counted no_policy"),
    (Replay, 403, "replayed", "this OIDC token has been used already (once per token)", "denied replayed"),
    (
        Identity,
        403,
        "identity_changed",
        "`repo:acme/web` is not the repository or project that this policy was made for: its id is now `42`",
        "denied identity_changed",
    ),
    (
        Event,
        403,
        "event_not_allowed",
        "the event `issue_comment` is not allowed to pull",
        "denied event_not_allowed",
    ),
    (
        Branch,
        403,
        "branch_not_allowed",
        "the branch `feature/x` is not allowed to pull",
        "denied branch_not_allowed",
    ),
    (
        Environment,
        403,
        "environment_not_allowed",
        "the environment `staging` is not allowed for this workflow",
        "denied environment_not_allowed",
    ),
    (
        Narrowing,
        403,
        "runner_not_allowed",
        "a `self-hosted` runner is not allowed to pull",
        "denied runner_not_allowed",
    ),
    (Plan, 403, "plan_ci_pull", "Vault CI pull requires a Pro or Org plan", "denied plan_ci_pull"),
    (EscrowOff, 403, "escrow_off", "CI escrow is off for this vault", "denied escrow_off"),
    (NeverPushed, 404, "never_pushed", "the vault has a policy but was never pushed", "denied never_pushed"),
    (NoKey, 503, "no_escrow_key", "the server has no escrow key loaded", "failed no_escrow_key"),
    (
        Escrow,
        409,
        "escrow_mismatch",
        "the escrowed key no longer opens the vault",
        "granted, failed escrow_mismatch",
    ),
    (
        Payload,
        422,
        "payload_type",
        "the decrypted vault is not what it should be: environments must be an object",
        "granted, failed payload_type",
    ),
    (
        Absent,
        404,
        "environment_absent",
        "the vault has no environment `preview`",
        "granted, failed environment_absent",
    ),
];

/// What a request met.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    status: u16,
    code: String,
    text: String,
    hint: String,
    audit: String,
}

struct World {
    stack: Stack,
}

impl World {
    /// Pulls from a vault of its own account that fails at `steps`.
    async fn pull(&self, steps: &[Step]) -> Result<Met> {
        let fails = |step| steps.contains(&step);
        let database = self.stack.database();
        let handle = format!("u{}", Uuid::new_v4().simple());
        let token = self.stack.account(&handle, "pro").await?;
        let owner = Escrowed::of(
            database.clone(),
            self.stack.seed.gateway_login.clone(),
            &token,
            self.stack.issuer.url(),
        );
        let client = owner.gateway().await?;
        let vault_id = Uuid::new_v4().to_string();

        let payload =
            if fails(Payload) { r#"{"environments":["production"]}"#.to_owned() } else { PAYLOAD.to_owned() };
        if !fails(NeverPushed) {
            owner.push_payload(&client, &vault_id, &payload).await?;
        }
        owner
            .allow_with(
                &client,
                &vault_id,
                &json!({"allowedEnvironments": ["production", "preview"], "runner": "hosted"}),
            )
            .await?;
        owner.escrow(&client, &vault_id).await?;

        let mut job = TokenRequest::github()
            .repository(if fails(Subject) { "evil/other" } else { "acme/web" })
            .claim("repository_id", "42")
            .claim("repository_owner_id", "7")
            .branch(if fails(Branch) { "feature/x" } else { "main" })
            .event(if fails(Event) { "issue_comment" } else { "push" })
            .claim("runner_environment", if fails(Narrowing) { "self-hosted" } else { "github-hosted" });
        if fails(Signature) {
            job = job.key(SignWith::Stranger);
        }
        let environment = if fails(Environment) {
            "staging"
        } else if fails(Absent) {
            "preview"
        } else {
            "production"
        };
        let body =
            json!({"oidcToken": self.stack.issuer.mint(&job)?, "vaultId": vault_id, "env": environment});
        if fails(Replay) {
            self.stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
        }

        let vault = format!("where vault_id = '{vault_id}'");
        for (step, sql) in [
            (Identity, format!("update lpm.oidc_subject_pin set subject_id = '41', owner_id = '7' {vault}")),
            (Plan, format!("select lpm.set_plan('{handle}', 'free')")),
            (
                EscrowOff,
                format!(
                    "update lpm.vault_sync set ci_escrow_wrapping_key = null, escrow_kind = null {vault}"
                ),
            ),
            (
                NoKey,
                format!(
                    "update lpm.vault_sync set ci_escrow_wrapping_key = replace(ci_escrow_wrapping_key, 'v1.dev.', 'v1.gone.') {vault}"
                ),
            ),
            (
                Escrow,
                format!(
                    "update lpm.vault_sync set wrapped_key = encode(decode(repeat('00', 12), 'hex'), 'base64') || ':' || encode(decode(repeat('00', 48), 'hex'), 'base64') {vault}"
                ),
            ),
        ] {
            if fails(step) {
                database.value(&sql).with_context(|| format!("{step:?}"))?;
            }
        }

        let reply = self.stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
        let request = reply.header("x-request-id");
        let audit = database.value(&format!(
            "select coalesce((select string_agg(concat_ws(' ', decision, reason), ', ' order by id) from lpm_dashboard.audit where request_id = '{request}'),
                             (select 'counted ' || reason from lpm_dashboard.strangers where vault_id = '{vault_id}'), 'none')"
        ))?;
        Ok(Met {
            status: reply.status.as_u16(),
            code: reply.code(),
            text: reply.member("error"),
            hint: reply.member("hint").replace(&handle, "OWNER"),
            audit,
        })
    }
}

#[tokio::test]
async fn a_request_that_fails_at_no_step_is_granted() -> Result<()> {
    let world = World { stack: Stack::new().await? };
    let met = world.pull(&[]).await?;
    assert_eq!((met.status, met.audit.as_str()), (200, "granted"), "{met:?}");
    Ok(())
}

#[tokio::test]
async fn every_step_answers_alone_and_before_every_later_one() -> Result<()> {
    let world = World { stack: Stack::new().await? };
    for (earlier, status, code, text, audit) in ALONE {
        let alone = world.pull(&[earlier]).await.with_context(|| format!("{earlier:?}"))?;
        assert_eq!(
            (alone.status, alone.code.as_str(), alone.text.as_str(), alone.audit.as_str()),
            (status, code, text, audit),
            "{earlier:?}"
        );
        // A signature says nothing more; everything else names the next step.
        assert!(!alone.hint.is_empty() || earlier == Payload, "{earlier:?} has no hint");
        for (later, ..) in ALONE.iter().filter(|(later, ..)| *later > earlier) {
            let both =
                world.pull(&[earlier, *later]).await.with_context(|| format!("{earlier:?} {later:?}"))?;
            if (earlier, *later) == (Environment, Absent)
                || (earlier, *later) == (Subject, Environment)
                || (earlier, *later) == (Subject, Absent)
            {
                // the hint of the earlier step names the environment that was asked for
                assert_eq!(
                    (both.status, &both.code, &both.audit),
                    (alone.status, &alone.code, &alone.audit),
                    "{earlier:?} before {later:?}"
                );
            } else {
                assert_eq!(both, alone, "{earlier:?} before {later:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_exchange_decides_the_first_eleven_steps_alike() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("carol", "pro").await?;
    let owner =
        Escrowed::of(stack.database().clone(), stack.seed.gateway_login.clone(), &token, stack.issuer.url());
    let client = owner.gateway().await?;
    let vault_id = owner.vault(&client).await?;
    let job = || TokenRequest::github().repository("acme/web");
    for (row, request, environment, status, code) in [
        ("1", job().key(SignWith::Stranger), "production", 401, "token_signature"),
        ("2", job().repository("evil/other"), "production", 403, "no_policy"),
        ("5", job().event("workflow_run"), "production", 403, "event_not_allowed"),
        ("5 fork", job().event("pull_request_target"), "production", 403, "event_not_allowed"),
        ("6", job().branch("feature/x"), "production", 403, "branch_not_allowed"),
        ("7", job(), "staging", 403, "environment_not_allowed"),
    ] {
        let body =
            json!({"oidcToken": stack.issuer.mint(&request)?, "vaultId": vault_id, "env": environment});
        let reply = stack.gateway.post("/api/vault/oidc", None, &body).await?;
        assert_eq!((reply.status.as_u16(), reply.code().as_str()), (status, code), "{row}: {}", reply.text());
        assert!(reply.json().get("token").is_none(), "{row}");
    }
    Ok(())
}
