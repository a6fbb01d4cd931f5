//! One pass over a payload of either shape.

use super::{DEFAULT, EnvironmentError};
use crate::secret::Secret;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// What is done with a payload's content.
pub(super) trait Sink {
    /// The payload has this environment: are its variables wanted? Asked once for each.
    fn wants(&mut self, environment: &str) -> bool;
    /// A variable of a wanted environment; `value` is a JSON string as it stands in the payload, checked.
    fn variable(&mut self, environment: &str, name: &str, value: &str);
}

/// Shows every environment of the payload, and every variable that is wanted, to the `sink`.
pub(super) fn walk(plaintext: &Secret, sink: &mut impl Sink) -> Result<(), EnvironmentError> {
    let problem = |expected| EnvironmentError::Type { path: "the payload".to_owned(), expected };
    let text = plaintext.expose_str().ok_or_else(|| problem("UTF-8"))?;
    let mut walker = Walker { sink, path: "the payload".to_owned(), expected: "a JSON object" };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walked = Payload(&mut walker).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    // serde's own text may quote the vault; only its kind is used.
    walked.map_err(|error| match error.classify() {
        Category::Data => EnvironmentError::Type { path: walker.path, expected: walker.expected },
        Category::Syntax | Category::Eof | Category::Io => problem("valid JSON"),
    })
}

/// Where the walk stands, so that an error of the deserializer can be turned into a path.
struct Walker<'s, S> {
    sink: &'s mut S,
    path: String,
    expected: &'static str,
}

impl<S: Sink> Walker<'_, S> {
    fn at(&mut self, path: String, expected: &'static str) {
        self.path = path;
        self.expected = expected;
    }

    /// Fails at `path`; the error itself says nothing.
    fn fail<E: serde::de::Error>(&mut self, path: String, expected: &'static str) -> E {
        self.at(path, expected);
        E::custom("")
    }

    fn variable<E: serde::de::Error>(
        &mut self,
        names: &mut HashSet<String>,
        place: (&str, &str),
        name: Cow<'_, str>,
        value: &RawValue,
    ) -> Result<(), E> {
        let (prefix, environment) = place;
        if !is_string(value.get()) {
            return Err(self.fail(format!("{prefix}{name}"), "a string"));
        }
        self.sink.variable(environment, &name, value.get());
        if names.contains(&*name) {
            return Err(self.fail(format!("{prefix}{name}"), "there only once"));
        }
        names.insert(name.into_owned());
        Ok(())
    }
}

/// The top level.
struct Payload<'w, 's, S>(&'w mut Walker<'s, S>);

impl<'de, S: Sink> DeserializeSeed<'de> for Payload<'_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Payload<'_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let walker = self.0;
        let mut names = HashSet::new();
        let mut nested = false;
        // Asked at the first variable, because an empty payload has no environment at all.
        let mut flat: Option<bool> = None;
        while let Some(Name(name)) = map.next_key()? {
            if name == "environments" {
                walker.at("environments".to_owned(), "an object");
                match map.next_value_seed(Nested(walker))? {
                    None if nested => return Err(walker.fail("environments".to_owned(), "there only once")),
                    None => nested = true,
                    // A flat payload may well have a variable of that name.
                    Some(text) => {
                        let wanted = *flat.get_or_insert_with(|| walker.sink.wants(DEFAULT));
                        let value = serde_json::value::to_raw_value(&*text).map_err(A::Error::custom)?;
                        if wanted {
                            walker.variable(&mut names, ("", DEFAULT), name, &value)?;
                        }
                    }
                }
            } else if nested {
                map.next_value::<IgnoredAny>()?;
                flat = Some(false);
            } else if *flat.get_or_insert_with(|| walker.sink.wants(DEFAULT)) {
                let value = map.next_value::<&RawValue>()?;
                walker.variable(&mut names, ("", DEFAULT), name, value)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if nested && flat.is_some() {
            return Err(walker.fail("the payload".to_owned(), "either `environments` alone or variables"));
        }
        Ok(())
    }
}

/// The value of `environments`: walked if it is an object, handed back if it is a string.
struct Nested<'w, 's, S>(&'w mut Walker<'s, S>);

impl<'de, S: Sink> DeserializeSeed<'de> for Nested<'_, '_, S> {
    type Value = Option<zeroize::Zeroizing<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Nested<'_, '_, S> {
    type Value = Option<zeroize::Zeroizing<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(zeroize::Zeroizing::new(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = HashSet::new();
        while let Some(Name(environment)) = map.next_key()? {
            if seen.contains(&*environment) {
                return Err(self.0.fail(format!("environments.{environment}"), "there only once"));
            }
            if self.0.sink.wants(&environment) {
                self.0.at(format!("environments.{environment}"), "an object");
                map.next_value_seed(Variables(self.0, &environment))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            seen.insert(environment.into_owned());
        }
        Ok(None)
    }
}

/// The variables of one wanted environment.
struct Variables<'w, 's, 'n, S>(&'w mut Walker<'s, S>, &'n str);

impl<'de, S: Sink> DeserializeSeed<'de> for Variables<'_, '_, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Variables<'_, '_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let prefix = format!("environments.{}.", self.1);
        let mut names = HashSet::new();
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value::<&RawValue>()?;
            self.0.variable(&mut names, (&prefix, self.1), name, value)?;
        }
        Ok(())
    }
}

/// A member's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Whether valid JSON text is a string that stands for text: no half of a surrogate pair is alone.
///
/// A raw value is checked by the deserializer for syntax only, and `"\ud800"` is syntactically fine.
fn is_string(json: &str) -> bool {
    let Some(mut rest) = json.strip_prefix('"') else { return false };
    let unit = |at: &str| at.strip_prefix("\\u").and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok());
    while let Some(at) = rest.find('\\') {
        rest = &rest[at..];
        let length = match unit(rest) {
            None => 2,
            Some(0xD800..=0xDBFF) if matches!(unit(&rest[6..]), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => return false,
            Some(_) => 6,
        };
        rest = &rest[length..];
    }
    true
}
