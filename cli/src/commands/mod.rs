//! The commands: each function is one, and reads as its steps.

pub(crate) mod account;
pub(crate) mod allow;
pub(crate) mod check;
pub(crate) mod ci_pull;
pub(crate) mod ci_setup;
mod copy;
pub(crate) mod diff;
mod escrow;
pub(crate) mod local;
pub(crate) mod login;
pub(crate) mod logout;
mod members;
pub(crate) mod oidc;
pub(crate) mod org;
pub(crate) mod org_sync;
pub(crate) mod pair;
pub(crate) mod remote;
pub(crate) mod restore;
pub(crate) mod rotate_key;
pub(crate) mod run_command;
pub(crate) mod sessions;
pub(crate) mod sync;

use crate::args::{EnvironmentArg, Globals};
use crate::client::Client;
use crate::credentials::Store;
use crate::error::{Error, Result};
use crate::local::Home;
use crate::login as signing_in;
use crate::project::Project;
use lpm_core::environment::DEFAULT;
use lpm_core::secret::Secret;
use std::future::Future;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use uuid::Uuid;

/// What every command works with.
pub(crate) struct Session {
    globals: Globals,
    pub project: Project,
}

impl Session {
    /// The project of the current directory.
    pub(crate) fn new(mut globals: Globals) -> Result<Self> {
        let here = std::env::current_dir().map_err(|error| Error::failure(format!("where am I? {error}")))?;
        // An empty variable is one that a CI system defines and nobody has set.
        globals.vault = globals.vault.filter(|id| !id.is_empty());
        globals.owner = globals.owner.filter(|owner| !owner.is_empty());
        Ok(Self { globals, project: Project::find(&here)? })
    }

    /// Whether results are printed as JSON.
    pub(crate) fn json(&self) -> bool {
        self.globals.json
    }

    /// How long one request may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.globals.timeout)
    }

    /// The gateway's address as it was given.
    pub(crate) fn registry_url(&self) -> &str {
        &self.globals.registry_url
    }

    /// The gateway, as whoever is signed in there.
    pub(crate) fn client(&self) -> Result<Client> {
        let client = self.plain_client()?;
        // A CI job may have no home, and needs no login.
        match Home::find() {
            Ok(home) if given_token().is_none() => Ok(client.of(Store::new(&home, self.registry_url()))),
            _ => Ok(client),
        }
    }

    /// The gateway, for requests that say themselves who asks.
    pub(crate) fn plain_client(&self) -> Result<Client> {
        Client::new(&self.globals.registry_url, self.timeout())
    }

    /// The account's token: `LPM_TOKEN`, else the login's.
    pub(crate) fn token(&self) -> Result<Secret> {
        match given_token() {
            Some(token) => Ok(token),
            None => signing_in::token(&self.client()?, &self.login()?),
        }
    }

    /// The login at this gateway.
    pub(crate) fn login(&self) -> Result<Store> {
        Ok(Store::new(&self.home()?, self.registry_url()))
    }

    /// The vault: `--vault`, else the one of `lpm.json`.
    pub(crate) fn vault(&self) -> Result<String> {
        let id = self.globals.vault.as_deref().or(self.project.vault());
        id.map(str::to_owned).ok_or_else(|| {
            Error::failure("there is no vault here: no lpm.json names one").hint(
                "`lpm env set KEY` makes a vault; in CI set LPM_VAULT_ID, or check out the project first",
            )
        })
    }

    /// The vault, made now if the project has none.
    pub(crate) fn vault_or_new(&mut self) -> Result<String> {
        if let Ok(id) = self.vault() {
            return Ok(id);
        }
        let id = Uuid::new_v4().to_string();
        self.project.set_vault(&id);
        self.project.save()?;
        crate::output::note(format!("made lpm.json with the new vault {id}: commit it, it holds no secret"));
        Ok(id)
    }

    /// Whether `lpm.json` is about this vault, so that what is learnt about it belongs there.
    pub(crate) fn is_projects(&self, vault: &str) -> bool {
        self.project.vault() == Some(vault)
    }

    /// The vault's owner: `--owner`, else as `lpm.json` has it.
    pub(crate) fn owner(&self, vault: &str) -> Result<Option<Uuid>> {
        match &self.globals.owner {
            Some(owner) => Uuid::parse_str(owner)
                .map(Some)
                .map_err(|_| Error::usage("LPM_VAULT_OWNER (`--owner`) must be a uuid")),
            None if self.is_projects(vault) => self.project.owner(),
            None => Ok(None),
        }
    }

    /// Whether `--vault` or `LPM_VAULT_ID` names the vault.
    pub(crate) fn vault_is_given(&self) -> bool {
        self.globals.vault.is_some()
    }

    /// The environment by the name that the vault knows, where one is asked for.
    pub(crate) fn asked_environment(&self, arg: &EnvironmentArg) -> Result<Option<String>> {
        let Some(name) = arg.env.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        // `--env NAME=VALUE`, as Docker has it: the value must get into no error text and no audit trail.
        if name.contains('=') {
            return Err(Error::usage("`--env` takes the name of an environment, not NAME=VALUE")
                .hint("`lpm env set NAME --env=ENVIRONMENT` sets a variable"));
        }
        Ok(Some(self.project.canonical(name)))
    }

    /// The environment by the name that the vault knows.
    pub(crate) fn environment(&self, arg: &EnvironmentArg) -> Result<String> {
        Ok(self.asked_environment(arg)?.unwrap_or_else(|| DEFAULT.to_owned()))
    }

    /// The same, for a command that may create it.
    pub(crate) fn new_environment(&self, arg: &EnvironmentArg) -> Result<String> {
        let name = self.environment(arg)?;
        check_environment(&name, "`--env`")?;
        Ok(name)
    }

    /// `~/.lpm`.
    pub(crate) fn home(&self) -> Result<Home> {
        Home::find()
    }
}

