//! Patterns against their definition, word by word.

use crate::input::all_texts;
use lpm_core::pattern::{MAX_PATTERN, Pattern};

/// Steps that the definition may take: it needs exponential time, and hostile inputs find that out.
const BUDGET: u32 = 100_000;

/// A pattern, then names.
pub fn patterns(data: &[u8]) {
    let Some(texts) = all_texts(data) else { return };
    let Some((text, names)) = texts.split_first() else { return };
    let parsed = Pattern::parse(text);
    assert_eq!(parsed.is_ok(), is_pattern(text), "{text:?}: {parsed:?}");
    let Ok(pattern) = parsed else { return };

    assert_eq!(pattern.as_str(), *text);
    let json = serde_json::to_string(&pattern).expect("a string");
    assert_eq!(serde_json::from_str::<Pattern>(&json).ok().as_ref(), Some(&pattern));
    assert_eq!(pattern.has_wildcard(), text.contains('*'));
    assert!(text.starts_with(pattern.literal_prefix()) && !pattern.literal_prefix().contains('*'));
    if !pattern.has_wildcard() {
        assert!(pattern.matches(text), "a name is a pattern that matches itself");
    }

    // What a wildcard may stand for, put in its place, gives a name that fits.
    let filler = names.first().copied().unwrap_or_default();
    let segment = filler.replace('/', "");
    let parts: Vec<String> = text.split("**").map(|part| part.replace('*', &segment)).collect();
    let name = parts.join(filler);
    assert!(pattern.matches(&name), "`{text}` and `{name}`");

    // `**` fits whatever `*` fits.
    let wider = text.replace("**", "*").replace('*', "**");
    let wider = Pattern::parse(&wider).ok();
    for name in names {
        let matches = pattern.matches(name);
        let mut budget = BUDGET;
        if let Some(expected) = defined(text.as_bytes(), name.as_bytes(), &mut budget) {
            assert_eq!(matches, expected, "`{text}` and `{name}`");
        }
        if matches {
            assert!(name.starts_with(pattern.literal_prefix()), "`{text}` and `{name}`");
            assert!(wider.as_ref().is_none_or(|wider| wider.matches(name)), "`{text}` and `{name}`");
        }
        assert!(pattern.has_wildcard() || matches == (name == text));
    }
}

fn is_pattern(text: &str) -> bool {
    let allowed =
        |c: char| !matches!(c, '\0'..='\x20' | '\x7F'..='\u{9F}' | '~' | '^' | ':' | '?' | '[' | '\\');
    (1..=MAX_PATTERN).contains(&text.len()) && !text.contains("***") && text.chars().all(allowed)
}

/// The definition; `None` where the budget ends first.
pub(crate) fn defined(pattern: &[u8], name: &[u8], budget: &mut u32) -> Option<bool> {
    *budget = budget.checked_sub(1)?;
    let (star, rest) = match pattern {
        [] => return Some(name.is_empty()),
        [b'*', b'*', rest @ ..] => (name.len(), rest),
        [b'*', rest @ ..] => (name.iter().position(|byte| *byte == b'/').unwrap_or(name.len()), rest),
        [byte, rest @ ..] => {
            return if name.first() == Some(byte) { defined(rest, &name[1..], budget) } else { Some(false) };
        }
    };
    for taken in 0..=star {
        if defined(rest, &name[taken..], budget)? {
            return Some(true);
        }
    }
    Some(false)
}
