//! Where the browser comes back to: a listener on this machine that waits for one sign-in.
//!
//! Browsers open connections that they do not use, ask for a favicon, and come back twice; other programs
//! of this machine may knock, too. None of that ends the wait: only the state that this command line made
//! does, which nobody else knows.

use super::page::Page;
use crate::error::{Error, Result};
use lpm_core::envelope::aead;
use lpm_core::failure::{exit, presentable};
use lpm_core::secret::Secret;
use reqwest::Url;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// How long a connection may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest head of a request.
const MAX_HEAD: usize = 8 * 1024;
/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// A listener that waits.
pub(crate) struct Listener {
    socket: TcpListener,
    port: u16,
    state: Arc<str>,
}

/// How the browser came back.
enum Outcome {
    /// With the code that buys the session.
    Code(Secret),
    /// With the reason why there is none.
    Refused(String),
}

/// What a request is.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// The sign-in.
    Code(String),
    /// The sign-in was refused.
    Refused(String),
    /// Anything else.
    Other(Page),
}

impl Listener {
    /// On a free port of this machine, for a state that was never used.
    pub(crate) async fn bind() -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::failure(format!("cannot wait for the browser on this machine: {error}"))
                .hint("`lpm login --with-token` signs in without a browser")
        };
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let port = socket.local_addr().map_err(failed)?.port();
        let state = hex::encode(aead::random::<16>().map_err(crate::local::library)?);
        Ok(Self { socket, port, state: state.into() })
    }

    /// The port that the page must send the browser to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What the page must send along.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// The code that the page sends, within `wait`.
    pub(crate) async fn code(self, wait: Duration) -> Result<Secret> {
        let outcome = tokio::time::timeout(wait, self.outcome()).await.map_err(|_| {
            Error::failure(format!("nobody signed in within {} seconds", wait.as_secs())).hint(
                "run `lpm login` again; where no browser reaches this machine: `lpm login --with-token`",
            )
        })?;
        match outcome {
            Outcome::Code(code) => Ok(code),
            Outcome::Refused(why) => {
                let message = format!("the sign-in was refused in the browser: {}", presentable(&why));
                Err(Error::answered(message, Some("login_refused".to_owned()), exit::DENIED))
            }
        }
    }

    async fn outcome(self) -> Outcome {
        let (sender, mut receiver) = mpsc::channel(1);
        let taken = Arc::new(AtomicBool::new(false));
        let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            tokio::select! {
                Some(outcome) = receiver.recv() => return outcome,
                accepted = self.socket.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let Ok(place) = Arc::clone(&free).try_acquire_owned() else { continue };
                    let (sender, taken, state) = (sender.clone(), Arc::clone(&taken), Arc::clone(&self.state));
                    tokio::spawn(async move {
                        let _place = place;
                        let _ = tokio::time::timeout(PATIENCE, serve(stream, &state, &taken, &sender)).await;
                    });
                }
            }
        }
    }
}

/// Answers one request; the first sign-in goes on to whoever waits, once the browser has its page.
async fn serve(
    mut stream: TcpStream,
    state: &str,
    taken: &AtomicBool,
    sender: &mpsc::Sender<Outcome>,
) -> std::io::Result<()> {
    let Some(head) = head(&mut stream).await? else { return Ok(()) };
    let (page, outcome) = match asked(&head, state) {
        Asked::Other(page) => (page, None),
        Asked::Code(_) | Asked::Refused(_) if taken.swap(true, Ordering::Relaxed) => (Page::Again, None),
        Asked::Code(code) => (Page::Arrived, Some(Outcome::Code(Secret::from(code)))),
        Asked::Refused(why) => (Page::Refused, Some(Outcome::Refused(why))),
    };
    let written = stream.write_all(page.response().as_bytes()).await;
    let closed = stream.shutdown().await;
    // Also when the browser is gone: the sign-in has arrived.
    if let Some(outcome) = outcome {
        let _ = sender.send(outcome).await;
    }
    written.and(closed)
}

