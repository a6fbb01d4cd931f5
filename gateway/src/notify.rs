//! What the service manager is told (`Type=notify`): <https://www.freedesktop.org/software/systemd/man/sd_notify.html>.
//! Without `NOTIFY_SOCKET` there is none, and nobody is told anything.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::interval;
use tracing::warn;

/// It may send requests.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Settings are being read again; [`ready`] ends it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "The service manager is not told of a reload"),
    }
}

/// The end has begun.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says twice per `WATCHDOG_USEC` that the program is not stuck: a runtime whose threads all hang runs this no more.
pub(crate) async fn keep_alive() {
    let Some(period) = sd_notify::watchdog_enabled().filter(|period| *period >= Duration::from_millis(1))
    else {
        return;
    };
    let mut ticks = interval(period / 2);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "NOTIFY_SOCKET is set, and the service manager cannot be told anything");
    }
}
