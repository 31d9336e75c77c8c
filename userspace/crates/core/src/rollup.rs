//! What a series gathered in one window of time.

use std::sync::Arc;
use std::time::Duration;

use crate::histogram::DurationHistogram;
use crate::record::{Method, Outcome};
use crate::time::UnixNs;

/// The name of one series. The strings are shared: a series is named once a
/// window but spelled once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The method; `None` for a response without a request.
    pub method: Option<Method>,
    /// The route template, or `_other`.
    pub route: Arc<str>,
    /// The status written, if one was.
    pub status: Option<u16>,
    /// How the requests ended.
    pub outcome: Outcome,
}

/// Requests of one series that finished in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// The series.
    pub key: SeriesKey,
    /// Beginning of the window, wall time; a multiple of `width`.
    pub start: UnixNs,
    /// Length of the window.
    pub width: Duration,
    /// What was gathered.
    pub figures: Figures,
}

/// Counts, sums and the histogram of a set of requests; merges exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Requests that finished.
    pub n_requests: u64,
    /// Of them: failed (5xx, or ended by the server without a whole response).
    pub n_errors: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
    /// Sum of durations, in nanoseconds.
    pub duration_sum_ns: u64,
    /// Longest duration, in nanoseconds.
    pub duration_max_ns: u64,
    /// Sum of request body sizes, in bytes.
    pub request_body_bytes: u64,
    /// Sum of response body sizes, in bytes.
    pub response_body_bytes: u64,
    /// Durations (`http.server.request.duration`).
    pub duration: DurationHistogram,
    /// Last byte of the request to first byte of the response.
    pub time_to_first_byte: DurationHistogram,
}

impl Figures {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        self.n_errors += other.n_errors;
        self.n_incomplete += other.n_incomplete;
        self.duration_sum_ns = self.duration_sum_ns.saturating_add(other.duration_sum_ns);
        self.duration_max_ns = self.duration_max_ns.max(other.duration_max_ns);
        self.request_body_bytes = self
            .request_body_bytes
            .saturating_add(other.request_body_bytes);
        self.response_body_bytes = self
            .response_body_bytes
            .saturating_add(other.response_body_bytes);
        self.duration.merge(&other.duration);
        self.time_to_first_byte.merge(&other.time_to_first_byte);
    }

    /// Mean duration; `None` without requests.
    #[must_use]
    pub fn duration_avg(&self) -> Option<Duration> {
        (self.n_requests > 0).then(|| Duration::from_nanos(self.duration_sum_ns / self.n_requests))
    }
}
