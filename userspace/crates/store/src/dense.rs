//! Merging histograms, and what is told of them.

use std::time::Duration;

use modeltap_core::histogram::{MAX_NS, bucket_bounds_ns, bucket_of};

/// Every bucket in its place: adding is one store.
pub(crate) struct Dense {
    counts: Box<[u64]>,
    /// Buckets with counts lie in here.
    low: usize,
    high: usize,
}

impl Default for Dense {
    fn default() -> Self {
        let n_buckets = usize::from(bucket_of(MAX_NS)) + 1;
        Self {
            counts: vec![0; n_buckets].into(),
            low: n_buckets,
            high: 0,
        }
    }
}

impl Dense {
    pub(crate) fn add(&mut self, bucket: u16, count: u64) {
        let at = usize::from(bucket);
        self.counts[at] = self.counts[at].saturating_add(count);
        self.low = self.low.min(at);
        self.high = self.high.max(at + 1);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.low >= self.high
    }

    pub(crate) fn clear(&mut self) {
        if !self.is_empty() {
            self.counts[self.low..self.high].fill(0);
        }
        (self.low, self.high) = (self.counts.len(), 0);
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        let filled = self.low..self.high.max(self.low);
        filled
            .map(|at| (u16::try_from(at).expect("buckets are u16"), self.counts[at]))
            .filter(|(_, count)| *count > 0)
    }

    /// As `DurationHistogram::quantile`: nearest rank, middle of the bucket.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let total: u64 = self.buckets().map(|(_, count)| count).sum();
        let rank = ((q * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.buckets() {
            seen += count;
            if seen >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }

    /// Mean in seconds, right to half a bucket's width.
    pub(crate) fn mean(&self) -> Option<f64> {
        let total: u64 = self.buckets().map(|(_, count)| count).sum();
        let sum: f64 = self
            .buckets()
            .map(|(bucket, count)| middle(bucket).as_secs_f64() * count as f64)
            .sum();
        (total > 0).then(|| sum / total as f64)
    }
}

fn middle(bucket: u16) -> Duration {
    let (low, high) = bucket_bounds_ns(bucket);
    Duration::from_nanos(low + (high - low) / 2)
}
