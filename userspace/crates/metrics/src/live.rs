//! What the live view shows, as plain values.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{CaptureAccount, RequestCounts};
use modeltap_core::alert::{Alert, AlertState, Severity};
use modeltap_core::container::Container;
use modeltap_core::measure::TokenSums;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::time::UnixNs;

use crate::resources::ResourceSnapshot;

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
    /// Alerts that fire or may soon, the worst first.
    pub alerts: Vec<Alert>,
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

    /// Takes the alerts of this second, and tells each service of its own.
    pub fn set_alerts(&mut self, alerts: Vec<Alert>) {
        for alert in &alerts {
            let by_name = |service: &ServiceSnapshot| service.name.cmp(&alert.service);
            if alert.state == AlertState::Firing
                && alert.silenced_by.is_none()
                && let Ok(at) = self.services.binary_search_by(by_name)
            {
                let service = &mut self.services[at];
                service.n_firing += 1;
                service.worst_firing = service.worst_firing.max(Some(alert.severity));
            }
        }
        self.alerts = alerts;
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
    /// Requests in progress, without inner hops.
    pub n_active: u64,
    /// Each of `containers` alone, in their order.
    pub by_container: Vec<ContainerSnapshot>,
    /// Requests over UNIX sockets, in no other figure of the service; `None`
    /// where there were none.
    pub inner: Option<InnerSnapshot>,
    /// Upgraded connections; `None` where there were none.
    pub sessions: Option<SessionSnapshot>,
    /// Events and bytes since the start; `None` where nothing was told yet.
    pub capture: Option<CaptureAccount>,
    /// Requests and responses that the probes counted themselves; `None`
    /// where they do not.
    pub kernel: Option<RequestCounts>,
    /// Requests and responses that the parser saw, with requests in progress.
    pub seen: RequestCounts,
    /// Of `kernel`, those of events that were left out to stay within the
    /// budget: the parser saw none of them.
    pub left_out: RequestCounts,
    /// Bytes moved by ways the kernel is too old to show; `None` where that
    /// is not known.
    pub unseen_bytes: Option<u64>,
    /// What its containers use; `None` where that was not read.
    pub resources: Option<ResourceSnapshot>,
    /// Whether it is failing or slower since a moment ago, which
    /// [`crate::why`] tells of.
    pub is_suddenly_worse: bool,
    /// Alerts of it that fire and are not silenced.
    pub n_firing: u32,
    /// The worst of them.
    pub worst_firing: Option<Severity>,
}

/// One container over the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContainerSnapshot {
    /// Figures.
    pub window: WindowFigures,
    /// As [`ServiceSnapshot::unseen_bytes`].
    pub unseen_bytes: Option<u64>,
    /// What it uses; `None` where that was not read.
    pub resources: Option<ResourceSnapshot>,
}

/// Requests over UNIX sockets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InnerSnapshot {
    /// Since the start, by status class: `1xx` to `5xx`, then those without a
    /// status.
    pub by_status_class: [u64; 6],
    /// Figures over the window.
    pub window: WindowFigures,
}

/// Upgraded connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionSnapshot {
    /// Open now.
    pub n_active: u64,
    /// Sessions that ended; what follows is about these.
    pub n_sessions: u64,
    /// Median duration.
    pub duration_p50: Option<Duration>,
    /// 95th percentile of durations.
    pub duration_p95: Option<Duration>,
    /// Longest duration.
    pub duration_max: Option<Duration>,
    /// Messages the servers read, of sessions whose messages were followed.
    pub n_messages_read: u64,
    /// Messages the servers wrote, of the same.
    pub n_messages_written: u64,
    /// Messages a second and session, both ways.
    pub message_rate: Option<f64>,
    /// Bytes the servers read.
    pub bytes_read: u64,
    /// Bytes the servers wrote.
    pub bytes_written: u64,
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
    /// Median of what clients felt, of requests whose arrival is known.
    pub felt_p50: Option<Duration>,
    /// 95th percentile of the same.
    pub felt_p95: Option<Duration>,
    /// Median wait before the first read, of requests of which it is known.
    pub queue_p50: Option<Duration>,
    /// 95th percentile of the same.
    pub queue_p95: Option<Duration>,
    /// Where the time went; `None` where it is known of no request.
    pub parts: Option<TimeParts>,
    /// Responses that streamed, and tokens told of; `None` without either.
    pub streams: Option<StreamWindow>,
}

/// Means of the parts of time. `read + app + stream` is the mean duration of
/// the requests told of here; requests whose parts overlap are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeParts {
    /// Requests told of here.
    pub n_requests: u64,
    /// Of them: those whose queue is known.
    pub n_queue: u64,
    /// Arrival to first byte read, of those.
    pub queue: Option<Duration>,
    /// First byte of the request read to its last.
    pub read: Duration,
    /// Request read to first byte of the response's body written.
    pub app: Duration,
    /// First byte of the body written to its last.
    pub stream: Duration,
    /// Last byte written to last byte gone from the socket.
    pub drain: Duration,
}

/// Responses of a window that streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamWindow {
    /// Responses that ended.
    pub n_streams: u64,
    /// Of them: the client went away first.
    pub n_aborted: u64,
    /// Content chunks.
    pub n_chunks: u64,
    /// Intervals between them longer than a stall.
    pub n_stalls: u64,
    /// Content chunks a second over the window.
    pub chunk_rate: f64,
    /// Content chunks a second of one stream between its first and its last.
    pub chunk_pace: Option<f64>,
    /// Median time to the first content chunk.
    pub first_chunk_p50: Option<Duration>,
    /// 95th percentile of the same.
    pub first_chunk_p95: Option<Duration>,
    /// Median time from one content chunk to the next.
    pub chunk_interval_p50: Option<Duration>,
    /// 95th percentile of the same.
    pub chunk_interval_p95: Option<Duration>,
    /// 99th percentile of the same.
    pub chunk_interval_p99: Option<Duration>,
    /// Time, in all, that servers went on writing after the client had gone.
    pub after_abort: Duration,
    /// Tokens told of.
    pub tokens: TokenSums,
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
