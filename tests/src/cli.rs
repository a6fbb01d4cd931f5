//! The `lpm` binary in a home and a project of its own.

use crate::binaries;
use crate::issuer::Runtime;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A machine as the command line sees it: a home, a project directory, an environment and nothing else.
pub struct Machine {
    root: TempDir,
    variables: BTreeMap<String, String>,
}

impl Machine {
    /// An empty home and an empty project.
    pub fn new() -> Result<Self> {
        let root = tempfile::Builder::new().prefix("lpm-machine-").tempdir()?;
        std::fs::create_dir(root.path().join("home"))?;
        std::fs::create_dir(root.path().join("project"))?;
        let home = root.path().join("home").to_string_lossy().into_owned();
        let variables = [
            ("HOME", home.as_str()),
            ("PATH", &std::env::var("PATH").unwrap_or_default()),
            ("LANG", "C.UTF-8"),
            ("NO_COLOR", "1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Ok(Self { root, variables })
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Its environment, all of it.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The project directory, where commands run.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// A file of the project, as text.
    pub fn read(&self, file: impl AsRef<Path>) -> Result<String> {
        let path = self.project().join(file);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Writes a file of the project.
    pub fn write(&self, file: impl AsRef<Path>, text: &str) -> Result<()> {
        Ok(std::fs::write(self.project().join(file), text)?)
    }

    /// The vault id that the project's `lpm.json` names.
    pub fn vault_id(&self) -> Result<String> {
        let document: Value = serde_json::from_str(&self.read("lpm.json")?)?;
        Ok(document["vault"].as_str().context("lpm.json names no vault")?.to_owned())
    }

    /// A CI runner with a checkout of this project: what is committed, no home, no token.
    pub fn runner(&self, registry_url: &str) -> Result<Self> {
        let runner = Self::new()?.with("LPM_REGISTRY_URL", registry_url).with("CI", "true");
        runner.write("lpm.json", &self.read("lpm.json")?)?;
        Ok(runner)
    }

    /// Makes it a GitHub runner whose job gets its tokens from `runtime`.
    #[must_use]
    pub fn github(self, runtime: &Runtime) -> Self {
        self.with("GITHUB_ACTIONS", "true")
            .with("ACTIONS_ID_TOKEN_REQUEST_URL", &runtime.url)
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &runtime.token)
    }

    /// Any program, in the project and with the environment of this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.variables).current_dir(self.project());
        command
    }

    /// Runs `lpm` with these arguments.
    pub fn lpm<I, S>(&self, arguments: I) -> Result<Outcome>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.lpm_with_input(arguments, "")
    }

    /// Runs `lpm` with these arguments and this standard input.
    pub fn lpm_with_input<I, S>(&self, arguments: I, input: &str) -> Result<Outcome>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut child = self
            .command(binaries::path("lpm")?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run lpm")?;
        let mut stdin = child.stdin.take().context("lpm has no input")?;
        // a command that reads no input may be gone already
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        Ok(Outcome {
            stdout: String::from_utf8(output.stdout).context("lpm printed something that is not UTF-8")?,
            stderr: String::from_utf8(output.stderr).context("lpm printed something that is not UTF-8")?,
            code: output.status.code(),
        })
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
}

impl Outcome {
    /// The outcome, when the exit code is 0.
    pub fn ok(self) -> Result<Self> {
        self.exits_with(0)
    }

    /// The outcome, when the exit code is `code`.
    pub fn exits_with(self, code: i32) -> Result<Self> {
        anyhow::ensure!(
            self.code == Some(code),
            "lpm ended with {:?} instead of {code}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {}", self.stdout))
    }
}
