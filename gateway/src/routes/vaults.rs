//! Personal vaults.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    push(gateway).or(pull(gateway)).unify().or(list_vaults(gateway)).unify().or(audit(gateway)).unify()
}

/// `POST /api/vaults/{vault}/sync`
fn push(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "sync").and(post()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("POST /api/vaults/{vault}/sync", handlers::vaults::push(gateway, request, vault))
        },
    )
}

/// `GET /api/vaults/{vault}/sync`
fn pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "sync").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/sync", handlers::vaults::pull(gateway, request, vault))
        },
    )
}

/// `GET /api/vaults`
fn list_vaults(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults")
        .and(get())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("GET /api/vaults", handlers::vaults::list_vaults(gateway, request)))
}

/// `GET /api/vaults/{vault}/audit?cursor=`
fn audit(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "audit").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer("GET /api/vaults/{vault}/audit", handlers::vaults::audit(gateway, request, vault))
        },
    )
}
