//! The seconds of one service that the live view looks back on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::histogram::DurationHistogram;
use modeltap_core::record::Method;
use modeltap_core::rollup::{Figures, Rollup};
use modeltap_core::time::UnixNs;

use crate::live::{RouteSnapshot, SecondFigures, WindowFigures, status_class};
use crate::sliding::Sliding;

/// Values a sparkline keeps, of ten seconds each: 15 minutes.
const SPARKLINE_VALUES: u64 = 90;
/// Length of one value of a sparkline.
const SPARKLINE_SECONDS: u64 = 10;

/// The closed seconds of the window that had requests, oldest first; an idle
/// service takes no room.
#[derive(Debug, Default)]
pub(crate) struct LiveWindow {
    seconds: VecDeque<LiveSecond>,
    /// By route and method.
    routes: Vec<RouteWindow>,
    durations: Option<Box<Sliding>>,
    times_to_first_byte: Option<Box<Sliding>>,
}

#[derive(Debug)]
struct LiveSecond {
    second: u64,
    tally: Tally,
    by_class: [u64; 6],
}

/// One route and method. Its merged histograms are sparse: there are hundreds
/// of routes, and each fills some dozens of buckets.
#[derive(Debug)]
struct RouteWindow {
    route: Arc<str>,
    method: Option<Method>,
    cells: VecDeque<Cell>,
    durations: DurationHistogram,
    times_to_first_byte: DurationHistogram,
}

/// One second of a route. Histograms are kept encoded, at about three bytes a
/// bucket instead of sixteen: there are sixty a route.
#[derive(Debug)]
struct Cell {
    second: u64,
    tally: Tally,
    by_status: Box<[(Option<u16>, u64)]>,
    durations: Box<[u8]>,
    times_to_first_byte: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    n_requests: u64,
    n_errors: u64,
    n_incomplete: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.n_requests += other.n_requests;
        self.n_errors += other.n_errors;
        self.n_incomplete += other.n_incomplete;
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

impl From<&Figures> for Tally {
    fn from(figures: &Figures) -> Self {
        Self {
            n_requests: figures.n_requests,
            n_errors: figures.n_errors,
            n_incomplete: figures.n_incomplete,
            sum_ns: figures.duration_sum_ns,
            max_ns: figures.duration_max_ns,
        }
    }
}

impl LiveWindow {
    /// Adds a second: the service's rollups of it, those of one route and
    /// method side by side.
    pub(crate) fn push(&mut self, second: u64, rollups: &[Rollup]) {
        let mut tally = Tally::default();
        let mut by_class = [0; 6];
        let same =
            |a: &Rollup, b: &Rollup| a.key.route == b.key.route && a.key.method == b.key.method;
        for group in rollups.chunk_by(same) {
            let mut all = Figures::default();
            let mut by_status = Vec::with_capacity(group.len());
            for rollup in group {
                all.merge(&rollup.figures);
                add_status(&mut by_status, rollup.key.status, rollup.figures.n_requests);
                by_class[status_class(rollup.key.status)] += rollup.figures.n_requests;
            }
            let cell = Cell {
                second,
                tally: Tally::from(&all),
                by_status: by_status.into(),
                durations: all.duration.encode().into(),
                times_to_first_byte: all.time_to_first_byte.encode().into(),
            };
            tally.add(cell.tally);
            sliding(&mut self.durations).add(&all.duration);
            sliding(&mut self.times_to_first_byte).add(&all.time_to_first_byte);
            let route = self.route(&group[0]);
            route.durations.merge(&all.duration);
            route.times_to_first_byte.merge(&all.time_to_first_byte);
            route.cells.push_back(cell);
        }
        self.seconds.push_back(LiveSecond {
            second,
            tally,
            by_class,
        });
    }

