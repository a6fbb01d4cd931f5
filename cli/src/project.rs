//! The project: `lpm.json`, committed, shared with the published client, and nothing secret in it.
//!
//! Read: `vault` (the id), `vaultSync.personalVersion` and `.orgVersions`, `env` (aliases), `envSchema`,
//! `environments`, `name`. Ours: `vaultOwner` (the owner's uuid, sent with CI pulls), `escrowKey` (the pinned
//! fingerprint) and `ciEscrow` (whose copies of the vault `oidc allow` opened to CI).
//! Everything else, the order of the fields and the indentation stay as they are.

use crate::error::{Error, Result};
use crate::files;
use lpm_core::json::{self, Limits, Value};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const FILE: &str = "lpm.json";

/// A project, which may have no `lpm.json` yet.
pub(crate) struct Project {
    file: PathBuf,
    document: Vec<(String, Value)>,
    indent: String,
    mode: Option<u32>,
}

impl Project {
    /// The project around `directory`: the nearest `lpm.json` up to the repository's root, else a new one
    /// in `directory`. Without a repository only `directory` itself counts, so that a stray file in a
    /// shared parent decides nothing.
    pub(crate) fn find(directory: &Path) -> Result<Self> {
        let root = directory.ancestors().find(|above| above.join(".git").exists());
        let found = directory
            .ancestors()
            .take_while(|above| root.is_some_and(|root| above.starts_with(root)) || *above == directory)
            .map(|above| above.join(FILE))
            .find(|file| file.is_file());
        match found {
            Some(file) => Self::read(file),
            None => Ok(Self {
                file: directory.join(FILE),
                document: Vec::new(),
                indent: "  ".to_owned(),
                mode: None,
            }),
        }
    }

    fn read(file: PathBuf) -> Result<Self> {
        let file = file.canonicalize().map_err(|error| Error::file("read", &file, &error))?;
        let bytes = files::read(&file)?.unwrap_or_default();
        let mode = std::fs::metadata(&file).ok().map(|there| there.permissions().mode() & 0o777);
        let wrong = |why: String| Error::failure(format!("`{}` {why}", file.display()));
        let text = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(&bytes);
        match json::parse(text, &Limits::BODY).map_err(|error| wrong(error.to_string()))? {
            Value::Object(document) => Ok(Self { indent: indent(&bytes), document, mode, file }),
            other => Err(wrong(format!("holds {}, not an object", other.type_name()))),
        }
    }

