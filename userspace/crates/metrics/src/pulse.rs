//! Whether a service is suddenly worse, from what was just counted: history
//! would have to be asked about every service all the time.

use std::collections::VecDeque;

use modeltap_core::histogram::bucket_bounds_ns;
use modeltap_core::measure::Measure;
use modeltap_core::rollup::Rollup;

use crate::why::{Durations, Timed, is_suddenly_worse};

/// Length of a step in seconds, and steps that are looked back on: a quarter
/// of an hour.
const STEP_SECONDS: u64 = 5;
const N_STEPS: u64 = 180;
/// Steps of which one has to have a request; else there is nothing to say.
const NEWEST: u64 = 12;
/// Rows an octave and in all, the first of which begins at a microsecond.
const ROWS_AN_OCTAVE: f64 = 4.0;
const N_ROWS: u8 = 128;
const LOWEST_NS: f64 = 1_000.0;

/// The last steps of one service that had requests, oldest first: an idle
/// service takes no room, and a busy one some 10 kB.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    steps: VecDeque<Step>,
    /// The step that is open, once one was looked at.
    open: u64,
    is_worse: bool,
}

#[derive(Debug)]
struct Step {
    number: u64,
    n_requests: u64,
    n_errors: u64,
    /// Ascending rows and their counts.
    rows: Vec<(u8, u32)>,
}

impl Pulse {
    /// Adds a second: the service's rollups of it.
    pub(crate) fn push(&mut self, second: u64, rollups: &[Rollup]) {
        let number = second / STEP_SECONDS;
        if self
            .steps
            .back()
            .is_none_or(|newest| newest.number != number)
        {
            self.steps.push_back(Step {
                number,
                n_requests: 0,
                n_errors: 0,
                rows: Vec::new(),
            });
        }
        let Some(step) = self.steps.back_mut() else {
            return;
        };
        for rollup in rollups {
            let figures = &rollup.figures;
            step.n_requests += figures.n_requests;
            step.n_errors += figures.n_errors;
            // Older kernels do not tell when a request arrived.
            let felt = figures.measure(Measure::Felt);
            for (bucket, count) in felt.unwrap_or(&figures.duration).buckets() {
                step.add(row_of(bucket_bounds_ns(bucket).0), count);
            }
        }
    }

    /// Looks anew if a step is over at the second `now`.
    pub(crate) fn look(&mut self, now: u64) {
        let open = now / STEP_SECONDS;
        if open == self.open {
            return;
        }
        self.open = open;
        let first = open.saturating_sub(N_STEPS);
        while self.steps.front().is_some_and(|old| old.number < first) {
            self.steps.pop_front();
        }
        let newest = self.steps.iter().rev().find(|step| step.number < open);
        let is_idle = newest.is_none_or(|newest| newest.number + NEWEST < open);
        self.is_worse = !is_idle && self.is_worse_at(first, open);
    }

    /// Whether it is worse than it was, as of the last whole step.
    pub(crate) fn is_worse(&self) -> bool {
        self.is_worse
    }

    fn is_worse_at(&self, first: u64, open: u64) -> bool {
        let steps = || self.steps.iter().filter(|step| step.number < open);
        let rows = || steps().flat_map(|step| step.rows.iter().map(|(row, _)| *row));
        let (low, high) = (rows().min().unwrap_or(0), rows().max().unwrap_or(0));
        let n_steps = usize::try_from(open - first).unwrap_or(0);
        let (mut requests, mut errors) = (vec![0; n_steps], vec![0; n_steps]);
        let mut counts = vec![Vec::new(); n_steps];
        for step in steps() {
            let Some(at) = step
                .number
                .checked_sub(first)
                .and_then(|at| usize::try_from(at).ok())
            else {
                continue;
            };
            (requests[at], errors[at]) = (step.n_requests, step.n_errors);
            counts[at] = vec![0; usize::from(high - low) + 1];
            for &(row, count) in &step.rows {
                counts[at][usize::from(row - low)] += u64::from(count);
            }
        }
        let durations = Durations {
            time: Timed::Felt,
            bounds: (low..=high + 1).map(low_of).collect(),
            counts,
        };
        is_suddenly_worse(&requests, &errors, &durations)
    }
}