    /// Lets go of the seconds outside `first..end`.
    pub(crate) fn expire(&mut self, first: u64, end: u64) {
        let is_over = |second: u64| !(first..end).contains(&second);
        let mut durations = DurationHistogram::default();
        let mut times_to_first_byte = DurationHistogram::default();
        for route in &mut self.routes {
            while route.cells.front().is_some_and(|cell| is_over(cell.second)) {
                let cell = route.cells.pop_front().expect("the front was just seen");
                let gone = decoded(&cell.durations);
                route.durations.subtract(&gone);
                durations.merge(&gone);
                let gone = decoded(&cell.times_to_first_byte);
                route.times_to_first_byte.subtract(&gone);
                times_to_first_byte.merge(&gone);
            }
        }
        self.routes.retain(|route| !route.cells.is_empty());
        while self.seconds.front().is_some_and(|old| is_over(old.second)) {
            self.seconds.pop_front();
        }
        if self.seconds.is_empty() {
            *self = Self::default();
            return;
        }
        if !durations.is_empty() {
            sliding(&mut self.durations).remove(&durations);
        }
        if !times_to_first_byte.is_empty() {
            sliding(&mut self.times_to_first_byte).remove(&times_to_first_byte);
        }
    }

    /// Figures of the whole window, which is `length` long.
    pub(crate) fn figures(&self, length: Duration) -> WindowFigures {
        let mut tally = Tally::default();
        for second in &self.seconds {
            tally.add(second.tally);
        }
        let durations = |q| self.durations.as_ref()?.quantile(q);
        let ttfb = |q| self.times_to_first_byte.as_ref()?.quantile(q);
        figures(tally, durations, ttfb, length)
    }

    /// Figures of one second.
    pub(crate) fn second(&self, second: u64) -> Option<SecondFigures> {
        let newest = self
            .seconds
            .back()
            .filter(|newest| newest.second == second)?;
        let mut durations = DurationHistogram::default();
        let mut ttfb = DurationHistogram::default();
        for cell in self.routes.iter().filter_map(|route| route.cells.back()) {
            if cell.second == second {
                durations.merge(&decoded(&cell.durations));
                ttfb.merge(&decoded(&cell.times_to_first_byte));
            }
        }
        let length = Duration::from_secs(1);
        let (durations, ttfb) = (|q| durations.quantile(q), |q| ttfb.quantile(q));
        Some(SecondFigures {
            at: UnixNs(second.saturating_mul(1_000_000_000)),
            figures: figures(newest.tally, durations, ttfb, length),
            by_status_class: newest.by_class,
        })
    }

    /// Figures of each route and method, those that took the most time first.
    pub(crate) fn routes(&self, length: Duration) -> Vec<RouteSnapshot> {
        let mut routes: Vec<(u64, RouteSnapshot)> = self
            .routes
            .iter()
            .map(|route| route.snapshot(length))
            .collect();
        let sum: u64 = routes.iter().map(|(sum_ns, _)| sum_ns).sum();
        routes.sort_by_key(|(sum_ns, _)| std::cmp::Reverse(*sum_ns));
        let share = |sum_ns: u64| {
            if sum == 0 {
                0.0
            } else {
                sum_ns as f64 / sum as f64
            }
        };
        routes
            .into_iter()
            .map(|(sum_ns, route)| RouteSnapshot {
                time_share: share(sum_ns),
                ..route
            })
            .collect()
    }

