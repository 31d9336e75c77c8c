//! Windows of 1 to 3,600 seconds that slide over one service's seconds.

use std::collections::VecDeque;

use modeltap_core::histogram::DurationHistogram;

use crate::slice::Live;

/// Parts of a window: it moves on by its sixtieth, and by a second where it is
/// no longer than a minute, so that an hour takes no more room than a minute.
const PARTS: u64 = 60;

/// A level that was read once a second or not at all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    sum: f64,
    n: u32,
}

impl Gauge {
    pub(crate) fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.n += other.n;
    }

    pub(crate) fn mean(self) -> Option<f64> {
        (self.n > 0).then(|| self.sum / f64::from(self.n))
    }
}

/// Levels that rules may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Active,
    CpuCores,
    CpuShare,
    Throttled,
    MemoryBytes,
    MemoryShare,
    GpuUtilization,
    GpuMemory,
}

impl Level {
    pub(crate) const COUNT: usize = 8;
}

/// Counts that rules may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Requests,
    Errors,
    Streams,
    Aborted,
    BytesObserved,
    BytesLost,
    OomKills,
    /// Seconds in which kills were told of, if only as none.
    OomTold,
    Starts,
}

impl Count {
    pub(crate) const COUNT: usize = 9;
}

/// Everything but times of some seconds of one service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    counts: [u64; Count::COUNT],
    levels: [Gauge; Level::COUNT],
}

impl Sums {
    pub(crate) fn add(&mut self, count: Count, n: u64) {
        let sum = &mut self.counts[count as usize];
        *sum = sum.saturating_add(n);
    }

    pub(crate) fn read(&mut self, level: Level, value: Option<f64>) {
        if let Some(value) = value {
            self.levels[level as usize].add(value);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(more);
        }
        for (level, more) in self.levels.iter_mut().zip(other.levels) {
            level.merge(more);
        }
    }
}

/// What a figure is computed from, of a window or a minute.
pub(crate) trait Counted {
    fn count(&self, count: Count) -> u64;
    fn level(&self, level: Level) -> Option<f64>;
}

impl Counted for Sums {
    fn count(&self, count: Count) -> u64 {
        self.counts[count as usize]
    }

    fn level(&self, level: Level) -> Option<f64> {
        self.levels[level as usize].mean()
    }
}

/// Counts and levels of a window.
#[derive(Debug)]
pub(crate) struct SumWindow {
    pub(crate) seconds: u64,
    /// By part of the window, oldest first.
    cells: VecDeque<(u64, Sums)>,
}

impl SumWindow {
    pub(crate) fn new(seconds: u64) -> Self {
        Self {
            seconds,
            cells: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, second: u64, sums: &Sums) {
        let (part, first) = part(self.seconds, second);
        expire(&mut self.cells, first, |(part, _)| *part);
        match self.cells.back_mut() {
            Some((newest, open)) if *newest == part => open.merge(sums),
            _ => self.cells.push_back((part, sums.clone())),
        }
    }

    /// Lets go of everything: the clock was set.
    pub(crate) fn clear(&mut self) {
        self.cells.clear();
    }
}

impl Counted for SumWindow {
    fn count(&self, count: Count) -> u64 {
        let counts = self.cells.iter().map(|(_, sums)| sums.count(count));
        counts.fold(0, u64::saturating_add)
    }

    fn level(&self, level: Level) -> Option<f64> {
        let mut all = Gauge::default();
        for (_, sums) in &self.cells {
            all.merge(sums.levels[level as usize]);
        }
        all.mean()
    }
}

/// One kind of times of a window.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    pub(crate) seconds: u64,
    pub(crate) time: Live,
    merged: DurationHistogram,
    /// The newest part, which grows.
    open: (u64, DurationHistogram),
    /// The parts before it, encoded, oldest first.
    closed: VecDeque<(u64, Box<[u8]>)>,
}

impl TimeWindow {
    pub(crate) fn new(seconds: u64, time: Live) -> Self {
        Self {
            seconds,
            time,
            merged: DurationHistogram::default(),
            open: Default::default(),
            closed: VecDeque::new(),
        }
    }