/// The token of `LPM_TOKEN`, where it is set.
pub(crate) fn given_token() -> Option<Secret> {
    let token = std::env::var("LPM_TOKEN").unwrap_or_default();
    Some(token.trim()).filter(|token| !token.is_empty()).map(|token| Secret::from(token.to_owned()))
}

/// Whether a policy could name this environment.
pub(crate) fn is_environment(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=64).contains(&name.len()) && name.bytes().all(known)
}

/// Refuses a name that no policy could name; `what` says where it stands.
pub(crate) fn check_environment(name: &str, what: &str) -> Result<()> {
    if is_environment(name) {
        return Ok(());
    }
    Err(Error::usage(format!("{what} is no environment's name: 1 to 64 of `A-Z a-z 0-9 . _ -`")))
}

/// An org's slug, refused where it cannot be one: what was typed in its place may be a secret.
pub(crate) fn check_org(slug: &str) -> Result<&str> {
    if is_environment(slug) {
        return Ok(slug);
    }
    Err(Error::usage("that is no org's name: 1 to 64 of `A-Z a-z 0-9 . _ -`"))
}

/// Asks before something that cannot be taken back; `yes` is the flag that says so beforehand.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let mut stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::usage(
            "this is asked about first, and standard input is no terminal, so nothing was done",
        )
        .hint("`--yes` agrees beforehand"));
    }
    let mut answer = String::new();
    // Nobody to ask when standard error is closed.
    let asked = write!(std::io::stderr(), "lpm: {question} [y/N] ").and_then(|()| std::io::stderr().flush());
    let read = asked
        .and_then(|()| std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut stdin), &mut answer));
    match read.map(|_| answer.trim().to_ascii_lowercase()).as_deref() {
        Ok("y" | "yes") => Ok(()),
        _ => Err(Error::failure("not confirmed, so nothing was done")),
    }
}

/// Runs what waits for the network, on this thread.
pub(crate) fn wait_for<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failure(format!("cannot start: {error}")))?
        .block_on(work)
}
