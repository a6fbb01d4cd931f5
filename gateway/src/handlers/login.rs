//! The sign-in page: a personal access token becomes a login code for a command line that waits on this machine.
//!
//! The command line opens the page with the port it listens on and a state that only it knows. Whoever signs in
//! is sent back there with a code, which buys a session once. The token itself never gets there.

use super::Gateway;
use crate::page::{Page, prose};
use crate::reply::Refusal;
use crate::request::{Account, FORM_BODY, Request, bad};
use lpm_core::bearer::{self, Kind};
use lpm_core::failure::{Code, Failure, presentable};
use lpm_core::secret::Secret;
use lpm_core::wire::ErrorReply;
use maud::html;
use percent_encoding::percent_decode;
use std::sync::Arc;

/// How pages are called on which nobody can sign in.
const NO_SIGN_IN: &str = "Signing in does not work this way";
/// The methods of the page.
const METHODS: &str = "GET, POST";

/// What the command line asks for in the page's address.
struct Asked {
    port: u16,
    state: String,
    device: String,
    fingerprint: Option<String>,
}

impl Asked {
    fn read(request: &Request) -> Result<Self, Failure> {
        let port = request.required("port")?;
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        let state = request.required("state")?;
        if !is_hex(&state, 32) {
            return Err(bad("the parameter `state` is not 32 hex digits"));
        }
        let fingerprint = request.parameter("fp")?.filter(|text| !text.is_empty());
        if fingerprint.as_deref().is_some_and(|text| !is_hex(text, 64)) {
            return Err(bad("the parameter `fp` is not 64 hex digits"));
        }
        let device = request.parameter("dn")?.unwrap_or_default();
        let device = presentable(if device.trim().is_empty() { "CLI" } else { device.trim() });
        Ok(Self {
            port: port.ok_or_else(|| bad("the parameter `port` is not a port: 1 to 65535"))?,
            state,
            device,
            fingerprint,
        })
    }

