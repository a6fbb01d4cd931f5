//! `lpm env diff`: what is different between this machine and the server, by name.

use super::copy;
use super::{Session, check_org, org_sync, wait_for};
use crate::args::DiffArgs;
use crate::error::{Error, Result};
use crate::output::{self, note, printable};
use lpm_core::environment::{Environments, Text, Vars};
use lpm_core::failure::exit;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What happened to a variable since the server's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// Only here.
    Added,
    /// Here with another value.
    Changed,
    /// Only on the server.
    Removed,
}

/// A variable that differs.
struct Difference<'a> {
    environment: &'a str,
    name: &'a str,
    change: Change,
    server: Option<&'a Text>,
    here: Option<&'a Text>,
}

/// `lpm env diff`: exit code 0, or with `--exit-code` 1 where something differs.
pub(crate) fn diff(session: &Session, args: &DiffArgs) -> Result<u8> {
    let org = args.org.org.as_deref().map(check_org).transpose()?;
    let only = session.asked_environment(&args.environment)?;
    let (token, client, id) = (session.token()?, session.client()?, session.vault()?);
    let home = session.home()?;
    let (mut server, version) = match org {
        None => {
            let reply = wait_for(copy::fetch(&client, &token, &id))?;
            let opened = copy::key_of_copy(&reply, &home.opening_keys()?, &token, false)?;
            (copy::read_blob(&opened.key, &reply.encrypted_blob)?, reply.version)
        }
        Some(org) => {
            // Looking registers no key: this machine has one, or nothing was shared with it.
            let identity = home.identity()?.ok_or_else(|| {
                Error::failure("this machine has no org key, so nothing was shared with it")
                    .hint(format!("`lpm env pull --org={org}` registers one"))
            })?;
            let reply = wait_for(org_sync::fetch(&client, &token, &id, org))?;
            let key = org_sync::key_of_copy(&reply, &identity)
                .ok_or_else(|| org_sync::not_for_this_key(&reply, &identity, org, &[]))?;
            (copy::read_blob(&key, &reply.encrypted_blob)?, reply.version)
        }
    };
    let mut here = home.vault(&id).load()?;
    if let Some(only) = &only {
        server.0.retain(|environment, _| environment == only);
        here.0.retain(|environment, _| environment == only);
    }
    let nothing = Vars::new();
    let found = differences(&server, &here, &nothing);
    if args.show_values {
        [&server, &here].into_iter().flat_map(|all| all.0.values()).for_each(output::mask);
    }
    if session.json() {
        output::json(&document(&id, org, version, &found, args.show_values))?;
    } else {
        let mut environment = None;
        for one in &found {
            if environment != Some(one.environment) {
                environment = Some(one.environment);
                output::line(printable(one.environment))?;
            }
            one.lines(args.show_values).iter().try_for_each(output::line)?;
        }
        if found.is_empty() {
            note(format!("this machine has what version {version} on the server has"));
        }
    }
    Ok(if args.exit_code && !found.is_empty() { exit::FAILURE } else { 0 })
}

/// Everything that differs, by environment and name.
fn differences<'a>(
    server: &'a Environments,
    here: &'a Environments,
    nothing: &'a Vars,
) -> Vec<Difference<'a>> {
    let environments: BTreeSet<&String> = server.0.keys().chain(here.0.keys()).collect();
    let mut found = Vec::new();
    for environment in environments {
        let of = |all: &'a Environments| all.0.get(environment).unwrap_or(nothing);
        let (old, new) = (of(server), of(here));
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            let (server, here) = (old.get(name), new.get(name));
            let change = match (server, here) {
                (Some(server), Some(here)) if server.expose() == here.expose() => continue,
                (Some(_), Some(_)) => Change::Changed,
                (None, _) => Change::Added,
                (Some(_), None) => Change::Removed,
            };
            found.push(Difference { environment, name, change, server, here });
        }
    }
    found
}

impl Difference<'_> {
    /// In the signs of `diff`; a value is one JSON string, so that it ends where it ends.
    fn lines(&self, values: bool) -> Vec<String> {
        let name = printable(self.name);
        let line = |sign: &str, value: Option<&Text>| match value.filter(|_| values) {
            Some(value) => format!("  {sign} {name}={}", Value::from(value.expose())),
            None => format!("  {sign} {name}"),
        };
        match self.change {
            Change::Added => vec![line("+", self.here)],
            Change::Removed => vec![line("-", self.server)],
            Change::Changed if values => vec![line("-", self.server), line("+", self.here)],
            Change::Changed => vec![line("~", None)],
        }
    }
}

fn document(id: &str, org: Option<&str>, version: i32, found: &[Difference<'_>], values: bool) -> Value {
    let mut environments = Map::new();
    for one in found {
        let of = environments
            .entry(one.environment)
            .or_insert_with(|| json!({ "added": [], "changed": [], "removed": [] }));
        let list = match one.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Removed => "removed",
        };
        let shown = if values {
            json!({ "key": one.name, "server": one.server.map(Text::expose), "here": one.here.map(Text::expose) })
        } else {
            one.name.into()
        };
        if let Some(list) = of[list].as_array_mut() {
            list.push(shown);
        }
    }
    json!({ "vaultId": id, "org": org, "version": version, "same": found.is_empty(), "environments": environments })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pairs: &[(&str, &str, &str)]) -> Environments {
        let mut all = Environments::default();
        for &(environment, name, value) in pairs {
            all.0.entry(environment.into()).or_default().insert(name.into(), Text::from(value));
        }
        all
    }

    #[test]
    fn names_are_shown_and_values_only_where_asked_for() {
        let server = all(&[("a", "SAME", "1"), ("a", "GONE", "2"), ("b", "CHANGED", "s3cret")]);
        let here = all(&[("a", "SAME", "1"), ("b", "CHANGED", "n\new"), ("c", "NEW", "4")]);
        let nothing = Vars::new();
        let found = differences(&server, &here, &nothing);
        let lines = |values| found.iter().flat_map(|one| one.lines(values)).collect::<Vec<_>>();
        assert_eq!(lines(false), ["  - GONE", "  ~ CHANGED", "  + NEW"]);
        assert_eq!(
            lines(true),
            [r#"  - GONE="2""#, r#"  - CHANGED="s3cret""#, r#"  + CHANGED="n\new""#, r#"  + NEW="4""#]
        );
        let names = document("v", None, 3, &found, false);
        assert_eq!(names["environments"]["b"]["changed"], json!(["CHANGED"]));
        assert!(!names.to_string().contains("s3cret"));
        let values = document("v", None, 3, &found, true);
        assert_eq!(
            values["environments"]["b"]["changed"],
            json!([{ "key": "CHANGED", "server": "s3cret", "here": "n\new" }])
        );
    }

    #[test]
    fn what_is_equal_is_no_difference() {
        let nothing = Vars::new();
        let one = all(&[("a", "K", "1")]);
        assert!(differences(&one, &all(&[("a", "K", "1")]), &nothing).is_empty());
        let mut empty = all(&[("a", "K", "1")]);
        empty.0.insert("b".into(), Vars::new());
        assert!(differences(&one, &empty, &nothing).is_empty(), "an empty environment is none");
    }
}
