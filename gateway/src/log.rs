//! Log lines on stderr, as text or JSON.
//!
//! What is logged of a request is its id, route, status, code, duration, the caller's address and trace: never a
//! token, a body, a value or a path, which may hold what a caller mistyped. Records of the `log` crate are deliberately not
//! bridged: tokio-postgres writes statement parameters there.

use crate::config::LogFormat;
use anyhow::Context;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, reload};

/// Changes what is logged.
pub(crate) struct Handle(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl Handle {
    /// Logs by another filter from now on.
    pub(crate) fn refilter(&self, filter: &str) -> anyhow::Result<()> {
        Ok((self.0)(parse(filter)?)?)
    }
}

/// Starts logging for the whole process.
pub(crate) fn start(filter: &str, format: LogFormat) -> anyhow::Result<Handle> {
    let (subscriber, handle) = subscriber(parse(filter)?, format);
    // `set_global_default` and not `init`, which would also bridge the `log` crate.
    tracing::subscriber::set_global_default(subscriber).context("logging has been started twice")?;
    Ok(handle)
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::builder().parse(filter).with_context(|| {
        format!("--log (LPM_GATEWAY_LOG) `{filter}` is not a filter; write a level like `info` or `info,lpm_gateway=debug`")
    })?;
    // whatever was asked for: its filters write down each segment of a path, and one may be a mistyped token
    for silent in ["warp=off", "warp::filters=off", "warp::filters::path=off"] {
        filter = filter.add_directive(silent.parse()?);
    }
    Ok(filter)
}

fn subscriber(filter: EnvFilter, format: LogFormat) -> (Box<dyn Subscriber + Send + Sync>, Handle) {
    let base = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter);
    match format {
        LogFormat::Plain => {
            let builder = base.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), Handle(Box::new(move |filter| handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = base.json().flatten_event(true).with_current_span(true).with_span_list(false);
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            (Box::new(builder.finish()), Handle(Box::new(move |filter| handle.reload(filter))))
        }
    }
}
