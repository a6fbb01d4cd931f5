//! What a handler may take from a request: path segments, parameters, the bearer token, the body.
//!
//! Everything is checked here before SQL sees it: sizes, NUL, percent-encoding, the strict form of JSON.

use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, ORIGIN};
use hyper::body::Bytes;
use lpm_core::bearer::{self, Kind};
use lpm_core::failure::{Code, Failure};
use lpm_core::json;
use lpm_core::secret::Secret;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;
use warp::{Buf, Filter, Rejection};

/// Longest body of a push: 10 MiB of ciphertext in base64, and a mebibyte for the rest.
pub(crate) const PUSH_BODY: Limit = Limit { bytes: 15 * 1024 * 1024, text: "15 MiB", memory: &PUSHES };
/// Longest body of everything else.
pub(crate) const SMALL_BODY: Limit = Limit { bytes: 64 * 1024, text: "64 KiB", memory: &SMALL };

/// Longest form of the sign-in page: a token and the names of its fields.
pub(crate) const FORM_BODY: Limit = Limit { bytes: 4 * 1024, text: "4 KiB", memory: &SMALL };

/// How many KiB the bodies of open requests may hold together: pushes, and everything else.
static PUSHES: Semaphore = Semaphore::const_new(256 * 1024);
static SMALL: Semaphore = Semaphore::const_new(128 * 1024);

/// Longest vault id, environment, cursor and id, in bytes.
const MAX_NAME: usize = 256;

/// A limit, how a text names it, and what all bodies under it share.
#[derive(Clone, Copy)]
pub(crate) struct Limit {
    pub bytes: usize,
    pub text: &'static str,
    memory: &'static Semaphore,
}

/// Which request it is and where it came from: the first two arguments of every function.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The server's own id, as in `X-Request-Id` and the audit row.
    pub id: Uuid,
    /// Where it came from, where that is known: see [`crate::client_address`].
    pub client: Option<IpAddr>,
    /// The same as text, for the audit.
    pub address: Option<String>,
}

impl Origin {
    pub(crate) fn new(client: Option<IpAddr>) -> Self {
        Self { id: Uuid::now_v7(), client, address: client.map(|client| client.to_string()) }
    }
}

/// A raw path segment; any text matches, so that a bad one is answered and not passed on as "no route".
pub(crate) struct Segment(String);

impl FromStr for Segment {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl Segment {
    /// The decoded segment. `what` names it in a refusal.
    pub(crate) fn decode(&self, what: &str) -> Result<String, Failure> {
        let text =
            percent_decode_str(&self.0).decode_utf8().map_err(|_| bad(format!("{what} is not UTF-8")))?;
        name(what, &text)?;
        Ok(text.into_owned())
    }
}

/// Checks a vault id or another short name: not empty, not too long, no NUL.
pub(crate) fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.is_empty() {
        return Err(bad(format!("{what} is empty")));
    }
    short(what, text)
}

/// Checks a text that may be empty: not too long, no NUL.
pub(crate) fn short<'a>(what: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.len() > MAX_NAME {
        return Err(bad(format!("{what} is longer than {MAX_NAME} bytes")));
    }
    if text.contains('\0') {
        return Err(bad(format!("{what} holds U+0000")));
    }
    Ok(text)
}

/// `bad_request` with its reason.
pub(crate) fn bad(reason: impl AsRef<str>) -> Failure {
    Failure::new(Code::BadRequest).with("reason", reason)
}

/// A well-formed bearer token and its hash. Whose it is, only the database knows.
pub(crate) struct Account {
    token: Secret,
    hash: [u8; 32],
}

impl Account {
    pub(crate) fn of(token: &str) -> Self {
        Self { hash: bearer::hash(token.as_bytes()), token: Secret::from(token.to_owned()) }
    }

    /// What goes to SQL in place of the token.
    pub(crate) fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// Which kind of token it is.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.token.expose_str().and_then(bearer::kind)
    }

    /// The token, for the signature of a reply.
    pub(crate) fn token(&self) -> &[u8] {
        self.token.expose()
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A request whose path and method have matched.
pub(crate) struct Request {
    pub origin: Origin,
    headers: HeaderMap,
    query: Option<String>,
    body: Chunks,
    /// What the body takes of its [`Limit::memory`], until the request is answered.
    room: Option<SemaphorePermit<'static>>,
}

/// Extracts the [`Request`]; never rejects.
pub(crate) fn request() -> impl Filter<Extract = (Request,), Error = Rejection> + Clone {
    let query = warp::query::raw().map(Some).or(warp::any().map(|| None)).unify();
    warp::ext::optional::<Origin>()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::body::stream())
        .map(|origin: Option<Origin>, headers, query, body| Request::new(origin, headers, query, body))
}

