//! `lpm` in a home and a project of its own, with nothing of the environment that runs the tests.

pub(crate) mod accounts;
pub(crate) mod browser;
pub(crate) mod desktop;
pub(crate) mod gateway;
pub(crate) mod server;
pub(crate) mod team;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A machine; commands run in its project.
pub(crate) struct Machine {
    root: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory can be made");
        for directory in ["home", "project"] {
            fs::create_dir(root.path().join(directory)).expect("a directory can be made");
        }
        let home = root.path().join("home").to_string_lossy().into_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        Self { root, variables: [("HOME".into(), home), ("PATH".into(), path)].into() }
    }

    /// Sets a variable.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The same machine with a variable in `production`.
    #[must_use]
    pub(crate) fn with_vault(self) -> Self {
        self.lpm("env set API_KEY=sk-live --env=production").ok();
        self
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.project().join(file), text).expect("it can be written");
    }

    pub(crate) fn read(&self, file: &str) -> String {
        let path = self.project().join(file);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn mode(&self, file: &str) -> u32 {
        fs::metadata(self.project().join(file)).expect("it exists").permissions().mode() & 0o777
    }

    /// `lpm.json` as JSON.
    pub(crate) fn lpm_json(&self) -> Value {
        serde_json::from_str(&self.read("lpm.json")).expect("lpm.json is JSON")
    }

    /// Puts another wrapping key in place of the machine's.
    pub(crate) fn replace_key(&self, hex_digits: &str) {
        fs::write(self.home().join(".lpm/.vault-key"), hex_digits).expect("it can be written");
    }

    pub(crate) fn remove_key(&self) {
        fs::remove_file(self.home().join(".lpm/.vault-key")).expect("it can be removed");
    }

    /// Deletes the variables of every vault.
    pub(crate) fn forget_secrets(&self) {
        fs::remove_dir_all(self.home().join(".lpm/secrets")).expect("it can be removed");
    }

    /// A run with these arguments, split at blanks.
    pub(crate) fn lpm(&self, arguments: &str) -> Run {
        self.args(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// A run with exactly these arguments.
    pub(crate) fn args(&self, arguments: &[&str]) -> Run {
        self.input(arguments, "")
    }

    /// A run with this standard input.
    pub(crate) fn input(&self, arguments: &[&str], input: &str) -> Run {
        let mut child = self.command(env!("CARGO_BIN_EXE_lpm"), arguments).spawn().expect("lpm runs");
        // A command that reads no input may be gone already.
        let _ = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("lpm ends");
        Run {
            what: arguments.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("it is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("it is UTF-8"),
        }
    }

    /// A shell's run, with `lpm` on its path.
    pub(crate) fn sh(&self, script: &str) -> Run {
        let directory = PathBuf::from(env!("CARGO_BIN_EXE_lpm"));
        let directory = directory.parent().expect("it has one").display().to_string();
        let script = format!("PATH={directory}:$PATH\n{script}");
        let output = self.command("sh", &["-c", &script]).output().expect("sh runs");
        Run {
            what: script,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("it is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("it is UTF-8"),
        }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.project()).env_clear().envs(&self.variables);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What came of a run.
pub(crate) struct Run {
    what: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    fn describe(&self) -> String {
        format!(
            "`{}` ended with {:?}\nstdout: {}\nstderr: {}",
            self.what, self.code, self.stdout, self.stderr
        )
    }

    /// It succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.describe());
        self
    }

    /// It failed with this exit code, said this on standard error, and printed no data.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, said: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.describe());
        assert!(self.stderr.contains(said), "{}\ndoes not say: {said}", self.describe());
        assert!(self.stdout.is_empty(), "{}", self.describe());
        self
    }

    /// It printed exactly this.
    #[track_caller]
    pub(crate) fn prints(self, stdout: &str) -> Self {
        let run = self.ok();
        assert_eq!(run.stdout, stdout, "{}", run.describe());
        run
    }

    /// Nowhere does this appear.
    #[track_caller]
    pub(crate) fn hides(self, secret: &str) -> Self {
        assert!(!self.stdout.contains(secret) && !self.stderr.contains(secret), "{}", self.describe());
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.describe()))
    }
}
