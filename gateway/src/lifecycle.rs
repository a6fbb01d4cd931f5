//! How far the gateway is on its way from serving to gone.
//!
//! SIGTERM takes it there in two steps, because a load balancer needs time to notice: first `/readyz` says so and every
//! answer ends its connection, while new ones are still taken; then nobody new is let in, and what is open is finished.

use tokio::sync::watch;

/// A step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// From the start on.
    Serving,
    /// Load balancers are told to go elsewhere.
    Draining,
    /// Nobody new is let in.
    Stopping,
}

/// The phase, for whoever acts by it.
pub(crate) struct Lifecycle(watch::Sender<Phase>);

impl Default for Lifecycle {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Lifecycle {
    /// Goes on to the next step.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.send_replace(phase);
    }

    /// Is the gateway on its way out?
    pub(crate) fn is_ending(&self) -> bool {
        *self.0.borrow() > Phase::Serving
    }

    /// A place among those that are waited for at the end.
    pub(crate) fn open(&self) -> Open {
        Open(self.0.subscribe())
    }

    /// Returns when every [`Open`] is gone.
    pub(crate) async fn all_closed(&self) {
        self.0.closed().await;
    }
}

/// What the end waits for: a connection.
pub(crate) struct Open(watch::Receiver<Phase>);

impl Open {
    /// Returns when the gateway is on its way out.
    pub(crate) async fn ends(&mut self) {
        let _ = self.0.wait_for(|phase| *phase > Phase::Serving).await.is_ok();
    }

    /// Returns when nobody new is let in.
    pub(crate) async fn stops(&mut self) {
        // an error would mean that nobody is left to wait for this
        let _ = self.0.wait_for(|phase| *phase == Phase::Stopping).await.is_ok();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.0.borrow() == Phase::Stopping
    }
}
