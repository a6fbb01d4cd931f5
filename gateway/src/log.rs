//! Log lines on stderr, as text or JSON.
//!
//! What is logged of a request is its id, route, status, code, duration, the caller's address and trace: never a
//! token, a body, a value or a path, which may hold what a caller mistyped. Records of the `log` crate are deliberately not
//! bridged: tokio-postgres writes statement parameters there.

use crate::config::LogFormat;
use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let mut filter = EnvFilter::builder().parse(filter).with_context(|| {
        format!("--log (LPM_GATEWAY_LOG) `{filter}` is not a filter; write a level like `info` or `info,lpm_gateway=debug`")
    })?;
    // whatever was asked for: its filters write down each segment of a path, and one may be a mistyped token
    for silent in ["warp=off", "warp::filters=off", "warp::filters::path=off"] {
        filter = filter.add_directive(silent.parse()?);
    }
    // `set_global_default` and not `init`, which would also bridge the `log` crate.
    tracing::subscriber::set_global_default(subscriber(filter, format))
        .context("logging has been started twice")
}

fn subscriber(filter: EnvFilter, format: LogFormat) -> Box<dyn Subscriber + Send + Sync> {
    let base = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match format {
        LogFormat::Plain => Box::new(base.with_ansi(false).finish()),
        LogFormat::Json => {
            Box::new(base.json().flatten_event(true).with_current_span(true).with_span_list(false).finish())
        }
    }
}
