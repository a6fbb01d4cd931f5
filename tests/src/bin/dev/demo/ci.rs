//! CI's part: the one job that may, and everybody who may not.

use super::{Denial, PRODUCTION, REPOSITORY, STAGING, Story};
use anyhow::{Context, Result, ensure};
use lpm_tests::cli::Machine;
use lpm_tests::issuer::TokenRequest;
use std::os::unix::fs::PermissionsExt as _;

/// What opens a vault of this story to CI.
pub(super) const ALLOW: [&str; 7] =
    ["env", "oidc", "allow", "--provider=github", "--repo=acme/web", "--branch=main", "--env=production"];

/// The job that the policy was made for.
fn job() -> TokenRequest {
    TokenRequest::github().repository(REPOSITORY).branch("main").event("push")
}

/// Everybody who may not, in the order of the audit trail.
fn denials() -> Vec<Denial> {
    let denial = |step, job, environment, text, reason| Denial { step, job, environment, text, reason };
    vec![
        denial(
            "a push to feature/x",
            job().branch("feature/x"),
            "production",
            "the branch `feature/x` is not allowed to pull",
            "branch_not_allowed",
        ),
        denial(
            "a fork's pull request",
            TokenRequest::github().repository(REPOSITORY).event("pull_request"),
            "production",
            "forks are not allowed to pull",
            "fork_not_allowed",
        ),
        denial(
            "a fork's pull request through pull_request_target",
            job().event("pull_request_target").claim("head_ref", "patch-1").claim("actor", "evil-forker"),
            "production",
            "the event `pull_request_target` is not allowed to pull",
            "event_not_allowed",
        ),
        denial(
            "staging, where only production is allowed",
            job(),
            "staging",
            "the environment `staging` is not allowed",
            "environment_not_allowed",
        ),
    ]
}

impl Story {
    pub(super) async fn ci(&mut self) -> Result<()> {
        self.step("the job on main pulls production", self.granted())?;
        self.audited("granted", "");
        for denial in denials() {
            let denied = self.pull(&self.laptop, &denial.job, denial.environment);
            self.step(
                denial.step,
                denied.and_then(|(runner, outcome)| {
                    ensure!(!runner.project().join(".env").exists(), "a refused pull has written .env");
                    self.refusal(&outcome, denial.text, denial.reason)
                }),
            )?;
            self.audited("denied", denial.reason);
        }
        self.step("a vault that was never opened to CI", self.never_opened())?;
        self.step("the same vault opened, then `lpm env oidc disable`", self.disabled())?;
        self.audited("denied", "escrow_off");
        let free = self.free_account().await;
        self.step("a free account", free)?;
        self.audited("denied", "plan_ci_pull");
        self.step("the same token twice", self.replay())?;
        self.audited("granted", "");
        self.audited("denied", "replayed");
        Ok(())
    }

    fn granted(&self) -> Result<String> {
        let (runner, outcome) = self.pull(&self.laptop, &job(), "production")?;
        outcome.ok()?;
        let text = runner.read(".env")?;
        let pulled: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let expected: Vec<_> = PRODUCTION.iter().map(|(name, value)| format!("{name}={value}")).collect();
        ensure!(pulled == expected, "`.env` holds\n{text}");
        ensure!(!text.contains(STAGING.1), "`.env` holds a value of staging");
        let mode = std::fs::metadata(runner.project().join(".env"))?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "`.env` has mode {mode:o}");
        Ok(format!(".env (mode 0600) holds exactly {}", expected.join(" and ")))
    }

    fn replay(&self) -> Result<String> {
        let runner = self.stack.machine("")?.with("LPM_OIDC_TOKEN", self.stack.issuer.mint(&job())?);
        runner.write("lpm.json", &self.laptop.read("lpm.json")?)?;
        let pull = ["env", "pull", "--oidc", "--env=production", "--output=.env"];
        runner.lpm(pull)?.ok().context("the first use of the token")?;
        Ok(format!(
            "the first use is granted, the second is {}",
            self.refusal(&runner.lpm(pull)?, "this OIDC token has been used already", "replayed")?
        ))
    }

    fn never_opened(&self) -> Result<String> {
        let blog = self.blog(&self.stack.seed.alice)?;
        let (_, outcome) = self.pull(&blog, &job(), "production")?;
        self.refusal(&outcome, "no OIDC policy of this vault allows repo:acme/web", "no_policy")
    }

    fn disabled(&self) -> Result<String> {
        let blog = self.blog(&self.stack.seed.alice)?;
        self.open(&blog)?;
        blog.lpm(["env", "oidc", "disable"])?.ok()?;
        let (_, outcome) = self.pull(&blog, &job(), "production")?;
        self.refusal(&outcome, "CI escrow is off for this vault", "escrow_off")
    }

    async fn free_account(&self) -> Result<String> {
        let client = self.stack.database().connect().await?;
        let laptop = self.blog(&self.stack.account("bob", "pro").await?)?;
        self.open(&laptop)?;
        client.batch_execute("select lpm.set_plan('bob', 'free')").await?;
        let push = self.refusal(
            &laptop.lpm(["env", "push"])?,
            "Vault sync requires a Pro or Org plan",
            "plan_sync",
        )?;
        let allow = self.refusal(&laptop.lpm(ALLOW)?, "CI escrow requires a Pro or Org plan", "plan_sync")?;
        let (_, outcome) = self.pull(&laptop, &job(), "production")?;
        let pull = self.refusal(&outcome, "Vault CI pull requires a Pro or Org plan", "plan_ci_pull")?;
        Ok(format!("push: {push} · allow: {allow} · CI's pull: {pull}"))
    }

    /// Another project with a vault of its own, pushed.
    fn blog(&self, token: &str) -> Result<Machine> {
        let blog = self.stack.machine(token)?;
        blog.lpm(["env", "set", "API_KEY=sk-blog", "--env=production"])?.ok()?;
        blog.lpm(["env", "push"])?.ok()?;
        Ok(blog)
    }

    fn open(&self, machine: &Machine) -> Result<()> {
        machine.lpm(ALLOW)?.ok().map(drop)
    }
}
