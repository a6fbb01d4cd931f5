//! What the browser shows after it has come back to the command line: pages without script, from nowhere else.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha256;

const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:20vh auto;padding:0 1rem;color:#1b1b1f;background:#fff}h1{font-size:1.4rem}@media(prefers-color-scheme:dark){body{color:#eee;background:#1b1b1f}}";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// The sign-in arrived.
    Arrived,
    /// The browser said that there will be none.
    Refused,
    /// It arrived a second time.
    Again,
    /// It is not the one that is waited for.
    Stranger,
    /// There is nothing here.
    Nothing,
    /// Not this way.
    Method,
}

impl Page {
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Arrived => (
                "200 OK",
                "Back to the terminal",
                "lpm has got the sign-in. You can close this window; the terminal says who you are.",
            ),
            Self::Refused => (
                "200 OK",
                "Not signed in",
                "The sign-in was refused, and lpm knows. You can close this window.",
            ),
            Self::Again => (
                "409 Conflict",
                "Already used",
                "lpm has got this sign-in before. You can close this window.",
            ),
            Self::Stranger => (
                "400 Bad Request",
                "Not this sign-in",
                "This is not the sign-in that lpm waits for. Open the address that the terminal shows.",
            ),
            Self::Nothing => {
                ("404 Not Found", "Nothing here", "lpm waits here for a sign-in, and for nothing else.")
            }
            Self::Method => (
                "405 Method Not Allowed",
                "Nothing here",
                "lpm waits here for a sign-in, and for nothing else.",
            ),
        }
    }

    /// The whole answer.
    pub(super) fn response(self) -> String {
        let (status, title, text) = self.parts();
        let body = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title} · lpm</title><style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{text}</p>\n</html>\n"
        );
        let style = STANDARD.encode(sha256(STYLE.as_bytes()));
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\n\
             Content-Type: text/html; charset=utf-8\r\n\
             Content-Length: {length}\r\n\
             Content-Security-Policy: default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n\
             Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_no_script_and_load_nothing() {
        for page in [Page::Arrived, Page::Refused, Page::Again, Page::Stranger, Page::Nothing, Page::Method] {
            let response = page.response();
            let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
            assert!(head.contains("default-src 'none'") && head.contains("no-store"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{page:?}");
            for absent in ["<script", "http", "src=", "href=", "url("] {
                assert!(!body.contains(absent), "{page:?}: {absent}");
            }
        }
    }
}
