//! CI escrow.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::request;
use std::sync::Arc;
use warp::{Filter, delete, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    escrow_key(gateway).or(put_escrow(gateway)).unify().or(disable_escrow(gateway)).unify()
}

/// `GET /api/vault/oidc/escrow-key?vaultId=&org=`
fn escrow_key(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow-key").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("GET /api/vault/oidc/escrow-key", handlers::escrow::escrow_key(gateway, request))
        },
    )
}

/// `POST /api/vault/oidc/escrow`
fn put_escrow(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/vault/oidc/escrow", handlers::escrow::put_escrow(gateway, request))
        },
    )
}

/// `DELETE /api/vault/oidc/escrow?vaultId=&org=`
fn disable_escrow(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "oidc" / "escrow").and(delete()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("DELETE /api/vault/oidc/escrow", handlers::escrow::disable_escrow(gateway, request))
        },
    )
}
