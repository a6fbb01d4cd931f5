//! Which request goes to which handler.
//!
//! A route matches path and method and nothing else. Once they match it answers: a filter that rejected
//! later would only send the request on to the next route, and a 401 would come out as a 404. Handlers then
//! check sizes first, tokens second.

mod ci;
mod escrow;
mod health;
mod policies;
mod vaults;

use crate::handlers::{Gateway, Outcome};
use crate::reply::{nothing_at, respond, wrong_method};
use crate::request::Segment;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, any, path};

/// A route: it answers, or leaves the request to the next one.
macro_rules! route {
    () => { impl warp::Filter<Extract = (warp::reply::Response,), Error = warp::Rejection> + Clone + use<> };
}
use route;

/// Everything that the gateway answers. What CI jobs call comes first: routes are tried in order.
pub(crate) fn routes(gateway: &Arc<Gateway>) -> BoxedFilter<(Response,)> {
    ci::routes(gateway)
        .or(vaults::routes(gateway))
        .unify()
        .or(policies::routes(gateway))
        .unify()
        .or(escrow::routes(gateway))
        .unify()
        .or(health::routes(gateway))
        .unify()
        .or(other_method())
        .unify()
        .or(other_path())
        .unify()
        .boxed()
}

/// A path of ours with a method that it does not have: 405 and `Allow`.
fn other_method() -> route!() {
    let vault = path!("api" / "vaults")
        .map(|| "GET")
        .or(path!("api" / "vaults" / Segment / "sync").map(|_| "GET, POST"))
        .unify()
        .or(path!("api" / "vaults" / Segment / "ci-pull").map(|_| "GET"))
        .unify()
        .or(path!("api" / "vaults" / Segment / "audit").map(|_| "GET"))
        .unify();
    let oidc = path!("api" / "vault" / "oidc")
        .map(|| "POST")
        .or(path!("api" / "vault" / "oidc" / "pull").map(|| "POST"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "policies").map(|| "GET, POST"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "policies" / Segment).map(|_| "DELETE"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "repin").map(|| "POST"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "explain").map(|| "POST"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "escrow-key").map(|| "GET"))
        .unify()
        .or(path!("api" / "vault" / "oidc" / "escrow").map(|| "DELETE, POST"))
        .unify();
    let health = path!("healthz")
        .map(|| "GET")
        .or(path!("readyz").map(|| "GET"))
        .unify()
        .or(path!("api" / "registry" / "health").map(|| "GET"))
        .unify();
    oidc.or(vault)
        .unify()
        .or(health)
        .unify()
        .and(warp::method())
        .map(|allowed, method: Method| wrong_method(allowed, method.as_str()))
}

/// A path that is not ours: 404.
fn other_path() -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    path::full().map(|path: FullPath| nothing_at(path.as_str()))
}

fn with(
    gateway: &Arc<Gateway>,
) -> impl Filter<Extract = (Arc<Gateway>,), Error = Infallible> + Clone + use<> {
    let gateway = Arc::clone(gateway);
    any().map(move || Arc::clone(&gateway))
}

async fn answer(route: &'static str, outcome: impl Future<Output = Outcome>) -> Response {
    respond(route, outcome.await)
}

#[cfg(test)]
mod tests;
