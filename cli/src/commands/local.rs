//! Commands that stay on this machine.

use super::{Session, is_environment};
use crate::args::{DeleteArgs, EnvironmentArg, ExportArgs, GetArgs, ImportArgs, SetArgs};
use crate::error::{Error, Result};
use crate::local::LocalVault;
use crate::output::{self, Sink, note, variables};
use lpm_core::dotenv;
use lpm_core::environment::{Environments, Text, Vars};
use lpm_core::failure::presentable;
use serde_json::json;
use std::io::{IsTerminal, Read};
use uuid::Uuid;
use zeroize::Zeroizing;

/// `lpm env set`: changes variables, asking for the values that are not given.
pub(crate) fn set(session: &mut Session, args: SetArgs) -> Result<()> {
    let environment = session.new_environment(&args.environment)?;
    let assignments = assignments(args.variables)?;
    let vault = session.vault_or_new()?;
    let names: Vec<String> = assignments.iter().map(|(name, _)| name.clone()).collect();
    change(session, &vault, |all| {
        all.0.entry(environment.clone()).or_default().extend(assignments);
        Ok(())
    })?;
    let shown = names.join(", ");
    done(session, json!({ "success": true, "vaultId": vault, "env": environment, "set": names }), || {
        format!("set {shown} in `{environment}`; `lpm env push` uploads the vault")
    })
}

/// The variables of the command line, with their values.
fn assignments(arguments: Vec<String>) -> Result<Vec<(String, Text)>> {
    let arguments: Vec<Zeroizing<String>> = arguments.into_iter().map(Zeroizing::new).collect();
    let split: Vec<(&str, Option<&str>)> = arguments
        .iter()
        .map(|argument| {
            argument.split_once('=').map_or((argument.as_str(), None), |(name, value)| (name, Some(value)))
        })
        .collect();
    check(&split)?;
    let unknown = split.iter().filter(|(_, value)| value.is_none()).count();
    if unknown > 1 && !std::io::stdin().is_terminal() {
        return Err(Error::usage("standard input can be the value of one variable only")
            .hint("`lpm env import -` reads many, as a .env file"));
    }
    let value = |at: usize, name: &str, value: Option<&str>| match value {
        Some(value) => Ok(Text::from(value)),
        None => ask(at + 1, name),
    };
    split.into_iter().enumerate().map(|(at, (name, v))| Ok((name.to_owned(), value(at, name, v)?))).collect()
}

/// Refuses what cannot be meant, by its position: `KEY VALUE`, with a blank for the `=`, is a frequent
/// mistake, and what is printed about it may stand in a log.
fn check(variables: &[(&str, Option<&str>)]) -> Result<()> {
    for (at, &(name, value)) in variables.iter().enumerate() {
        let what = match at.checked_sub(1).map(|before| variables[before].1) {
            _ if !dotenv::is_name(name) => {
                "is neither KEY nor KEY=VALUE; a KEY has letters, digits and `_`, no digit first"
            }
            _ if variables[..at].iter().any(|(other, _)| *other == name) => "has the KEY of one before it",
            // Base64 often ends with `=`, and would be taken for a KEY with a value.
            Some(None) if value.is_some() => "has a value, but the one before it has none",
            _ => continue,
        };
        return Err(Error::usage(format!("variable {} {what}", at + 1))
            .hint("`lpm env set KEY=VALUE`, or `lpm env set KEY` to be asked for the value"));
    }
    Ok(())
}

/// A value that was not on the command line: typed without being shown, or all of standard input.
fn ask(position: usize, name: &str) -> Result<Text> {
    let failed = |error: std::io::Error| {
        Error::failure(format!("cannot read the value of variable {position}: {error}"))
    };
    let mut stdin = std::io::stdin();
    if stdin.is_terminal() {
        return rpassword::prompt_password(format!("{name}: ")).map(Text::new).map_err(failed);
    }
    let mut value = Zeroizing::new(String::new());
    stdin.read_to_string(&mut value).map_err(failed)?;
    let line =
        value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Text::from(line))
}

