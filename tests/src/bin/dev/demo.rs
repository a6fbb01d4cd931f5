//! `lpm-dev demo`: the main job and every refusal on the way, with the real programs.
//!
//! Each step says what happened and checks it; the first one that differs ends the demonstration.

mod ci;
mod developer;
mod operator;

use crate::console::Console;
use anyhow::{Context, Result, ensure};
use lpm_tests::cli::{Machine, Outcome};
use lpm_tests::issuer::TokenRequest;
use lpm_tests::stack::{Shared, Stack};

/// The repository of the story.
const REPOSITORY: &str = "acme/web";

/// What production holds, and what nobody but its job may see.
const PRODUCTION: [(&str, &str); 2] =
    [("API_KEY", "sk-live-51H8"), ("DATABASE_URL", "postgres://app:pa55word@db/app")];

/// What staging holds.
const STAGING: (&str, &str) = ("API_KEY", "sk-test-77Q2");

/// One refused attempt, as the audit trail has to show it.
struct Denial {
    step: &'static str,
    job: TokenRequest,
    environment: &'static str,
    /// Part of the sentence that the job reads.
    text: &'static str,
    reason: &'static str,
}

/// The people and machines of the story.
struct Story {
    console: Console,
    stack: Stack,
    /// Alice's laptop, with the project that CI builds.
    laptop: Machine,
    /// Decision and reason of every audited attempt so far.
    attempts: Vec<(String, String)>,
}

/// Plays everything; true when all went as promised.
pub(crate) async fn play() -> Result<bool> {
    let console = Console::new();
    console.chapter("The stack: PostgreSQL, the extension, an issuer, the gateway");
    let stack = match start().await {
        Ok(stack) => stack,
        Err(error) => {
            console.failed("everything starts", &error);
            return Ok(false);
        }
    };
    let laptop = stack.machine(&stack.seed.alice)?;
    let mut story = Story { console, stack, laptop, attempts: Vec::new() };
    Ok(story.tell().await.is_ok())
}

/// A stack whose cluster ends with it, before the command does.
async fn start() -> Result<Stack> {
    Stack::of(&Shared::new().await?).await
}

impl Story {
    async fn tell(&mut self) -> Result<()> {
        let started = self.started();
        self.step("database and extension", started)?;

        self.console.chapter("The developer: push ciphertext, open one door for CI");
        self.developer()?;

        self.console.chapter("CI: the job on main gets production, and nothing else gets anything");
        self.ci().await?;

        self.console.chapter("The DBA: who asked for what, and why was it denied?");
        self.operator()?;

        self.console.chapter("Where to go next");
        self.console.block(
            "make up && . .lpm-dev/env     the same stack in the background, for your own experiments\n\
             README.md                     the same story by hand, and the way to production\n\
             docs/ARCHITECTURE.md          how a request flows, and where what is decided\n\
             docs/SECURITY.md              what is guaranteed, what is not, and who is trusted\n\
             make check                    every test of it",
        );
        Ok(())
    }

    fn started(&self) -> Result<String> {
        let database = self.stack.database();
        let server = database.value("select 'PostgreSQL ' || current_setting('server_version')")?;
        let extension = database
            .value("select extname || ' ' || extversion from pg_extension where extname = 'pg_lpm'")?;
        ensure!(extension.starts_with("pg_lpm "), "the extension is not there");
        Ok(format!(
            "{server} with {extension} in {}; gateway on {}",
            self.stack.cluster.home().display(),
            self.stack.gateway.url()
        ))
    }

    /// Says what a step came to; an error ends the story.
    fn step(&self, step: &str, result: Result<String>) -> Result<()> {
        match result {
            Ok(what) => {
                self.console.done(step, &what);
                Ok(())
            }
            Err(error) => {
                self.console.failed(step, &error);
                Err(error)
            }
        }
    }

    /// The job `request` pulls `environment` of `machine`'s vault into `.env`.
    fn pull(
        &self,
        machine: &Machine,
        request: &TokenRequest,
        environment: &str,
    ) -> Result<(Machine, Outcome)> {
        let runner = self.stack.job(machine, request)?;
        let outcome =
            runner.lpm(["env", "pull", "--oidc", &format!("--env={environment}"), "--output=.env"])?;
        Ok((runner, outcome))
    }

    /// Notes what the audit trail must show for an attempt.
    fn audited(&mut self, decision: &str, reason: &str) {
        self.attempts.push((decision.to_owned(), reason.to_owned()));
    }
}

impl Story {
    /// What a refused command was told: it must end with exit code 3 and say `text`, and the gateway must have
    /// answered that very request with 403 and `reason`.
    fn refusal(&self, outcome: &Outcome, text: &str, reason: &str) -> Result<String> {
        let said = outcome.clone().exits_with(3)?.stderr;
        let line = said.lines().find(|line| line.contains(text));
        let line = line.with_context(|| format!("nothing says `{text}`, but:\n{said}"))?;
        let id = said.lines().find_map(|line| line.split_once("request id: ")).map(|(_, id)| id.trim());
        let id = id.with_context(|| format!("no request id:\n{said}"))?;
        let log = self.stack.gateway.log();
        let answer =
            log.lines().find(|line| line.contains(id)).context("the gateway has not logged the request")?;
        ensure!(
            answer.contains("http.status=403") && answer.contains(reason),
            "the gateway has answered\n{answer}"
        );
        Ok(format!("403, {}", line.trim_start_matches("lpm: ")))
    }
}
