//! Strict JSON: what two parsers could read differently is refused.
//!
//! One name twice, U+0000, a lone surrogate, a number beyond double or a document beyond its limits is
//! an error, at any depth. Errors say where and which rule, never a byte of the document: it may be a
//! token, a policy or a plaintext.

use crate::failure::{Code, Failure};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use std::fmt;

/// A JSON value whose objects keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, finite.
    Number(Number),
    /// A string without U+0000.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// An object: members in the order of the document, no name twice.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The member `name`, where this is an object that has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The value of a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    /// The value of a number that is written as an integer and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Value::Number(number) = self { number.as_i64() } else { None }
    }

    /// The items of a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(items) = self { Some(items) } else { None }
    }

    /// The members of an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        if let Value::Object(members) = self { Some(members) } else { None }
    }

    /// Whether this is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The type with its article, for texts.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }
}

impl From<Value> for serde_json::Value {
    /// The way to `serde_json::Value` for what others wrote. Its own reading takes an object whose first name is
    /// `$serde_json::private::RawValue` for the JSON in that member's text, as soon as any crate of a program turns
    /// on the feature `raw_value`.
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => value.into(),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => text.into(),
            Value::Array(items) => items.into_iter().map(Self::from).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (name, Self::from(value))).collect()
            }
        }
    }
}

/// How large a document may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lists and objects open at once.
    pub depth: usize,
    /// Members of one object.
    pub members: usize,
    /// Items of one list.
    pub items: usize,
    /// Bytes of one string or name, after its escapes are resolved.
    pub string: usize,
}

impl Limits {
    /// A token's header: one flat object.
    pub const HEADER: Limits = Limits { depth: 1, members: 8, items: 0, string: 2048 };
    /// A token's payload. GitLab nests two levels and lists at most 200 groups.
    pub const CLAIMS: Limits = Limits { depth: 8, members: 128, items: 256, string: 4096 };
    /// An issuer's published keys; certificate chains are the long strings.
    pub const KEYS: Limits = Limits { depth: 8, members: 32, items: 1024, string: 16 * 1024 };
    /// A request's body; an encrypted vault of 10 MiB in base64 is the long string.
    pub const BODY: Limits = Limits { depth: 64, members: 4096, items: 16 * 1024, string: 16 * 1024 * 1024 };
}

/// Why a document was refused.
///
/// In a path `$` is the document, `[n]` the n-th item and `{n}` the n-th member, counted from 0: names
/// are part of the document, so they are not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, not UTF-8, a lone surrogate, a number beyond double, or something behind the end.
    #[error("is not valid JSON: {0}")]
    Syntax(String),
    /// The same name twice in one object.
    #[error("has a member name twice in `{path}`")]
    DuplicateName {
        /// The object.
        path: String,
    },
    /// U+0000, which neither PostgreSQL nor C can keep.
    #[error("has U+0000 in `{path}`")]
    Nul {
        /// The string, or the member whose name it is.
        path: String,
    },
    /// More levels than allowed.
    #[error("is nested more than {max} levels deep")]
    TooDeep {
        /// What is allowed.
        max: usize,
    },
    /// An object with more members than allowed.
    #[error("has more than {max} members in `{path}`")]
    TooManyMembers {
        /// The object.
        path: String,
        /// What is allowed.
        max: usize,
    },
    /// A list with more items than allowed.
    #[error("has more than {max} items in `{path}`")]
    TooManyItems {
        /// The list.
        path: String,
        /// What is allowed.
        max: usize,
    },
    /// A longer string or name than allowed.
    #[error("has a string longer than {max} bytes in `{path}`")]
    StringTooLong {
        /// The string, or the member whose name it is.
        path: String,
        /// What is allowed.
        max: usize,
    },
}

impl JsonError {
    /// `bad_request`, for a document that is a request's body.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::new(Code::BadRequest).with("reason", format!("the request's body {self}"))
    }
}

/// Reads a whole document.
///
/// # Errors
///
/// The first rule that the document breaks.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    walk::<true>(bytes, limits)
}

/// Checks a document by the same rules without keeping it, for what is read by other means afterwards.
///
/// # Errors
///
/// As [`parse`].
pub fn check(bytes: &[u8], limits: &Limits) -> Result<(), JsonError> {
    walk::<false>(bytes, limits).map(drop)
}

fn walk<const KEEP: bool>(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    let mut state = State { limits, broken: None, trail: Vec::new() };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Seed::<KEEP> { state: &mut state, depth: 0 }.deserialize(&mut json);
    read.and_then(|value| json.end().map(|()| value)).map_err(|error| state.explain(&error))
}

