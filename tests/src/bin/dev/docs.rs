//! `lpm-dev docs`: runs what the documentation says.
//!
//! Each file gets a stack and a machine of its own. Its examples run in order, as a reader would type them:
//! the working directory and exported variables are kept from one to the next.

use crate::console::say;
use crate::examples::{Example, Language, parse};
use anyhow::{Context, Result};
use lpm_tests::binaries;
use lpm_tests::cli::Machine;
use lpm_tests::stack::{ORG, Shared, Stack};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How long one example may take.
const LIMIT: &str = "300";

/// Takes up where the last example ended, and leaves its end behind even when it fails.
const SHELL: &str = r#"
. "$1/environment"
cd "$(cat "$1/directory")"
trap 'export -p >"$LPM_DOCS_STATE/environment"; pwd >"$LPM_DOCS_STATE/directory"' EXIT
. "$1/example"
"#;

#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs the examples under `root`; true when none failed.
pub(crate) async fn run(root: &Path, only: &str) -> Result<bool> {
    let mut count = Count::default();
    let shared = Shared::new().await?;
    for file in documents(root)? {
        let name = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        if !name.contains(only) {
            continue;
        }
        let examples = parse(&fs::read_to_string(&file)?).with_context(|| name.clone())?;
        if !examples.is_empty() {
            run_file(&shared, &name, &examples, &mut count).await?;
        }
    }
    say(format_args!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped));
    Ok(count.failed == 0)
}

/// README.md and every .md below docs/, in order.
fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![root.join("README.md")];
    let mut directories = vec![root.join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found[1..].sort();
    Ok(found)
}

async fn run_file(shared: &Shared, name: &str, examples: &[Example], count: &mut Count) -> Result<()> {
    let stack = Stack::of(shared).await?;
    let machine = machine(&stack)?;
    let state = tempfile::tempdir()?;
    fs::write(state.path().join("environment"), "")?;
    fs::write(state.path().join("directory"), machine.project().to_string_lossy().as_bytes())?;
    let mut broken = false;
    for example in examples {
        let place = format!("{name}:{}", example.line);
        let reason = match &example.skip {
            Some(reason) => Some(reason.as_str()),
            None => broken.then_some("an example before it failed"),
        };
        if let Some(reason) = reason {
            say(format_args!("skipped {place}: {reason}"));
            count.skipped += 1;
            continue;
        }
        let output = match example.language {
            Language::Sh => shell(&machine, state.path(), &example.text)?,
            Language::Sql => psql(&stack, &example.text)?,
        };
        if output.status.success() {
            say(format_args!("passed  {place}"));
            count.passed += 1;
        } else {
            broken = true;
            count.failed += 1;
            say(format_args!("FAILED  {place}: {}\n{}", output.status, example.text));
            say(format_args!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
            say(format_args!("--- the gateway's log\n{}", stack.gateway.log()));
        }
    }
    Ok(())
}

/// A reader's machine, with what `make up` would have given it.
pub(crate) fn machine(stack: &Stack) -> Result<Machine> {
    let machine = stack.machine(&stack.seed.alice)?;
    let (programs, postgres) = (binaries::directory()?, stack.cluster.bin_dir());
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{}:{path}", programs.display(), postgres.display());
    Ok(machine
        .with("PATH", path)
        .with("LPM_DEV_ORG", ORG)
        .with("LPM_DEV_ISSUER_URL", stack.issuer.url())
        .with("LPM_DEV_DATABASE_URL", stack.database().url())
        .with("LPM_DEV_METRICS_URL", stack.gateway.metrics_url()?)
        .with("LPM_DEV_LOG_DIR", stack.cluster.log_dir().to_string_lossy()))
}

fn shell(machine: &Machine, state: &Path, text: &str) -> Result<Output> {
    fs::write(state.join("example"), text)?;
    let mut command = machine.command("timeout");
    command
        .args([LIMIT, "bash", "-euo", "pipefail", "-c", SHELL, "bash"])
        .arg(state)
        .env("LPM_DOCS_STATE", state);
    Ok(command.stdin(Stdio::null()).output()?)
}

fn psql(stack: &Stack, text: &str) -> Result<Output> {
    let psql = stack.database().psql_command();
    let mut command = Command::new("timeout");
    command.arg(LIMIT).arg(psql.get_program()).args(psql.get_args());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("psql has no input")?;
    // psql that ended early has said why
    let _ = input.write_all(text.as_bytes());
    drop(input);
    Ok(child.wait_with_output()?)
}
