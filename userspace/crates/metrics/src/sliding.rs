//! Durations of a window that slides: whole seconds come and go.

use std::time::Duration;

use hdrhistogram::Histogram;
use modeltap_core::histogram::{DurationHistogram, MAX_NS, bucket_bounds_ns};

/// Smallest duration told apart, for HdrHistogram; with [`DIGITS`] it makes
/// the same buckets as `core::histogram`, which a test proves.
const LOWEST_NS: u64 = 1_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 2;

/// The merged durations of the seconds in a window.
///
/// One HdrHistogram of 32-bit counts: adding a second is one store a bucket,
/// and a quantile one pass over at most 3,456 counts, however many seconds and
/// series were merged. It grows with the longest duration: 6 kB for 100 ms,
/// 14 kB for an hour.
#[derive(Debug)]
pub(crate) struct Sliding {
    merged: Histogram<u32>,
}

impl Sliding {
    pub(crate) fn new() -> Self {
        Self { merged: empty() }
    }

    /// Adds the durations of a second.
    pub(crate) fn add(&mut self, durations: &DurationHistogram) {
        record(&mut self.merged, durations);
    }

    /// Takes out durations that were added before.
    pub(crate) fn remove(&mut self, durations: &DurationHistogram) {
        let mut leaving = empty();
        record(&mut leaving, durations);
        self.merged
            .subtract(&leaving)
            .expect("only what was added is removed");
    }

    /// The duration below or at which the share `q` of all lies: the middle of
    /// its bucket, as `DurationHistogram::quantile` has it.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        if self.merged.is_empty() {
            return None;
        }
        let highest = self.merged.value_at_quantile(q);
        Some(Duration::from_nanos(self.merged.median_equivalent(highest)))
    }
}

fn empty() -> Histogram<u32> {
    let mut histogram = Histogram::new_with_bounds(LOWEST_NS, 2 * LOWEST_NS, DIGITS)
        .expect("the bounds and digits are valid");
    histogram.auto(true);
    histogram
}

fn record(histogram: &mut Histogram<u32>, durations: &DurationHistogram) {
    for (bucket, count) in durations.buckets() {
        let (low, _) = bucket_bounds_ns(bucket);
        debug_assert!(low <= MAX_NS);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        histogram
            .record_n(low, count)
            .expect("the histogram grows by itself");
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::histogram::bucket_of;

    use super::*;

    #[test]
    fn buckets_are_those_of_the_stored_histogram() {
        let mut hdr = Histogram::<u32>::new_with_bounds(LOWEST_NS, MAX_NS, DIGITS).unwrap();
        assert_eq!(hdr.distinct_values(), usize::from(bucket_of(MAX_NS)) + 1);
        let mut ns = 0_u64;
        while ns < MAX_NS {
            let (low, high) = bucket_bounds_ns(bucket_of(ns));
            assert_eq!(hdr.lowest_equivalent(ns), low, "of {ns}");
            assert_eq!(hdr.highest_equivalent(ns), high - 1, "of {ns}");
            ns = ns * 257 / 256 + 1;
        }
        // The index itself: recording one value a bucket fills each bucket once.
        for bucket in 0..=bucket_of(MAX_NS) {
            hdr.record(bucket_bounds_ns(bucket).0).unwrap();
        }
        assert!(hdr.iter_all().all(|step| step.count_at_value() == 1));
    }

    #[test]
    fn what_left_the_window_leaves_no_trace() {
        let mut fast = DurationHistogram::default();
        let mut slow = DurationHistogram::default();
        for ms in 1..=100 {
            fast.record(Duration::from_millis(ms));
            slow.record(Duration::from_secs(ms));
        }
        let mut sliding = Sliding::new();
        sliding.add(&fast);
        let before = sliding.quantile(0.99);
        sliding.add(&slow);
        assert_ne!(sliding.quantile(0.99), before);
        sliding.remove(&slow);
        assert_eq!(sliding.quantile(0.99), before);
        sliding.remove(&fast);
        assert!(sliding.merged.is_empty());
        assert_eq!(sliding.quantile(0.5), None);
    }
}
