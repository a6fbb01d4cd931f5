//! Replies: one function turns what a handler found into a response.

use crate::db::DbError;
use crate::page::Page;
use crate::request::Account;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use lpm_core::envelope;
use lpm_core::failure::{Code, Failure};
use lpm_core::wire::ErrorReply;
use std::time::Duration;
use warp::reply::Response;

/// Seconds after which a caller may come back when the server was not ready.
const RETRY_SOON: &str = "1";
/// Seconds after which a caller may come back when they asked for too much.
const RETRY_LATER: &str = "60";

/// A status and a finished JSON body, opaque to the gateway.
#[derive(Clone)]
pub(crate) struct Answer {
    pub status: u16,
    body: String,
    signature: Option<String>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), signature: None }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn body(&self) -> &str {
        &self.body
    }

    /// Signs a success for the holder of the bearer token. The very bytes that are signed are sent.
    pub(crate) fn signed_for(mut self, account: &Account) -> Self {
        if self.is_success() {
            self.signature = Some(envelope::signature(account.token(), self.body.as_bytes()));
        }
        self
    }

    /// The machine code of an error.
    pub(crate) fn code(&self) -> Option<String> {
        if self.is_success() {
            return None;
        }
        serde_json::from_str::<ErrorReply>(&self.body).ok()?.code
    }
}

impl From<&Failure> for Answer {
    fn from(failure: &Failure) -> Self {
        Self::new(failure.code.status(), failure.body())
    }
}

/// Why a handler has no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The caller is told why.
    Failure(Failure),
    /// The caller is told why, and when to come back.
    Later(Failure, Duration),
    /// The log is told why.
    Database(DbError),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::Failure(code.into())
    }
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

/// What the log says of a finished request, carried as an extension of its response.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// Method and path pattern.
    pub route: &'static str,
    /// The machine code, where the request was refused.
    pub code: Option<String>,
}

/// The response to a request that matched `route`.
pub(crate) fn respond(route: &'static str, result: Result<Answer, Refusal>) -> Response {
    let mut wait = None;
    let answer = result.unwrap_or_else(|refusal| match refusal {
        Refusal::Later(failure, time) => {
            // Up to the next second: whoever comes back too early is refused once more.
            wait = Some(HeaderValue::from(time.as_secs() + 1));
            Answer::from(&failure)
        }
        Refusal::Failure(failure) => Answer::from(&failure),
        Refusal::Database(error) => {
            error.report();
            Answer::from(&error.failure())
        }
    });
    let summary = Summary { route, code: answer.code() };
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(summary);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match answer.status {
        401 => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        429 => drop(headers.insert(RETRY_AFTER, wait.unwrap_or(HeaderValue::from_static(RETRY_LATER)))),
        503 => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SOON))),
        _ => {}
    }
    if let Some(signature) = answer.signature.and_then(|signature| HeaderValue::try_from(signature).ok()) {
        headers.insert("x-lpm-signature", signature);
    }
    response
}

/// The response to a person.
pub(crate) fn page(route: &'static str, page: Page) -> Response {
    let summary = Summary { route, code: page.code.map(|code| code.as_str().to_owned()) };
    let mut response = Response::default();
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(summary);
    let body = page.into_body(response.headers_mut());
    *response.body_mut() = body.into();
    response
}

/// 405, with the methods that the path has.
pub(crate) fn wrong_method(allowed: &'static str, method: &str) -> Response {
    let failure = Failure::new(Code::MethodNotAllowed).with("method", method).with("allowed", allowed);
    let mut response = respond("(wrong method)", Err(failure.into()));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// 404, for a path that no route has.
pub(crate) fn nothing_at(path: &str) -> Response {
    respond("(no route)", Err(Failure::new(Code::NotFound).with("path", path).into()))
}

/// For a request whose end nobody can be sure of: what follows on its connection is not read.
pub(crate) fn malformed(failure: Failure) -> Response {
    let mut response = respond("(malformed)", Err(failure.into()));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 408, for a request that did not arrive in time.
pub(crate) fn too_slow() -> Response {
    respond("(timeout)", Err(Code::RequestTimeout.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
        response.headers().get(name).map(|value| value.to_str().expect("ASCII"))
    }

    #[test]
    fn nothing_may_be_cached() {
        let response = respond("GET /x", Ok(Answer::new(200, "{}")));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        assert_eq!(header(&response, "x-lpm-signature"), None);
    }

    #[test]
    fn a_success_is_signed_with_the_published_known_answer() {
        let account = Account::of("lpm_test_token_abc123");
        let response =
            respond("GET /x", Ok(Answer::new(201, r#"{"vaultId":"v1","version":3}"#).signed_for(&account)));
        assert_eq!(
            header(&response, "x-lpm-signature"),
            Some("ldVu3vojQWNaIcbhLIy3iRC13cArq7tBYVMlUvvq/ko=")
        );
    }

    #[test]
    fn a_refusal_is_never_signed() {
        let account = Account::of("lpm_test_token_abc123");
        let refusal = Answer::from(&Failure::new(Code::VaultUnknown)).signed_for(&account);
        assert_eq!(header(&respond("GET /x", Ok(refusal)), "x-lpm-signature"), None);
    }

    #[test]
    fn who_is_refused_for_now_is_told_when_to_come_back() {
        for (code, expected) in
            [(Code::Unavailable, Some("1")), (Code::ClaimRateLimited, Some("60")), (Code::NoPolicy, None)]
        {
            let response = respond("GET /x", Err(code.into()));
            assert_eq!(header(&response, "retry-after"), expected, "{}", code.as_str());
        }
    }

    #[test]
    fn the_log_learns_the_code_of_what_the_database_refused() {
        let refused = Answer::from(&Failure::new(Code::BranchNotAllowed).with("branch", "x"));
        let response = respond("GET /x", Ok(refused));
        let summary = response.extensions().get::<Summary>().expect("every response has one");
        assert_eq!(summary.code.as_deref(), Some("branch_not_allowed"));
    }
}
