//! The browser's part of a sign-in.

use super::{Machine, Run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr};

/// `lpm login`, while it waits for the browser.
pub(crate) struct Waiting {
    what: String,
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    /// The page that it sent the user to.
    pub(crate) page: String,
}

impl Machine {
    /// Starts a command, and reads what it says until it names the page to sign in at.
    pub(crate) fn sign_in(&self, arguments: &str) -> Waiting {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let mut child = self.command(env!("CARGO_BIN_EXE_lpm"), &words).spawn().expect("lpm runs");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (mut said, mut page) = (String::new(), String::new());
        while page.is_empty() {
            let mut line = String::new();
            let count = stderr.read_line(&mut line).expect("it is UTF-8");
            assert_ne!(count, 0, "`{arguments}` names no page: {said}");
            if line.contains("/cli/login?") {
                page = line.trim().to_owned();
            }
            said.push_str(&line);
        }
        Waiting { what: arguments.to_owned(), child, stderr, said, page }
    }
}

impl Waiting {
    /// A parameter of the page's address, as it stands there.
    pub(crate) fn parameter(&self, name: &str) -> String {
        let (_, query) = self.page.split_once('?').expect("the page has parameters");
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {name} in {query}")).to_owned()
    }

    /// A connection to where the browser comes back to.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.parameter("port").parse::<u16>().expect("a port")))
    }

    /// What is answered to this request.
    pub(crate) fn request(&self, method: &str, target: &str) -> String {
        let mut stream = self.connect().expect("it listens");
        let head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: a browser\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// Comes back with the right state.
    pub(crate) fn comes_back(&self, parameters: &str) -> String {
        self.request("GET", &format!("/callback?{parameters}&state={}", self.parameter("state")))
    }

    /// How it ended.
    pub(crate) fn ends(mut self) -> Run {
        drop(self.child.stdin.take());
        self.stderr.read_to_string(&mut self.said).expect("it is UTF-8");
        let output = self.child.wait_with_output().expect("lpm ends");
        Run {
            what: self.what,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("it is UTF-8"),
            stderr: self.said,
        }
    }
}
