//! Failures: whatever a caller sends, the answer is one JSON object of harmless text.

use crate::doc::Doc;
use crate::input::texts;
use crate::readers::shell_words;
use lpm_core::failure::{Code, Failure, MAX_ARGUMENT, presentable, shell_word, visible};

/// Every argument that a text of the table names.
const ARGUMENTS: &[&str] = &[
    "reason",
    "algorithm",
    "issuer",
    "audience",
    "expected",
    "claim",
    "subject",
    "provider",
    "subject_flag",
    "environment",
    "max_uses",
    "id",
    "event",
    "next",
    "what",
    "branch",
    "tag",
    "ref",
    "ci_environment",
    "workflow",
    "runner",
    "owner",
    "org",
    "path",
    "allowed",
    "vault",
    "version",
    "field",
    "key",
    "why",
    "policy",
    "limit",
    "method",
    "encoding",
];

/// The name of a failure, and an argument that stands wherever its texts have one.
pub fn failure(data: &[u8]) {
    let Some([code, text]) = texts(data) else { return };
    let shown = presentable(text);
    assert!(shown.len() <= MAX_ARGUMENT && is_harmless(&shown), "{shown:?}");
    let fits = is_harmless(text) && text.len() <= MAX_ARGUMENT;
    assert_eq!(shown == text, fits, "{text:?} becomes {shown:?}");
    assert_eq!(presentable(&shown), shown);
    assert!(visible(text).starts_with(&shown) && is_harmless(&visible(text)));
    for text in [text, shown.as_str()] {
        assert_eq!(shell_words(&shell_word(text)), [text]);
    }

    let hint = Failure::new(Code::TagNotAllowed).with("tag", text).hint();
    let command = hint.strip_prefix("allow it: `").and_then(|rest| rest.strip_suffix('`'));
    let words = shell_words(command.expect("the hint is a command"));
    assert_eq!(words.last().and_then(|word| word.strip_prefix("--tag=")), Some(shown.as_str()), "{hint}");

    // Some texts are nothing but their argument.
    let text = if text.is_empty() { "-" } else { text };
    let code = Code::parse(code).unwrap_or(Code::BranchNotAllowed);
    let filled = |text| ARGUMENTS.iter().fold(Failure::new(code), |failure, name| failure.with(name, text));
    holds(&filled(text));
    // In a statement an argument is a string and nothing else.
    let plain = filled("ARGUMENT").hint();
    if plain.contains("`select lpm.") {
        let string = format!("'{}'", presentable(text).replace('\'', "''"));
        assert_eq!(filled(text).hint(), plain.replace("'ARGUMENT'", &string));
    }
}

/// Asserts what holds for every failure.
pub(crate) fn holds(failure: &Failure) {
    let (text, hint, body) = (failure.text(), failure.hint(), failure.body());
    assert!(is_harmless(&text) && is_harmless(&hint), "{body}");
    assert!(!text.is_empty() && body.len() < 16 * 1024, "{body}");
    let body = Doc::parse(body.as_bytes()).expect("the body is JSON");
    assert_eq!(body.text("error"), Some(text.as_str()));
    assert_eq!(body.text("code").and_then(Code::parse), Some(failure.code));
    assert_eq!(body.text("hint").unwrap_or_default(), hint);
}

/// Without characters that start a line or reorder it on a terminal or page.
pub(crate) fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| {
        let hidden = matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}');
        !c.is_control() && !hidden
    })
}
