//! A sparse log-linear histogram of durations that merges exactly.
//!
//! Buckets are those of an HdrHistogram with a lowest discernible value of
//! 1,000 ns and two significant digits: units of 512 ns, 256 linear buckets
//! and from there 128 buckets an octave, so that no bucket is wider than
//! 0.8 % of its values. A percentile over any range and any set of series is
//! the percentile of the merged buckets, never an average.

use std::time::Duration;

use thiserror::Error;

/// log2 of the unit: values are told apart in steps of 512 ns.
const UNIT_SHIFT: u32 = 9;
/// log2 of the buckets an octave.
const OCTAVE_SHIFT: u32 = 7;
/// The largest duration told apart (73 min); longer ones count as this long.
pub const MAX_NS: u64 = (1 << 42) - 1;

/// Buckets to one added from which on it is quicker to look for its place.
const FEW: usize = 16;

/// Bucket of a duration in nanoseconds.
#[must_use]
pub fn bucket_of(ns: u64) -> u16 {
    let units = ns.min(MAX_NS) >> UNIT_SHIFT;
    let octave = (u64::BITS - units.leading_zeros()).saturating_sub(OCTAVE_SHIFT + 1);
    let index = (u64::from(octave) << OCTAVE_SHIFT) + (units >> octave);
    u16::try_from(index).expect("MAX_NS bounds the index to 3,455")
}

/// Smallest duration of a bucket and the first beyond it, in nanoseconds.
#[must_use]
pub fn bucket_bounds_ns(bucket: u16) -> (u64, u64) {
    let bucket = u64::from(bucket);
    let octave = (bucket >> OCTAVE_SHIFT).saturating_sub(1);
    let units = bucket - (octave << OCTAVE_SHIFT);
    let low = units << octave << UNIT_SHIFT;
    (low, low + (1 << octave << UNIT_SHIFT))
}

/// Counts of durations by bucket; only buckets with a count take room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurationHistogram {
    /// Buckets in ascending order, each with its count.
    buckets: Vec<(u16, u64)>,
}

/// A stored histogram that is not one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end inside a number, or a number is longer than ten bytes.
    #[error("histogram ends inside a number")]
    Truncated,
    /// A bucket lies beyond the last one.
    #[error("histogram names a bucket out of range: {0:?}")]
    BucketOutOfRange(u64),
}

impl DurationHistogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        self.add(
            bucket_of(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
            1,
        );
    }

    /// Adds `count` to a bucket.
    pub fn add(&mut self, bucket: u16, count: u64) {
        match self
            .buckets
            .binary_search_by_key(&bucket, |(index, _)| *index)
        {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.len() * FEW < self.buckets.len() {
            for &(bucket, count) in &other.buckets {
                self.add(bucket, count);
            }
            return;
        }
        // Both are sorted: one pass adds to the buckets that are there, and
        // one from the end makes room for the others.
        let mut n_missing = 0;
        let mut known = self.buckets.iter_mut().peekable();
        for &(bucket, count) in &other.buckets {
            while known.next_if(|(index, _)| *index < bucket).is_some() {}
            match known.peek_mut() {
                Some((index, sum)) if *index == bucket => *sum = sum.saturating_add(count),
                _ => n_missing += 1,
            }
        }
        let (mut from, mut left) = (self.buckets.len(), other.buckets.len());
        let mut to = from + n_missing;
        self.buckets.resize(to, (0, 0));
        while left > 0 && to > from {
            let next = other.buckets[left - 1];
            match from.checked_sub(1).map(|at| self.buckets[at]) {
                Some((index, _)) if index == next.0 => left -= 1,
                Some(kept) if kept.0 > next.0 => {
                    (from, to) = (from - 1, to - 1);
                    self.buckets[to] = kept;
                }
                _ => {
                    (left, to) = (left - 1, to - 1);
                    self.buckets[to] = next;
                }
            }
        }
    }

    /// Takes out every count of `other`, which was added before; a count that
    /// is not there is left at zero.
    pub fn subtract(&mut self, other: &Self) {
        let mut gone = other.buckets.iter().peekable();
        for (bucket, sum) in &mut self.buckets {
            while gone.next_if(|(index, _)| index < bucket).is_some() {}
            if let Some((_, count)) = gone.next_if(|(index, _)| index == bucket) {
                *sum = sum.saturating_sub(*count);
            }
        }
        self.buckets.retain(|(_, count)| *count > 0);
    }

    /// Durations counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Buckets with a count, in ascending order.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = (u16, u64)> + '_ {
        self.buckets.iter().copied()
    }

    /// The duration below or at which the share `q` (0 to 1) of all counts
    /// lies, as the middle of its bucket; `None` where nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        // The nearest-rank definition: the smallest value with at least q of
        // all counts at or below it.
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for &(bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                let (low, high) = bucket_bounds_ns(bucket);
                return Some(Duration::from_nanos(low + (high - low) / 2));
            }
        }
        None
    }

    /// Bytes for the store: for each bucket the distance to the one before
    /// and the count, as LEB128 variable-length integers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.buckets.len() * 3);
        let mut previous = 0;
        for &(bucket, count) in &self.buckets {
            push_varint(&mut bytes, u64::from(bucket - previous));
            push_varint(&mut bytes, count);
            previous = bucket;
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// The bytes end inside a number, or name a bucket that does not exist.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut histogram = Self::default();
        // They come in order, but for bytes that nobody encoded.
        visit_encoded(bytes, |bucket, count| match histogram.buckets.last() {
            Some((last, _)) if *last >= bucket => histogram.add(bucket, count),
            _ => histogram.buckets.push((bucket, count)),
        })?;
        Ok(histogram)
    }
}

