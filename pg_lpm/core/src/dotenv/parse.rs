//! Reading `.env` files.

/// Why a `.env` file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct DotenvError {
    /// The line, counted from 1; where quotes are not closed, the line that opens them.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads a `.env` file, in its own order; of two variables with one name the last is meant.
///
/// What tools agree on: blank lines and `#` comments, `export` before a name, bare values up to a `#` after
/// a blank, literal values in single quotes or backticks, and double quotes with backslash escapes for line
/// feed, carriage return, tab, quotes, dollar and the backslash itself; quoted values may span lines. Nothing
/// is expanded: `$NAME` stays `$NAME`. A line that is none of these is an error, so that half a value is
/// never taken for a whole one.
///
/// # Errors
///
/// The line and what is wrong with it; never its text.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, DotenvError> {
    // CR LF is a line's end everywhere, also inside quotes; a CR that is meant is written `\r`.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1 };
    let mut variables = Vec::new();
    while !reader.rest.is_empty() {
        variables.extend(reader.line()?);
    }
    Ok(variables)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn fail(&self, reason: &'static str) -> DotenvError {
        DotenvError { line: self.line, reason }
    }

    /// Takes the next `length` bytes and counts their lines.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// The rest of the line; its end is taken, but not part of it.
    fn rest_of_line(&mut self) -> &'a str {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let taken = &self.rest[..end];
        self.take((end + 1).min(self.rest.len()));
        taken
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.take(blanks);
    }

    fn line(&mut self) -> Result<Option<(String, String)>, DotenvError> {
        self.skip_blanks();
        if self.rest.is_empty() || self.rest.starts_with(['\n', '#']) {
            self.rest_of_line();
            return Ok(None);
        }
        if let Some(word) = ["export ", "export\t"].into_iter().find(|word| self.rest.starts_with(word)) {
            self.take(word.len());
            self.skip_blanks();
        }
        let end = self.rest.find(['=', '\n']).unwrap_or(self.rest.len());
        if !self.rest[end..].starts_with('=') {
            return Err(self.fail("there is no `=`"));
        }
        let name = self.rest[..end].trim_end_matches([' ', '\t']);
        if !super::is_name(name) {
            return Err(self.fail("what is before `=` is no name: letters, digits and `_`, no digit first"));
        }
        self.take(end + 1);
        self.skip_blanks();
        let value = match self.rest.chars().next() {
            Some(quote @ ('\'' | '`')) => self.literal(quote)?,
            Some('"') => self.escaped()?,
            _ => return Ok(Some((name.to_owned(), bare(self.rest_of_line()).to_owned()))),
        };
        self.skip_blanks();
        if !self.rest.is_empty() && !self.rest.starts_with(['\n', '#']) {
            return Err(self.fail("something follows the closing quote"));
        }
        self.rest_of_line();
        Ok(Some((name.to_owned(), value)))
    }

    /// Between two quotes nothing has a meaning.
    fn literal(&mut self, quote: char) -> Result<String, DotenvError> {
        let length = self.rest[1..].find(quote).ok_or_else(|| self.fail("the quotes are not closed"))?;
        let taken = self.take(length + 2);
        Ok(taken[1..=length].to_owned())
    }

    fn escaped(&mut self) -> Result<String, DotenvError> {
        let mut value = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at + 1);
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 'r')) => value.push('\r'),
                    Some((_, 't')) => value.push('\t'),
                    Some((_, c @ ('\\' | '"' | '\'' | '$' | '`'))) => value.push(c),
                    // A backslash that escapes nothing stands for itself: Windows paths, patterns.
                    Some((_, c)) => value.extend(['\\', c]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err(self.fail("the quotes are not closed"))
    }
}

/// A value without quotes: up to a `#` after a blank, without the blanks around it.
fn bare(line: &str) -> &str {
    if line.starts_with('#') {
        return "";
    }
    let comment = line.match_indices('#').find(|&(at, _)| line[..at].ends_with([' ', '\t']));
    line[..comment.map_or(line.len(), |(at, _)| at)].trim_matches([' ', '\t', '\r'])
}
