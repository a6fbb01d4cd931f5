//! Members of an org.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, delete, get, path, post, put};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    list(gateway)
        .or(set_role(gateway))
        .unify()
        .or(remove(gateway))
        .unify()
        .or(settings(gateway))
        .unify()
        .or(accept_invitation(gateway))
        .unify()
        .or(invite(gateway))
        .unify()
        .or(list_invitations(gateway))
        .unify()
        .or(end_invitation(gateway))
        .unify()
        .or(own_invitations(gateway))
        .unify()
}

/// `GET /api/orgs/{org}/members`
fn list(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "members").and(get()).and(with(gateway)).and(request()).then(
        |org, gateway, request| {
            answer("GET /api/orgs/{org}/members", handlers::members::list(gateway, request, org))
        },
    )
}

/// `PUT /api/orgs/{org}/members/{handle}`
fn set_role(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "members" / Segment).and(put()).and(with(gateway)).and(request()).then(
        |org, handle, gateway, request| {
            answer(
                "PUT /api/orgs/{org}/members/{handle}",
                handlers::members::set_role(gateway, request, org, handle),
            )
        },
    )
}

/// `DELETE /api/orgs/{org}/members/{handle}?revokePolicies=`
fn remove(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "members" / Segment)
        .and(delete())
        .and(with(gateway))
        .and(request())
        .then(|org, handle, gateway, request| {
            answer(
                "DELETE /api/orgs/{org}/members/{handle}",
                handlers::members::remove(gateway, request, org, handle),
            )
        })
}

/// `PUT /api/orgs/{org}/settings`
fn settings(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "settings").and(put()).and(with(gateway)).and(request()).then(
        |org, gateway, request| {
            answer("PUT /api/orgs/{org}/settings", handlers::members::settings(gateway, request, org))
        },
    )
}

/// `POST /api/orgs/{org}/invitations/accept`
fn accept_invitation(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "invitations" / "accept")
        .and(post())
        .and(with(gateway))
        .and(request())
        .then(|org, gateway, request| {
            answer(
                "POST /api/orgs/{org}/invitations/accept",
                handlers::members::accept_invitation(gateway, request, org),
            )
        })
}

/// `POST /api/orgs/{org}/invitations`
fn invite(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "invitations").and(post()).and(with(gateway)).and(request()).then(
        |org, gateway, request| {
            answer("POST /api/orgs/{org}/invitations", handlers::members::invite(gateway, request, org))
        },
    )
}

/// `GET /api/orgs/{org}/invitations`
fn list_invitations(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "invitations").and(get()).and(with(gateway)).and(request()).then(
        |org, gateway, request| {
            answer(
                "GET /api/orgs/{org}/invitations",
                handlers::members::list_invitations(gateway, request, org),
            )
        },
    )
}

/// `DELETE /api/orgs/{org}/invitations/{handle}`
fn end_invitation(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "orgs" / Segment / "invitations" / Segment)
        .and(delete())
        .and(with(gateway))
        .and(request())
        .then(|org, handle, gateway, request| {
            answer(
                "DELETE /api/orgs/{org}/invitations/{handle}",
                handlers::members::end_invitation(gateway, request, org, handle),
            )
        })
}

/// `GET /api/invitations`
fn own_invitations(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "invitations").and(get()).and(with(gateway)).and(request()).then(|gateway, request| {
        answer("GET /api/invitations", handlers::members::own_invitations(gateway, request))
    })
}
