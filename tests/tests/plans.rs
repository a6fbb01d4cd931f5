//! The product page's table of plans, row by row, and what a downgrade and an upgrade mean, with the real programs.

use anyhow::Result;
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::Stack;
use serde_json::json;

const ALLOW: [&str; 6] = ["env", "oidc", "allow", "--provider=github", "--repo=acme/web", "--env=production"];

const SETUP: &str = "CI escrow requires a Pro or Org plan";
const CI_PULL: &str = "Vault CI pull requires a Pro or Org plan";
const SYNC: &str = "Vault sync requires a Pro or Org plan";
const ORG_POLICY: &str = "Org-scoped policies require an Org plan";

/// Carol, with this plan, and a variable on her machine.
async fn carol(stack: &Stack, plan: &str) -> Result<Machine> {
    let token = stack.account("carol", plan).await?;
    let machine = stack.machine(&token)?;
    machine.lpm(["env", "set", "API_KEY=sk-live", "--env=production"])?.ok()?;
    Ok(machine)
}

fn set_plan(stack: &Stack, owner: &str, plan: &str) -> Result<()> {
    stack.database().value(&format!("select lpm.set_plan('{owner}', '{plan}')"))?;
    Ok(())
}

fn ci_pull(stack: &Stack, machine: &Machine) -> Result<Outcome> {
    let runner = stack.job(machine, &TokenRequest::github().repository("acme/web"))?;
    runner.lpm(["env", "pull", "--oidc", "--env=production", "--format=json"])
}

/// Refused with this text and the exit code of a denial.
#[track_caller]
fn assert_refused(outcome: &Outcome, text: &str) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_free_account_neither_syncs_nor_opens_anything_to_ci() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = carol(&stack, "free").await?;
    assert_refused(&machine.lpm(["env", "push"])?, SYNC);
    assert_refused(&machine.lpm(["env", "pull"])?, SYNC);
    assert_refused(&machine.lpm(ALLOW)?, SETUP);
    for table in ["vault_sync", "oidc_policy", "vault_claim"] {
        assert_eq!(stack.database().value(&format!("select count(*) from lpm.{table}"))?, "0", "{table}");
    }
    let denied = "select string_agg(action || ' ' || reason, ', ' order by id) from lpm.audit_log where decision = 'denied'";
    assert!(
        stack.database().value(denied)?.contains("push plan_sync"),
        "{}",
        stack.database().value(denied)?
    );
    Ok(())
}

#[tokio::test]
async fn pro_and_org_accounts_sync_and_open_vaults_to_ci() -> Result<()> {
    for plan in ["pro", "org"] {
        let stack = Stack::new().await?;
        let machine = carol(&stack, plan).await?;
        machine.lpm(["env", "push"])?.ok()?;
        machine.lpm(ALLOW)?.ok()?;
        machine.lpm(["env", "pull"])?.ok()?;
        let pulled = ci_pull(&stack, &machine)?.ok()?.json()?;
        assert!(pulled.to_string().contains("sk-live"), "{plan}: {pulled}");
    }
    Ok(())
}

#[tokio::test]
async fn a_downgrade_keeps_everything_and_an_upgrade_brings_it_back() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = carol(&stack, "pro").await?;
    machine.lpm(["env", "push"])?.ok()?;
    machine.lpm(ALLOW)?.ok()?;
    ci_pull(&stack, &machine)?.ok()?;
    let kept = "select md5(string_agg(t, ',' order by t)) from (select v::text t from lpm.vault_sync v union all
                select p::text from lpm.oidc_policy p union all select n::text from lpm.oidc_subject_pin n) x";
    let before = stack.database().value(kept)?;

    set_plan(&stack, "carol", "free")?;
    assert_refused(&ci_pull(&stack, &machine)?, CI_PULL);
    assert_refused(&machine.lpm(["env", "push"])?, SYNC);
    assert_refused(&machine.lpm(["env", "pull"])?, SYNC);
    assert_refused(&machine.lpm(ALLOW)?, SETUP);
    // what only shows or takes away is not a matter of plans
    assert!(machine.lpm(["env", "oidc", "list"])?.ok()?.stdout.contains("acme/web"));
    machine.lpm(["env", "log"])?.ok()?;
    assert_eq!(stack.database().value(kept)?, before, "a downgrade keeps data and policies");

    set_plan(&stack, "carol", "pro")?;
    ci_pull(&stack, &machine)?.ok()?;
    machine.lpm(["env", "push"])?.ok()?;
    Ok(())
}

#[tokio::test]
async fn org_scoped_policies_go_by_the_orgs_plan_whatever_the_accounts_is() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("carol", "free").await?;
    stack.database().value("select lpm.add_member('acme', 'carol', role => 'admin')")?;
    let policy = json!({"vaultId": "vault-of-acme", "provider": "github", "subject": "repo:acme/web", "allowedBranches": ["main"],
        "allowedEnvironments": ["production"], "allowForks": false, "scope": "org", "org": "acme"});
    for (plan, status, text) in [("free", 403, ORG_POLICY), ("pro", 403, ORG_POLICY), ("org", 201, "")] {
        set_plan(&stack, "acme", plan)?;
        let reply = stack.gateway.post("/api/vault/oidc/policies", Some(&token), &policy).await?;
        assert_eq!(
            (reply.status.as_u16(), reply.member("error").as_str()),
            (status, text),
            "{plan}: {}",
            reply.text()
        );
    }
    Ok(())
}
