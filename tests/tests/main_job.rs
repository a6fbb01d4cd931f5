//! The main job through the real programs: push, allow, pull in CI, and who is refused on the way.

use anyhow::{Context, Result};
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::Stack;
use reqwest::StatusCode;
use serde_json::{Value, json};

const ALLOW: [&str; 7] =
    ["env", "oidc", "allow", "--provider=github", "--repo=acme/web", "--branch=main", "--env=production"];

/// A push to `main` of the repository that the policies here name.
fn job() -> TokenRequest {
    TokenRequest::github().repository("acme/web")
}

/// A machine whose vault has a production and a staging environment, pushed.
fn pushed(stack: &Stack, token: &str) -> Result<Machine> {
    let machine = stack.machine(token)?;
    machine.lpm(["env", "set", "API_KEY=sk-live", "--env=production"])?.ok()?;
    machine.lpm(["env", "set", "GREETING=it's \"quoted\" $HOME #1", "--env=production"])?.ok()?;
    machine.lpm(["env", "set", "API_KEY=sk-test", "--env=staging"])?.ok()?;
    machine.lpm(["env", "push"])?.ok()?;
    Ok(machine)
}

/// The same, opened to the job on `main` for production.
fn opened(stack: &Stack, token: &str) -> Result<Machine> {
    let machine = pushed(stack, token)?;
    machine.lpm(ALLOW)?.ok()?;
    Ok(machine)
}

fn pull(
    stack: &Stack,
    machine: &Machine,
    request: &TokenRequest,
    environment: &str,
) -> Result<(Machine, Outcome)> {
    let runner = stack.job(machine, request)?;
    let outcome = runner.lpm(["env", "pull", "--oidc", &format!("--env={environment}"), "--output=.env"])?;
    Ok((runner, outcome))
}

/// The job is refused with `text`, nothing is written, and the audit trail's last entry gives `reason`.
fn assert_denied(
    stack: &Stack,
    machine: &Machine,
    request: &TokenRequest,
    environment: &str,
    text: &str,
    reason: &str,
) -> Result<()> {
    let (runner, outcome) = pull(stack, machine, request, environment)?;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    assert!(!runner.project().join(".env").exists());
    assert_eq!(last_audit(stack)?, format!("denied {reason}"));
    Ok(())
}

fn last_audit(stack: &Stack) -> Result<String> {
    stack.database().value(
        "select concat_ws(' ', decision, reason) from lpm_dashboard.audit where action in ('ci_pull', 'ci_exchange') order by id desc limit 1",
    )
}

async fn post_pull(
    stack: &Stack,
    machine: &Machine,
    request: &TokenRequest,
    environment: &str,
) -> Result<lpm_tests::gateway::Reply> {
    let body = json!({ "oidcToken": stack.issuer.mint(request)?, "vaultId": machine.vault_id()?, "env": environment });
    stack.gateway.post("/api/vault/oidc/pull", None, &body).await
}

#[tokio::test]
async fn the_allowed_job_gets_its_environment_and_nothing_else() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let reply = post_pull(&stack, &machine, &job(), "production").await?;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    let expected = json!({ "env": "production", "vars": { "API_KEY": "sk-live", "GREETING": "it's \"quoted\" $HOME #1" } });
    assert_eq!(reply.json(), expected);
    assert_eq!(last_audit(&stack)?, "granted");
    Ok(())
}

