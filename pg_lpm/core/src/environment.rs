//! Environments: what a decrypted vault holds, and how one of them is taken out.
//!
//! A payload has one of two shapes: `{"environments": {"production": {"KEY": "value"}}}`, or the flat
//! `{"KEY": "value"}` of older clients, which is the environment `default`.
//!
//! [`select`] is what the server does for a CI job. It goes over the text once: what was not asked for is
//! skipped without being built, and the values that were asked for are copied as they stand, escapes and
//! all, into the finished answer. Errors name a path and what should be there, never any text of the vault.

use crate::failure::{Code, Failure};
use crate::secret::Secret;
use std::collections::BTreeMap;
use zeroize::{Zeroize, Zeroizing};

mod walk;

use walk::{Sink, walk};

/// The environment of a flat payload, and of a request that names none.
pub const DEFAULT: &str = "default";

/// Why an environment could not be taken out of a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// The payload has the environment, but the caller may not have it.
    #[error("the environment `{0}` is not allowed")]
    NotAllowed(String),
    /// The payload has no such environment, or an empty one.
    #[error("there is no environment `{0}`")]
    Absent(String),
    /// The payload has the wrong form.
    #[error("{path} must be {expected}")]
    Type {
        /// Where; names only.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
}

impl EnvironmentError {
    /// The row of the failure table.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::NotAllowed(name) => Failure::new(Code::EnvironmentNotAllowed).with("environment", name),
            Self::Absent(name) => Failure::new(Code::EnvironmentAbsent).with("environment", name),
            Self::Type { path, expected } => {
                Failure::new(Code::PayloadType).with("path", path).with("expected", expected)
            }
        }
    }
}

/// One environment, ready to be sent.
pub struct Selected {
    /// Its name in the vault.
    pub name: String,
    /// `{"env":"…","vars":{…}}`.
    pub body: Secret,
    /// How many variables it has.
    pub count: usize,
}

/// Takes the environment `asked` out of a decrypted vault.
///
/// `permitted` are the names that the decision allows, in the order to try. An alias (a permitted name
/// that is not `asked`) is used only where no environment has the name itself, so that what a policy says
/// about a name cannot be reached through another one. An empty environment counts as absent: CI never
/// gets an empty success.
pub fn select(plaintext: &Secret, asked: &str, permitted: &[String]) -> Result<Selected, EnvironmentError> {
    let mut sink = Answers { asked, permitted, has_asked: false, answers: Vec::new() };
    walk(plaintext, &mut sink)?;
    let has_asked = sink.has_asked;
    if has_asked && !permitted.iter().any(|name| name == asked) {
        return Err(EnvironmentError::NotAllowed(asked.to_owned()));
    }
    permitted
        .iter()
        .filter(|name| !has_asked || *name == asked)
        .find_map(|name| {
            let found = sink.answers.iter().position(|answer| answer.name == *name)?;
            Some(sink.answers.swap_remove(found))
        })
        .filter(|answer| answer.count > 0)
        .map(Answer::finish)
        .ok_or_else(|| EnvironmentError::Absent(asked.to_owned()))
}

/// Builds the answers of the permitted environments (one, or two where there is an alias).
struct Answers<'a> {
    asked: &'a str,
    permitted: &'a [String],
    has_asked: bool,
    answers: Vec<Answer>,
}

impl Sink for Answers<'_> {
    fn wants(&mut self, environment: &str) -> bool {
        self.has_asked |= environment == self.asked;
        let wanted = self.permitted.iter().any(|name| name == environment);
        if wanted {
            self.answers.push(Answer::new(environment));
        }
        wanted
    }

    fn variable(&mut self, _environment: &str, name: &str, value: &str) {
        if let Some(answer) = self.answers.last_mut() {
            answer.variable(name, value);
        }
    }
}

/// An answer while it is being written.
struct Answer {
    name: String,
    count: usize,
    body: Buffer,
}

impl Answer {
    fn new(name: &str) -> Self {
        let mut body = Buffer(Vec::with_capacity(4096));
        body.push(b"{\"env\":");
        body.push(quote(name).as_bytes());
        body.push(b",\"vars\":{");
        Self { name: name.to_owned(), count: 0, body }
    }

    /// `value` is JSON already.
    fn variable(&mut self, name: &str, value: &str) {
        if self.count > 0 {
            self.body.push(b",");
        }
        self.body.push(quote(name).as_bytes());
        self.body.push(b":");
        self.body.push(value.as_bytes());
        self.count += 1;
    }

    fn finish(mut self) -> Selected {
        self.body.push(b"}}");
        Selected { name: self.name, count: self.count, body: Secret::new(std::mem::take(&mut self.body.0)) }
    }
}

/// Bytes that leave no copy behind when they grow, nor when they are dropped.
struct Buffer(Vec<u8>);

impl Buffer {
    fn push(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(2 * self.0.capacity()));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// `text` as a JSON string.
fn quote(text: &str) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(text).expect("a string always serializes"))
}

/// The value of a variable: wiped when dropped, and without `Debug`, `Display` and `Serialize`.
pub struct Text(Zeroizing<String>);

impl Text {
    /// Takes over the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text. Keep what is derived from it as short-lived as possible.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// The variables of one environment, sorted by name.
pub type Vars = BTreeMap<String, Text>;

/// A whole vault in the clear, as the command line edits it.
#[derive(Default)]
pub struct Environments(pub BTreeMap<String, Vars>);

impl Environments {
    /// Reads either shape of payload.
    pub fn parse(plaintext: &Secret) -> Result<Self, EnvironmentError> {
        let mut sink = Everything(Self::default());
        walk(plaintext, &mut sink)?;
        Ok(sink.0)
    }

    /// The payload to push: `{"environments": {…}}`, sorted, without empty environments.
    #[must_use]
    pub fn to_payload(&self) -> Secret {
        let mut out = Buffer(Vec::with_capacity(4096));
        out.push(b"{\"environments\":{");
        for (i, (environment, vars)) in self.0.iter().filter(|(_, vars)| !vars.is_empty()).enumerate() {
            out.push(if i == 0 { b"" } else { b"," });
            out.push(quote(environment).as_bytes());
            out.push(b":{");
            for (i, (name, value)) in vars.iter().enumerate() {
                out.push(if i == 0 { b"" } else { b"," });
                out.push(quote(name).as_bytes());
                out.push(b":");
                out.push(quote(value.expose()).as_bytes());
            }
            out.push(b"}");
        }
        out.push(b"}}");
        Secret::new(std::mem::take(&mut out.0))
    }

    /// How many variables all environments have together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }
}

/// Keeps everything, decoded.
struct Everything(Environments);

impl Sink for Everything {
    fn wants(&mut self, environment: &str) -> bool {
        self.0.0.entry(environment.to_owned()).or_default();
        true
    }

    fn variable(&mut self, environment: &str, name: &str, value: &str) {
        let text = serde_json::from_str(value).expect("`walk` hands out checked JSON strings only");
        self.0.0.entry(environment.to_owned()).or_default().insert(name.to_owned(), text);
    }
}

#[cfg(test)]
mod tests;
