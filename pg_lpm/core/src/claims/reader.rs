//! Takes typed claims out of a payload.

use super::error::ClaimsError;
use crate::json::Value;

/// The claims that both providers share.
const REGISTERED: &[&str] = &["iss", "sub", "aud", "jti", "iat", "exp", "nbf"];

/// Largest integer that every JSON parser reads exactly.
const MAX_INTEGER: i64 = 1 << 53;

/// Longest decimal id: that of a 64-bit number.
const MAX_ID: usize = 20;

/// A payload's members, from which each claim is taken once.
pub(super) struct Reader {
    members: Vec<(String, Value)>,
    names: &'static [&'static str],
}

impl Reader {
    /// Refuses names that differ from a claim's name only in case, before anything is read.
    pub(super) fn new(payload: Value, names: &'static [&'static str]) -> Result<Self, ClaimsError> {
        let Value::Object(members) = payload else { return Err(ClaimsError::NotAnObject) };
        for (name, _) in &members {
            if let Some(folded) = folded(name) {
                let known = REGISTERED.iter().chain(names).find(|known| **known == folded);
                if let Some(claim) = known {
                    return Err(ClaimsError::LookAlike { claim });
                }
            }
        }
        Ok(Self { members, names })
    }

    /// The claim's value; `Null` where it is absent, because the two never differ in meaning.
    fn take(&mut self, claim: &'static str) -> Value {
        debug_assert!(REGISTERED.contains(&claim) || self.names.contains(&claim), "unlisted: {claim}");
        match self.members.iter().position(|(name, _)| name == claim) {
            Some(at) => self.members.swap_remove(at).1,
            None => Value::Null,
        }
    }

    /// A string, or `None` where it is absent, null or empty.
    pub(super) fn optional(&mut self, claim: &'static str) -> Result<Option<String>, ClaimsError> {
        match self.take(claim) {
            Value::Null => Ok(None),
            Value::String(text) => Ok((!text.is_empty()).then_some(text)),
            _ => Err(ClaimsError::Type { claim, expected: "a string" }),
        }
    }

    /// A string that is there and not empty.
    pub(super) fn required(&mut self, claim: &'static str) -> Result<String, ClaimsError> {
        match self.take(claim) {
            Value::Null => Err(ClaimsError::Missing { claim }),
            Value::String(text) if text.is_empty() => Err(ClaimsError::Empty { claim }),
            Value::String(text) => Ok(text),
            _ => Err(ClaimsError::Type { claim, expected: "a string" }),
        }
    }

    /// A required string of at most `max` bytes.
    pub(super) fn at_most(&mut self, claim: &'static str, max: usize) -> Result<String, ClaimsError> {
        let text = self.required(claim)?;
        if text.len() > max { Err(ClaimsError::TooLong { claim, max }) } else { Ok(text) }
    }

    /// `aud`: exactly one string. A list is refused even with one item: a second reader might take
    /// another item, and no client that we know needs one.
    pub(super) fn audience(&mut self) -> Result<String, ClaimsError> {
        let claim = "aud";
        match self.take(claim) {
            Value::Null => Err(ClaimsError::Missing { claim }),
            Value::String(text) if text.is_empty() => Err(ClaimsError::Empty { claim }),
            Value::String(text) => Ok(text),
            Value::Array(_) => {
                Err(ClaimsError::Type { claim, expected: "exactly one string, not a list of audiences" })
            }
            _ => Err(ClaimsError::Type { claim, expected: "exactly one string" }),
        }
    }

    /// A required time in whole seconds.
    pub(super) fn time(&mut self, claim: &'static str) -> Result<i64, ClaimsError> {
        self.optional_time(claim)?.ok_or(ClaimsError::Missing { claim })
    }

    /// A time in whole seconds.
    pub(super) fn optional_time(&mut self, claim: &'static str) -> Result<Option<i64>, ClaimsError> {
        match self.take(claim) {
            Value::Null => Ok(None),
            value => match value.as_i64() {
                Some(time @ 0..=MAX_INTEGER) => Ok(Some(time)),
                _ => Err(ClaimsError::Type { claim, expected: "a whole number of seconds since 1970" }),
            },
        }
    }

    /// A boolean, which both providers write as a string.
    pub(super) fn flag(&mut self, claim: &'static str) -> Result<Option<bool>, ClaimsError> {
        let expected = "the string `true` or `false`";
        match self.take(claim) {
            Value::Null => Ok(None),
            Value::String(text) => match text.as_str() {
                "" => Ok(None),
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(ClaimsError::Type { claim, expected }),
            },
            _ => Err(ClaimsError::Type { claim, expected }),
        }
    }

    /// An id: a decimal number in a string. One spelling only, so that equal ids are equal strings.
    pub(super) fn optional_id(&mut self, claim: &'static str) -> Result<Option<String>, ClaimsError> {
        let expected = "a decimal number in a string";
        match self.take(claim) {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) if is_id(&text) => Ok(Some(text)),
            _ => Err(ClaimsError::Type { claim, expected }),
        }
    }

    /// An id that must be there. An empty one is missing: no issuer has an object without id.
    pub(super) fn id(&mut self, claim: &'static str) -> Result<String, ClaimsError> {
        self.optional_id(claim)?.ok_or(ClaimsError::Missing { claim })
    }

    /// A single name, such as an owner's.
    pub(super) fn name(&mut self, claim: &'static str) -> Result<String, ClaimsError> {
        let name = self.required(claim)?;
        if is_name(&name) { Ok(name) } else { Err(ClaimsError::Type { claim, expected: "a name" }) }
    }

    /// GitHub's `owner/name`.
    pub(super) fn repository(&mut self, claim: &'static str) -> Result<String, ClaimsError> {
        let path = self.required(claim)?;
        let shaped = path.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name));
        if shaped { Ok(path) } else { Err(ClaimsError::Type { claim, expected: "`owner/name`" }) }
    }

    /// GitLab's `group/project`, or with any number of subgroups.
    pub(super) fn optional_project(&mut self, claim: &'static str) -> Result<Option<String>, ClaimsError> {
        let Some(path) = self.optional(claim)? else { return Ok(None) };
        if path.contains('/') && path.split('/').all(is_name) {
            Ok(Some(path))
        } else {
            Err(ClaimsError::Type { claim, expected: "`group/project`" })
        }
    }

    /// A project's path that must be there.
    pub(super) fn project(&mut self, claim: &'static str) -> Result<String, ClaimsError> {
        self.optional_project(claim)?.ok_or(ClaimsError::Missing { claim })
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit())
}

/// A name that both providers allow for owners, groups, repositories and projects. Anything else would
/// stand in audit rows and in the commands that hints propose.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The name as its letters fold, or `None` where it is in lower case already.
///
/// Besides A–Z, ſ (U+017F) and K (U+212A) fold to ASCII letters, and by Unicode's full rules ß and ligatures
/// such as ﬂ to several of them; İ and ı do so in Turkish.
fn folded(name: &str) -> Option<String> {
    if name.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return None;
    }
    // The two whose upper case is themselves; of all others it is what they fold to.
    let name = name.replace('\u{130}', "i").replace('\u{1E9E}', "ss");
    Some(name.to_uppercase().to_lowercase())
}
