//! What is said about a command line that cannot be read: where the mistake is, never what stands there.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// The error without what was typed, which may be a variable's value in the wrong place, and the error in a
/// log. `words` is the command line without the program. Similar flags and commands are still offered.
pub(crate) fn without_words(mut error: Error, words: &[String]) -> Error {
    let place = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => ContextKind::InvalidValue,
    };
    // It offers the same word again, behind `--`.
    error.remove(ContextKind::Suggested);
    if let Some(ContextValue::String(typed)) = error.get(place)
        && !typed.is_empty()
    {
        // A value is named by its flag, which need not be on the command line.
        let shown = match place {
            ContextKind::InvalidValue => "…".to_owned(),
            _ => position(typed, words).map_or("…".to_owned(), |at| format!("word {at} after `lpm`")),
        };
        error.insert(place, ContextValue::String(shown));
    }
    error
}

/// Where a word stands, counted from 1; of several the last, because commands and flags come first.
fn position(typed: &str, words: &[String]) -> Option<usize> {
    let whole = words.iter().rposition(|word| word == typed);
    // `--flag=value` and `-abc` are split before they are refused.
    whole.or_else(|| words.iter().rposition(|word| word.starts_with(typed))).map(|at| at + 1)
}
