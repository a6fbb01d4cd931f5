//! Readers of what the core writes, as the programs read it that it is written for.

use std::collections::BTreeMap;

type Read = BTreeMap<String, String>;

/// A `.env` file that holds no quotes, line by line; `Some(None)` where it is none, `None` where it has quotes.
pub(crate) fn unquoted(text: &str) -> Option<Option<Vec<(String, String)>>> {
    if text.contains(['\'', '"', '`']) {
        return None;
    }
    let blanks = [' ', '\t'];
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text).replace("\r\n", "\n");
    let lines = text.split('\n').map(|line| line.trim_matches(blanks));
    let variable = |line: &str| {
        let line = line.strip_prefix("export ").or(line.strip_prefix("export\t")).unwrap_or(line);
        let (name, rest) = line.split_once('=')?;
        let name = name.trim_matches(blanks);
        let first = name.chars().next()?;
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        // A `#` begins a comment where a blank or nothing is before it.
        let mut value = rest.trim_start_matches(blanks);
        let is_comment = |at: usize| at == 0 || value[..at].ends_with(blanks);
        if let Some((at, _)) = value.char_indices().find(|(at, c)| *c == '#' && is_comment(*at)) {
            value = &value[..at];
        }
        let value = value.trim_matches([' ', '\t', '\r']);
        (plain && !first.is_ascii_digit()).then(|| (name.to_owned(), value.to_owned()))
    };
    Some(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(variable).collect())
}

/// The words of a POSIX shell's command (POSIX.1-2017, volume 3, section 2.2): blanks separate, `'…'` is
/// literal, `\` quotes the next character. Panics where a shell would do more than read: expand, start
/// another command, open other quotes.
pub(crate) fn shell_words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().expect("the quotes are closed") {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().expect("something is quoted")),
            '…' | '_' | '-' | '.' | '/' | ':' | '@' | '%' | '+' | '=' | ',' => {
                word.get_or_insert_default().push(c);
            }
            c if c.is_ascii_alphanumeric() => word.get_or_insert_default().push(c),
            c => panic!("a shell might not read {c:?} as itself in {command:?}"),
        }
    }
    words.extend(word);
    words
}

/// `eval` of `export NAME='value'` lines.
pub(crate) fn shell(text: &str) -> Read {
    let mut out = Read::new();
    let mut rest = text;
    while !rest.is_empty() {
        // The command ends at the first line feed outside of quotes.
        let mut quoted = false;
        let mut escaped = false;
        let end = rest.find(|c| {
            let is_end = c == '\n' && !quoted && !escaped;
            quoted ^= c == '\'' && !escaped;
            escaped = c == '\\' && !quoted && !escaped;
            is_end
        });
        let end = end.expect("every command has its line");
        let words = shell_words(&rest[..end]);
        let [export, assignment] = words.as_slice() else { panic!("{words:?} is no export") };
        assert_eq!(export, "export");
        let (name, value) = assignment.split_once('=').expect("an assignment");
        out.insert(name.to_owned(), value.to_owned());
        rest = &rest[end + 1..];
    }
    out
}

/// `docker run --env-file` (docker/cli, `pkg/kvfile`): lines as they are, `#` and blank lines left out.
pub(crate) fn docker(text: &str) -> Read {
    let mut out = Read::new();
    for line in text.split_terminator('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = line.trim_start_matches([' ', '\t', '\u{B}', '\u{C}', '\r', '\u{85}', '\u{A0}']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').expect("a variable of its own");
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "no variable name: {name:?}");
        out.insert(name.to_owned(), value.to_owned());
    }
    out
}

/// `$GITHUB_ENV` (actions/runner, `FileCommandManager.cs`): `NAME<<DELIMITER`, lines, `DELIMITER`.
pub(crate) fn github(text: &str) -> Read {
    let mut out = Read::new();
    let mut rest = text;
    while let Some((line, _)) = github_line(&mut rest) {
        if line.is_empty() {
            continue;
        }
        let heredoc = line.find("<<");
        assert!(line.find('=').is_none_or(|at| heredoc.is_some_and(|heredoc| heredoc < at)), "{line:?}");
        let (name, delimiter) = line.split_once("<<").expect("a delimiter");
        assert!(!name.is_empty() && !delimiter.is_empty(), "{line:?}");
        let (mut value, mut between) = (String::new(), "");
        loop {
            let (line, end) = github_line(&mut rest).expect("the delimiter comes again");
            if line == delimiter {
                break;
            }
            value.push_str(between);
            value.push_str(line);
            between = end;
        }
        out.insert(name.to_owned(), value);
    }
    out
}

/// The next line and its end: LF or CR LF.
fn github_line<'a>(rest: &mut &'a str) -> Option<(&'a str, &'a str)> {
    if rest.is_empty() {
        return None;
    }
    let Some(at) = rest.find('\n') else { return Some((std::mem::take(rest), "")) };
    let end = if rest[..at].ends_with('\r') { at - 1 } else { at };
    let line = (&rest[..end], &rest[end..=at]);
    *rest = &rest[at + 1..];
    Some(line)
}
