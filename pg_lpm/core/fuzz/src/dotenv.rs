//! `.env` files against their own parser, and every other form against a reader of that form.

use crate::failure::is_harmless;
use crate::input::all_texts;
use crate::readers;
use lpm_core::dotenv::{DotenvError, Format, RenderError, hijacks_process, is_name, parse, render as write};
use lpm_core::environment::{Text, Vars};
use std::collections::BTreeMap;

const DELIMITER: &str = "lpm_5f0c2f0e";

/// A `.env` file as somebody wrote it.
pub fn dotenv(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let by_lines = readers::unquoted(text);
    let parsed = parse(text);
    assert!(by_lines.is_none_or(|by_lines| by_lines == parsed.clone().ok()), "{parsed:?}");
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(DotenvError { line, .. }) => {
            let lines = text.matches('\n').count() + 1;
            return assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
    };
    let mut last = BTreeMap::new();
    for (name, value) in &parsed {
        let mut bytes = name.bytes();
        assert!(bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_'), "{name:?}");
        assert!(bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name:?}");
        assert_eq!(hijacks_process(name), hijacks_process(&name.to_ascii_lowercase()));
        last.insert(name.clone(), value.clone());
    }
    every_form_is_read_back(&last, "", DELIMITER);

    // A whole file stays what it is when something follows.
    let mut longer = parsed;
    longer.push(("LAST".to_owned(), "1".to_owned()));
    assert_eq!(parse(&format!("{text}\nLAST=1")).ok(), Some(longer));
}

/// A delimiter, a header, then names and values.
pub fn render(data: &[u8]) {
    let Some(texts) = all_texts(data) else { return };
    let [delimiter, header, pairs @ ..] = texts.as_slice() else { return };
    // The caller's word: random letters and digits.
    let delimiter: String = delimiter.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let vars = pairs
        .chunks(2)
        .map(|pair| (pair[0].to_owned(), pair.get(1).copied().unwrap_or_default().to_owned()))
        .collect();
    every_form_is_read_back(&vars, header, &format!("lpm{delimiter}"));
}

/// The values of an input of [`render`], for the test that asks a real shell.
#[must_use]
pub fn values(data: &[u8]) -> Vec<&str> {
    all_texts(data).map(|texts| texts.into_iter().skip(3).step_by(2).collect()).unwrap_or_default()
}

/// Writes the variables in every form, and reads each with its reader.
fn every_form_is_read_back(vars: &BTreeMap<String, String>, header: &str, delimiter: &str) {
    let written: Vars = vars.iter().map(|(name, value)| (name.clone(), Text::from(value.as_str()))).collect();
    for (name, format) in Format::ALL {
        let rendered = write(format, header, &written, delimiter);
        let can_carry = |(name, value): (&String, &String)| carries(format, name, value, delimiter);
        assert_eq!(rendered.is_ok(), vars.iter().all(can_carry), "{name}: {:?}", rendered.err());
        let rendered = match rendered {
            Ok(rendered) => rendered,
            Err(RenderError::Name(shown)) => {
                assert!(is_harmless(&shown));
                continue;
            }
            Err(RenderError::Value { name, .. }) => {
                assert!(vars.contains_key(&name));
                continue;
            }
        };
        let text = rendered.expose_str().expect("strings make a string");
        let read = match format {
            Format::Dotenv => dotenv_file(text),
            Format::Shell => readers::shell(text),
            Format::Json => serde_json::from_str(text).expect("an object of strings"),
            Format::Docker => readers::docker(text),
            Format::Github => readers::github(text),
        };
        assert_eq!(&read, vars, "{name}: {text:?}");
    }
}

/// Whether the form can carry the variable.
fn carries(format: Format, name: &str, value: &str, delimiter: &str) -> bool {
    let carried = match format {
        Format::Json => return true,
        Format::Dotenv | Format::Shell => true,
        Format::Docker => !value.contains(['\n', '\r']),
        Format::Github => !value.contains(delimiter) && !value.ends_with('\r'),
    };
    carried && is_name(name) && !value.contains('\0')
}

fn dotenv_file(text: &str) -> BTreeMap<String, String> {
    // Other readers end a line there as well, so it must not stand in a comment or in quotes.
    assert!(!text.contains('\r'), "a carriage return is written `\\r`");
    let variables = parse(text).expect("our own file");
    let count = variables.len();
    let read: BTreeMap<_, _> = variables.into_iter().collect();
    assert_eq!(read.len(), count, "no name twice");
    read
}