#[tokio::test]
async fn the_file_holds_exactly_what_was_set() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let (runner, outcome) = pull(&stack, &machine, &job(), "production")?;
    outcome.ok()?;
    // whatever the file looks like, a shell that runs it through our own export has to see the values
    let exported = stack
        .job(&machine, &job())?
        .lpm(["env", "pull", "--oidc", "--env=production", "--output=-"])?
        .ok()?;
    let script = format!("{}\nprintf '%s|%s' \"$API_KEY\" \"$GREETING\"", exported.stdout);
    let seen = runner.command("bash").args(["-c", &script]).output()?;
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "sk-live|it's \"quoted\" $HOME #1");
    let text = runner.read(".env")?;
    assert!(text.contains("API_KEY=sk-live") && !text.contains("sk-test"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_gitlab_job_pulls_with_its_projects_token() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = pushed(&stack, &stack.seed.alice)?;
    machine
        .lpm(["env", "oidc", "allow", "--provider=gitlab", "--repo=my-group/my-project", "--env=production"])?
        .ok()?;
    let (_, outcome) = pull(&stack, &machine, &TokenRequest::gitlab(), "production")?;
    outcome.ok()?;
    assert_eq!(last_audit(&stack)?, "granted");
    Ok(())
}

#[tokio::test]
async fn the_published_clients_two_steps_pull_too() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let vault = machine.vault_id()?;
    let body = json!({ "oidcToken": stack.issuer.mint(&job())?, "vaultId": vault, "env": "production" });
    let exchanged = stack.gateway.post("/api/vault/oidc", None, &body).await?;
    assert_eq!(exchanged.status, StatusCode::OK, "{}", exchanged.text());
    let token = exchanged.member("token");
    assert!(token.starts_with("lpm_ci_"), "{token}");
    let path = format!("/api/vaults/{vault}/ci-pull?env=production");
    let pulled = stack.gateway.get(&path, Some(&token)).await?;
    assert_eq!((pulled.status, &pulled.json()["vars"]["API_KEY"]), (StatusCode::OK, &json!("sk-live")));
    let other = stack.gateway.get(&format!("/api/vaults/{vault}/ci-pull?env=staging"), Some(&token)).await?;
    assert_eq!((other.status, other.code().as_str()), (StatusCode::FORBIDDEN, "ci_token_scope"));
    Ok(())
}

#[tokio::test]
async fn another_branch_is_denied() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let text = "the branch `feature/x` is not allowed to pull";
    assert_denied(&stack, &machine, &job().branch("feature/x"), "production", text, "branch_not_allowed")
}

#[tokio::test]
async fn a_tag_named_like_the_branch_is_denied() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let tag = job().claim("ref", "refs/tags/main");
    assert_denied(&stack, &machine, &tag, "production", "the tag `main` is not allowed", "tag_not_allowed")
}

#[tokio::test]
async fn events_that_forks_can_start_are_denied() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    for event in ["pull_request", "pull_request_target", "workflow_run", "issue_comment"] {
        let (_, outcome) = pull(&stack, &machine, &job().event(event), "production")?;
        assert_eq!(outcome.code, Some(3), "{event}: {}", outcome.stderr);
        let audit = last_audit(&stack)?;
        assert!(
            ["denied fork_not_allowed", "denied event_not_allowed"].contains(&audit.as_str()),
            "{event}: {audit}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_forks_own_repository_has_no_policy() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let reply = post_pull(&stack, &machine, &job().repository("evil/web"), "production").await?;
    assert_eq!((reply.status, reply.code().as_str()), (StatusCode::FORBIDDEN, "no_policy"));
    assert_eq!(reply.member("error"), "no OIDC policy of this vault allows repo:evil/web");
    Ok(())
}

#[tokio::test]
async fn another_environment_is_denied() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let text = "the environment `staging` is not allowed";
    assert_denied(&stack, &machine, &job(), "staging", text, "environment_not_allowed")
}

#[tokio::test]
async fn the_same_token_twice_is_denied() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let body = json!({ "oidcToken": stack.issuer.mint(&job())?, "vaultId": machine.vault_id()?, "env": "production" });
    let first = stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
    let second = stack.gateway.post("/api/vault/oidc/pull", None, &body).await?;
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::FORBIDDEN));
    assert_eq!((second.code().as_str(), last_audit(&stack)?.as_str()), ("replayed", "denied replayed"));
    Ok(())
}

#[tokio::test]
async fn a_vault_without_escrow_is_denied_like_no_vault_at_all() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = pushed(&stack, &stack.seed.alice)?;
    let pushed = post_pull(&stack, &machine, &job(), "production").await?;
    machine.write("lpm.json", r#"{"vault":"no-such-vault"}"#)?;
    let absent = post_pull(&stack, &machine, &job(), "production").await?;
    assert_eq!((pushed.status, pushed.code().as_str()), (StatusCode::FORBIDDEN, "no_policy"));
    assert_eq!((pushed.status, pushed.json()), (absent.status, absent.json()));
    assert_eq!(last_audit(&stack)?, "", "strangers are counted, not audited");
    Ok(())
}

