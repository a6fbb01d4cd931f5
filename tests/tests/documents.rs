//! What the documents say about tests: every test that they name exists, and every attack of the catalogue
//! names one, or says why there is none.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The links ``[`name`](file.rs)`` of a document, as name and file.
fn named_tests(text: &str) -> Vec<(&str, &str)> {
    text.split("[`")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("`](")?;
            let (file, _) = rest.split_once(')')?;
            file.ends_with(".rs").then_some((name, file))
        })
        .collect()
}

/// The rows of the tables whose first cell is an id such as `J7` or `P11b`: id and the other cells.
fn rows(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .filter(|(id, _)| {
            id.starts_with(['J', 'P', 'D']) && id[1..].starts_with(|c: char| c.is_ascii_digit())
        })
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() -> Result<()> {
    for document in ["SECURITY.md", "ATTACKS.md"] {
        let path = root().join("docs").join(document);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let named = named_tests(&text);
        ensure!(!named.is_empty(), "{document} names no test");
        for (name, file) in named {
            let source = fs::read_to_string(root().join("docs").join(file))
                .with_context(|| format!("{document} links to {file}"))?;
            ensure!(source.contains(&format!("fn {name}(")), "{document}: there is no `{name}` in {file}");
        }
    }
    Ok(())
}

#[test]
fn every_attack_of_the_catalogue_has_a_test_or_a_reason() -> Result<()> {
    let text = fs::read_to_string(root().join("docs/ATTACKS.md"))?;
    let rows = rows(&text);
    let ids: BTreeSet<String> = rows.iter().map(|(id, _)| (*id).to_owned()).collect();
    let mut expected: BTreeSet<String> = ["P11b".to_owned()].into();
    for (letter, last) in [('J', 35), ('P', 34), ('D', 13)] {
        expected.extend((1..=last).map(|number| format!("{letter}{number}")));
    }
    assert_eq!(ids, expected);
    for (id, cells) in rows {
        let number: String = id[1..].chars().filter(char::is_ascii_digit).collect();
        let prefixes = [
            format!("{}{number:0>2}", id[..1].to_lowercase()),
            format!("{}{number}_", id[..1].to_lowercase()),
        ];
        let named = named_tests(cells);
        ensure!(!named.is_empty() || cells.contains("does not apply:"), "{id} names no test and no reason");
        ensure!(
            named.is_empty()
                || named.iter().any(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix))),
            "no test of {id} carries its id: {named:?}"
        );
    }
    Ok(())
}
