//! What CI jobs call.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    one_step_pull(gateway).or(exchange(gateway)).unify().or(ci_pull(gateway)).unify()
}

/// `POST /api/vault/oidc/pull`
fn one_step_pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "pull").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/vault/oidc/pull", handlers::ci::one_step_pull(gateway, request)),
    )
}

/// `POST /api/vault/oidc`
fn exchange(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("POST /api/vault/oidc", handlers::ci::exchange(gateway, request)))
}

/// `GET /api/vaults/{vault}/ci-pull?env=`
fn ci_pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "ci-pull").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/ci-pull", handlers::ci::ci_pull(gateway, request, vault))
        },
    )
}