/// Counts in any order; those of one bucket are added up.
impl FromIterator<(u16, u64)> for DurationHistogram {
    fn from_iter<I: IntoIterator<Item = (u16, u64)>>(counts: I) -> Self {
        let mut buckets: Vec<(u16, u64)> = counts.into_iter().collect();
        buckets.sort_unstable_by_key(|(bucket, _)| *bucket);
        buckets.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            if is_same {
                kept.1 = kept.1.saturating_add(later.1);
            }
            is_same
        });
        Self { buckets }
    }
}

/// Calls `visit` for each bucket, with its count, of what
/// [`DurationHistogram::encode`] wrote: merges many without building each.
///
/// # Errors
/// The bytes end inside a number, or name a bucket that does not exist; the
/// buckets before that were visited.
pub fn visit_encoded(mut bytes: &[u8], mut visit: impl FnMut(u16, u64)) -> Result<(), DecodeError> {
    let last = u64::from(bucket_of(MAX_NS));
    let mut bucket = 0_u64;
    while !bytes.is_empty() {
        bucket = bucket.saturating_add(take_varint(&mut bytes)?);
        let count = take_varint(&mut bytes)?;
        let index = u16::try_from(bucket)
            .ok()
            .filter(|_| bucket <= last)
            .ok_or(DecodeError::BucketOutOfRange(bucket))?;
        visit(index, count);
    }
    Ok(())
}

/// Appends a number as LEB128.
pub fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Takes a number that [`push_varint`] appended from the front of `bytes`.
///
/// # Errors
/// The bytes end inside the number, or it is longer than ten bytes.
pub fn take_varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_inside_its_bucket() {
        let mut ns = 0_u64;
        while ns < MAX_NS {
            let (low, high) = bucket_bounds_ns(bucket_of(ns));
            assert!(low <= ns && ns < high, "{ns} not in {low}..{high}");
            assert!(high - low <= 512 || (high - low) as f64 / low as f64 <= 1.0 / 128.0);
            ns = ns * 257 / 256 + 1;
        }
        assert_eq!(bucket_of(u64::MAX), bucket_of(MAX_NS));
    }

    #[test]
    fn buckets_are_contiguous() {
        for bucket in 0..bucket_of(MAX_NS) {
            assert_eq!(bucket_bounds_ns(bucket).1, bucket_bounds_ns(bucket + 1).0);
        }
    }

    #[test]
    fn quantile_of_the_union_is_not_the_average_of_quantiles() {
        let mut fast = DurationHistogram::default();
        let mut slow = DurationHistogram::default();
        for _ in 0..99 {
            fast.record(Duration::from_millis(1));
        }
        slow.record(Duration::from_secs(1));
        fast.merge(&slow);
        let p50 = fast.quantile(0.5).unwrap().as_secs_f64();
        let p100 = fast.quantile(1.0).unwrap().as_secs_f64();
        assert!((p50 - 0.001).abs() < 0.001 * 0.008, "{p50}");
        assert!((p100 - 1.0).abs() < 0.008, "{p100}");
        assert_eq!(fast.count(), 100);
    }

    #[test]
    fn merging_is_adding_one_by_one_whatever_the_sizes() {
        // A generator without a seed of chance.
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for _ in 0..500 {
            let spread = 1 + next(300);
            let mut some = |n: u64| -> Vec<(u16, u64)> {
                (0..n).map(|_| (next(spread) as u16, 1 + next(9))).collect()
            };
            let (a, b) = (some(spread / 3), some(spread / 5));
            let mut merged: DurationHistogram = a.iter().copied().collect();
            merged.merge(&b.iter().copied().collect());
            let mut expected = DurationHistogram::default();
            for (bucket, count) in a.into_iter().chain(b) {
                expected.add(bucket, count);
            }
            assert_eq!(merged, expected);
        }
    }

    #[test]
    fn what_was_added_and_subtracted_leaves_no_trace() {
        let mut kept = DurationHistogram::default();
        let mut gone = DurationHistogram::default();
        for ms in 1..50 {
            kept.record(Duration::from_millis(ms));
            gone.record(Duration::from_millis(ms * 3));
        }
        let mut both = kept.clone();
        both.merge(&gone);
        both.subtract(&gone);
        assert_eq!(both, kept);
        both.subtract(&kept);
        assert_eq!(both, DurationHistogram::default());
        both.subtract(&kept);
        assert!(both.is_empty());
    }

    #[test]
    fn empty_histogram_has_no_quantile() {
        assert_eq!(DurationHistogram::default().quantile(0.5), None);
    }

    #[test]
    fn encoding_round_trips() {
        let mut histogram = DurationHistogram::default();
        for ns in [0, 1, 511, 512, 131_071, 131_072, 1_000_000_000, u64::MAX] {
            histogram.record(Duration::from_nanos(ns));
        }
        histogram.add(77, u64::MAX);
        assert_eq!(
            DurationHistogram::decode(&histogram.encode()),
            Ok(histogram)
        );
    }

    #[test]
    fn damaged_bytes_are_errors_not_panics() {
        assert_eq!(
            DurationHistogram::decode(&[0x80]),
            Err(DecodeError::Truncated)
        );
        assert_eq!(DurationHistogram::decode(&[5]), Err(DecodeError::Truncated));
        assert_eq!(
            DurationHistogram::decode(&[0xff; 11]),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            DurationHistogram::decode(&[0xff, 0xff, 0x03, 1]),
            Err(DecodeError::BucketOutOfRange(65_535))
        );
    }
}
