//! Writing variables for others to read.

use super::is_name;
use crate::environment::{Text, Vars};
use crate::secret::Secret;
use std::str::FromStr;
use zeroize::{Zeroize, Zeroizing};

/// A form in which variables are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A `.env` file.
    Dotenv,
    /// `export KEY='value'` lines for `eval "$(…)"`.
    Shell,
    /// One JSON object.
    Json,
    /// For `docker run --env-file`, which knows no quotes.
    Docker,
    /// For `$GITHUB_ENV`.
    Github,
}

impl Format {
    /// Every form, by its name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("dotenv", Self::Dotenv),
        ("shell", Self::Shell),
        ("json", Self::Json),
        ("docker", Self::Docker),
        ("github", Self::Github),
    ];

    /// Whether the form is made to be taken over by a process as it is.
    #[must_use]
    pub fn enters_process(self) -> bool {
        matches!(self, Self::Shell | Self::Github)
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found
            .map(|(_, format)| format)
            .ok_or_else(|| format!("must be one of {}", Self::ALL.map(|(known, _)| known).join(", ")))
    }
}

/// Why a variable cannot be written in a form; never its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The name is none that a process or a parser would accept.
    #[error("`{0}` is no name of an environment variable")]
    Name(String),
    /// The form has no way to write the value.
    #[error("the value of `{name}` has {what}, which the format `{format}` cannot carry")]
    Value {
        /// The variable.
        name: String,
        /// What the value has.
        what: &'static str,
        /// The form's name.
        format: &'static str,
    },
}

/// Writes the variables, sorted by name.
///
/// `header` is put before a `.env` file, each of its lines as a comment; the other forms have no room for
/// one. `delimiter` ends a value in GitHub's form: random, so that no value can contain it on purpose.
///
/// # Errors
///
/// A variable that the form cannot carry exactly.
pub fn render(format: Format, header: &str, vars: &Vars, delimiter: &str) -> Result<Secret, RenderError> {
    let mut out = Zeroizing::new(String::with_capacity(size(vars)));
    if format == Format::Dotenv {
        // Many readers end a line at a lone CR as well.
        header.lines().flat_map(|line| line.split('\r')).for_each(|line| push(&mut out, &["# ", line, "\n"]));
    }
    if format == Format::Json {
        json(&mut out, vars);
    } else {
        for (name, value) in vars {
            if !is_name(name) {
                return Err(RenderError::Name(crate::failure::presentable(name)));
            }
            variable(format, &mut out, name, value, delimiter)
                .map_err(|(what, format)| RenderError::Value { name: name.clone(), what, format })?;
        }
    }
    Ok(Secret::from(std::mem::take(&mut *out)))
}

/// Larger than what any form makes of the variables, so that the buffer never leaves a copy behind.
fn size(vars: &Vars) -> usize {
    vars.iter().map(|(name, value)| 128 + 6 * (name.len() + value.expose().len())).sum::<usize>() + 1024
}

fn push(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

type Unwritable = (&'static str, &'static str);

fn variable(
    format: Format,
    out: &mut String,
    name: &str,
    value: &Text,
    delimiter: &str,
) -> Result<(), Unwritable> {
    let value = value.expose();
    let format_name = Format::ALL.iter().find(|(_, known)| *known == format).map_or("", |(known, _)| known);
    let refuse = |condition: bool, what| if condition { Err((what, format_name)) } else { Ok(()) };
    refuse(value.contains('\0'), "a NUL character")?;
    match format {
        Format::Dotenv => dotenv(out, name, value),
        Format::Shell => {
            push(out, &["export ", name, "='"]);
            // Within '…' a shell knows no escape: close, write a quoted quote, open again.
            value
                .split('\'')
                .enumerate()
                .for_each(|(i, part)| push(out, &[if i == 0 { "" } else { r"'\''" }, part]));
            out.push_str("'\n");
        }
        Format::Docker => {
            refuse(value.contains(['\n', '\r']), "a line break")?;
            push(out, &[name, "=", value, "\n"]);
        }
        Format::Github => {
            refuse(value.contains(delimiter), "the delimiter")?;
            // The runner takes CR LF before the delimiter for the end of the line.
            refuse(value.ends_with('\r'), "a carriage return at its end")?;
            push(out, &[name, "<<", delimiter, "\n", value, "\n", delimiter, "\n"]);
        }
        Format::Json => {}
    }
    Ok(())
}

/// The form of quotes that most parsers read back exactly.
///
/// Bare where nothing needs quotes, else `"…"` where nothing in it needs an escape, else `'…'`, which is
/// literal nearly everywhere (shells, Node, Ruby, Docker Compose; Python undoes `\\` in it), and escapes
/// only for values with a quote `'` beside other special characters, with CR, or with `\` at the end.
fn dotenv(out: &mut String, name: &str, value: &str) {
    let is_bare = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&b);
    push(out, &[name, "="]);
    if value.bytes().all(is_bare) {
        out.push_str(value);
    } else if !value.contains(['"', '\\', '$', '`', '\r', '!']) {
        push(out, &["\"", value, "\""]);
    } else if !value.contains(['\'', '\r']) && !value.ends_with('\\') {
        push(out, &["'", value, "'"]);
    } else {
        out.push('"');
        for c in value.chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '"' | '\\' | '$' | '`' => out.extend(['\\', c]),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('\n');
}

fn json(out: &mut String, vars: &Vars) {
    out.push('{');
    for (i, (name, value)) in vars.iter().enumerate() {
        let quote = |text: &str| serde_json::to_string(text).expect("a string always serializes");
        let mut quoted = quote(value.expose());
        push(out, &[if i == 0 { "\n  " } else { ",\n  " }, &quote(name), ": ", &quoted]);
        quoted.zeroize();
    }
    out.push_str(if vars.is_empty() { "}\n" } else { "\n}\n" });
}