    /// Writes the changes.
    pub(crate) fn save(&self) -> Result<()> {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(self.indent.as_bytes());
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        serialize_object(&self.document, &mut serializer)
            .map_err(|error| Error::failure(error.to_string()))?;
        out.push(b'\n');
        files::write(&self.file, &out, files::SHARED)?;
        if let Some(mode) = self.mode {
            std::fs::set_permissions(&self.file, std::fs::Permissions::from_mode(mode))
                .map_err(|error| Error::file("write", &self.file, &error))?;
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.document.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The vault's id.
    pub(crate) fn vault(&self) -> Option<&str> {
        self.text("vault")
    }

    /// The owner's uuid.
    pub(crate) fn owner(&self) -> Result<Option<Uuid>> {
        let wrong = |_| Error::failure(format!("`vaultOwner` in `{}` is no uuid", self.file.display()));
        self.text("vaultOwner").map(Uuid::parse_str).transpose().map_err(wrong)
    }

    /// The version that this checkout has seen.
    pub(crate) fn version(&self) -> Option<i32> {
        self.get("vaultSync")?.get("personalVersion")?.as_i64()?.try_into().ok()
    }

    /// The fingerprint of the escrow key that was accepted.
    pub(crate) fn escrow_key(&self) -> Option<&str> {
        self.text("escrowKey")
    }

    /// Takes a new id; what belongs to the old one goes. The escrow key is the server's, so it stays.
    pub(crate) fn set_vault(&mut self, id: &str) {
        if self.vault() != Some(id) {
            self.document.retain(|(key, _)| !matches!(key.as_str(), "vaultSync" | "vaultOwner" | "ciEscrow"));
            set(&mut self.document, "vault", Value::String(id.to_owned()));
        }
    }

    /// Records the owner.
    pub(crate) fn set_owner(&mut self, owner: Uuid) {
        set(&mut self.document, "vaultOwner", Value::String(owner.to_string()));
    }

    /// Records the version of an org's vault that this checkout has seen.
    pub(crate) fn set_org_version(&mut self, org: &str, version: i32) {
        let mut sync = object(self.get("vaultSync"));
        let mut versions =
            object(sync.iter().find_map(|(key, value)| (key == "orgVersions").then_some(value)));
        set(&mut versions, org, Value::Number(version.into()));
        set(&mut sync, "orgVersions", Value::Object(versions));
        set(&mut self.document, "vaultSync", Value::Object(sync));
    }

    /// Records the version that this checkout has seen.
    pub(crate) fn set_version(&mut self, version: i32) {
        let mut sync = object(self.get("vaultSync"));
        set(&mut sync, "personalVersion", Value::Number(version.into()));
        set(&mut self.document, "vaultSync", Value::Object(sync));
    }

    /// Whether `oidc allow` opened the own copy of the vault, or an org's, to CI.
    ///
    /// Beside the pinned key, which is the server's for every vault: without this a server alone could have the
    /// key of a vault that nobody opened sent to it.
    pub(crate) fn is_open_to_ci(&self, org: Option<&str>) -> bool {
        let opened = self.get("ciEscrow");
        match org {
            None => opened.and_then(|opened| opened.get("personal")).and_then(Value::as_bool) == Some(true),
            Some(org) => {
                let orgs = opened.and_then(|opened| opened.get("orgs")).and_then(Value::as_array);
                orgs.unwrap_or_default().iter().any(|name| name.as_str() == Some(org))
            }
        }
    }

    /// Records that the own copy of the vault, or an org's, is open to CI, or not any more.
    pub(crate) fn set_open_to_ci(&mut self, org: Option<&str>, open: bool) {
        let mut opened = object(self.get("ciEscrow"));
        match org {
            None => set(&mut opened, "personal", Value::Bool(open)),
            Some(org) => {
                let old = opened.iter().find_map(|(key, value)| (key == "orgs").then_some(value));
                let mut orgs = old.and_then(Value::as_array).unwrap_or_default().to_vec();
                orgs.retain(|name| name.as_str() != Some(org));
                if open {
                    orgs.push(Value::String(org.to_owned()));
                }
                set(&mut opened, "orgs", Value::Array(orgs));
            }
        }
        set(&mut self.document, "ciEscrow", Value::Object(opened));
    }

    /// What each variable is for, as `envSchema` declares it: with or without its `vars`.
    pub(crate) fn declared(&self) -> Option<&[(String, Value)]> {
        let declared = self.get("envSchema")?;
        declared.get("vars").and_then(Value::as_object).or_else(|| declared.as_object())
    }

    /// The directory of `lpm.json`.
    pub(crate) fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("."))
    }

    /// Pins the escrow key.
    pub(crate) fn set_escrow_key(&mut self, fingerprint: &str) {
        set(&mut self.document, "escrowKey", Value::String(fingerprint.to_owned()));
    }

    /// The name under which the vault knows an environment: `dev` is `development` where `lpm.json` has
    /// `"env": {"dev": ".env.development"}`.
    pub(crate) fn canonical(&self, environment: &str) -> String {
        let alias = self.get("env").and_then(|aliases| aliases.get(environment));
        alias.and_then(of_alias).unwrap_or_else(|| environment.to_owned())
    }

