//! Patterns for branch and tag names: `*` stays within a `/` segment, `**` crosses.
//!
//! Names are data and patterns are patterns: no regular expression, no SQL LIKE, no escapes, no
//! negation. None is needed, because git allows neither `*` nor any other character that a pattern
//! refuses in a name (git-check-ref-format(1)), so every name is a pattern that matches exactly itself.
//! Matching simulates an automaton, all of its states at once: each byte of the name costs the same few
//! operations, whatever either holds.

mod states;

use serde::{Deserialize, Serialize};
use states::Machine;
use std::fmt;

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 256;

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing would ever match it.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`MAX_PATTERN`].
    #[error("must be at most {MAX_PATTERN} bytes long")]
    TooLong,
    /// A character that no branch or tag name can hold: someone expects another kind of pattern.
    #[error("holds `{}`, which no branch or tag name can hold (wildcards are `*` and `**`)", .0.escape_default())]
    Character(char),
    /// `***` and longer.
    #[error("holds `***`: wildcards are `*` (within one `/` segment) and `**` (across them)")]
    Stars,
}

/// A parsed pattern; compares, orders and prints as its text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Pattern {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// This byte.
    Byte(u8),
    /// Any run of bytes without `/`.
    Segment,
    /// Any run of bytes.
    Any,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When the text is empty, too long, or holds what no name can hold.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| no_name_holds(*c)) {
            return Err(PatternError::Character(c));
        }
        if text.contains("***") {
            return Err(PatternError::Stars);
        }
        let mut steps = Vec::with_capacity(text.len());
        for byte in text.bytes() {
            match (byte, steps.last_mut()) {
                (b'*', Some(last @ Step::Segment)) => *last = Step::Any,
                (b'*', _) => steps.push(Step::Segment),
                _ => steps.push(Step::Byte(byte)),
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// Whether the whole of `name` fits: bytes, case-sensitive.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if !self.has_wildcard() {
            return self.text == name;
        }
        Machine::new(&self.steps).accepts(name.as_bytes())
    }

    /// Whether more than one name can fit.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.steps.iter().any(|step| !matches!(step, Step::Byte(_)))
    }

    /// The text up to the first wildcard.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or_default()
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Control characters and those that git-check-ref-format(1) forbids, without the wildcard.
fn no_name_holds(c: char) -> bool {
    c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '[' | '\\')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, PatternError> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect(text)
    }

    #[test]
    fn a_pattern_matches_what_it_says_and_nothing_else() {
        // (pattern, name, fits)
        let table = [
            ("main", "main", true),
            ("release/*", "release/1.0", true),
            ("release/**", "release/x/y", true),
            ("**", "feature/a/b", true),
            ("*", "main", true),
            ("v*.*", "v1.2", true),
            ("a*b*c", "axxbxxbxxc", true),
            ("a**c", "a/b/c", true),
            ("*/main", "team/main", true),
            ("v*", "v", true),
            ("main", "main2", false),
            ("main", "xmain", false),
            ("main", "Main", false),
            ("main", "mai", false),
            ("*", "", true),
            ("main", "", false),
            ("main", "refs/heads/main", false),
        ];
        for (text, name, fits) in table {
            assert_eq!(pattern(text).matches(name), fits, "`{text}` and `{name}`");
        }
    }

    #[test]
    fn what_no_name_can_hold_is_refused_in_a_pattern() {
        for (text, expected) in [
            ("", PatternError::Empty),
            ("***", PatternError::Stars),
            ("a/***/b", PatternError::Stars),
            ("^main$", PatternError::Character('^')),
            ("rel?", PatternError::Character('?')),
            ("[a-z]*", PatternError::Character('[')),
            ("a\\*", PatternError::Character('\\')),
            ("a b", PatternError::Character(' ')),
            ("a:b", PatternError::Character(':')),
            ("a~1", PatternError::Character('~')),
            ("a\0", PatternError::Character('\0')),
            ("a\n", PatternError::Character('\n')),
            ("a\u{7F}", PatternError::Character('\u{7F}')),
        ] {
            assert_eq!(Pattern::parse(text).err(), Some(expected), "{text:?}");
        }
        assert!(Pattern::parse(&"a".repeat(MAX_PATTERN)).is_ok());
        assert_eq!(Pattern::parse(&"a".repeat(MAX_PATTERN + 1)).err(), Some(PatternError::TooLong));
    }

    #[test]
    fn agrees_with_the_definition_on_every_short_pattern_and_name() {
        /// The definition, word by word, in exponential time.
        fn defined(pattern: &[u8], name: &[u8]) -> bool {
            match pattern {
                [] => name.is_empty(),
                [b'*', b'*', rest @ ..] => (0..=name.len()).any(|n| defined(rest, &name[n..])),
                [b'*', rest @ ..] => (0..=name.len())
                    .take_while(|n| !name[..*n].contains(&b'/'))
                    .any(|n| defined(rest, &name[n..])),
                [byte, rest @ ..] => name.first() == Some(byte) && defined(rest, &name[1..]),
            }
        }
        fn words(alphabet: &[u8], longest: usize) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut from = 0;
            for _ in 0..longest {
                let to = all.len();
                for i in from..to {
                    for byte in alphabet {
                        all.push(format!("{}{}", all[i], char::from(*byte)));
                    }
                }
                from = to;
            }
            all
        }
        let names = words(b"a/b", 5);
        for text in words(b"a/*", 6).iter().filter(|text| !text.is_empty() && !text.contains("***")) {
            let pattern = pattern(text);
            for name in &names {
                assert_eq!(
                    pattern.matches(name),
                    defined(text.as_bytes(), name.as_bytes()),
                    "`{text}`, `{name}`"
                );
            }
        }
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        assert_eq!(format!("{0} {0:?}", pattern("release/**")), r#"release/** "release/**""#);
    }

    #[test]
    fn the_literal_prefix_ends_at_the_first_wildcard() {
        assert_eq!(pattern("dependabot/**").literal_prefix(), "dependabot/");
        assert_eq!(pattern("**").literal_prefix(), "");
        assert_eq!(pattern("main").literal_prefix(), "main");
    }
}
