//! Health.

use super::{answer, route, with};
use crate::handlers::{self, Gateway};
use std::sync::Arc;
use warp::{Filter, get, path};

/// All of them.
pub(super) fn routes(gateway: &Arc<Gateway>) -> route!() {
    healthz().or(readyz(gateway)).unify().or(registry_health(gateway)).unify().or(document()).unify()
}

/// `GET /healthz`
fn healthz() -> route!() {
    path!("healthz").and(get()).then(|| answer("GET /healthz", handlers::health::alive()))
}

/// `GET /readyz`
fn readyz(gateway: &Arc<Gateway>) -> route!() {
    path!("readyz")
        .and(get())
        .and(with(gateway))
        .then(|gateway| answer("GET /readyz", handlers::health::ready(gateway)))
}

/// `GET /openapi.json`
fn document() -> route!() {
    path!("openapi.json").and(get()).then(|| answer("GET /openapi.json", handlers::health::document()))
}

/// `GET /api/registry/health`
fn registry_health(gateway: &Arc<Gateway>) -> route!() {
    path!("api" / "registry" / "health")
        .and(get())
        .and(with(gateway))
        .then(|gateway| answer("GET /api/registry/health", handlers::health::registry_health(gateway)))
}