/// `lpm env get`.
pub(crate) fn get(session: &Session, args: &GetArgs) -> Result<()> {
    let environment = session.environment(&args.environment)?;
    let mut vars = vars(session, &environment)?;
    let Some((name, value)) = vars.remove_entry(&args.name) else {
        let environment = presentable(&environment);
        return Err(Error::failure(format!("there is no variable of that name in `{environment}`"))
            .hint("`lpm env list` shows what there is"));
    };
    let only = Vars::from([(name.clone(), value)]);
    output::mask(&only);
    let value = only[&name].expose();
    if session.json() {
        return output::json(&json!({ "env": environment, "key": name, "value": value }));
    }
    output::data(Zeroizing::new(format!("{value}\n")).as_bytes())
}

/// `lpm env list`.
pub(crate) fn list(session: &Session, args: &EnvironmentArg) -> Result<()> {
    if args.env.as_deref().is_some_and(|name| !name.is_empty()) {
        let environment = session.environment(args)?;
        let vars = vars(session, &environment)?;
        if session.json() {
            let keys: Vec<&String> = vars.keys().collect();
            return output::json(&json!({ "env": environment, "keys": keys, "count": keys.len() }));
        }
        return vars.keys().try_for_each(|name| output::line(output::printable(name)));
    }
    let vault = session.vault()?;
    let all = session.home()?.vault(&vault).load()?;
    if session.json() {
        let environments: serde_json::Map<_, _> =
            all.0.iter().map(|(name, vars)| (name.clone(), vars.keys().cloned().collect())).collect();
        return output::json(
            &json!({ "vaultId": vault, "environments": environments, "count": all.count() }),
        );
    }
    if all.count() == 0 {
        note("the vault is empty on this machine; `lpm env pull` downloads it, `lpm env set KEY` begins it");
    }
    all.0.iter().try_for_each(|(environment, vars)| {
        output::line(output::printable(environment))?;
        vars.keys().try_for_each(|name| output::line(format!("  {}", output::printable(name))))
    })
}

/// `lpm env delete`: all that are named, or none.
pub(crate) fn delete(session: &Session, args: &DeleteArgs) -> Result<()> {
    let environment = session.environment(&args.environment)?;
    let vault = session.vault()?;
    let mut deleted = args.names.clone();
    change(session, &vault, |all| {
        let vars = all.0.get_mut(&environment).ok_or_else(|| absent(&environment))?;
        if args.all {
            deleted = vars.keys().cloned().collect();
            vars.clear();
        }
        for (at, name) in args.names.iter().enumerate() {
            if vars.remove(name).is_none() {
                let (position, environment) = (at + 1, presentable(&environment));
                return Err(Error::failure(format!(
                    "variable {position} is not set in `{environment}`, so nothing was deleted"
                )));
            }
        }
        if vars.is_empty() {
            all.0.remove(&environment);
        }
        Ok(())
    })?;
    let count = deleted.len();
    done(
        session,
        json!({ "success": true, "vaultId": vault, "env": environment, "deleted": deleted }),
        || format!("deleted {} from `{environment}`; `lpm env push` uploads the vault", variables(count)),
    )
}

/// `lpm env import`.
pub(crate) fn import(session: &mut Session, args: &ImportArgs) -> Result<()> {
    let environment = session.new_environment(&args.environment)?;
    let imported = read_dotenv(&args.file)?;
    let vault = session.vault_or_new()?;
    let count = imported.len();
    let mut changes = Changes::default();
    change(session, &vault, |all| {
        let vars = all.0.entry(environment.clone()).or_default();
        changes = Changes::between(vars, &imported, args.replace);
        if args.replace {
            vars.clear();
        }
        vars.extend(imported);
        if vars.is_empty() {
            all.0.remove(&environment);
        }
        Ok(())
    })?;
    let document = json!({ "success": true, "vaultId": vault, "env": environment, "count": count, "added": changes.added,
                           "changed": changes.changed, "removed": changes.removed });
    done(session, document, || {
        format!(
            "imported {} into `{environment}`: {changes}; `lpm env push` uploads the vault",
            variables(count)
        )
    })
}

fn read_dotenv(file: &str) -> Result<Vars> {
    let mut text = Zeroizing::new(String::new());
    let failed = |error: std::io::Error| {
        Error::failure(format!("cannot read the file to import: {error}"))
            .hint("`lpm env import FILE` reads a .env file, `lpm env set KEY=VALUE` sets one variable")
    };
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(file).and_then(|mut open| open.read_to_string(&mut text)).map_err(failed)?;
    }
    let pairs =
        dotenv::parse(&text).map_err(|error| Error::usage(format!("`{}` {error}", presentable(file))))?;
    Ok(pairs.into_iter().map(|(name, value)| (name, Text::new(value))).collect())
}

