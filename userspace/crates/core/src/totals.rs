//! Exact counts since the daemon's start, in the buckets that are exported.

use std::sync::Arc;
use std::time::Duration;

use crate::accounting::{CaptureAccount, RequestCounts};
use crate::container::Lifecycle;
use crate::measure::{Measure, StreamSums, TokenSums};
use crate::record::{Operation, Outcome};
use crate::resource::ResourceReading;
use crate::rollup::SeriesKey;
use crate::time_buckets::TimeBuckets;

/// Upper bounds, inclusive, of the buckets of `http.server.request.duration`
/// in the semantic conventions, in nanoseconds.
pub const DURATION_BOUNDS_NS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Upper bounds, inclusive, of the buckets of body sizes, in bytes.
pub const SIZE_BOUNDS_BYTES: [u64; 7] = [
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// Durations counted in [`DURATION_BOUNDS_NS`]; each bucket alone, the last
/// one for what is longer than every bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DurationBuckets {
    /// Counts by bucket.
    pub counts: [u64; DURATION_BOUNDS_NS.len() + 1],
    /// Sum of the durations, in nanoseconds.
    pub sum_ns: u64,
}

impl DurationBuckets {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[DURATION_BOUNDS_NS.partition_point(|&bound| bound < ns)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Durations counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

/// Body sizes counted in [`SIZE_BOUNDS_BYTES`]; each bucket alone, the last
/// one for what is larger than every bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeBuckets {
    /// Counts by bucket.
    pub counts: [u64; SIZE_BOUNDS_BYTES.len() + 1],
    /// Sum of the sizes, in bytes.
    pub sum_bytes: u64,
}

impl SizeBuckets {
    /// Counts one body.
    pub fn record(&mut self, bytes: u64) {
        self.counts[SIZE_BOUNDS_BYTES.partition_point(|&bound| bound < bytes)] += 1;
        self.sum_bytes = self.sum_bytes.saturating_add(bytes);
    }

    /// Bodies counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum_bytes = self.sum_bytes.saturating_add(other.sum_bytes);
    }
}

/// What one series counted since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that finished.
    pub n_requests: u64,
    /// Their durations.
    pub duration: DurationBuckets,
    /// Last byte of the request to first byte of the response, of those that
    /// were answered.
    pub time_to_first_byte: DurationBuckets,
    /// Sizes of the requests' bodies.
    pub request_body: SizeBuckets,
    /// Sizes of the responses' bodies.
    pub response_body: SizeBuckets,
}

impl Counters {
    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.n_requests += other.n_requests;
        self.duration.merge(&other.duration);
        self.time_to_first_byte.merge(&other.time_to_first_byte);
        self.request_body.merge(&other.request_body);
        self.response_body.merge(&other.response_body);
    }
}

/// One series with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesTotals {
    /// The series.
    pub key: SeriesKey,
    /// Minor version of HTTP/1: 0 or 1.
    pub http_minor: u8,
    /// Its counts.
    pub counters: Counters,
}

/// What one route of one container counted since the daemon's start, whatever
/// its methods and statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteCounters {
    /// Only what was ever measured takes room.
    measures: [Option<Box<TimeBuckets>>; Measure::COUNT],
    /// Responses that streamed.
    pub streams: StreamSums,
}

impl RouteCounters {
    /// The times of a measure; `None` where it was never measured.
    #[must_use]
    pub fn measure(&self, measure: Measure) -> Option<&TimeBuckets> {
        self.measures[measure as usize].as_deref()
    }

    /// The times of a measure, to count more.
    pub fn measure_mut(&mut self, measure: Measure) -> &mut TimeBuckets {
        self.measures[measure as usize]
            .get_or_insert_with(|| Box::new(TimeBuckets::of_measure(measure)))
    }

    /// Adds everything of `other`.
    pub fn merge(&mut self, other: &Self) {
        for measure in Measure::ALL {
            if let Some(more) = other.measure(measure) {
                self.measure_mut(measure).merge(more);
            }
        }
        self.streams.merge(&other.streams);
    }
}

