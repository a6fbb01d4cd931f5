//! Platforms.

use super::{answer, route};
use crate::handlers;
use crate::request::request;
use warp::{Filter, path, post};

/// All of them.
pub(super) fn routes() -> route!() {
    connect().or(push()).unify().or(pull()).unify().or(status()).unify()
}

/// `POST /api/vault/platforms/connect`
fn connect() -> route!() {
    path!("api" / "vault" / "platforms" / "connect")
        .and(post())
        .and(request())
        .then(|request| answer("POST /api/vault/platforms/connect", handlers::platforms::connect(request)))
}

/// `POST /api/vault/platforms/push`
fn push() -> route!() {
    path!("api" / "vault" / "platforms" / "push")
        .and(post())
        .and(request())
        .then(|request| answer("POST /api/vault/platforms/push", handlers::platforms::push(request)))
}

/// `POST /api/vault/platforms/pull`
fn pull() -> route!() {
    path!("api" / "vault" / "platforms" / "pull")
        .and(post())
        .and(request())
        .then(|request| answer("POST /api/vault/platforms/pull", handlers::platforms::pull(request)))
}

/// `POST /api/vault/platforms/status`
fn status() -> route!() {
    path!("api" / "vault" / "platforms" / "status")
        .and(post())
        .and(request())
        .then(|request| answer("POST /api/vault/platforms/status", handlers::platforms::status(request)))
}