/// `lpm env export`.
pub(crate) fn export(session: &Session, args: &ExportArgs) -> Result<()> {
    let sink = Sink::new(&args.output, session.json())?;
    let environment = session.environment(&args.environment)?;
    sink.write(&environment, "Exported from this machine", &vars(session, &environment)?)
}

/// `lpm env new-id`: the same variables under a new id.
pub(crate) fn new_id(session: &mut Session) -> Result<()> {
    if session.vault_is_given() {
        return Err(Error::usage("`new-id` changes lpm.json, but `--vault` or LPM_VAULT_ID names the vault")
            .hint("unset LPM_VAULT_ID first"));
    }
    let home = session.home()?;
    let new = Uuid::new_v4().to_string();
    let old = session.project.vault().map(|old| home.vault(old));
    if let Some(old) = &old {
        let _lock = old.lock()?;
        let all = old.load()?;
        // The copy first: whatever fails afterwards, the variables are there under the id of lpm.json.
        if all.count() > 0 {
            home.vault(&new).save(&all)?;
        }
    }
    session.project.set_vault(&new);
    session.project.save()?;
    if let Some(old) = old {
        old.remove()?;
    }
    if session.json() {
        return output::json(&json!({ "success": true, "vaultId": new }));
    }
    note("lpm.json has a new vault id; commit it. `lpm env push` uploads the vault, policies are made anew");
    output::line(new)
}

/// The variables of an environment on this machine; an environment that does not exist is an error.
pub(crate) fn vars(session: &Session, environment: &str) -> Result<Vars> {
    let mut all = session.home()?.vault(&session.vault()?).load()?;
    let found = all.0.remove(environment).filter(|vars| !vars.is_empty());
    found.ok_or_else(|| absent(environment))
}

/// What is asked for is not there; what cannot be a name may be a value in the wrong place.
fn absent(environment: &str) -> Error {
    let shown = if is_environment(environment) { environment } else { "…" };
    Error::failure(format!("there is no environment `{shown}` on this machine"))
        .hint("`lpm env list` shows what there is, `lpm env pull` downloads the vault")
}

/// Loads, changes and saves a vault while nobody else does.
pub(crate) fn change(
    session: &Session,
    vault: &str,
    change: impl FnOnce(&mut Environments) -> Result<()>,
) -> Result<()> {
    let home = session.home()?;
    let local: LocalVault<'_> = home.vault(vault);
    let _lock = local.lock()?;
    let mut all = local.load()?;
    change(&mut all)?;
    local.save(&all)
}

/// The result: a document for `--json`, else a sentence for people.
pub(crate) fn done(
    session: &Session,
    document: serde_json::Value,
    sentence: impl FnOnce() -> String,
) -> Result<()> {
    if session.json() {
        return output::json(&document);
    }
    note(sentence());
    Ok(())
}

/// What becomes of an environment's variables.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New ones.
    pub added: usize,
    /// Other values.
    pub changed: usize,
    /// Gone.
    pub removed: usize,
}

impl Changes {
    /// From `old` to `new`; without `replace` what `new` does not have stays.
    pub(crate) fn between(old: &Vars, new: &Vars, replace: bool) -> Self {
        let mut changes = Self::default();
        for (name, value) in new {
            match old.get(name) {
                None => changes.added += 1,
                Some(old) if old.expose() != value.expose() => changes.changed += 1,
                Some(_) => {}
            }
        }
        if replace {
            changes.removed = old.keys().filter(|name| !new.contains_key(*name)).count();
        }
        changes
    }

    /// The same over all environments.
    pub(crate) fn of_vault(old: &Environments, new: &Environments, replace: bool) -> Self {
        let nothing = Vars::new();
        let names: std::collections::BTreeSet<_> = old.0.keys().chain(new.0.keys()).collect();
        names.into_iter().fold(Self::default(), |sum, name| {
            let part = Self::between(
                old.0.get(name).unwrap_or(&nothing),
                new.0.get(name).unwrap_or(&nothing),
                replace,
            );
            Self {
                added: sum.added + part.added,
                changed: sum.changed + part.changed,
                removed: sum.removed + part.removed,
            }
        })
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} added, {} changed, {} removed", self.added, self.changed, self.removed)
    }
}
