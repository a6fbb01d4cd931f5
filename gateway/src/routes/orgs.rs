//! Shared vaults.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    public_key(gateway)
        .or(put_public_key(gateway))
        .unify()
        .or(member_keys(gateway))
        .unify()
        .or(share(gateway))
        .unify()
        .or(org_pull(gateway))
        .unify()
        .or(list_org_vaults(gateway))
        .unify()
}

/// `GET /api/users/me/public-key`
fn public_key(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "users" / "me" / "public-key").and(get()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("GET /api/users/me/public-key", handlers::orgs::public_key(gateway, request))
        },
    )
}

/// `POST /api/users/me/public-key`
fn put_public_key(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "users" / "me" / "public-key").and(post()).and(with(gateway)).and(request()).then(
        |gateway, request| {
            answer("POST /api/users/me/public-key", handlers::orgs::put_public_key(gateway, request))
        },
    )
}

/// `GET /api/orgs/{org}/members/public-keys`
fn member_keys(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "members" / "public-keys")
        .and(get())
        .and(with(gateway))
        .and(request())
        .then(|org, gateway, request| {
            answer(
                "GET /api/orgs/{org}/members/public-keys",
                handlers::orgs::member_keys(gateway, request, org),
            )
        })
}

/// `POST /api/orgs/{org}/vaults/{vault}`
fn share(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "vaults" / Segment).and(post()).and(with(gateway)).and(request()).then(
        |org, vault, gateway, request| {
            answer("POST /api/orgs/{org}/vaults/{vault}", handlers::orgs::share(gateway, request, org, vault))
        },
    )
}

/// `GET /api/orgs/{org}/vaults/{vault}`
fn org_pull(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "vaults" / Segment).and(get()).and(with(gateway)).and(request()).then(
        |org, vault, gateway, request| {
            answer(
                "GET /api/orgs/{org}/vaults/{vault}",
                handlers::orgs::org_pull(gateway, request, org, vault),
            )
        },
    )
}

/// `GET /api/orgs/{org}/vaults`
fn list_org_vaults(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "vaults").and(get()).and(with(gateway)).and(request()).then(
        |org, gateway, request| {
            answer("GET /api/orgs/{org}/vaults", handlers::orgs::list_org_vaults(gateway, request, org))
        },
    )
}
