//! A server that answers what a test tells it to, and notes what it was asked: for what no honest gateway does.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `POST /path?query`.
    pub(crate) line: String,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

/// What is answered.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// No answer at all: the connection ends.
    pub(crate) fn none() -> Self {
        Self::new(0, "")
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signed as for the holder of this token.
    pub(crate) fn signed(self, token: &str) -> Self {
        let signature = lpm_core::envelope::signature(token.as_bytes(), self.body.as_bytes());
        self.with("X-LPM-Signature", signature)
    }
}

/// A server on a port of its own, until the test ends.
pub(crate) struct Server {
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn new(answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        Self::start(false, answer)
    }

    fn start(closed: bool, answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, closed, &noted, &answer);
            }
        });
        Self { url, requests }
    }

    /// A server whose vaults are closed to CI: pushes that ask are told so, unnoted; the rest is the test's.
    pub(crate) fn closed_to_ci(answer: impl Fn(&Request, usize) -> Reply + Send + 'static) -> Self {
        Self::start(true, answer)
    }

    /// A server that always answers the same.
    pub(crate) fn always(status: u16, body: &'static str) -> Self {
        Self::new(move |_, _| Reply::new(status, body))
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics with it").clone()
    }

    /// The request lines, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    closed: bool,
    noted: &Mutex<Vec<Request>>,
    answer: &impl Fn(&Request, usize) -> Reply,
) {
    let mut reader = BufReader::new(stream.try_clone().expect("it can be cloned"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let Some((first, headers)) = lines.split_first() else { return };
    let headers: Vec<(String, String)> = headers
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request =
        Request { line: first.trim_end_matches(" HTTP/1.1").to_owned(), headers, body: String::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    request.body = String::from_utf8(body).expect("it is UTF-8");
    let reply = if closed && request.line.starts_with("GET /api/vault/oidc/escrow-key") {
        super::gateway::escrow_key("off")
    } else {
        let count = {
            let mut noted = noted.lock().expect("nobody panics with it");
            noted.push(request.clone());
            noted.len()
        };
        answer(&request, count)
    };
    if reply.status == 0 {
        return;
    }
    let headers: String = reply.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let _ = write!(
        stream,
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{}",
        reply.status,
        reply.body.len(),
        reply.body
    );
}
