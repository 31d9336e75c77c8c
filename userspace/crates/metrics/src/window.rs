//! The seconds of one service that the live view looks back on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::record::Method;
use modeltap_core::rollup::{Figures, Rollup};
use modeltap_core::time::UnixNs;

use crate::live::{RouteSnapshot, SecondFigures, WindowFigures, status_class};
use crate::slice::{Live, Slice, Tally, Times, add_status, figures};
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
    /// By name and method.
    routes: Vec<RouteWindow>,
    /// By container's name, in no order.
    containers: Vec<(Arc<str>, Slice)>,
    times: [Option<Box<Sliding>>; Live::COUNT],
}

#[derive(Debug)]
struct LiveSecond {
    second: u64,
    tally: Tally,
    by_class: [u64; 6],
}

#[derive(Debug)]
struct RouteWindow {
    route: Arc<str>,
    method: Option<Method>,
    slice: Slice,
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
            tally.add(&Tally::from(&all));
            for time in Live::ALL {
                if let Some(times) = time.of(&all) {
                    sliding(&mut self.times[time as usize]).add(times);
                }
            }
            self.route(&group[0]).slice.push(second, &all, &by_status);
        }
        self.push_containers(second, rollups);
        self.seconds.push_back(LiveSecond {
            second,
            tally,
            by_class,
        });
    }

    /// Lets go of the seconds outside `first..end`.
    pub(crate) fn expire(&mut self, first: u64, end: u64) {
        let mut gone = Times::default();
        for route in &mut self.routes {
            route.slice.expire(first, end, &mut gone);
        }
        self.routes.retain(|route| !route.slice.is_empty());
        for (_, slice) in &mut self.containers {
            slice.expire(first, end, &mut Times::default());
        }
        self.containers.retain(|(_, slice)| !slice.is_empty());
        let is_over = |old: &LiveSecond| !(first..end).contains(&old.second);
        while self.seconds.front().is_some_and(is_over) {
            self.seconds.pop_front();
        }
        if self.seconds.is_empty() {
            *self = Self::default();
            return;
        }
        for (place, gone) in self.times.iter_mut().zip(&gone) {
            if !gone.is_empty() {
                sliding(place).remove(gone);
            }
        }
    }

    /// Figures of the whole window, which is `length` long.
    pub(crate) fn figures(&self, length: Duration) -> WindowFigures {
        let mut tally = Tally::default();
        for second in &self.seconds {
            tally.add(&second.tally);
        }
        figures(&tally, length, |time, q| {
            self.times[time as usize].as_ref()?.quantile(q)
        })
    }

    /// Figures of one container over the window.
    pub(crate) fn container(&self, name: &str, length: Duration) -> WindowFigures {
        self.containers
            .iter()
            .find(|(known, _)| **known == *name)
            .map(|(_, slice)| slice.figures(length))
            .unwrap_or_default()
    }

    /// Figures of one second.
    pub(crate) fn second(&self, second: u64) -> Option<SecondFigures> {
        let newest = self
            .seconds
            .back()
            .filter(|newest| newest.second == second)?;
        let mut times = Times::default();
        for route in &self.routes {
            route.slice.newest_into(second, &mut times);
        }
        let quantile = |time: Live, q| times[time as usize].quantile(q);
        Some(SecondFigures {
            at: UnixNs(second.saturating_mul(1_000_000_000)),
            figures: figures(&newest.tally, Duration::from_secs(1), quantile),
            by_status_class: newest.by_class,
        })
    }

    /// Figures of each route and method, those that took the most time first.
    pub(crate) fn routes(&self, length: Duration) -> Vec<RouteSnapshot> {
        let sums: Vec<u64> = self
            .routes
            .iter()
            .map(|route| route.slice.sum_ns())
            .collect();
        let sum: u64 = sums.iter().sum();
        let mut order: Vec<usize> = (0..sums.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(sums[at]));
        order
            .into_iter()
            .map(|at| {
                let route = &self.routes[at];
                RouteSnapshot {
                    route: Arc::clone(&route.route),
                    method: route.method,
                    window: route.slice.figures(length),
                    by_status: route.slice.by_status(),
                    time_share: if sum == 0 {
                        0.0
                    } else {
                        sums[at] as f64 / sum as f64
                    },
                }
            })
            .collect()
    }

    fn push_containers(&mut self, second: u64, rollups: &[Rollup]) {
        // By container: its figures, and its requests by status.
        type Merged<'a> = (&'a Arc<str>, Figures, Vec<(Option<u16>, u64)>);
        let mut merged: Vec<Merged<'_>> = Vec::new();
        for rollup in rollups {
            let name = &rollup.key.container;
            let at = merged.iter().position(|(known, ..)| *known == name);
            let at = at.unwrap_or_else(|| {
                merged.push((name, Figures::default(), Vec::new()));
                merged.len() - 1
            });
            merged[at].1.merge(&rollup.figures);
            let n_requests = rollup.figures.n_requests;
            add_status(&mut merged[at].2, rollup.key.status, n_requests);
        }
        for (name, figures, by_status) in merged {
            let known = self.containers.iter().position(|(known, _)| known == name);
            let at = known.unwrap_or_else(|| {
                self.containers.push((Arc::clone(name), Slice::default()));
                self.containers.len() - 1
            });
            self.containers[at].1.push(second, &figures, &by_status);
        }
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
                slice: Slice::default(),
            };
            self.routes.insert(at, fresh);
            at
        });
        &mut self.routes[at]
    }
}

fn sliding(place: &mut Option<Box<Sliding>>) -> &mut Sliding {
    place.get_or_insert_with(|| Box::new(Sliding::new()))
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
