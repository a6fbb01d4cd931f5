//! Policies.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, delete, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    create_policy(gateway)
        .or(list_policies(gateway))
        .unify()
        .or(revoke_policy(gateway))
        .unify()
        .or(repin(gateway))
        .unify()
        .or(explain(gateway))
        .unify()
}

/// `POST /api/vault/oidc/policies`
fn create_policy(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "policies").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/vault/oidc/policies", handlers::policies::create_policy(gateway, request))
        },
    )
}

/// `GET /api/vault/oidc/policies?vaultId=`
fn list_policies(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "policies").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("GET /api/vault/oidc/policies", handlers::policies::list_policies(gateway, request))
        },
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
                handlers::policies::revoke_policy(gateway, request, policy),
            )
        })
}

/// `POST /api/vault/oidc/repin`
fn repin(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "repin").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/vault/oidc/repin", handlers::policies::repin(gateway, request)),
    )
}

/// `POST /api/vault/oidc/explain`
fn explain(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "explain").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/vault/oidc/explain", handlers::policies::explain(gateway, request))
        },
    )
}
