//! How soon the why line tells what just became worse, and how often it is
//! wrong, at the rates that real services have.
//!
//! Requests come by chance (Poisson), durations are skewed and wander, errors
//! come alone and in bursts, now and then a step hangs. Every five seconds it
//! is asked about the last twenty minutes, as the daemon does. The generator is
//! a fixed sequence: the measured rate is the same on every run.

#[path = "support/random.rs"]
mod random;

use modeltap_metrics::why::{
    Durations, Figure, Finding, Parts, ServiceSeries, Timed, findings, summary,
};

use crate::random::Random;

/// Seconds of a step, and steps that are looked at.
const STEP: f64 = 5.0;
const LOOK: usize = 240;
/// Requests a second.
const RATES: [f64; 4] = [1.0, 3.0, 10.0, 50.0];
/// Hours that each service is asked about without a change.
const STEADY_HOURS: usize = 1;
/// Rows of durations: eight an octave from 0.1 ms on.
const N_ROWS: usize = 160;

/// A service, step by step.
struct Service {
    random: Random,
    rate: f64,
    is_noisy: bool,
    wander: f64,
    burst: f64,
    requests: Vec<f64>,
    errors: Vec<f64>,
    rows: Vec<Vec<u64>>,
}

/// What became worse.
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    /// Requests take so many times as long, of this share of them; a single
    /// client waits, so that fewer come.
    Slow(f64, f64),
    /// This share of them fails.
    Failing(f64),
}

impl Service {
    fn new(rate: f64, is_noisy: bool, seed: u64) -> Self {
        Self {
            random: Random::new(seed * 4 + u64::from(is_noisy)),
            rate,
            is_noisy,
            wander: 0.0,
            burst: 0.0,
            requests: Vec::new(),
            errors: Vec::new(),
            rows: Vec::new(),
        }
    }

    fn step(&mut self, change: Change) {
        let sigma = if self.is_noisy { 0.2 } else { 0.05 };
        self.wander = 0.8 * self.wander + 0.6 * sigma * self.random.normal();
        let hangs = self.is_noisy && self.random.unit() < 0.005;
        if self.is_noisy && self.random.unit() < 0.005 {
            self.burst = 0.3;
        }
        let (slower, share, fails) = match change {
            Change::None => (1.0, 0.0, 0.0),
            Change::Slow(slower, share) => (slower, share, 0.0),
            Change::Failing(fails) => (1.0, 0.0, fails),
        };
        let fewer = 1.0 + share * (slower - 1.0) / 10.0;
        let n = self.random.poisson(self.rate * STEP / fewer);
        let (mut errors, mut rows) = (0.0, vec![0; N_ROWS]);
        for _ in 0..n as usize {
            let mut seconds = 0.05 * f64::exp(0.8 * self.random.normal() + self.wander);
            if hangs {
                seconds += 1.0;
            }
            if self.random.unit() < share {
                seconds *= slower;
            }
            errors += f64::from(u8::from(self.random.unit() < 0.02 + self.burst + fails));
            let row = (8.0 * (seconds / 1e-4).log2()).max(0.0) as usize;
            rows[row.min(N_ROWS - 1)] += 1;
        }
        self.burst *= 0.2;
        self.requests.push(n);
        self.errors.push(errors);
        self.rows.push(rows);
    }

    fn told(&self) -> Vec<Finding> {
        let from = self.requests.len().saturating_sub(LOOK);
        let series = ServiceSeries {
            from: 1_700_000_000 + 5 * from as u64,
            step: 5,
            requests: self.requests[from..].to_vec(),
            errors: self.errors[from..].to_vec(),
            durations: Some(Durations {
                time: Timed::Felt,
                bounds: (0..=N_ROWS)
                    .map(|row| 1e-4 * f64::exp2(row as f64 / 8.0))
                    .collect(),
                counts: self.rows[from..].to_vec(),
            }),
            ..ServiceSeries::default()
        };
        let none = |_: &_| Ok::<_, std::convert::Infallible>(Parts::default());
        findings(&series, none).unwrap_or_else(|never| match never {})
    }
}

#[test]
fn services_that_did_not_change_are_said_nothing_of() {
    for rate in RATES {
        for is_noisy in [false, true] {
            let mut service = Service::new(rate, is_noisy, rate as u64);
            let mut n_false = 0;
            let mut was_told = false;
            for _ in 0..STEADY_HOURS * 720 {
                service.step(Change::None);
                let told = service.told();
                if !was_told && !told.is_empty() {
                    n_false += 1;
                    println!("{rate}/s, noisy {is_noisy}: {}", summary(&told[0], 0));
                }
                was_told = !told.is_empty();
            }
            println!("{rate}/s, noisy {is_noisy}: {n_false} false in {STEADY_HOURS} h");
            assert_eq!(n_false, 0, "{rate}/s, noisy {is_noisy}");
        }
    }
}

/// Seconds until each of some services is told right; what was told is told on,
/// but for one step in fifty.
#[track_caller]
fn check_soon(change: Change, is_noisy: bool, is_right: impl Fn(&Figure) -> bool) {
    for rate in RATES {
        let (mut n_told, mut n_silent) = (0, 0);
        let mut took: Vec<f64> = (0..20_u32)
            .map(|seed| {
                let mut service = Service::new(rate, is_noisy, u64::from(1_000 + seed));
                // From two minutes of a past to twenty.
                (0..24 + 10 * seed).for_each(|_| service.step(Change::None));
                let mut first = None;
                for step in 0..24 {
                    service.step(change);
                    let told = service.told();
                    let is_told = told.iter().any(|found| is_right(&found.change.figure));
                    if is_told {
                        first.get_or_insert(step);
                    }
                    n_told += u32::from(is_told);
                    n_silent += u32::from(first.is_some() && !is_told);
                }
                STEP * (first.map_or(f64::INFINITY, |step| step as f64) + 1.0)
            })
            .collect();
        took.sort_unstable_by(f64::total_cmp);
        println!(
            "{change:?}, {rate}/s, noisy {is_noisy}: told after {} s at the median, {} s at most",
            took[9], took[19]
        );
        assert!(n_silent * 50 <= n_told, "{change:?}, {rate}/s: {n_silent}");
        assert!(took[19] <= 55.0, "{change:?}, {rate}/s: {took:?}");
    }
}

#[test]
fn slow_and_failing_services_are_told_within_a_minute_at_any_rate() {
    let is_slow = |figure: &Figure| matches!(figure, Figure::Slow(..));
    let is_failing = |figure: &Figure| *figure == Figure::Failing;
    for is_noisy in [false, true] {
        check_soon(Change::Slow(20.0, 1.0), is_noisy, is_slow);
        check_soon(Change::Failing(1.0), is_noisy, is_failing);
    }
    check_soon(Change::Failing(0.5), false, is_failing);
}
