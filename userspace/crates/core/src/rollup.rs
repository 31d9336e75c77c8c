//! What a series gathered in one window of time.

use std::sync::Arc;
use std::time::Duration;

use crate::histogram::DurationHistogram;
use crate::measure::{Measure, Measures, PartSums, StreamSums, TokenSums};
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
    /// Durations (`http.server.request.duration`); of requests whose end was
    /// lost there is none.
    pub duration: DurationHistogram,
    /// Last byte of the request to first byte of the response.
    pub time_to_first_byte: DurationHistogram,
    /// What else was measured; `None` where nothing was, which takes no room.
    pub detail: Option<Box<Detail>>,
}

/// What is measured of requests beside durations and times to first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The histograms.
    pub measures: Measures,
    /// Where the time went; for the live view, history tells it from the
    /// histograms.
    pub parts: PartSums,
    /// Responses that streamed. History keeps its counts of chunks and stalls.
    pub streams: StreamSums,
    /// Tokens told of.
    pub tokens: TokenSums,
}

impl Detail {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.measures.merge(&other.measures);
        self.parts.merge(&other.parts);
        self.streams.merge(&other.streams);
        self.tokens.merge(&other.tokens);
    }
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
        if let Some(more) = &other.detail {
            self.detail.get_or_insert_default().merge(more);
        }
    }

    /// The histogram of a measure; `None` where there is none.
    #[must_use]
    pub fn measure(&self, measure: Measure) -> Option<&DurationHistogram> {
        let detail = self.detail.as_ref()?;
        Some(&detail.measures[measure]).filter(|histogram| !histogram.is_empty())
    }
}