    /// What people call the project: as in `package.json`, else as in `lpm.json`, else its directory.
    pub(crate) fn name(&self) -> Option<String> {
        let directory = self.file.parent()?;
        let package = files::read(&directory.join("package.json")).ok().flatten();
        let package = package.and_then(|bytes| json::parse(&bytes, &Limits::BODY).ok());
        let name = package.as_ref().and_then(|package| package.get("name")).and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).or_else(|| self.text("name"));
        name.map(str::to_owned).or_else(|| Some(directory.file_name()?.to_string_lossy().into_owned()))
    }

    /// The part of `lpm.json` that a push tells the server, nothing secret: aliases and what variables are for.
    pub(crate) fn schema(&self) -> Result<Box<RawValue>> {
        let mut schema = vec![("version".to_owned(), Value::Number(2.into()))];
        if let Some(declared) = self.get("envSchema").filter(|declared| declared.as_object().is_some()) {
            let flat = declared.get("vars").filter(|vars| vars.as_object().is_some()).unwrap_or(declared);
            schema.push(("envSchema".to_owned(), flat.clone()));
        }
        let aliases = self.get("env").and_then(Value::as_object).unwrap_or_default();
        let aliases: Vec<_> =
            aliases.iter().filter_map(|(alias, to)| Some((alias.clone(), described(to)?))).collect();
        if !aliases.is_empty() {
            schema.push(("envConfig".to_owned(), Value::Object(aliases)));
        }
        if let Some(environments) = self.get("environments").filter(|value| value.as_object().is_some()) {
            schema.push(("environments".to_owned(), environments.clone()));
        }
        serde_json::value::to_raw_value(&Ordered(&Value::Object(schema)))
            .map_err(|error| Error::failure(error.to_string()))
    }
}

/// The file that an alias stands for: its text, or `file` of an object.
fn file_of(alias: &Value) -> Option<&str> {
    alias.as_str().or_else(|| alias.get("file").and_then(Value::as_str))
}

/// The environment that an alias stands for: `canonical` where it is written out, else the end of its
/// file's name, `.env.development`; plain `.env` is the environment `default`.
fn of_alias(alias: &Value) -> Option<String> {
    if let Some(canonical) = alias.get("canonical").and_then(Value::as_str) {
        return Some(canonical.to_owned());
    }
    let file = file_of(alias)?.rsplit('/').next()?;
    match file.strip_prefix(".env") {
        Some("") => Some(lpm_core::environment::DEFAULT.to_owned()),
        Some(rest) => rest.strip_prefix('.').filter(|name| !name.is_empty()).map(str::to_owned),
        None => None,
    }
}

/// `{"canonical": …, "file": …}`, as the server reads it.
fn described(alias: &Value) -> Option<Value> {
    let mut object = vec![("canonical".to_owned(), Value::String(of_alias(alias)?))];
    object.extend(file_of(alias).map(|file| ("file".to_owned(), Value::String(file.to_owned()))));
    Some(Value::Object(object))
}

/// The members of an object; none where there is no object.
fn object(value: Option<&Value>) -> Vec<(String, Value)> {
    value.and_then(Value::as_object).unwrap_or_default().to_vec()
}

fn set(members: &mut Vec<(String, Value)>, name: &str, value: Value) {
    match members.iter_mut().find(|(key, _)| key == name) {
        Some((_, old)) => *old = value,
        None => members.push((name.to_owned(), value)),
    }
}

/// The blanks before the first member, where it has a line of its own.
fn indent(text: &[u8]) -> String {
    let after = text.iter().position(|&byte| byte == b'\n').map_or(&[][..], |at| &text[at + 1..]);
    let blanks: Vec<u8> = after.iter().copied().take_while(|byte| matches!(byte, b' ' | b'\t')).collect();
    String::from_utf8(blanks).ok().filter(|blanks| !blanks.is_empty()).unwrap_or_else(|| "  ".to_owned())
}

/// A value that is written in its own order.
struct Ordered<'a>(&'a Value);

impl serde::Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => number.serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(&Ordered(item)))?;
                list.end()
            }
            Value::Object(members) => serialize_object(members, serializer),
        }
    }
}

fn serialize_object<S: Serializer>(members: &[(String, Value)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(members.len()))?;
    members.iter().try_for_each(|(name, value)| object.serialize_entry(name, &Ordered(value)))?;
    object.end()
}

#[cfg(test)]
mod tests;