#[tokio::test]
async fn switching_the_escrow_off_ends_every_pull() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    machine.lpm(["env", "oidc", "disable"])?.ok()?;
    assert_denied(&stack, &machine, &job(), "production", "CI escrow is off for this vault", "escrow_off")
}

#[tokio::test]
async fn a_revoked_policy_grants_nothing() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let policy = stack.database().value("select id from lpm_dashboard.policies")?;
    machine.lpm(["env", "oidc", "revoke", &policy])?.ok()?;
    let reply = post_pull(&stack, &machine, &job(), "production").await?;
    assert_eq!((reply.status, reply.code().as_str()), (StatusCode::FORBIDDEN, "no_policy"));
    Ok(())
}

#[tokio::test]
async fn a_free_account_reads_the_promised_texts() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("bob", "pro").await?;
    let machine = opened(&stack, &token)?;
    stack.database().value("select lpm.set_plan('bob', 'free')")?;
    for (arguments, text) in [
        (&["env", "push"][..], "Vault sync requires a Pro or Org plan"),
        (&["env", "pull"][..], "Vault sync requires a Pro or Org plan"),
        (&ALLOW[..], "CI escrow requires a Pro or Org plan"),
    ] {
        let outcome = machine.lpm(arguments)?.exits_with(3).with_context(|| arguments.join(" "))?;
        assert!(outcome.stderr.contains(text), "{}", outcome.stderr);
    }
    let text = "Vault CI pull requires a Pro or Org plan";
    assert_denied(&stack, &machine, &job(), "production", text, "plan_ci_pull")
}

#[tokio::test]
async fn an_audit_row_says_who_asked_for_what() -> Result<()> {
    let stack = Stack::new().await?;
    let machine = opened(&stack, &stack.seed.alice)?;
    let reply = post_pull(&stack, &machine, &job().branch("feature/x"), "production").await?;
    let row: Value = serde_json::from_str(&stack.database().value(
        "select row_to_json(a) from (select request_id, vault_id, owner, provider, repo, branch, event, environment, decision, reason \
         from lpm_dashboard.audit where action = 'ci_pull') a",
    )?)?;
    let expected = json!({
        "request_id": reply.header("x-request-id"), "vault_id": machine.vault_id()?, "owner": "alice", "provider": "github",
        "repo": "acme/web", "branch": "feature/x", "event": "push", "environment": "production", "decision": "denied",
        "reason": "branch_not_allowed",
    });
    assert_eq!(row, expected);
    Ok(())
}

#[tokio::test]
async fn the_server_holds_ciphertext_only() -> Result<()> {
    let stack = Stack::new().await?;
    opened(&stack, &stack.seed.alice)?;
    let dump = std::process::Command::new(stack.cluster.bin_dir().join("pg_dump"))
        .arg(stack.database().url())
        .output()?;
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8_lossy(&dump.stdout);
    assert!(dump.contains("create extension") || dump.contains("CREATE EXTENSION"));
    for secret in ["sk-live", "sk-test", "quoted", stack.seed.alice.as_str()] {
        assert!(!dump.contains(secret), "the dump contains {secret}");
    }
    Ok(())
}

#[tokio::test]
async fn a_machine_that_never_pulled_does_not_replace_the_vault() -> Result<()> {
    let stack = Stack::new().await?;
    let token = stack.account("carol", "pro").await?;
    let first = pushed(&stack, &token)?;
    // lpm.json comes to the new machine by git, with the version of the old one
    let second = stack.machine(&token)?;
    second.write("lpm.json", &first.read("lpm.json")?)?;
    second.lpm(["env", "set", "X=1"])?.ok()?;
    let refused = second.lpm(["env", "push"])?;
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("pull first, or push with `--force`"), "{}", refused.stderr);
    assert_eq!(stack.database().value("select version from lpm.vault_sync")?, "1");
    first.lpm(["env", "set", "X=2"])?.ok()?;
    first.lpm(["env", "push"])?.ok()?;
    second.lpm(["env", "push", "--force"])?.ok()?;
    assert_eq!(stack.database().value("select version from lpm.vault_sync")?, "3");
    let stale = first.lpm(["env", "push"])?;
    assert!(stale.stderr.contains("the server has version 3 of this vault, not 2"), "{}", stale.stderr);
    Ok(())
}
