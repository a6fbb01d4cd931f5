//! What is not counted but looked up when somebody asks: the pool, and the keys of the trusted issuers.

use crate::db::Db;
use crate::oidc::Oidc;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;

/// Where it is looked up.
pub(super) struct State {
    db: Arc<Db>,
    oidc: Arc<Oidc>,
}

impl State {
    pub(super) fn new(db: Arc<Db>, oidc: Arc<Oidc>) -> Self {
        Self { db, oidc }
    }

    fn pool(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let pool = self.db.pool();
        gauge(encoder, "pool_max", "Most connections to the database (--pool-size).", pool.max)?;
        gauge(encoder, "pool_size", "Connections to the database.", pool.size)?;
        gauge(encoder, "pool_in_use", "Connections to the database that a request holds.", pool.in_use)?;
        gauge(
            encoder,
            "pool_waiting",
            "Requests that wait for a connection to the database, or for one to open.",
            pool.waiting,
        )?;
        let text = "Requests that got no connection to the database because all were in use.";
        let counter = encoder.encode_descriptor("pool_exhausted", text, None, MetricType::Counter)?;
        ConstCounter::new(pool.exhausted).encode(counter)
    }

    fn keys(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let issuers = self.oidc.fetched_keys();
        let text = "Age of an issuer's keys in use, since their fetch began; absent before the first fetch.";
        let mut ages = encoder.encode_descriptor("issuer_keys_age_seconds", text, None, MetricType::Gauge)?;
        for issuer in &issuers {
            if let Some(age) = issuer.age {
                let labels = [("issuer", issuer.name.as_str())];
                ConstGauge::new(age.as_secs_f64()).encode(ages.encode_family(&labels)?)?;
            }
        }
        let text = "Fetches of an issuer's keys that failed.";
        let mut failures =
            encoder.encode_descriptor("issuer_key_fetch_failures", text, None, MetricType::Counter)?;
        for issuer in &issuers {
            let labels = [("issuer", issuer.name.as_str())];
            ConstCounter::new(issuer.failures).encode(failures.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.pool(&mut encoder)?;
        self.keys(&mut encoder)
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    ConstGauge::new(value).encode(gauge)
}
