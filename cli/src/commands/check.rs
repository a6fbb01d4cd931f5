//! `lpm env check` and `lpm env example`: variables against what `envSchema` of `lpm.json` says they are for.

use super::Session;
use super::local::done;
use crate::args::{EnvironmentArg, ExampleArgs};
use crate::declared::{self, Declared};
use crate::error::{Error, Result};
use crate::files;
use crate::output::{self, note, printable};
use lpm_core::environment::{Environments, Vars};
use lpm_core::failure::exit;
use serde_json::{Map, Value, json};

/// First line of a file that `example` may replace.
const MARK: &str = "# Made by `lpm env example` from lpm.json";
const FILE: &str = ".env.example";

/// `lpm env check`: exit code 0 when every environment keeps to the schema, 1 when not.
pub(crate) fn check(session: &Session, args: &EnvironmentArg) -> Result<u8> {
    let declared = declared(session)?;
    let mut all = session.home()?.vault(&session.vault()?).load()?;
    if let Some(only) = session.asked_environment(args)? {
        // An environment that nobody has made yet lacks everything that is required.
        let vars = all.0.remove(&only).unwrap_or_default();
        all = Environments([(only, vars)].into());
    }
    if all.0.is_empty() {
        return Err(Error::failure("there are no variables on this machine, so there is nothing to check")
            .hint("`lpm env pull` downloads the vault, `lpm env set KEY` begins it"));
    }
    let found: Vec<(&String, Vec<(&str, String)>)> =
        all.0.iter().map(|(environment, vars)| (environment, violations(&declared, vars))).collect();
    let count: usize = found.iter().map(|(_, violations)| violations.len()).sum();
    if session.json() {
        let environments: Map<String, Value> = found
            .iter()
            .map(|(environment, violations)| {
                let list = violations.iter().map(|(name, what)| json!({ "key": name, "violation": what }));
                ((*environment).clone(), list.collect())
            })
            .collect();
        output::json(&json!({ "success": count == 0, "violations": count, "environments": environments }))?;
    } else {
        for (environment, violations) in &found {
            for (name, what) in violations {
                output::line(format!("{}: {} {what}", printable(environment), printable(name)))?;
            }
        }
        let checked = found.iter().map(|(environment, _)| format!("`{}`", printable(environment)));
        let checked = checked.collect::<Vec<_>>().join(", ");
        note(match count {
            0 => format!("{checked}: everything is as lpm.json declares it"),
            1 => format!("{checked}: 1 variable is not as lpm.json declares it"),
            count => format!("{checked}: {count} variables are not as lpm.json declares them"),
        });
    }
    Ok(if count == 0 { 0 } else { exit::FAILURE })
}

fn violations<'d>(declared: &'d [Declared], vars: &Vars) -> Vec<(&'d str, String)> {
    declared.iter().filter_map(|one| Some((one.name.as_str(), one.violation(vars)?))).collect()
}

/// `lpm env example`: writes a `.env.example` that tells what variables there are, and nothing secret.
pub(crate) fn example(session: &Session, args: &ExampleArgs) -> Result<()> {
    let declared = declared(session)?;
    let entries: Vec<String> = declared.iter().map(Declared::example).collect();
    let text = format!("{MARK}\n\n{}\n", entries.join("\n\n"));
    let path = match args.output.as_deref() {
        Some("-") => return output::data(text.as_bytes()),
        Some(file) => file.into(),
        None => session.project.directory().join(FILE),
    };
    let there = files::read(&path)?;
    if there.is_some_and(|there| !there.starts_with(MARK.as_bytes())) && !args.force {
        return Err(Error::failure(format!(
            "`{}` was not made by this command, so it stays",
            path.display()
        ))
        .hint("`--force` replaces it, `--output=-` prints what would stand there"));
    }
    files::write(&path, text.as_bytes(), files::SHARED)?;
    let (path, count) = (path.display().to_string(), declared.len());
    done(session, json!({ "success": true, "output": path, "count": count }), || {
        format!("wrote {} to `{path}`", output::variables(count))
    })
}

fn declared(session: &Session) -> Result<Vec<Declared>> {
    let schema = session.project.declared().filter(|schema| !schema.is_empty());
    declared::read(schema.ok_or_else(|| {
        Error::failure("lpm.json has no `envSchema`, so nothing says what the variables are for").hint(
            r#"such as: "envSchema": {"DATABASE_URL": {"required": true, "format": "url", "secret": true}}"#,
        )
    })?)
}
