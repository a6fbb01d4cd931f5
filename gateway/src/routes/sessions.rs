//! Login sessions and tokens.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, delete, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    exchange(gateway)
        .or(refresh(gateway))
        .unify()
        .or(list_sessions(gateway))
        .unify()
        .or(end_session(gateway))
        .unify()
        .or(whoami(gateway))
        .unify()
        .or(rotate_token(gateway))
        .unify()
        .or(revoke_token(gateway))
        .unify()
}

/// `POST /api/cli/exchange`
fn exchange(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "cli" / "exchange").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("POST /api/cli/exchange", handlers::sessions::exchange(gateway, request)),
    )
}

/// `POST /api/cli/refresh`
fn refresh(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "cli" / "refresh").and(post()).and(with(gateway)).and(request()).then(|gateway, request| {
        answer("POST /api/cli/refresh", handlers::sessions::refresh(gateway, request))
    })
}

/// `GET /api/cli/sessions`
fn list_sessions(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "cli" / "sessions").and(get()).and(with(gateway)).and(request()).then(|gateway, request| {
        answer("GET /api/cli/sessions", handlers::sessions::list_sessions(gateway, request))
    })
}

/// `DELETE /api/cli/sessions/{id}`
fn end_session(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "cli" / "sessions" / Segment).and(delete()).and(with(gateway)).and(request()).then(
        |session, gateway, request| {
            answer(
                "DELETE /api/cli/sessions/{id}",
                handlers::sessions::end_session(gateway, request, session),
            )
        },
    )
}

/// `GET /api/registry/-/whoami`
fn whoami(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "registry" / "-" / "whoami").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| answer("GET /api/registry/-/whoami", handlers::sessions::whoami(gateway, request)),
    )
}

/// `POST /api/registry/-/token/rotate`
fn rotate_token(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "registry" / "-" / "token" / "rotate").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/registry/-/token/rotate", handlers::sessions::rotate_token(gateway, request))
        },
    )
}

/// `POST /api/registry/tokens/revoke`
fn revoke_token(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "registry" / "tokens" / "revoke").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/registry/tokens/revoke", handlers::sessions::revoke_token(gateway, request))
        },
    )
}