/// The request's head, `None` for what is none.
async fn head(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).await?;
        if count == 0 || head.len() + count > MAX_HEAD {
            return Ok(None);
        }
        head.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8(head).ok())
}

/// What the request is, from its first line.
fn asked(head: &str, state: &str) -> Asked {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Asked::Other(Page::Nothing);
    };
    let here = Url::parse(&format!("http://127.0.0.1{target}")).ok();
    let Some(url) = here.filter(|url| target.starts_with('/') && url.path() == "/callback") else {
        return Asked::Other(Page::Nothing);
    };
    if method != "GET" {
        return Asked::Other(Page::Method);
    }
    // Given twice, nobody knows which one counts.
    let one = |name: &str| {
        let mut values =
            url.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        values.next().filter(|value| !value.is_empty() && values.next().is_none())
    };
    if !one("state").is_some_and(|given| same(&given, state)) {
        return Asked::Other(Page::Stranger);
    }
    match (one("code"), one("error")) {
        (Some(code), None) => Asked::Code(code),
        (None, Some(why)) => Asked::Refused(why),
        _ => Asked::Other(Page::Stranger),
    }
}

fn same(given: &str, state: &str) -> bool {
    given.len() == state.len() && openssl::memcmp::eq(given.as_bytes(), state.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "0123456789abcdef0123456789abcdef";

    fn get(target: &str) -> Asked {
        asked(&format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"), STATE)
    }

    #[test]
    fn the_sign_in_has_the_state_and_a_code() {
        assert_eq!(get(&format!("/callback?code=c%201&state={STATE}")), Asked::Code("c 1".into()));
        assert_eq!(get(&format!("/callback?state={STATE}&x=y&code=c1")), Asked::Code("c1".into()));
        assert_eq!(
            get(&format!("/callback?error=access_denied&state={STATE}")),
            Asked::Refused("access_denied".into())
        );
    }

    #[test]
    fn whoever_does_not_know_the_state_is_a_stranger() {
        let wrong = STATE.replace('f', "e");
        for target in [
            "/callback".to_owned(),
            "/callback?code=c1".into(),
            "/callback?code=c1&state=".into(),
            format!("/callback?code=c1&state={wrong}"),
            format!("/callback?code=c1&state={}", &STATE[1..]),
            format!("/callback?code=c1&state={STATE}0"),
            format!("/callback?code=c1&state={STATE}&state={STATE}"),
            format!("/callback?code=c1&state={wrong}&state={STATE}"),
            format!("/callback?error=x&state={wrong}"),
            format!("/callback?code=c1#state={STATE}"),
            format!("/callback?code=c1&STATE={STATE}"),
        ] {
            assert_eq!(get(&target), Asked::Other(Page::Stranger), "{target}");
        }
    }

    #[test]
    fn a_state_without_exactly_one_code_is_no_sign_in() {
        for query in ["", "&code=", "&code=a&code=b", "&code=a&error=b", "&token=t"] {
            assert_eq!(
                get(&format!("/callback?state={STATE}{query}")),
                Asked::Other(Page::Stranger),
                "{query}"
            );
        }
    }

    #[test]
    fn nothing_else_is_served() {
        for target in [
            "/",
            "/favicon.ico",
            "/callback/",
            "/Callback",
            "//evil.example/callback",
            "http://evil.example/callback",
            "*",
            "",
            "/a/callback",
        ] {
            let target = format!("{target}?code=c1&state={STATE}");
            assert_eq!(get(&target), Asked::Other(Page::Nothing), "{target}");
        }
        assert_eq!(asked("", STATE), Asked::Other(Page::Nothing));
        assert_eq!(asked("\r\n\r\n", STATE), Asked::Other(Page::Nothing));
        for method in ["POST", "HEAD", "OPTIONS", "get", "PUT"] {
            let head = format!("{method} /callback?code=c1&state={STATE} HTTP/1.1\r\n\r\n");
            assert_eq!(asked(&head, STATE), Asked::Other(Page::Method), "{method}");
        }
    }
}
