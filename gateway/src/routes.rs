//! Which request goes to which handler.
//!
//! A route matches path and method and nothing else. Once they match it answers: a filter that rejected
//! later would only send the request on to the next route, and a 401 would come out as a 404. Handlers then
//! check sizes first, tokens second.

use crate::handlers::{self, Gateway, Outcome};
use crate::reply::{nothing_at, respond, wrong_method};
use crate::request::{Segment, request};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Rejection, any, delete, get, path, post};

/// A route: it answers, or leaves the request to the next one.
macro_rules! route {
    () => { impl Filter<Extract = (Response,), Error = Rejection> + Clone + use<> };
}

/// Everything that the gateway answers. What CI jobs call comes first: routes are tried in order.
pub(crate) fn routes(gateway: &Arc<Gateway>) -> BoxedFilter<(Response,)> {
    let ci = one_step_pull(gateway).or(exchange(gateway)).unify().or(ci_pull(gateway)).unify();
    let vaults =
        push(gateway).or(pull(gateway)).unify().or(list_vaults(gateway)).unify().or(audit(gateway)).unify();
    let policies = create_policy(gateway)
        .or(list_policies(gateway))
        .unify()
        .or(revoke_policy(gateway))
        .unify()
        .or(repin(gateway))
        .unify()
        .or(explain(gateway))
        .unify();
    let escrow = escrow_key(gateway).or(put_escrow(gateway)).unify().or(disable_escrow(gateway)).unify();
    let health = healthz().or(readyz(gateway)).unify().or(registry_health(gateway)).unify();
    ci.or(vaults)
        .unify()
        .or(policies)
        .unify()
        .or(escrow)
        .unify()
        .or(health)
        .unify()
        .or(other_method())
        .unify()
        .or(other_path())
        .unify()
        .boxed()
}

/// `POST /api/vault/oidc/pull`
fn one_step_pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "pull").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/vault/oidc/pull", handlers::one_step_pull(gateway, request)),
    )
}

/// `POST /api/vault/oidc`
fn exchange(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("POST /api/vault/oidc", handlers::exchange(gateway, request)))
}

/// `GET /api/vaults/{vault}/ci-pull?env=`
fn ci_pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "ci-pull").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/ci-pull", handlers::ci_pull(gateway, request, vault))
        },
    )
}

/// `POST /api/vaults/{vault}/sync`
fn push(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "sync").and(post()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("POST /api/vaults/{vault}/sync", handlers::push(gateway, request, vault))
        },
    )
}

/// `GET /api/vaults/{vault}/sync`
fn pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "sync").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/sync", handlers::pull(gateway, request, vault))
        },
    )
}

/// `GET /api/vaults`
fn list_vaults(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults")
        .and(get())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("GET /api/vaults", handlers::list_vaults(gateway, request)))
}

/// `GET /api/vaults/{vault}/audit?cursor=`
fn audit(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "audit").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/audit", handlers::audit(gateway, request, vault))
        },
    )
}

/// `POST /api/vault/oidc/policies`
fn create_policy(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "policies").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/vault/oidc/policies", handlers::create_policy(gateway, request)),
    )
}

/// `GET /api/vault/oidc/policies?vaultId=`
fn list_policies(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "policies").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("GET /api/vault/oidc/policies", handlers::list_policies(gateway, request)),
    )
}

/// `DELETE /api/vault/oidc/policies/{policy}`
fn revoke_policy(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "policies" / Segment)
        .and(delete())
        .and(with(gateway))
        .and(request())
        .then(|policy, gateway, request| {
            answer(
                "DELETE /api/vault/oidc/policies/{policy}",
                handlers::revoke_policy(gateway, request, policy),
            )
        })
}

/// `POST /api/vault/oidc/repin`
fn repin(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "repin")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("POST /api/vault/oidc/repin", handlers::repin(gateway, request)))
}

/// `POST /api/vault/oidc/explain`
fn explain(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "explain")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("POST /api/vault/oidc/explain", handlers::explain(gateway, request)))
}

/// `GET /api/vault/oidc/escrow-key`
fn escrow_key(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow-key").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("GET /api/vault/oidc/escrow-key", handlers::escrow_key(gateway, request)),
    )
}

/// `POST /api/vault/oidc/escrow`
fn put_escrow(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/vault/oidc/escrow", handlers::put_escrow(gateway, request)),
    )
}

/// `DELETE /api/vault/oidc/escrow?vaultId=`
fn disable_escrow(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow").and(delete()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("DELETE /api/vault/oidc/escrow", handlers::disable_escrow(gateway, request))
        },
    )
}

/// `GET /healthz`
fn healthz() -> route!() {
    path!("healthz").and(get()).then(|| answer("GET /healthz", handlers::alive()))
}

/// `GET /readyz`
fn readyz(gateway: &Arc<Gateway>) -> route!() {
    path!("readyz")
        .and(get())
        .and(with(gateway))
        .then(|gateway| answer("GET /readyz", handlers::ready(gateway)))
}

/// `GET /api/registry/health`
fn registry_health(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "registry" / "health")
        .and(get())
        .and(with(gateway))
        .then(|gateway| answer("GET /api/registry/health", handlers::ready(gateway)))
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
