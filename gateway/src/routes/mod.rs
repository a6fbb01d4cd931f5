//! Which request goes to which handler.
//!
//! A route matches path and method and nothing else. Once they match it answers: a filter that rejected
//! later would only send the request on to the next route, and a 401 would come out as a 404. Handlers then
//! check sizes first, tokens second.

mod ci;
mod escrow;
mod health;
mod login;
mod members;
mod orgs;
mod pairing;
mod platforms;
mod policies;
mod sessions;
mod vaults;
mod versions;

use crate::handlers::{Gateway, Outcome};
use crate::openapi::SERVED;
use crate::page::Page;
use crate::reply::{self, nothing_at, respond, wrong_method};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::convert::Infallible;
use std::future::{self, Future};
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
    login::routes(gateway)
        .or(undocumented())
        .unify()
        .or(ci::routes(gateway))
        .unify()
        .or(vaults::routes(gateway))
        .unify()
        .or(versions::routes(gateway))
        .unify()
        .or(policies::routes(gateway))
        .unify()
        .or(escrow::routes(gateway))
        .unify()
        .or(sessions::routes(gateway))
        .unify()
        .or(pairing::routes(gateway))
        .unify()
        .or(orgs::routes(gateway))
        .unify()
        .or(members::routes(gateway))
        .unify()
        .or(platforms::routes())
        .unify()
        .or(health::routes(gateway))
        .unify()
        .or(other_path())
        .unify()
        .boxed()
}

/// What the document does not have: 404, or 405 and `Allow`. Nothing behind it sees such a request, so a route
/// without a line in the document does not exist.
fn undocumented() -> route!() {
    path::full().and(warp::method()).and_then(|path: FullPath, method: Method| {
        future::ready(match SERVED.paths.find(path.as_str()) {
            Some(documented) if documented.has(&method) => Err(warp::reject()),
            Some(documented) => Ok(wrong_method(&documented.allow, method.as_str())),
            None => Ok(nothing_at(path.as_str())),
        })
    })
}

/// A path that the document has and nobody answers.
fn other_path() -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    path::full().map(|path: FullPath| nothing_at(path.as_str()))
}

fn with(
    gateway: &Arc<Gateway>,
) -> impl Filter<Extract = (Arc<Gateway>,), Error = Infallible> + Clone + use<> {
    let gateway = Arc::clone(gateway);
    any().map(move || Arc::clone(&gateway))
}

/// On the heap, here and below: each of the filters around it moves what it waits for, and a handler is large.
fn answer(
    route: &'static str,
    outcome: impl Future<Output = Outcome> + Send + 'static,
) -> BoxFuture<'static, Response> {
    async move { respond(route, outcome.await) }.boxed()
}

fn page(
    route: &'static str,
    page: impl Future<Output = Page> + Send + 'static,
) -> BoxFuture<'static, Response> {
    async move { reply::page(route, page.await) }.boxed()
}

#[cfg(test)]
mod tests;
