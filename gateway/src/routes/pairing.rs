//! Pairing.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, get, path, post};

/// All of them; `revoke-all` before what takes any code.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    start(gateway)
        .or(revoke_all(gateway))
        .unify()
        .or(show(gateway))
        .unify()
        .or(approve(gateway))
        .unify()
        .or(consume(gateway))
        .unify()
}

/// `POST /api/vault/pair`
fn start(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "pair")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|gateway, request| answer("POST /api/vault/pair", handlers::pairing::start(gateway, request)))
}

/// `POST /api/vault/pair/revoke-all`
fn revoke_all(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "pair" / "revoke-all").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/vault/pair/revoke-all", handlers::pairing::revoke_all(gateway, request))
        },
    )
}

/// `GET /api/vault/pair/{code}`
fn show(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "pair" / Segment).and(get()).and(with(gateway)).and(request()).then(
        |code, gateway, request| {
            answer("GET /api/vault/pair/{code}", handlers::pairing::show(gateway, request, code))
        },
    )
}

/// `POST /api/vault/pair/{code}`
fn approve(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "pair" / Segment).and(post()).and(with(gateway)).and(request()).then(
        |code, gateway, request| {
            answer("POST /api/vault/pair/{code}", handlers::pairing::approve(gateway, request, code))
        },
    )
}

/// `POST /api/vault/pair/{code}/consume`
fn consume(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vault" / "pair" / Segment / "consume").and(post()).and(with(gateway)).and(request()).then(
        |code, gateway, request| {
            answer("POST /api/vault/pair/{code}/consume", handlers::pairing::consume(gateway, request, code))
        },
    )
}