/// One route of one container with its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTotals {
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The route template, or `_other`.
    pub route: Arc<str>,
    /// Its counts.
    pub counters: RouteCounters,
}

/// What requests to an inference endpoint counted since the daemon's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceCounters {
    /// `gen_ai.server.request.duration`.
    pub duration: TimeBuckets,
    /// `gen_ai.server.time_to_first_token`; only where it truly is one.
    pub first_token: Option<TimeBuckets>,
    /// Tokens told of.
    pub tokens: TokenSums,
}

/// Requests to inference endpoints of one container, operation, model and
/// error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InferenceTotals {
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// What the endpoint does.
    pub operation: Operation,
    /// The model, `_unknown`, or `_other` beyond the limit of models.
    pub model: Arc<str>,
    /// [`error_type`], or `_OTHER` beyond the limit; empty without an error.
    pub error_type: Arc<str>,
    /// Its counts.
    pub counters: InferenceCounters,
}

/// Requests over UNIX sockets of one container since the daemon's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerTotals {
    /// By status class: `1xx` to `5xx`, then those without a status.
    pub by_status_class: [u64; 6],
    /// Their durations.
    pub duration: TimeBuckets,
}

/// Upgraded connections of one container since the daemon's start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTotals {
    /// Their durations: of each that ended one.
    pub duration: TimeBuckets,
    /// Messages the server read, of sessions whose messages were followed.
    pub n_messages_read: u64,
    /// Messages the server wrote, of the same.
    pub n_messages_written: u64,
}

/// One container with what is counted of it as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerTotals {
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// Requests in progress.
    pub n_active: u64,
    /// Requests over UNIX sockets, if there were any.
    pub inner: Option<InnerTotals>,
    /// Upgraded connections, if there were any.
    pub sessions: Option<SessionTotals>,
    /// Events and bytes, once something was told of them.
    pub capture: Option<CaptureAccount>,
    /// Requests and responses that the probes counted themselves.
    pub kernel: Option<RequestCounts>,
    /// Bytes moved by ways the kernel is too old to show, where that is known.
    pub unseen_bytes: Option<u64>,
    /// How its life went so far; `None` once it ended.
    pub lifecycle: Option<Lifecycle>,
    /// Processes killed for want of memory since the daemon watches.
    pub n_oom_kills: Option<u64>,
    /// What it used since its own start; `None` while that was not read.
    pub resources: Option<ResourceReading>,
}

/// Everything counted since the daemon's start, of series and containers that
/// were not forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// The series, in no order.
    pub series: Vec<SeriesTotals>,
    /// Routes by container, in no order.
    pub routes: Vec<RouteTotals>,
    /// Inference, in no order.
    pub inference: Vec<InferenceTotals>,
    /// The containers, in no order.
    pub containers: Vec<ContainerTotals>,
}

/// `error.type`: the status where it is a server error, else how the exchange
/// failed, else nothing.
#[must_use]
pub fn error_type(status: Option<u16>, outcome: Outcome) -> String {
    match (status, outcome) {
        (Some(status), _) if status >= 500 => status.to_string(),
        (_, outcome @ (Outcome::ServerAborted | Outcome::Unanswered)) => {
            outcome.as_str().to_owned()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_at_a_bound_counts_below_it() {
        let mut buckets = DurationBuckets::default();
        buckets.record(Duration::from_millis(5));
        buckets.record(Duration::from_nanos(5_000_001));
        buckets.record(Duration::from_secs(10));
        buckets.record(Duration::from_nanos(10_000_000_001));
        buckets.record(Duration::MAX);
        assert_eq!(
            buckets.counts,
            [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
        );
        assert_eq!(buckets.sum_ns, u64::MAX);
    }

    #[test]
    fn an_empty_body_counts_in_the_first_bucket() {
        let mut buckets = SizeBuckets::default();
        for bytes in [0, 100, 101, 100_000_001] {
            buckets.record(bytes);
        }
        assert_eq!(buckets.counts, [2, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(buckets.count(), 4);
    }
}
