//! A second reading of JSON: everything that `serde_json` reads, names that occur twice included.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Number;
use std::fmt;

/// A JSON value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Doc {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
}

impl Doc {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The first member `name` of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Doc> {
        self.members().iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The members of an object; of anything else none.
    pub(crate) fn members(&self) -> &[(String, Doc)] {
        if let Doc::Object(members) = self { members } else { &[] }
    }

    pub(crate) fn str(&self) -> Option<&str> {
        if let Doc::String(text) = self { Some(text) } else { None }
    }

    /// The text of a member that is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.str()
    }

    /// The strings of a member that is a list of nothing else.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let Doc::Array(items) = self.get(name)? else { return None };
        items.iter().map(Doc::str).collect()
    }

    /// Whether the member is absent or null.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        matches!(self.get(name), None | Some(Doc::Null))
    }

    /// Whether a name occurs twice in this object.
    pub(crate) fn has_duplicate(&self) -> bool {
        let names = self.members().iter().map(|(name, _)| name);
        names.collect::<std::collections::HashSet<_>>().len() < self.members().len()
    }

    /// With every list and object reversed: the same to whoever gives order no meaning. Fractions are left
    /// out, because `serde_json` does not always read back the one that it has written.
    pub(crate) fn reversed(&self) -> Self {
        match self {
            Doc::Array(items) => Doc::Array(items.iter().rev().map(Doc::reversed).collect()),
            Doc::Object(members) => Doc::Object(
                members.iter().rev().map(|(name, value)| (name.clone(), value.reversed())).collect(),
            ),
            Doc::Number(number) if number.is_f64() => Doc::Null,
            other => other.clone(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("values without exotic keys always serialize")
    }
}

impl<'de> Deserialize<'de> for Doc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocVisitor)
    }
}

struct DocVisitor;

impl<'de> Visitor<'de> for DocVisitor {
    type Value = Doc;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Doc, E> {
        Ok(Doc::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Doc, E> {
        Ok(Doc::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Doc, E> {
        Ok(Doc::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Doc, E> {
        Ok(Doc::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Doc, E> {
        Ok(Doc::Number(Number::from_f64(value).expect("serde_json reads finite numbers only")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Doc, E> {
        Ok(Doc::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Doc, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Doc::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Doc, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Doc::Object(members))
    }
}

impl Serialize for Doc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Doc::Null => serializer.serialize_unit(),
            Doc::Bool(value) => serializer.serialize_bool(*value),
            Doc::Number(value) => value.serialize(serializer),
            Doc::String(text) => serializer.serialize_str(text),
            Doc::Array(items) => items.serialize(serializer),
            Doc::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}
