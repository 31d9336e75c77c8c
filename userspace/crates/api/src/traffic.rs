//! What the API itself does and refuses, counted.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use modeltap_api_types as wire;

/// Counts since the daemon's start.
#[derive(Debug, Default)]
pub struct Traffic {
    /// HTTP connections open now, without live clients.
    pub n_connections: AtomicU64,
    /// Connections refused because all others were busy.
    pub n_refused: AtomicU64,
    /// Connections that said nothing and made room for others.
    pub n_evicted: AtomicU64,
    /// Live clients (WebSockets) now.
    pub n_live: AtomicU64,
    /// Live clients refused because there were too many.
    pub n_live_refused: AtomicU64,
    /// Live clients cut off because they did not read.
    pub n_live_slow: AtomicU64,
}

impl Traffic {
    /// Adds one.
    pub fn count(&self, which: impl FnOnce(&Self) -> &AtomicU64) {
        which(self).fetch_add(1, Ordering::Relaxed);
    }

    /// Tells how many connections are open.
    pub fn set_connections(&self, n: usize) {
        self.n_connections.store(n as u64, Ordering::Relaxed);
    }

    /// As the status tells it.
    pub fn told(&self) -> wire::ApiStatus {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        wire::ApiStatus {
            n_connections: read(&self.n_connections),
            connections_refused: read(&self.n_refused),
            connections_evicted: read(&self.n_evicted),
            n_live_clients: read(&self.n_live),
            live_clients_refused: read(&self.n_live_refused),
            live_clients_dropped: read(&self.n_live_slow),
        }
    }

    /// As Prometheus reads it, behind what else there is.
    pub fn expose(&self, text: &mut String) {
        let told = self.told();
        for (name, kind, help, value) in [
            (
                "modeltap_api_connections",
                "gauge",
                "HTTP connections to the API open now.",
                told.n_connections,
            ),
            (
                "modeltap_api_connections_refused_total",
                "counter",
                "Connections refused because all others were busy.",
                told.connections_refused,
            ),
            (
                "modeltap_api_connections_evicted_total",
                "counter",
                "Connections that said nothing and made room for others.",
                told.connections_evicted,
            ),
            (
                "modeltap_api_live_clients",
                "gauge",
                "WebSockets of /api/v1/live open now.",
                told.n_live_clients,
            ),
            (
                "modeltap_api_live_clients_refused_total",
                "counter",
                "Live clients refused because there were too many.",
                told.live_clients_refused,
            ),
            (
                "modeltap_api_live_clients_dropped_total",
                "counter",
                "Live clients cut off because they did not read.",
                told.live_clients_dropped,
            ),
        ] {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    }
}
