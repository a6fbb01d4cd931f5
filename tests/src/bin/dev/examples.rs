//! The examples in a Markdown file: its code fences `sh` and `sql`.

use anyhow::{Result, bail};

/// What runs an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// bash, `-euo pipefail`.
    Sh,
    /// psql, stopping at the first error.
    Sql,
}

/// One code fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    pub(crate) language: Language,
    /// The line of the opening fence, counted from 1.
    pub(crate) line: usize,
    pub(crate) text: String,
    /// Why it is not run.
    pub(crate) skip: Option<String>,
}

/// The examples of a document, in order.
pub(crate) fn parse(document: &str) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    let mut skip: Option<String> = None;
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim_start();
        if let Some(fence) = Fence::open(trimmed) {
            let indent = line.len() - trimmed.len();
            let mut text = String::new();
            let mut closed = false;
            for (_, inner) in lines.by_ref() {
                if fence.is_closed_by(inner.trim()) {
                    closed = true;
                    break;
                }
                text.push_str(unindented(inner, indent));
                text.push('\n');
            }
            if !closed {
                bail!("the code fence in line {} is never closed", number + 1);
            }
            let reason = skip.take();
            if let Some(language) = fence.language() {
                examples.push(Example { language, line: number + 1, text, skip: reason });
            }
        } else if let Some(comment) = trimmed.strip_prefix("<!-- skip:") {
            let Some(reason) =
                comment.trim_end().strip_suffix("-->").map(str::trim).filter(|reason| !reason.is_empty())
            else {
                bail!(
                    "line {}: a skipped example gives its reason, on one line: <!-- skip: reason -->",
                    number + 1
                );
            };
            skip = Some(reason.to_owned());
        } else if !trimmed.is_empty() && skip.is_some() {
            bail!("line {}: the `skip` comment above stands before no code fence", number + 1);
        }
    }
    Ok(examples)
}

/// An opening fence.
struct Fence<'a> {
    mark: &'a str,
    info: &'a str,
}

impl<'a> Fence<'a> {
    fn open(line: &'a str) -> Option<Self> {
        let character = line.chars().next().filter(|&c| c == '`' || c == '~')?;
        let length = line.len() - line.trim_start_matches(character).len();
        let (mark, info) = line.split_at(length);
        (length >= 3 && !info.contains('`')).then_some(Self { mark, info: info.trim() })
    }

    fn is_closed_by(&self, line: &str) -> bool {
        line.starts_with(self.mark) && line.trim_start_matches(&self.mark[..1]).is_empty()
    }

    fn language(&self) -> Option<Language> {
        match self.info.split_whitespace().next() {
            Some("sh") => Some(Language::Sh),
            Some("sql") => Some(Language::Sql),
            _ => None,
        }
    }
}

/// `line` without up to `indent` leading spaces.
fn unindented(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    &line[spaces.min(indent)..]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn finds_sh_and_sql_and_nothing_else() {
        let found =
            parse("text\n```sh\nls\n```\n```text\nout\n```\n~~~sql title=x\nselect 1;\n~~~\n").unwrap();
        let seen: Vec<_> =
            found.iter().map(|example| (example.language, example.line, example.text.as_str())).collect();
        assert_eq!(seen, [(Language::Sh, 2, "ls\n"), (Language::Sql, 8, "select 1;\n")]);
    }

    #[test]
    fn a_fence_within_a_fence_is_text() {
        let found = parse("````sh\ncat <<'X'\n```sql\nselect 1/0;\n```\nX\n````\n").unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("```sql"));
    }

    #[test]
    fn an_indented_fence_loses_its_indentation_only() {
        let found = parse("1. step\n\n   ```sh\n   if true; then\n     ls\n   fi\n   ```\n").unwrap();
        assert_eq!(found[0].text, "if true; then\n  ls\nfi\n");
    }

    #[test]
    fn a_skipped_example_has_its_reason() {
        let found =
            parse("<!-- skip: takes an hour -->\n\n```sh\nsleep 3600\n```\n```sh\nls\n```\n").unwrap();
        assert_eq!(found[0].skip.as_deref(), Some("takes an hour"));
        assert_eq!(found[1].skip, None);
    }

    #[test]
    fn refuses_what_would_hide_an_example() {
        for document in
            ["```sh\nls\n", "<!-- skip: -->\n```sh\nls\n```\n", "<!-- skip: why -->\ntext\n```sh\nls\n```\n"]
        {
            assert!(parse(document).is_err(), "{document}");
        }
    }
}
