//! What the live view shows, as plain values.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::container::Container;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::time::UnixNs;

/// Every service as it was at the end of the last whole second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveSnapshot {
    /// End of the window the figures cover.
    pub at: UnixNs,
    /// Length of that window; shorter than the configured one only while the
    /// daemon is younger.
    pub window: Duration,
    /// Services by name: those with a running container, and those whose
    /// counts were not forgotten yet.
    pub services: Vec<ServiceSnapshot>,
}

impl LiveSnapshot {
    /// The service of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&ServiceSnapshot> {
        let at = self
            .services
            .binary_search_by(|service| (*service.name).cmp(name))
            .ok()?;
        Some(&self.services[at])
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSnapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its Compose project.
    pub project: Option<String>,
    /// Its running containers, by name.
    pub containers: Vec<Arc<Container>>,
    /// Figures over the window.
    pub window: WindowFigures,
    /// Its routes over the window, those that took the most time first.
    pub routes: Vec<RouteSnapshot>,
    /// Exact counts since the daemon's start, by route, method, status and
    /// outcome.
    pub totals: Vec<RouteTotal>,
    /// The newest whole second, if requests finished in it.
    pub second: Option<SecondFigures>,
    /// Requests a second, one value every ten seconds, oldest first, over at
    /// most 15 minutes.
    pub sparkline: Vec<f32>,
    /// When its last request finished.
    pub last_request: Option<UnixNs>,
    /// Requests in progress.
    pub n_active: u64,
}

/// Figures of the requests that finished in a window. Percentiles are right to
/// 0.8 % and never above `max`, which is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WindowFigures {
    /// Requests.
    pub n_requests: u64,
    /// Of them: failed (5xx, or ended by the server without a whole response).
    pub n_errors: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
    /// Requests a second.
    pub rate: f64,
    /// Median duration.
    pub p50: Option<Duration>,
    /// 95th percentile of durations.
    pub p95: Option<Duration>,
    /// 99th percentile of durations.
    pub p99: Option<Duration>,
    /// Longest duration.
    pub max: Option<Duration>,
    /// Median time to the first byte.
    pub ttfb_p50: Option<Duration>,
    /// 95th percentile of the time to the first byte.
    pub ttfb_p95: Option<Duration>,
}

impl WindowFigures {
    /// Share of requests that failed; `None` without requests.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        (self.n_requests > 0).then(|| self.n_errors as f64 / self.n_requests as f64)
    }
}

/// One route and method of a service over the window.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSnapshot {
    /// Route template, or `_other`.
    pub route: Arc<str>,
    /// Method; `None` for responses without a request.
    pub method: Option<Method>,
    /// Figures.
    pub window: WindowFigures,
    /// Requests by status, ascending, those without one first.
    pub by_status: Vec<(Option<u16>, u64)>,
    /// Its share of the service's summed durations, 0 to 1.
    pub time_share: f64,
}

/// One whole second of one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SecondFigures {
    /// Beginning of the second.
    pub at: UnixNs,
    /// Figures.
    pub figures: WindowFigures,
    /// Requests by status class: `1xx` to `5xx`, then those without a status
    /// or with one outside.
    pub by_status_class: [u64; 6],
}

/// Exact count since the daemon's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTotal {
    /// Route template, or `_other`.
    pub route: Arc<str>,
    /// Method; `None` for responses without a request.
    pub method: Option<Method>,
    /// Status written, if one was.
    pub status: Option<u16>,
    /// How the requests ended.
    pub outcome: Outcome,
    /// Requests.
    pub n_requests: u64,
}

/// Place of a status in `by_status_class`.
pub(crate) fn status_class(status: Option<u16>) -> usize {
    match status {
        Some(status @ 100..=599) => usize::from(status / 100) - 1,
        _ => 5,
    }
}