impl Step {
    fn add(&mut self, row: u8, count: u64) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        match self.rows.binary_search_by_key(&row, |(row, _)| *row) {
            Ok(at) => self.rows[at].1 = self.rows[at].1.saturating_add(count),
            Err(at) => self.rows.insert(at, (row, count)),
        }
    }
}

fn row_of(ns: u64) -> u8 {
    let octaves = (ns as f64 / LOWEST_NS).max(1.0).log2();
    ((octaves * ROWS_AN_OCTAVE) as u8).min(N_ROWS - 1)
}

/// Where a row begins, in seconds.
fn low_of(row: u8) -> f64 {
    LOWEST_NS / 1e9 * f64::exp2(f64::from(row) / ROWS_AN_OCTAVE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use modeltap_core::record::{Method, Outcome};
    use modeltap_core::rollup::{Figures, SeriesKey};
    use modeltap_core::time::UnixNs;

    use super::*;

    fn rollup(ms: u64, fails: bool) -> Rollup {
        let mut figures = Figures {
            n_requests: 2,
            n_errors: if fails { 2 } else { 0 },
            ..Figures::default()
        };
        for n in 0..2 {
            figures
                .duration
                .record(Duration::from_micros(ms * (900 + 100 * n)));
        }
        Rollup {
            key: SeriesKey {
                service: "api".into(),
                container: "api-1".into(),
                method: Some(Method::Get),
                route: "/a".into(),
                status: Some(200),
                outcome: Outcome::Complete,
            },
            start: UnixNs(0),
            width: Duration::from_secs(1),
            figures,
        }
    }

    /// The seconds at which it is worse, or no longer.
    fn turns(seconds: u64, of: impl Fn(u64) -> Option<(u64, bool)>) -> Vec<u64> {
        let mut pulse = Pulse::default();
        let mut turns = Vec::new();
        let mut was_worse = false;
        for second in 1_000..1_000 + seconds {
            if let Some((ms, fails)) = of(second - 1_000) {
                pulse.push(second, &[rollup(ms, fails)]);
            }
            pulse.look(second + 1);
            if pulse.is_worse() != was_worse {
                was_worse = !was_worse;
                turns.push(second - 1_000);
            }
            assert!(pulse.steps.len() <= 181);
        }
        turns
    }

    #[test]
    fn what_becomes_slow_or_fails_is_known_in_seconds_and_so_is_its_end() {
        for (ms, fails) in [(400, false), (40, true)] {
            let turns = turns(1_000, |second| {
                let is_bad = (500..600).contains(&second);
                Some(if is_bad { (ms, fails) } else { (40, false) })
            });
            assert_eq!(turns.len(), 2, "{turns:?}");
            assert!((510..=525).contains(&turns[0]), "{turns:?}");
            assert!((600..=660).contains(&turns[1]), "{turns:?}");
        }
    }

    #[test]
    fn steady_new_and_idle_services_are_not_worse() {
        assert_eq!(turns(2_000, |_| Some((40, false))), [0; 0]);
        assert_eq!(turns(2_000, |_| Some((40, true))), [0; 0]);
        assert_eq!(turns(100, |_| None), [0; 0]);
        let starts = |second| (second > 500).then_some((40, second > 510));
        assert_eq!(turns(700, starts), [0; 0]);
        // Nobody asks it any more.
        let ends = |second| (second < 540).then_some((if second < 500 { 40 } else { 400 }, false));
        let turns = turns(900, ends);
        assert!(turns.len() == 2 && turns[1] <= 620, "{turns:?}");
    }

    #[test]
    fn rows_adjoin_from_a_microsecond_to_an_hour() {
        for row in 0..N_ROWS {
            let ns = low_of(row) * 1e9;
            assert_eq!(row_of(ns.ceil() as u64 + 1), row, "{ns}");
        }
        assert_eq!(row_of(0), 0);
        assert!(low_of(N_ROWS - 1) > 3_600.0);
    }
}