    /// The route of a rollup, which is made where there is none.
    fn route(&mut self, rollup: &Rollup) -> &mut RouteWindow {
        let key = &rollup.key;
        let found = self
            .routes
            .binary_search_by(|known| (&known.route, known.method).cmp(&(&key.route, key.method)));
        let at = found.unwrap_or_else(|at| {
            let fresh = RouteWindow {
                route: Arc::clone(&key.route),
                method: key.method,
                cells: VecDeque::new(),
                durations: DurationHistogram::default(),
                times_to_first_byte: DurationHistogram::default(),
            };
            self.routes.insert(at, fresh);
            at
        });
        &mut self.routes[at]
    }
}

impl RouteWindow {
    /// Its summed durations, and the rest but for its share of the time.
    fn snapshot(&self, length: Duration) -> (u64, RouteSnapshot) {
        let mut tally = Tally::default();
        let mut by_status = Vec::new();
        for cell in &self.cells {
            tally.add(cell.tally);
            for &(status, count) in &cell.by_status {
                add_status(&mut by_status, status, count);
            }
        }
        by_status.sort_unstable();
        let durations = |q| self.durations.quantile(q);
        let ttfb = |q| self.times_to_first_byte.quantile(q);
        let route = RouteSnapshot {
            route: Arc::clone(&self.route),
            method: self.method,
            window: figures(tally, durations, ttfb, length),
            by_status,
            time_share: 0.0,
        };
        (tally.sum_ns, route)
    }
}

fn sliding(place: &mut Option<Box<Sliding>>) -> &mut Sliding {
    place.get_or_insert_with(|| Box::new(Sliding::new()))
}

fn figures(
    tally: Tally,
    durations: impl Fn(f64) -> Option<Duration>,
    ttfb: impl Fn(f64) -> Option<Duration>,
    length: Duration,
) -> WindowFigures {
    let max = (tally.n_requests > 0).then(|| Duration::from_nanos(tally.max_ns));
    // The middle of the last bucket may lie above the longest duration.
    let capped = |at: Option<Duration>| at.map(|at| max.map_or(at, |max| at.min(max)));
    WindowFigures {
        n_requests: tally.n_requests,
        n_errors: tally.n_errors,
        n_incomplete: tally.n_incomplete,
        rate: tally.n_requests as f64 / length.as_secs_f64().max(1.0),
        p50: capped(durations(0.5)),
        p95: capped(durations(0.95)),
        p99: capped(durations(0.99)),
        max,
        ttfb_p50: capped(ttfb(0.5)),
        ttfb_p95: capped(ttfb(0.95)),
    }
}

fn add_status(by_status: &mut Vec<(Option<u16>, u64)>, status: Option<u16>, count: u64) {
    match by_status.iter_mut().find(|(known, _)| *known == status) {
        Some((_, n_requests)) => *n_requests += count,
        None => by_status.push((status, count)),
    }
}

fn decoded(bytes: &[u8]) -> DurationHistogram {
    DurationHistogram::decode(bytes).expect("the bytes were encoded here")
}

/// Requests by ten seconds of wall time; only those with requests take room.
#[derive(Debug, Default)]
pub(crate) struct Sparkline {
    counts: VecDeque<(u64, u32)>,
}

impl Sparkline {
    /// Counts the requests of one second.
    pub(crate) fn add(&mut self, second: u64, n_requests: u64) {
        let bucket = second / SPARKLINE_SECONDS;
        let n_requests = u32::try_from(n_requests).unwrap_or(u32::MAX);
        // After the wall clock was set back, what lies ahead of it is unknown.
        while self
            .counts
            .back()
            .is_some_and(|(newest, _)| *newest > bucket)
        {
            self.counts.pop_back();
        }
        match self.counts.back_mut() {
            Some((newest, count)) if *newest == bucket => *count = count.saturating_add(n_requests),
            _ => self.counts.push_back((bucket, n_requests)),
        }
        while self
            .counts
            .front()
            .is_some_and(|(old, _)| old + SPARKLINE_VALUES < bucket)
        {
            self.counts.pop_front();
        }
    }

    /// Requests a second by whole ten seconds up to the second `now`, of those
    /// that began at `since` or later.
    pub(crate) fn rates(&self, since: u64, now: u64) -> Vec<f32> {
        let end = now / SPARKLINE_SECONDS;
        let first = since
            .div_ceil(SPARKLINE_SECONDS)
            .max(end.saturating_sub(SPARKLINE_VALUES));
        let mut counts = self
            .counts
            .iter()
            .skip_while(|(bucket, _)| *bucket < first)
            .peekable();
        (first..end)
            .map(|bucket| match counts.next_if(|(at, _)| *at == bucket) {
                Some((_, count)) => *count as f32 / SPARKLINE_SECONDS as f32,
                None => 0.0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparkline_has_only_whole_values_and_zeros_between() {
        let mut sparkline = Sparkline::default();
        for (second, n_requests) in [(1_000, 5), (1_009, 5), (1_031, 20), (1_040, 7)] {
            sparkline.add(second, n_requests);
        }
        assert_eq!(sparkline.rates(995, 1_045), [1.0, 0.0, 0.0, 2.0]);
        assert_eq!(
            sparkline.rates(1_001, 1_045),
            [0.0, 0.0, 2.0],
            "the first is not whole"
        );
        assert!(sparkline.rates(1_041, 1_045).is_empty());
        assert_eq!(sparkline.rates(0, 1_045).len(), 90);
    }

    #[test]
    fn sparkline_is_bounded_and_survives_a_clock_set_back() {
        let mut sparkline = Sparkline::default();
        for second in 0..10_000 {
            sparkline.add(second, 1);
        }
        assert!(sparkline.counts.len() <= 91);
        sparkline.add(9_500, 30);
        assert_eq!(sparkline.rates(0, 9_510).last(), Some(&4.0));
    }
}
