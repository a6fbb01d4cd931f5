//! What `/metrics` shows: how requests end, how long they take, and the state of pool and issuer keys.
//!
//! No label takes a value from a caller. Routes and machine codes are sets closed by the program, statuses come from the
//! table of failures, and issuers are those that the database trusts, read when somebody looks: an issuer that
//! is not trusted any more has no series any more.

mod server;
mod state;

pub(crate) use server::serve;

use crate::db::Db;
use crate::oidc::Oidc;
use http::StatusCode;
use lpm_core::failure::Code;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use state::State;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Routes whose answers decide about CI jobs.
const CI_ROUTES: [&str; 3] =
    ["POST /api/vault/oidc/pull", "POST /api/vault/oidc", "GET /api/vaults/{vault}/ci-pull"];
/// Upper bounds in seconds: a pull takes a few milliseconds, and no request longer than `--request-timeout`.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decision {
    route: &'static str,
    reason: &'static str,
}

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Ending, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
    decisions: Family<Decision, Counter>,
    connections: Gauge,
}

impl Metrics {
    pub(crate) fn new(db: Arc<Db>, oidc: Arc<Oidc>) -> Self {
        let mut registry = Registry::with_prefix("lpm_gateway");
        let requests = Family::default();
        registry.register("requests", "Requests answered, by route and status", requests.clone());
        let durations = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let decisions = Family::default();
        registry.register(
            "ci_decisions",
            "Answers to CI jobs, by machine code; `granted` for a success",
            decisions.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections_open", "Open connections of clients", connections.clone());
        registry.register(
            "build",
            "The program that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_collector(Box::new(State::new(db, oidc)));
        Self { registry, requests, durations, decisions, connections }
    }

    /// Counts an answer.
    pub(crate) fn answered(
        &self,
        route: &'static str,
        code: Option<&str>,
        status: StatusCode,
        took: Duration,
    ) {
        self.requests.get_or_create(&Ending { route, status: status.as_u16() }).inc();
        self.durations.get_or_create(&Route { route }).observe(took.as_secs_f64());
        if CI_ROUTES.contains(&route) {
            self.decisions.get_or_create(&Decision { route, reason: reason(status, code) }).inc();
        }
    }

    /// Counts a connection for as long as what is returned lives.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.inc();
        Connection(self.connections.clone())
    }

    /// Everything in Prometheus' text format.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// An open connection.
pub(crate) struct Connection(Gauge);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A code of the table and nothing else, whatever the database answers.
fn reason(status: StatusCode, code: Option<&str>) -> &'static str {
    if status.is_success() {
        return "granted";
    }
    code.and_then(Code::parse).map_or("other", Code::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::SERVED;

    #[test]
    fn the_routes_of_ci_are_in_the_document() {
        for route in CI_ROUTES {
            let (method, path) = route.split_once(' ').expect("method and path");
            let found = SERVED.paths.all().find(|(pattern, _)| pattern == path);
            let (_, documented) = found.expect(route);
            assert!(documented.methods().iter().any(|known| known == method), "{route}");
        }
    }

    #[test]
    fn a_reason_is_a_code_of_the_table_or_none() {
        assert_eq!(reason(StatusCode::OK, None), "granted");
        assert_eq!(reason(StatusCode::OK, Some("branch_not_allowed")), "granted");
        for code in Code::ALL {
            assert_eq!(reason(StatusCode::FORBIDDEN, Some(code.as_str())), code.as_str());
        }
        for strange in [None, Some(""), Some("granted"), Some("Branch_Not_Allowed"), Some("x\"y")] {
            assert_eq!(reason(StatusCode::FORBIDDEN, strange), "other", "{strange:?}");
        }
    }
}