    /// Where the command line waits. It takes the first connection, so nothing but this may go there.
    fn callback(&self, code: &Secret) -> Result<String, Failure> {
        let code = code.expose_str().ok_or(Code::Internal)?;
        Ok(format!("http://127.0.0.1:{}/callback?code={code}&state={}", self.port, self.state))
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Shows the form.
pub(crate) async fn show(request: Request) -> Page {
    match Asked::read(&request) {
        Ok(asked) => form(200, &asked, None),
        Err(failure) => wrong_link(&failure),
    }
}

/// Signs in, and sends the browser back to the command line.
pub(crate) async fn sign_in(gateway: Arc<Gateway>, mut request: Request) -> Page {
    let asked = match Asked::read(&request) {
        Ok(asked) => asked,
        Err(failure) => return wrong_link(&failure),
    };
    match code(&gateway, &mut request, &asked).await {
        Ok(page) => page,
        Err(Refusal::Failure(failure) | Refusal::Later(failure, _)) => Page::refusal(NO_SIGN_IN, &failure),
        Err(Refusal::Database(error)) => {
            error.report();
            Page::refusal("Nobody can sign in right now", &error.failure())
        }
    }
}

/// Another method than the page's.
pub(crate) fn wrong_method(method: &str) -> Page {
    let failure = Failure::new(Code::MethodNotAllowed).with("method", method).with("allowed", METHODS);
    Page::refusal(NO_SIGN_IN, &failure).allowing(METHODS)
}

async fn code(gateway: &Gateway, request: &mut Request, asked: &Asked) -> Result<Page, Refusal> {
    if !request.is_form() {
        return Err(bad("the request's body is not a form of this page").into());
    }
    if !request.comes_from_here() {
        return Err(bad(
            "the form was sent from another page than this server's, or by a browser that does not say",
        )
        .into());
    }
    let body = request.body(FORM_BODY).await?;
    let token = field(body.expose(), b"token")?;
    drop(body);
    let token = match token.expose_str().filter(|text| bearer::kind(text) == Some(Kind::PersonalAccess)) {
        Some(token) => Account::of(token),
        None => return Ok(wrong_token(asked, "that is no personal access token, or not all of it")),
    };
    let code = super::sessions::fresh(Kind::LoginCode)?;
    let hash = bearer::hash(code.expose());
    let answer = gateway
        .db
        .begin_login(&request.origin, &token, &hash, &asked.device, asked.fingerprint.as_deref())
        .await?;
    if answer.is_success() {
        return Ok(Page::see_other("Signed in", &asked.callback(&code)?)?);
    }
    let refused: ErrorReply = serde_json::from_str(answer.body()).map_err(|_| Code::Internal)?;
    match refused.code.as_deref().and_then(Code::parse) {
        Some(Code::Unauthorized) => {
            Ok(wrong_token(asked, "the server knows no such token, or it has expired or been revoked"))
        }
        Some(Code::TokenScope) => Ok(wrong_token(asked, &refused.error)),
        code => Err(Failure::new(code.unwrap_or(Code::Internal)).into()),
    }
}

/// The field of this name, without the spaces that copying brings along.
fn field(form: &[u8], wanted: &[u8]) -> Result<Secret, Failure> {
    let mut found = None;
    for pair in form.split(|byte| *byte == b'&') {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        if parts.next() == Some(wanted) {
            let spaced: Secret = Secret::new(
                parts.next().unwrap_or_default().iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect(),
            );
            let value = Secret::new(percent_decode(spaced.expose()).collect());
            if found.replace(Secret::new(value.expose().trim_ascii().to_vec())).is_some() {
                return Err(bad("the form has its field twice"));
            }
        }
    }
    found.ok_or_else(|| bad("the form lacks its field"))
}

/// The form again, with what was wrong.
fn wrong_token(asked: &Asked, message: &str) -> Page {
    form(403, asked, Some(message)).because(Code::Unauthorized)
}

/// A link that cannot be used.
fn wrong_link(failure: &Failure) -> Page {
    let content = html! {
        p .bad role="alert" { (prose(&failure.text())) }
        p { "This page is opened by the command line, with an address that it makes. Run " code { "lpm login" }
            " again, and use the address that it shows as a whole." }
    };
    Page::new(failure.code.status(), "This sign-in link is not complete", &content).because(failure.code)
}

/// The form. It goes to the address of the page itself, so that what the command line asked for comes along.
fn form(status: u16, asked: &Asked, message: Option<&str>) -> Page {
    let content = html! {
        p { strong { (asked.device) } " asks to be signed in: " code { "lpm login" } " was started there, and waits on port "
            (asked.port) " of this computer." }
        ul {
            li { strong { "Go on only if you have just started it yourself." } }
            li { "The command line gets a session of its own, which may do what your token may. Your token stays here." }
            li { "The session ends with your token, and when you end it: " code { "lpm logout" } " or "
                code { "lpm sessions end" } "." }
        }
        @if let Some(message) = message {
            p .bad #wrong role="alert" { (prose(message)) }
        }
        form method="post" {
            label for="token" { "Personal access token" }
            input #token name="token" type="password" required autofocus autocomplete="off" autocapitalize="none"
                spellcheck="false" aria-describedby=(if message.is_some() { "wrong hint" } else { "hint" })
                aria-invalid=[message.map(|_| "true")];
            p .soft #hint { "It begins with " code { "lpm_pat_" } ". Whoever runs the database makes one with "
                code { "lpm.create_token" } "." }
            button type="submit" { "Sign in" }
        }
    };
    Page::new(status, "Sign in to the LPM vault", &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_decoded_and_stands_once() {
        let value = |form: &str| field(form.as_bytes(), b"token").map(|secret| secret.expose().to_vec());
        assert_eq!(value("token=lpm_pat_x").expect("a field"), b"lpm_pat_x");
        assert_eq!(value("a=b&token=+%0d%0alpm%5Fpat_x%20&tokens=y").expect("a field"), b"lpm_pat_x");
        assert_eq!(value("token").expect("a field"), b"");
        for wrong in ["", "Token=x", "token=a&token=a", "x=token", "tok%65n=x"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_callback_is_on_this_machine_whatever_was_asked() {
        let asked = Asked {
            port: 8123,
            state: "ab".repeat(16),
            device: "x@evil.example/".to_owned(),
            fingerprint: None,
        };
        let callback = asked.callback(&Secret::from("lpm_code_x".to_owned())).expect("ASCII");
        assert_eq!(
            callback,
            format!("http://127.0.0.1:8123/callback?code=lpm_code_x&state={}", "ab".repeat(16))
        );
    }
}