impl Request {
    fn new<B: Buf>(
        origin: Option<Origin>,
        headers: HeaderMap,
        query: Option<String>,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Self {
        let body = Box::pin(body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))));
        Self { origin: origin.unwrap_or_else(|| Origin::new(None)), headers, query, body, room: None }
    }

    /// The parameter of this name. A parameter that comes twice has no value that everyone agrees on.
    pub(crate) fn parameter(&self, wanted: &str) -> Result<Option<String>, Failure> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned)
        };
        let mut found = None;
        for pair in self.query.as_deref().unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if decode(key).is_ok_and(|key| key == wanted) {
                let value =
                    decode(value).map_err(|_| bad(format!("the parameter `{wanted}` is not UTF-8")))?;
                short(&format!("the parameter `{wanted}`"), &value)?;
                if found.replace(value).is_some() {
                    return Err(bad(format!("the parameter `{wanted}` comes twice")));
                }
            }
        }
        Ok(found)
    }

    /// The parameter of this name, which may be left out but not empty.
    pub(crate) fn optional(&self, wanted: &str) -> Result<Option<String>, Failure> {
        let value = self.parameter(wanted)?;
        value.as_deref().map(|value| name(&format!("the parameter `{wanted}`"), value)).transpose()?;
        Ok(value)
    }

    /// The parameter of this name, without which there is nothing to answer.
    pub(crate) fn required(&self, wanted: &str) -> Result<String, Failure> {
        let value =
            self.parameter(wanted)?.ok_or_else(|| bad(format!("the parameter `{wanted}` is missing")))?;
        name(&format!("the parameter `{wanted}`"), &value)?;
        Ok(value)
    }

    /// The token of a person or script. A mistyped one is refused without asking the database.
    pub(crate) fn account(&self) -> Result<Account, Failure> {
        let token = self.bearer().ok_or(Code::Unauthorized)?;
        match bearer::kind(token) {
            Some(Kind::PersonalAccess | Kind::Session) => Ok(Account::of(token)),
            Some(Kind::Ci) => Err(Failure::new(Code::CiTokenScope).with("what", "anything but `ci-pull`")),
            Some(Kind::Refresh | Kind::LoginCode) | None => Err(Code::Unauthorized.into()),
        }
    }

    /// The token of a CI job, from an exchange.
    pub(crate) fn ci_token(&self) -> Result<Account, Failure> {
        match self.bearer() {
            Some(token) if bearer::kind(token) == Some(Kind::Ci) => Ok(Account::of(token)),
            _ => Err(Code::CiTokenInvalid.into()),
        }
    }

    /// Whether the body is a form as browsers send it.
    pub(crate) fn is_form(&self) -> bool {
        let kind = self.single(CONTENT_TYPE.as_str()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
    }

    /// Whether a browser says that a page of this server sends the request. `Sec-Fetch-Site` decides where there is one:
    /// no page can set it. `Origin` alone is `null` under our referrer policy, so it decides for old browsers only, and
    /// who sends neither is refused.
    pub(crate) fn comes_from_here(&self) -> bool {
        if self.headers.contains_key("sec-fetch-site") {
            return self.single("sec-fetch-site") == Some("same-origin");
        }
        let (Some(origin), Some(host)) = (self.single(ORIGIN.as_str()), self.single(HOST.as_str())) else {
            return false;
        };
        let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    }

    /// The header of this name, if there is one and not two.
    fn single(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        value.to_str().ok()
    }

    fn bearer(&self) -> Option<&str> {
        let mut values = self.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// The account and the body, in the order that costs least: what the head says of the body, token, body.
    pub(crate) async fn account_and_body(&mut self, limit: Limit) -> Result<(Account, Secret), Failure> {
        let account = self.sender(limit).await?;
        Ok((account, self.body(limit).await?))
    }

    /// The account, where the head announces a body that may be read.
    pub(crate) async fn sender(&mut self, limit: Limit) -> Result<Account, Failure> {
        match self.acceptable(limit).and_then(|()| self.account()) {
            Ok(account) => Ok(account),
            Err(failure) => {
                self.drain().await;
                Err(failure)
            }
        }
    }

    /// Whether the body is, or may become, larger than most.
    pub(crate) fn is_large(&self) -> bool {
        self.content_length().is_none_or(|length| length > SMALL_BODY.bytes)
    }

    /// The body, wiped when it is dropped: some hold keys or tokens.
    pub(crate) async fn body(&mut self, limit: Limit) -> Result<Secret, Failure> {
        if let Err(failure) = self.acceptable(limit) {
            self.drain().await;
            return Err(failure);
        }
        let room = self.content_length().unwrap_or(limit.bytes).min(limit.bytes).div_ceil(1024);
        let room = limit.memory.try_acquire_many(u32::try_from(room).unwrap_or(u32::MAX));
        self.room = Some(room.map_err(|_| Code::Busy)?);
        // Room from the start, so that no part is left behind by growing.
        let mut bytes =
            Vec::with_capacity(self.content_length().unwrap_or(SMALL_BODY.bytes).min(limit.bytes));
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk
                .map_err(|_| bad("the request's body ended early, or one of its chunks is malformed"))?;
            if bytes.len() + chunk.len() > limit.bytes {
                drop(Secret::new(bytes));
                self.drain().await;
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Secret::new(bytes))
    }

    /// Checks what the head says of the body.
    fn acceptable(&self, limit: Limit) -> Result<(), Failure> {
        if let Some(encoding) = self.headers.get(CONTENT_ENCODING) {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Err(Failure::new(Code::BodyEncoded).with("encoding", encoding));
        }
        if self.content_length().is_some_and(|length| length > limit.bytes) {
            return Err(too_large(limit));
        }
        Ok(())
    }

    fn content_length(&self) -> Option<usize> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Reads the rest of a small body without keeping it, so that the connection stays good for another request.
    /// A larger one ends the connection, and whoever waits to be asked for it is not asked.
    pub(crate) async fn drain(&mut self) {
        let small = self.content_length().is_none_or(|length| length <= SMALL_BODY.bytes);
        let mut left = if small && !self.headers.contains_key(EXPECT) { SMALL_BODY.bytes } else { 0 };
        while left > 0
            && let Some(Ok(chunk)) = self.body.next().await
        {
            left = left.saturating_sub(chunk.len());
        }
    }
}

fn too_large(limit: Limit) -> Failure {
    Failure::new(Code::BodyTooLarge).with("limit", limit.text)
}

/// Checks that a body is one object of strict JSON.
pub(crate) fn object(body: &Secret) -> Result<(), Failure> {
    json::check(body.expose(), &json::Limits::BODY).map_err(|error| error.failure())?;
    // serde takes an array for a struct as well, its items for the fields in their order.
    if !body.expose().trim_ascii_start().starts_with(b"{") {
        return Err(bad("the request's body must be a JSON object"));
    }
    Ok(())
}

/// A body of strict JSON with the fields of `T`. A refusal never repeats a value: bodies hold secrets.
pub(crate) fn typed<T: DeserializeOwned>(body: &Secret) -> Result<T, Failure> {
    object(body)?;
    serde_json::from_slice(body.expose()).map_err(|error| {
        let text = error.to_string();
        let reason = match text.split_once(" at line ") {
            // serde's words for these name the field only, which is one of ours.
            Some((field, _)) if field.starts_with("missing field `") => {
                format!("the request's body is incomplete: {field}")
            }
            _ => format!(
                "the request's body has a value of the wrong type at byte {} of line {}",
                error.column(),
                error.line()
            ),
        };
        bad(reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http::HeaderValue;
    use lpm_core::bearer::token;

    fn with_authorization(values: &[&str]) -> Request {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("ASCII"));
        }
        Request::new::<Bytes>(None, headers, None, stream::empty())
    }

    #[test]
    fn two_tokens_are_none() {
        let token = token(Kind::Session, &[1; 32]);
        let value = format!("Bearer {}", token.expose_str().expect("ASCII"));
        assert!(with_authorization(&[&value]).account().is_ok());
        assert!(with_authorization(&[&value, &value]).account().is_err());
        assert!(with_authorization(&[&value, "Basic eDp5"]).account().is_err());
        assert!(with_authorization(&[]).account().is_err());
    }

    #[tokio::test]
    async fn a_body_in_pieces_is_counted_as_a_whole() {
        let limit = Limit { bytes: 10, text: "10 bytes", memory: &SMALL };
        for (pieces, fits) in [(2, true), (3, false)] {
            let body = stream::iter((0..pieces).map(|_| Ok(Bytes::from_static(b"12345"))));
            let mut request = Request::new(None, HeaderMap::new(), None, body);
            assert_eq!(request.body(limit).await.is_ok(), fits);
        }
    }
}