    /// Adds a second's times, if there were some; to be called every second.
    pub(crate) fn push(&mut self, second: u64, times: Option<&DurationHistogram>) {
        let (part, first) = part(self.seconds, second);
        if self.open.0 != part {
            let (closed, times) = std::mem::replace(&mut self.open, (part, Default::default()));
            if !times.is_empty() {
                self.closed.push_back((closed, times.encode().into()));
            }
            self.expire(first);
        }
        if let Some(times) = times {
            self.open.1.merge(times);
            self.merged.merge(times);
        }
    }

    pub(crate) fn quantile(&self, q: f64, min_times: u64) -> Option<f64> {
        if self.merged.count() < min_times {
            return None;
        }
        Some(self.merged.quantile(q)?.as_secs_f64())
    }

    /// Lets go of everything: the clock was set.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.seconds, self.time);
    }

    fn expire(&mut self, first: u64) {
        while self.closed.front().is_some_and(|(part, _)| *part < first) {
            let (_, bytes) = self.closed.pop_front().expect("the front was just seen");
            let gone = DurationHistogram::decode(&bytes).expect("the bytes were encoded here");
            self.merged.subtract(&gone);
        }
    }
}

/// The part of the window that `second` lies in, and the oldest part that is
/// still inside. Wide parts cover the window and up to one of them more.
fn part(window_seconds: u64, second: u64) -> (u64, u64) {
    let width = window_seconds.div_ceil(PARTS).max(1);
    let n_parts = window_seconds.div_ceil(width) + u64::from(width > 1);
    let part = second / width;
    (part, (part + 1).saturating_sub(n_parts))
}

fn expire<T>(cells: &mut VecDeque<T>, first: u64, part: impl Fn(&T) -> u64) {
    while cells.front().is_some_and(|cell| part(cell) < first) {
        cells.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn one(count: Count) -> Sums {
        let mut sums = Sums::default();
        sums.add(count, 1);
        sums
    }

    #[test]
    fn window_of_any_length_covers_it_to_a_sixtieth_and_takes_bounded_room() {
        for seconds in [1, 2, 59, 60, 61, 300, 3_600] {
            let mut window = SumWindow::new(seconds);
            let mut times = TimeWindow::new(seconds, Live::Duration);
            let mut times_of_second = DurationHistogram::default();
            times_of_second.record(Duration::from_millis(3));
            for second in 10_000..20_000 {
                window.push(second, &one(Count::Requests));
                times.push(second, Some(&times_of_second));
                assert!(window.cells.len() <= 61 && times.closed.len() <= 61);
                if second > 10_060 + seconds {
                    let n = window.count(Count::Requests);
                    let width = seconds.div_ceil(PARTS);
                    assert!(n >= seconds && n < seconds + 2 * width, "{n} of {seconds}");
                    assert_eq!(times.merged.count(), n);
                }
            }
        }
    }

    #[test]
    fn times_leave_the_window_though_none_come() {
        let mut times = TimeWindow::new(10, Live::Duration);
        let mut slow = DurationHistogram::default();
        slow.record(Duration::from_secs(9));
        times.push(100, Some(&slow));
        for second in 101..=109 {
            times.push(second, None);
        }
        assert!(times.quantile(0.95, 1).is_some_and(|p95| p95 > 8.9));
        assert_eq!(times.quantile(0.95, 2), None, "one is not two");
        times.push(110, None);
        assert_eq!(times.quantile(0.95, 1), None);
        assert!(times.merged.is_empty());
    }

    #[test]
    fn level_is_the_mean_of_what_was_read() {
        let mut window = SumWindow::new(60);
        for (second, value) in [(1, Some(0.5)), (2, None), (3, Some(1.0))] {
            let mut sums = Sums::default();
            sums.read(Level::MemoryShare, value);
            window.push(second, &sums);
        }
        assert_eq!(window.level(Level::MemoryShare), Some(0.75));
        assert_eq!(window.level(Level::CpuShare), None);
    }
}
