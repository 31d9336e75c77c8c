//! Exact counts of times in the buckets that are exported.

use std::time::Duration;

use crate::histogram::{DurationHistogram, bucket_bounds_ns};
use crate::measure::Measure;
use crate::totals::DURATION_BOUNDS_NS;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// Upper bounds of the buckets of the parts of a request's time, which begin
/// where a local socket does.
pub const PART_BOUNDS_NS: [u64; 18] = [
    100 * US,
    250 * US,
    500 * US,
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S / 2,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
];

/// Upper bounds of the buckets of `gen_ai.server.time_to_first_token` in the
/// semantic conventions.
pub const FIRST_TOKEN_BOUNDS_NS: [u64; 16] = [
    MS,
    5 * MS,
    10 * MS,
    20 * MS,
    40 * MS,
    60 * MS,
    80 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    750 * MS,
    S,
    5 * S / 2,
    5 * S,
    15 * S / 2,
    10 * S,
];

/// Upper bounds of the buckets of `gen_ai.server.request.duration` in the
/// semantic conventions.
pub const INFERENCE_BOUNDS_NS: [u64; 14] = [
    10 * MS,
    20 * MS,
    40 * MS,
    80 * MS,
    160 * MS,
    320 * MS,
    640 * MS,
    1_280 * MS,
    2_560 * MS,
    5_120 * MS,
    10_240 * MS,
    20_480 * MS,
    40_960 * MS,
    81_920 * MS,
];

/// Upper bounds of the buckets of sessions, which last from seconds to a day.
pub const SESSION_BOUNDS_NS: [u64; 12] = [
    S,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
    300 * S,
    600 * S,
    1_800 * S,
    3_600 * S,
    10_800 * S,
    43_200 * S,
    86_400 * S,
];

/// Times counted below bounds; each bucket alone, the last one for what is
/// longer than every bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeBuckets {
    bounds_ns: &'static [u64],
    counts: Box<[u64]>,
    sum_ns: u64,
}

impl TimeBuckets {
    /// Nothing counted; the bounds ascend.
    #[must_use]
    pub fn new(bounds_ns: &'static [u64]) -> Self {
        Self {
            bounds_ns,
            counts: vec![0; bounds_ns.len() + 1].into(),
            sum_ns: 0,
        }
    }

    /// Nothing counted, with the bounds of a measure.
    #[must_use]
    pub fn of_measure(measure: Measure) -> Self {
        match measure {
            Measure::Felt => Self::new(&DURATION_BOUNDS_NS),
            Measure::Queue | Measure::Read | Measure::App | Measure::Stream | Measure::Drain => {
                Self::new(&PART_BOUNDS_NS)
            }
            Measure::FirstChunk | Measure::ChunkInterval => Self::new(&FIRST_TOKEN_BOUNDS_NS),
        }
    }

    /// Counts one time.
    pub fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.add(ns, 1);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// Counts every time of a histogram, by the middle of its bucket, which is
    /// right to 0.4 %; `sum` is their exact sum.
    pub fn record_all(&mut self, times: &DurationHistogram, sum: Duration) {
        for (bucket, count) in times.buckets() {
            let (low, high) = bucket_bounds_ns(bucket);
            self.add(low + (high - low) / 2, count);
        }
        let sum_ns = u64::try_from(sum.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns = self.sum_ns.saturating_add(sum_ns);
    }

    /// Upper bounds, inclusive, in nanoseconds.
    #[must_use]
    pub fn bounds_ns(&self) -> &'static [u64] {
        self.bounds_ns
    }

    /// Counts by bucket: one more than there are bounds.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Sum of the times, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Times counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds every count of `other`, which has the same bounds.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.bounds_ns, other.bounds_ns);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    fn add(&mut self, ns: u64, n: u64) {
        let at = self.bounds_ns.partition_point(|&bound| bound < ns);
        self.counts[at] = self.counts[at].saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_ascends() {
        let scales: [&[u64]; 4] = [
            &PART_BOUNDS_NS,
            &FIRST_TOKEN_BOUNDS_NS,
            &INFERENCE_BOUNDS_NS,
            &SESSION_BOUNDS_NS,
        ];
        for scale in scales {
            assert!(scale.is_sorted_by(|a, b| a < b), "{scale:?}");
        }
    }

    #[test]
    fn a_time_at_a_bound_counts_below_it() {
        let mut buckets = TimeBuckets::of_measure(Measure::Queue);
        for ns in [0, 100_000, 100_001, 60 * S, 60 * S + 1] {
            buckets.record(Duration::from_nanos(ns));
        }
        assert_eq!(buckets.counts()[..2], [2, 1]);
        assert_eq!(buckets.counts()[17..], [1, 1]);
        assert_eq!(buckets.sum_ns(), 120 * S + 200_002);
    }

    #[test]
    fn a_histogram_is_counted_whole_with_its_exact_sum() {
        let mut times = DurationHistogram::default();
        let sum = [3, 30, 30, 700].map(Duration::from_millis);
        for time in sum {
            times.record(time);
        }
        let mut buckets = TimeBuckets::of_measure(Measure::ChunkInterval);
        buckets.record_all(&times, sum.iter().sum());
        assert_eq!(buckets.count(), 4);
        assert_eq!(buckets.counts()[..11], [0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 1]);
        assert_eq!(buckets.sum_ns(), 763 * MS);
    }
}
