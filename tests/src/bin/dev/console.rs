//! What the demonstration shows: a line per step, in colour where a person watches.

use std::io::{IsTerminal as _, Write as _};

/// Prints a line; whoever has stopped reading does not want it.
pub(crate) fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Colours, or none where nobody would see them.
pub(crate) struct Console {
    colour: bool,
}

impl Console {
    pub(crate) fn new() -> Self {
        Self { colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The title of a chapter.
    pub(crate) fn chapter(&self, text: &str) {
        say(format_args!("\n{}", self.paint("1", text)));
    }

    /// A step that went as it should.
    pub(crate) fn done(&self, step: &str, what: &str) {
        say(format_args!("  {} {step}: {}", self.paint("32", "✓"), self.paint("2", &on_one_line(what))));
    }

    /// A step that did not.
    pub(crate) fn failed(&self, step: &str, error: &anyhow::Error) {
        say(format_args!("  {} {step}\n{}", self.paint("31", "✗"), indented(&format!("{error:#}"))));
    }

    /// Text that stands for itself, such as a table.
    pub(crate) fn block(&self, text: &str) {
        say(indented(text));
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
