//! The issuer over HTTP.

use super::fault::{Endpoint, Fault};
use super::{Provider, Rotation, State, TokenRequest};
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use warp::filters::BoxedFilter;
use warp::http::{Response, StatusCode};
use warp::{Filter, Reply};

/// Largest body that is read.
const BODY_LIMIT: u64 = 1024 * 1024;

type Answer = Response<String>;

/// Serves on a bound listener, until dropped.
pub(super) async fn serve(state: Arc<State>, listener: TcpListener) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    warp::serve(routes(state)).incoming(listener).run().await;
    Ok(())
}

fn routes(state: Arc<State>) -> BoxedFilter<(impl Reply,)> {
    let github = published(&state, Provider::GitHub, Endpoint::Discovery, ".well-known/openid-configuration")
        .or(published(&state, Provider::GitHub, Endpoint::Jwks, ".well-known/jwks"));
    let gitlab = published(
        &state,
        Provider::GitLab,
        Endpoint::GitlabDiscovery,
        "gitlab/.well-known/openid-configuration",
    )
    .or(published(&state, Provider::GitLab, Endpoint::GitlabJwks, "gitlab/oauth/discovery/keys"));
    let commands = command(&state, "mint", mint)
        .or(command(&state, "rotate", rotate))
        .or(command(&state, "fault", fault));
    github.or(gitlab).or(runtime(&state)).or(commands).boxed()
}

/// `GET /.well-known/openid-configuration`, `GET /.well-known/jwks`, and GitLab's.
fn published(
    state: &Arc<State>,
    provider: Provider,
    endpoint: Endpoint,
    path: &'static str,
) -> BoxedFilter<(Answer,)> {
    let state = Arc::clone(state);
    let segments =
        path.split('/').fold(warp::any().boxed(), |filter, segment| filter.and(warp::path(segment)).boxed());
    segments
        .and(warp::path::end())
        .and(warp::get())
        .then(move || {
            let state = Arc::clone(&state);
            async move {
                if let Some(fault) = state.faults.on_request(endpoint) {
                    return faulty(fault).await;
                }
                let document = match endpoint {
                    Endpoint::Discovery | Endpoint::GitlabDiscovery => state.discovery(provider),
                    Endpoint::Jwks | Endpoint::GitlabJwks => state.keys(provider).jwks(),
                };
                answer(StatusCode::OK, &document)
            }
        })
        .boxed()
}

async fn faulty(fault: Fault) -> Answer {
    if fault.hang {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(fault.status.unwrap_or(200));
    if let Some(location) = fault.location {
        response = response.header("location", location);
    }
    response.body(fault.body.unwrap_or_default()).unwrap_or_else(|error| refused(&error.to_string()))
}

/// `GET /runtime?claims={…}&audience=…`: GitHub's, for the job that the query describes.
///
/// Claims stand in `claims` as JSON, or each under its own name as a string.
fn runtime(state: &Arc<State>) -> BoxedFilter<(Answer,)> {
    let state = Arc::clone(state);
    warp::path!("runtime")
        .and(warp::get())
        .and(warp::header::optional::<String>("authorization"))
        .and(warp::query::<HashMap<String, String>>())
        .map(move |authorization: Option<String>, query: HashMap<String, String>| {
            let bearer = authorization.as_deref().and_then(|value| value.strip_prefix("Bearer "));
            if bearer.is_none_or(str::is_empty) {
                return answer(StatusCode::UNAUTHORIZED, &json!({ "message": "no request token" }));
            }
            match job(query).and_then(|request| state.mint(&request)) {
                Ok(token) => answer(StatusCode::OK, &json!({ "count": token.len(), "value": token })),
                Err(error) => refused(&format!("{error:#}")),
            }
        })
        .boxed()
}

/// The token that a job's query asks for.
fn job(mut query: HashMap<String, String>) -> Result<TokenRequest> {
    query.remove("api-version");
    let audience = query.remove("audience");
    let mut claims: Map<String, Value> = match query.remove("claims") {
        Some(text) => serde_json::from_str(&text)?,
        None => Map::new(),
    };
    claims.extend(query.into_iter().map(|(name, value)| (name, Value::from(value))));
    let owner = claims
        .get("repository")
        .and_then(Value::as_str)
        .and_then(|name| name.split('/').next())
        .unwrap_or("octo-org");
    let audience = audience.unwrap_or_else(|| format!("https://github.com/{owner}"));
    claims.insert("aud".to_owned(), audience.into());
    Ok(TokenRequest { claims, ..TokenRequest::github() })
}

/// `POST /{name}` with a JSON object, whatever its content type says.
fn command<T, F>(state: &Arc<State>, name: &'static str, handler: F) -> BoxedFilter<(Answer,)>
where
    T: for<'de> Deserialize<'de>,
    F: Fn(&State, T) -> Result<Value> + Clone + Send + Sync + 'static,
{
    let state = Arc::clone(state);
    warp::path(name)
        .and(warp::path::end())
        .and(warp::post())
        .and(warp::body::content_length_limit(BODY_LIMIT))
        .and(warp::body::bytes())
        .and_then(move |body: warp::hyper::body::Bytes| {
            let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
            let reply = match object(body).and_then(|request| handler(&state, request)) {
                Ok(value) => answer(StatusCode::OK, &value),
                Err(error) => refused(&format!("{error:#}")),
            };
            std::future::ready(Ok::<_, Infallible>(reply))
        })
        .boxed()
}

/// A request from a JSON object; serde would take an array for one too.
fn object<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T> {
    let members: Map<String, Value> = serde_json::from_slice(body)?;
    Ok(serde_json::from_value(Value::Object(members))?)
}

/// `POST /mint`: see [`TokenRequest`].
fn mint(state: &State, request: TokenRequest) -> Result<Value> {
    Ok(json!({ "token": state.mint(&request)? }))
}

/// `POST /rotate`: see [`Rotation`].
fn rotate(state: &State, rotation: Rotation) -> Result<Value> {
    state.rotate(&rotation)
}

/// The body of `POST /fault`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultRequest {
    endpoint: Endpoint,
    #[serde(default)]
    fault: Option<Fault>,
}

/// `POST /fault`: makes an endpoint misbehave, or behave again with `"fault": null`.
fn fault(state: &State, request: FaultRequest) -> Result<Value> {
    state.faults.set(request.endpoint, request.fault);
    Ok(json!({ "requests": state.faults.requests(request.endpoint) }))
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(body.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", warp::http::HeaderValue::from_static("application/json"));
    response
}

fn refused(reason: &str) -> Answer {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": reason }))
}
