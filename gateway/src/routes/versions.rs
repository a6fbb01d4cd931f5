//! The versions of a vault that are kept.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use crate::request::{Segment, request};
use std::sync::Arc;
use warp::{Filter, get, path, post};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    list_versions(gateway).or(restore_version(gateway)).unify()
}

/// `GET /api/vaults/{vault}/versions?org=`
fn list_versions(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "versions").and(get()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer(
                "GET /api/vaults/{vault}/versions",
                handlers::versions::list_versions(gateway, request, vault),
            )
        },
    )
}

/// `POST /api/vaults/{vault}/restore`
fn restore_version(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "vaults" / Segment / "restore").and(post()).and(with(gateway)).and(request()).then(
        |vault, gateway, request| {
            answer(
                "POST /api/vaults/{vault}/restore",
                handlers::versions::restore_version(gateway, request, vault),
            )
        },
    )
}
