//! What the command line says when something fails, and the exit code that goes with it.

use lpm_core::failure::{Failure, exit};
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// The result of nearly everything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure in the user's words: never a value, a key or a token.
///
/// In a box, because nearly every function's result has room for one.
#[derive(Debug)]
pub(crate) struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    message: String,
    hint: Option<String>,
    code: String,
    request_id: Option<String>,
    exit: u8,
    status: Option<u16>,
    transient: Option<Transient>,
}

/// A failure that may go away by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transient {
    /// What the server can have done with the request.
    pub reached: Reached,
    /// How long the server asked to wait.
    pub after: Option<Duration>,
}

/// How far a failed request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// There was no connection: nothing was sent.
    Nothing,
    /// The server answered that it did nothing.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Error {
    fn new(message: impl Into<String>, code: &str, exit: u8) -> Self {
        let (message, code) = (message.into(), code.to_owned());
        let (hint, request_id, status, transient) = (None, None, None, None);
        Self(Box::new(Parts { message, hint, code, request_id, exit, status, transient }))
    }

    /// The command or its input is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(message, "usage", exit::USAGE)
    }

    /// Something local failed, or the server's answer makes no sense.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(message, "failure", exit::FAILURE)
    }

    /// Nobody answered.
    pub(crate) fn unavailable(message: impl Into<String>, reached: Reached) -> Self {
        let mut error = Self::new(message, "unavailable", exit::UNAVAILABLE);
        error.0.transient = Some(Transient { reached, after: None });
        error
    }

    /// What a server answered.
    pub(crate) fn answered(message: impl Into<String>, code: Option<String>, exit: u8) -> Self {
        Self::new(message, code.as_deref().unwrap_or("server_error"), exit)
    }

    /// A file or directory that could not be read or written.
    pub(crate) fn file(verb: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::failure(format!("cannot {verb} `{}`: {error}", path.display()))
    }

    /// The next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    /// The id under which the server knows the request.
    pub(crate) fn request_id(mut self, id: Option<String>) -> Self {
        self.0.request_id = id;
        self
    }

    /// The HTTP status that it came with.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// The exit code.
    pub(crate) fn exit(mut self, exit: u8) -> Self {
        self.0.exit = exit;
        self
    }

    /// That it may go away by itself.
    pub(crate) fn transient(mut self, transient: Option<Transient>) -> Self {
        self.0.transient = transient;
        self
    }

    /// The machine code.
    pub(crate) fn code(&self) -> &str {
        &self.0.code
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.exit
    }

    /// The HTTP status that it came with.
    pub(crate) fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Whether it may go away by itself.
    pub(crate) fn is_transient(&self) -> Option<Transient> {
        self.0.transient
    }

    /// Another failure for the same request.
    pub(crate) fn replaced_by(self, failure: &Failure) -> Self {
        let mut error = Self::from(failure.clone());
        error.0.hint = self.0.hint.or(error.0.hint);
        error.0.request_id = self.0.request_id;
        error
    }

    /// The lines for people, without their prefix.
    pub(crate) fn lines(&self) -> Vec<String> {
        let hint = self.0.hint.iter().map(|hint| format!("hint: {hint}"));
        let id = self.0.request_id.iter().map(|id| format!("request id: {id}"));
        std::iter::once(self.0.message.clone()).chain(hint).chain(id).collect()
    }

    /// The object for `--json`.
    pub(crate) fn json(&self) -> serde_json::Value {
        let mut object = json!({ "success": false, "error": self.0.message, "code": self.0.code });
        if let Some(hint) = &self.0.hint {
            object["hint"] = hint.as_str().into();
        }
        if let Some(id) = &self.0.request_id {
            object["requestId"] = id.as_str().into();
        }
        object
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.text(), failure.code.as_str(), failure.code.exit_code()).hint(failure.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::failure::Code;

    #[test]
    fn a_failure_of_the_table_keeps_text_hint_code_and_exit_code() {
        let error = Error::from(Failure::new(Code::BranchNotAllowed).with("branch", "feature/x"));
        assert_eq!(error.exit_code(), exit::DENIED);
        assert_eq!(error.code(), "branch_not_allowed");
        let lines = error.request_id(Some("r1".into())).lines();
        assert_eq!(lines[0], "the branch `feature/x` is not allowed to pull");
        assert!(
            lines[1].starts_with("hint: allow it: `lpm env oidc allow … --branch=feature/x`"),
            "{lines:?}"
        );
        assert_eq!(lines[2], "request id: r1");
    }

    #[test]
    fn an_error_without_hint_has_no_hint_in_json() {
        let json = Error::usage("no").hint("").json();
        assert_eq!(json, json!({"success": false, "error": "no", "code": "usage"}));
    }
}
