//! Our strict JSON parser against `serde_json`.
//!
//! What ours accepts, `serde_json` accepts with an equal value; what ours refuses and `serde_json` accepts
//! breaks one of our stricter rules, at the very place that the error names.

use crate::doc::Doc;
use lpm_core::json::{JsonError, Limits, Value, check, parse};

/// Limits that short inputs reach.
const TIGHT: Limits = Limits { depth: 3, members: 3, items: 4, string: 8 };

/// What `serde_json` says about syntax. Nothing else may stand in a text, least of all the document.
const SYNTAX: &[&str] = &[
    "EOF while parsing a list",
    "EOF while parsing an object",
    "EOF while parsing a string",
    "EOF while parsing a value",
    "expected `:`",
    "expected `,` or `]`",
    "expected `,` or `}`",
    "expected ident",
    "expected value",
    "invalid escape",
    "invalid number",
    "number out of range",
    "invalid unicode code point",
    "control character (\\u0000-\\u001F) found while parsing a string",
    "key must be a string",
    "lone leading surrogate in hex escape",
    "trailing comma",
    "trailing characters",
    "unexpected end of hex escape",
    "recursion limit exceeded",
];

/// JSON text under every set of limits.
pub fn json(data: &[u8]) {
    let doc = Doc::parse(data);
    for limits in [TIGHT, Limits::HEADER, Limits::CLAIMS, Limits::KEYS, Limits::BODY] {
        let ours = parse(data, &limits);
        assert_eq!(check(data, &limits), ours.clone().map(drop), "checking is parsing without keeping");
        match ours {
            Ok(value) => {
                let doc = doc.as_ref().expect("what we accept, serde_json accepts");
                assert!(same(&value, doc), "{value:?} is not {doc:?}");
                assert_eq!(broken(doc, &limits), [], "an accepted document breaks a rule");
                // written, not read: reading takes one name for a mark of its own, see `lpm_core::json`
                assert_eq!(Some(value.into()), serde_json::to_value(doc).ok());
            }
            Err(error) => refused_for_a_reason(&error, doc.as_ref(), &limits),
        }
    }
}

/// Asserts that the error is one of the rules that the document breaks; without a document it is no JSON.
pub(crate) fn refused_for_a_reason(error: &JsonError, doc: Option<&Doc>, limits: &Limits) {
    if let JsonError::Syntax(text) = error {
        let text = text.split(" at line ").next().unwrap_or_default();
        assert!(SYNTAX.contains(&text), "an error says something new: {text:?}");
    }
    if let Some(doc) = doc {
        let broken = broken(doc, limits);
        assert!(broken.contains(error), "{error:?} is not among {broken:?}");
    }
}

/// Every stricter rule that the document breaks, as the error that says so.
fn broken(doc: &Doc, limits: &Limits) -> Vec<JsonError> {
    let mut out = Vec::new();
    collect(doc, limits, "$".to_owned(), 0, &mut out);
    out
}

fn collect(doc: &Doc, limits: &Limits, path: String, depth: usize, out: &mut Vec<JsonError>) {
    if matches!(doc, Doc::Array(_) | Doc::Object(_)) && depth == limits.depth {
        out.push(JsonError::TooDeep { max: limits.depth });
    }
    match doc {
        Doc::Null | Doc::Bool(_) | Doc::Number(_) => {}
        Doc::String(text) => collect_text(text, limits, &path, out),
        Doc::Array(items) => {
            if items.len() > limits.items {
                out.push(JsonError::TooManyItems { path: path.clone(), max: limits.items });
            }
            for (n, item) in items.iter().enumerate() {
                collect(item, limits, format!("{path}[{n}]"), depth + 1, out);
            }
        }
        Doc::Object(members) => {
            if members.len() > limits.members {
                out.push(JsonError::TooManyMembers { path: path.clone(), max: limits.members });
            }
            if doc.has_duplicate() {
                out.push(JsonError::DuplicateName { path: path.clone() });
            }
            for (n, (name, value)) in members.iter().enumerate() {
                let path = format!("{path}{{{n}}}");
                collect_text(name, limits, &path, out);
                collect(value, limits, path, depth + 1, out);
            }
        }
    }
}

fn collect_text(text: &str, limits: &Limits, path: &str, out: &mut Vec<JsonError>) {
    if text.len() > limits.string {
        out.push(JsonError::StringTooLong { path: path.to_owned(), max: limits.string });
    }
    if text.contains('\0') {
        out.push(JsonError::Nul { path: path.to_owned() });
    }
}

/// Whether both are the same value with the same order.
fn same(ours: &Value, doc: &Doc) -> bool {
    match (ours, doc) {
        (Value::Null, Doc::Null) => true,
        (Value::Bool(a), Doc::Bool(b)) => a == b,
        (Value::Number(a), Doc::Number(b)) => a == b,
        (Value::String(a), Doc::String(b)) => a == b,
        (Value::Array(a), Doc::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Doc::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1))
        }
        _ => false,
    }
}
