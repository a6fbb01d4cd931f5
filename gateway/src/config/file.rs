//! The configuration file: TOML whose keys are the flags' names.
//!
//! There is no second list of settings. A value of the file becomes the default of the argument that its key
//! names, so a flag is in the file as soon as it exists, and what was typed or stands in the environment counts
//! before it.

use super::database::holds_password;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// What only the owner of a file with secrets may do with it.
const OTHERS: u32 = 0o077;

/// What is wrong with the file. Never shows a value that may hold a secret, or the line around it.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error(
        "--config (LPM_GATEWAY_CONFIG) `{path}` cannot be read: {error}; give the user that runs the gateway read access"
    )]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("`{0}` is not TOML: {1}; write settings like `pool-size = 32` and `listen = \"127.0.0.1:8473\"`")]
    Syntax(Place, String),
    #[error(
        "`{0}`: `{1}` is not a setting{2}; the keys are the flags of `lpm-gateway --help` without their `--`"
    )]
    Unknown(Place, String, String),
    #[error("`{0}`: `{1}` is a table, and settings stand outside of tables; remove its heading")]
    Table(Place, String),
    #[error("`{0}`: `{1}` is {found}, and has to be {wanted}", found = .2, wanted = .3)]
    Type(Place, String, &'static str, &'static str),
    #[error("`{0}`: `{1}`: {2}; write it as its flag takes it, see `lpm-gateway --help`")]
    Value(Place, String, String),
    #[error(
        "`{0}`: `{1}` holds a password, and others than the file's owner may open the file (mode {2:04o}): chmod 600 it, or \
         put the password into a file of its own and set `database-password-file`"
    )]
    Open(Place, String, u32),
}

/// A file and a line of it.
#[derive(Debug, Clone)]
pub(crate) struct Place(PathBuf, usize);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}

/// A file as it was read.
pub(super) struct File {
    path: PathBuf,
    text: String,
    mode: u32,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let read = || {
            let mut file = std::fs::File::open(path)?;
            // of what was opened, whatever stands under the name by then
            let mode = file.metadata()?.mode() & 0o7777;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok((text, mode))
        };
        let (text, mode) = read().map_err(|error| FileError::Unreadable { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), text, mode })
    }

    /// The command with the file's values as its defaults.
    pub(super) fn under(&self, mut command: Command) -> Result<Command, FileError> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let place = self.place(error.span().unwrap_or_default());
            FileError::Syntax(place, error.message().to_owned())
        })?;
        for (key, value) in table.get_ref().iter() {
            let (name, place) = (key.get_ref().as_ref(), self.place(key.span()));
            let setting = setting(&command, name, value.get_ref(), &place)?;
            let values = values(setting, name, value.get_ref(), &place)?;
            for value in &values {
                self.check(&command, setting, name, value, &place)?;
            }
            let id = setting.get_id().clone();
            command = command.mut_arg(id, |arg| arg.default_values(values));
        }
        Ok(command)
    }

    /// Is this a value that the flag would take, in a file that may hold it?
    fn check(
        &self,
        command: &Command,
        setting: &Arg,
        name: &str,
        value: &str,
        place: &Place,
    ) -> Result<(), FileError> {
        let hidden = setting.is_hide_env_values_set();
        if hidden && self.mode & OTHERS != 0 && holds_password(value) {
            return Err(FileError::Open(place.clone(), name.to_owned(), self.mode));
        }
        if is_switch(setting) {
            return Ok(());
        }
        match command.clone().try_get_matches_from([String::new(), format!("--{name}={value}")]) {
            Err(error) if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {
                let reason = if hidden { "it cannot be used".to_owned() } else { reason(&error) };
                Err(FileError::Value(place.clone(), name.to_owned(), reason))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.as_bytes().iter().take(span.start);
        Place(self.path.clone(), before.filter(|byte| **byte == b'\n').count() + 1)
    }
}

/// The argument that a key names.
fn setting<'a>(
    command: &'a Command,
    name: &str,
    value: &DeValue<'_>,
    place: &Place,
) -> Result<&'a Arg, FileError> {
    let find = |name: &str| command.get_arguments().find(|arg| is_setting(arg, name));
    if let Some(arg) = find(name) {
        return Ok(arg);
    }
    if matches!(value, DeValue::Table(_)) {
        return Err(FileError::Table(place.clone(), name.to_owned()));
    }
    let dashed = name.replace('_', "-").to_lowercase();
    let meant = find(&dashed).map(|_| format!(": write `{dashed}`")).unwrap_or_default();
    Err(FileError::Unknown(place.clone(), name.to_owned(), meant))
}

/// Flags with an environment variable are settings: not `--help`, and not `--config`, which a file cannot set for itself.
fn is_setting(arg: &Arg, name: &str) -> bool {
    arg.get_long() == Some(name) && arg.get_env().is_some() && arg.get_id() != "config"
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// A value as it would be typed. Only flags that may be repeated take a list.
fn values(setting: &Arg, name: &str, value: &DeValue<'_>, place: &Place) -> Result<Vec<String>, FileError> {
    let wrong = |value, wanted| Err(FileError::Type(place.clone(), name.to_owned(), kind(value), wanted));
    let list = matches!(setting.get_action(), ArgAction::Append);
    match value {
        DeValue::Boolean(on) if is_switch(setting) => Ok(vec![on.to_string()]),
        _ if is_switch(setting) => wrong(value, "true or false"),
        DeValue::String(text) => Ok(vec![text.clone().into_owned()]),
        DeValue::Integer(number) if number.radix() == 10 => Ok(vec![number.as_str().to_owned()]),
        DeValue::Array(items) if list => {
            let mut texts = Vec::new();
            for item in items {
                let DeValue::String(text) = item.get_ref() else {
                    return wrong(item.get_ref(), "a string in a list of strings");
                };
                texts.push(text.clone().into_owned());
            }
            Ok(texts)
        }
        _ if list => wrong(value, "a string or a list of strings"),
        _ => wrong(value, "a string, or a whole number in decimal digits"),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Clap's own words up to the usage, on one line.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
    lines.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