/// A rule that a value broke.
#[derive(Clone, Copy)]
enum Rule {
    DuplicateName,
    Nul,
    TooDeep,
    TooManyMembers,
    TooManyItems,
    StringTooLong,
    NumberTooLarge,
}

/// A step towards the value that broke a rule.
#[derive(Clone, Copy)]
enum Step {
    Item(usize),
    Member(usize),
}

struct State<'l> {
    limits: &'l Limits,
    broken: Option<Rule>,
    /// Filled only while an error travels outwards, so innermost first.
    trail: Vec<Step>,
}

impl State<'_> {
    /// Notes the rule here, because serde's own errors can carry nothing but text.
    fn refuse<E: serde::de::Error>(&mut self, rule: Rule) -> E {
        self.broken = Some(rule);
        E::custom("refused")
    }

    fn check_text<E: serde::de::Error>(&mut self, text: &str) -> Result<(), E> {
        if text.len() > self.limits.string {
            return Err(self.refuse(Rule::StringTooLong));
        }
        if text.as_bytes().contains(&0) {
            return Err(self.refuse(Rule::Nul));
        }
        Ok(())
    }

    fn explain(&self, error: &serde_json::Error) -> JsonError {
        let Some(rule) = self.broken else {
            // Errors of syntax are fixed texts with a position. Only errors of data quote the document,
            // and there are none here that are not ours.
            let fixed = error.is_syntax() || error.is_eof();
            return JsonError::Syntax(if fixed { error.to_string() } else { "unreadable".to_owned() });
        };
        let mut path = String::from("$");
        for step in self.trail.iter().rev() {
            path += &match step {
                Step::Item(n) => format!("[{n}]"),
                Step::Member(n) => format!("{{{n}}}"),
            };
        }
        let limits = self.limits;
        match rule {
            Rule::DuplicateName => JsonError::DuplicateName { path },
            Rule::Nul => JsonError::Nul { path },
            Rule::TooDeep => JsonError::TooDeep { max: limits.depth },
            Rule::TooManyMembers => JsonError::TooManyMembers { path, max: limits.members },
            Rule::TooManyItems => JsonError::TooManyItems { path, max: limits.items },
            Rule::StringTooLong => JsonError::StringTooLong { path, max: limits.string },
            Rule::NumberTooLarge => JsonError::Syntax(format!("a number out of range in `{path}`")),
        }
    }
}

/// Reads one value; without `KEEP` it only checks and answers `Null`.
struct Seed<'s, 'l, const KEEP: bool> {
    state: &'s mut State<'l>,
    depth: usize,
}

impl<const KEEP: bool> Seed<'_, '_, KEEP> {
    fn open<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        if self.depth == self.state.limits.depth {
            return Err(self.state.refuse(Rule::TooDeep));
        }
        Ok(self.depth + 1)
    }
}

impl<'de, const KEEP: bool> DeserializeSeed<'de> for Seed<'_, '_, KEEP> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const KEEP: bool> Visitor<'de> for Seed<'_, '_, KEEP> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(self.state.refuse(Rule::NumberTooLarge)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.state.check_text(text)?;
        Ok(if KEEP { Value::String(text.to_owned()) } else { Value::Null })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Value, A::Error> {
        let depth = self.open()?;
        let state = self.state;
        let mut items = Vec::new();
        let mut count = 0;
        loop {
            let item = list
                .next_element_seed(Seed::<KEEP> { state, depth })
                .inspect_err(|_| state.trail.push(Step::Item(count)))?;
            let Some(item) = item else { return Ok(Value::Array(items)) };
            if count == state.limits.items {
                return Err(state.refuse(Rule::TooManyItems));
            }
            count += 1;
            if KEEP {
                items.push(item);
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Value, A::Error> {
        let depth = self.open()?;
        let state = self.state;
        let mut members = Vec::new();
        loop {
            let here = Step::Member(members.len());
            let name = object.next_key_seed(Name { state }).inspect_err(|_| state.trail.push(here))?;
            let Some(name) = name else { break };
            if members.len() == state.limits.members {
                return Err(state.refuse(Rule::TooManyMembers));
            }
            let value = object
                .next_value_seed(Seed::<KEEP> { state, depth })
                .inspect_err(|_| state.trail.push(here))?;
            members.push((name, value));
        }
        if any_twice(&members) {
            return Err(state.refuse(Rule::DuplicateName));
        }
        Ok(if KEEP { Value::Object(members) } else { Value::Null })
    }
}

/// Reads one member's name.
struct Name<'s, 'l> {
    state: &'s mut State<'l>,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        self.state.check_text(text)?;
        Ok(text.to_owned())
    }
}

fn any_twice(members: &[(String, Value)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
