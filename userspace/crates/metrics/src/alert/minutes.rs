//! Figures by the minute that a rule compares the present with.

use std::collections::VecDeque;

/// Minutes of history without which nothing is compared with their median.
pub(crate) const MIN_PAST_MINUTES: usize = 30;
/// Minutes of which it has to be known whether there was traffic.
const MIN_TRAFFIC_MINUTES: usize = 5;
/// Share of minutes that had a request where "there was some".
const TRAFFIC_SHARE: f64 = 0.9;

/// One figure of a service, a value a minute; what is not known is NaN.
#[derive(Debug)]
pub(crate) struct Minutes {
    /// The minute after the newest, since the epoch.
    end: u64,
    values: VecDeque<f32>,
    /// Most values kept.
    capacity: usize,
    /// History was asked for what is not known.
    is_asked: bool,
}

impl Minutes {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            end: 0,
            values: VecDeque::new(),
            capacity: capacity.max(1),
            is_asked: false,
        }
    }

    /// Keeps no fewer than `capacity`.
    pub(crate) fn grow(&mut self, capacity: usize) {
        self.is_asked &= capacity <= self.capacity;
        self.capacity = self.capacity.max(capacity);
    }

    /// How many minutes of history are wanted; `None` if it was asked before.
    pub(crate) fn take_wanted(&mut self) -> Option<u64> {
        let is_asked = std::mem::replace(&mut self.is_asked, true);
        (!is_asked).then_some(self.capacity as u64)
    }

    /// Adds a minute that is over.
    pub(crate) fn push(&mut self, minute: u64, value: Option<f64>) {
        if minute < self.end && !self.values.is_empty() {
            return;
        }
        let gap = if self.values.is_empty() {
            0
        } else {
            usize::try_from(minute - self.end).unwrap_or(usize::MAX)
        };
        if gap >= self.capacity {
            self.values.clear();
        } else {
            self.values.extend(std::iter::repeat_n(f32::NAN, gap));
        }
        self.values
            .push_back(value.map_or(f32::NAN, |value| value as f32));
        self.end = minute + 1;
        while self.values.len() > self.capacity {
            self.values.pop_front();
        }
    }

    /// Fills what is not known from history: `values` from the minute `first`
    /// on, up to before the minute `now`.
    pub(crate) fn prime(&mut self, first: u64, values: &[Option<f64>], now: u64) {
        if self.values.is_empty() {
            self.end = now;
        }
        let kept = first.max(self.end.saturating_sub(self.capacity as u64));
        while self.first() > kept {
            self.values.push_front(f32::NAN);
        }
        for (minute, value) in (first..self.end).zip(values) {
            let (Some(value), Some(at)) = (value, minute.checked_sub(self.first())) else {
                continue;
            };
            let place = usize::try_from(at)
                .ok()
                .and_then(|at| self.values.get_mut(at));
            if let Some(place) = place.filter(|place| place.is_nan()) {
                *place = *value as f32;
            }
        }
    }

    /// The median of the known values in the `n_minutes` before the minute
    /// `now`; `None` where too few are known.
    pub(crate) fn median(&self, now: u64, n_minutes: usize) -> Option<f64> {
        let mut known: Vec<f32> = self.known(now, n_minutes).collect();
        if known.len() < MIN_PAST_MINUTES.min(n_minutes) {
            return None;
        }
        median(&mut known)
    }

    /// Whether there was a request in nearly every minute of the `n_minutes`
    /// before the minute `now`, and enough of them are known.
    pub(crate) fn had_traffic(&self, now: u64, n_minutes: usize) -> bool {
        let (mut n_known, mut n_busy) = (0, 0);
        for rate in self.known(now, n_minutes) {
            n_known += 1;
            n_busy += usize::from(rate > 0.0);
        }
        n_known >= (n_minutes / 2).max(MIN_TRAFFIC_MINUTES.min(n_minutes))
            && n_busy as f64 >= TRAFFIC_SHARE * n_known as f64
    }

    /// The value of a minute.
    pub(crate) fn value(&self, minute: u64) -> Option<f32> {
        let at = usize::try_from(minute.checked_sub(self.first())?).ok()?;
        self.values.get(at).copied().filter(|value| !value.is_nan())
    }

    /// The oldest minute kept.
    pub(crate) fn first(&self) -> u64 {
        self.end - self.values.len() as u64
    }

    fn known(&self, now: u64, n_minutes: usize) -> impl Iterator<Item = f32> {
        let oldest = now.saturating_sub(n_minutes as u64);
        let skipped = oldest.saturating_sub(self.first());
        let taken = now.saturating_sub(oldest.max(self.first()));
        self.values
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
            .take(usize::try_from(taken).unwrap_or(usize::MAX))
            .copied()
            .filter(|value| !value.is_nan())
    }
}

/// The middle of the values, which are reordered; `None` of none.
pub(crate) fn median(values: &mut [f32]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(middle, f32::total_cmp);
    let lower = below.iter().copied().max_by(f32::total_cmp);
    Some(match lower {
        Some(lower) if is_even => (f64::from(lower) + f64::from(upper)) / 2.0,
        _ => f64::from(upper),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_that_of_known_minutes_within_the_past() {
        let mut minutes = Minutes::new(100);
        for minute in 1_000..1_040 {
            minutes.push(minute, Some(1.0));
        }
        minutes.push(1_050, Some(9.0));
        assert_eq!(minutes.median(1_051, 100), Some(1.0));
        assert_eq!(minutes.median(1_051, 20), None, "nine of twenty are known");
        assert_eq!(median(&mut [3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn history_fills_only_what_is_not_known_and_is_bounded() {
        let mut minutes = Minutes::new(60);
        minutes.push(1_000, Some(5.0));
        minutes.push(1_002, Some(7.0));
        let past: Vec<Option<f64>> = (900..1_003).map(|minute| Some(f64::from(minute))).collect();
        minutes.prime(900, &past, 1_003);
        assert_eq!(minutes.value(1_000), Some(5.0));
        assert_eq!(minutes.value(1_001), Some(1_001.0));
        assert_eq!(minutes.value(1_002), Some(7.0));
        assert_eq!(minutes.value(943), Some(943.0));
        assert_eq!(minutes.value(942), None, "sixty minutes are kept");
        let mut empty = Minutes::new(10);
        empty.prime(995, &past[95..], 1_000);
        assert_eq!(empty.value(999), Some(999.0));
        assert_eq!(empty.value(1_000), None);
        empty.push(1_000, Some(1.0));
        assert_eq!((empty.first(), empty.value(1_000)), (995, Some(1.0)));
    }

    #[test]
    fn far_gap_forgets_and_a_clock_set_back_adds_nothing() {
        let mut minutes = Minutes::new(10);
        minutes.push(100, Some(1.0));
        minutes.push(u64::MAX / 120, Some(2.0));
        assert_eq!(minutes.values.len(), 1);
        minutes.push(100, Some(3.0));
        assert_eq!(minutes.value(u64::MAX / 120), Some(2.0));
    }

    #[test]
    fn traffic_is_a_request_in_nearly_every_minute() {
        let mut minutes = Minutes::new(60);
        for minute in 0..40 {
            minutes.push(minute, Some(if minute % 20 == 0 { 0.0 } else { 0.1 }));
        }
        assert!(minutes.had_traffic(40, 40));
        assert!(minutes.had_traffic(40, 60), "two thirds are known");
        assert!(!minutes.had_traffic(40, 120), "a third is known");
        for minute in 40..50 {
            minutes.push(minute, Some(0.0));
        }
        assert!(!minutes.had_traffic(50, 50));
    }
}
