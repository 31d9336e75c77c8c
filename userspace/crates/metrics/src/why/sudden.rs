//! What is worse since a moment ago, told from few requests.
//!
//! Steps are too short here for a share or a quantile of each: requests are
//! counted instead, all and the bad ones. Bad is what failed, or what took
//! longer than half again the quantile of the requests before. The step since
//! which there are more of them is the one that two shares fit best (the
//! largest likelihood ratio); that it is no chance is Fisher's exact test,
//! which holds for five requests as for a million. Requests of real services
//! are not independent, so that the share must as well stand out from those of
//! as long stretches before, and be there still.

use super::finding::Figure;
use super::lasting::{MIN_SECONDS, MIN_TIME_RATIO};
use super::series::Durations;

/// Steps before, and since, without which nothing is told, and the most since:
/// by then the level of longer steps tells.
const MIN_STEPS_BEFORE: usize = 12;
const MIN_STEPS_SINCE: usize = 2;
const MAX_STEPS_SINCE: usize = 120;
/// Requests before and since without which nothing is told.
const MIN_BEFORE: u64 = 30;
const MIN_SINCE: u64 = 5;
/// Steps with bad requests since: a hitch is over by then.
const MIN_BAD_STEPS: usize = 3;
/// Share of the steps since that are bad: two hitches are two of three.
const MOST_STEPS: f64 = 0.67;
/// The most that the exact test leaves to chance. It is asked twelve times a
/// minute, of three figures, at some of a hundred steps.
const CHANCE: f64 = 1e-8;
/// How far a share lies above those of stretches before: of what is left to
/// the whole.
const STANDS_OUT: f64 = 0.1;
/// Of the stretches before, the share that may have been as bad: trouble that
/// was over.
const ODD: usize = 10;
/// Of the requests since, those that tell whether it goes on; and the share of
/// the badness that they must have.
const NEWEST: u64 = 3;
const GOES_ON: f64 = 0.5;

/// Requests, and of them the bad ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    n: u64,
    n_bad: u64,
}

impl Tally {
    fn sum(steps: &[Self]) -> Self {
        let add = |sum: Self, step: &Self| Self {
            n: sum.n + step.n,
            n_bad: sum.n_bad + step.n_bad,
        };
        steps.iter().fold(Self::default(), add)
    }

    fn share(self) -> f64 {
        self.n_bad as f64 / self.n.max(1) as f64
    }

    /// Log-likelihood of what was seen, if the share is what it is.
    fn fit(self) -> f64 {
        let term = |n: u64| match n {
            0 => 0.0,
            n => n as f64 * (n as f64 / self.n as f64).ln(),
        };
        term(self.n_bad) + term(self.n - self.n_bad)
    }
}

/// How much worse it has to be.
struct Bar {
    share: f64,
    ratio: f64,
}

const FAILING: Bar = Bar {
    share: 0.1,
    ratio: 3.0,
};
/// Of requests beyond half again the 95th percentile one in twenty is none.
const TAIL: Bar = FAILING;
/// Of those beyond half again the median, in a wide distribution, a third.
const MIDDLE: Bar = Bar {
    share: 0.75,
    ratio: 2.0,
};

/// Since which step a figure is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sudden {
    pub(crate) figure: Figure,
    pub(crate) start: usize,
    /// A share, or seconds.
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// What is worse at the end of the steps: failing, slower.
pub(crate) fn found(requests: &[u64], errors: &[u64], durations: &Durations) -> Vec<Sudden> {
    let quantiles = [(0.95, &TAIL), (0.5, &MIDDLE)];
    let slow = quantiles
        .into_iter()
        .find_map(|(quantile, bar)| slow(durations, quantile, bar));
    failing(requests, errors).into_iter().chain(slow).collect()
}

fn failing(requests: &[u64], errors: &[u64]) -> Option<Sudden> {
    let tally = |(n, n_bad): (&u64, &u64)| Tally {
        n: *n,
        n_bad: *n_bad.min(n),
    };
    let steps: Vec<Tally> = requests.iter().zip(errors).map(tally).collect();
    let all = Tally::sum(&steps);
    let mut before = Tally::default();
    let mut best = Best::default();
    for (start, step) in steps.iter().enumerate() {
        best.offer(start, steps.len(), before, all);
        before = Tally::sum(&[before, *step]);
    }
    let start = best.start?;
    let (before, since) = (Tally::sum(&steps[..start]), Tally::sum(&steps[start..]));
    is_certain(&steps, start, &FAILING).then(|| Sudden {
        figure: Figure::Failing,
        start,
        before: before.share(),
        after: since.share(),
    })
}

fn slow(durations: &Durations, quantile: f64, bar: &Bar) -> Option<Sudden> {
    let steps = &durations.counts;
    let mut all = Vec::new();
    steps.iter().for_each(|step| add(&mut all, step));
    let mut before = Vec::new();
    let mut best = Best::default();
    for (start, step) in steps.iter().enumerate() {
        let is_candidate = start + MAX_STEPS_SINCE >= steps.len() && start >= MIN_STEPS_BEFORE;
        let row = is_candidate.then(|| durations.too_long(&before, quantile));
        if let Some(row) = row.flatten() {
            let (before, all) = (tally(&before, row), tally(&all, row));
            best.offer(start, steps.len(), before, all);
        }
        add(&mut before, step);
    }
    let start = best.start?;
    let (mut before, mut since) = (Vec::new(), Vec::new());
    steps[..start]
        .iter()
        .for_each(|step| add(&mut before, step));
    steps[start..].iter().for_each(|step| add(&mut since, step));
    let row = durations.too_long(&before, quantile)?;
    let tallies: Vec<Tally> = steps.iter().map(|step| tally(step, row)).collect();
    if !is_certain(&tallies, start, bar) {
        return None;
    }
    Some(Sudden {
        figure: Figure::Slow(durations.time, quantile),
        start,
        before: durations.quantile(&before, quantile)?,
        after: durations.quantile(&since, quantile)?,
    })
}

fn add(sum: &mut Vec<u64>, step: &[u64]) {
    if sum.len() < step.len() {
        sum.resize(step.len(), 0);
    }
    sum.iter_mut().zip(step).for_each(|(sum, n)| *sum += n);
}

fn tally(rows: &[u64], bad_from: usize) -> Tally {
    Tally {
        n: rows.iter().sum(),
        n_bad: rows.iter().skip(bad_from).sum(),
    }
}

impl Durations {
    /// The row in which a quantile lies.
    fn row(counts: &[u64], quantile: f64) -> Option<usize> {
        let n: u64 = counts.iter().sum();
        let rank = ((n as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        counts.iter().position(|count| {
            below += count;
            below >= rank
        })
    }

    /// A quantile in seconds: the middle of its row.
    fn quantile(&self, counts: &[u64], quantile: f64) -> Option<f64> {
        let row = Self::row(counts, quantile)?;
        let (low, high) = (*self.bounds.get(row)?, *self.bounds.get(row + 1)?);
        Some(low.max(0.0).midpoint(high))
    }

    /// The first row of what is too long against a quantile; behind the last
    /// one where nothing is so far.
    fn too_long(&self, before: &[u64], quantile: f64) -> Option<usize> {
        let usual = self.quantile(before, quantile)?;
        let limit = (usual * MIN_TIME_RATIO).max(usual + MIN_SECONDS);
        Some(self.bounds.partition_point(|bound| *bound < limit))
    }
}

/// The step that two shares fit best.
#[derive(Default)]
struct Best {
    start: Option<usize>,
    gain: f64,
}

impl Best {
    fn offer(&mut self, start: usize, n_steps: usize, before: Tally, all: Tally) {
        let since = Tally {
            n: all.n - before.n,
            n_bad: all.n_bad - before.n_bad,
        };
        let is_candidate = start >= MIN_STEPS_BEFORE
            && (MIN_STEPS_SINCE..=MAX_STEPS_SINCE).contains(&(n_steps - start))
            && before.n >= MIN_BEFORE
            && since.n >= MIN_SINCE
            && since.share() > before.share();
        let gain = before.fit() + since.fit() - all.fit();
        if is_candidate && gain > self.gain {
            (self.start, self.gain) = (Some(start), gain);
        }
    }
}

/// Whether it is worse since a step, by far, without doubt, and still.
fn is_certain(steps: &[Tally], start: usize, bar: &Bar) -> bool {
    let (before, since) = (Tally::sum(&steps[..start]), Tally::sum(&steps[start..]));
    let first = steps.iter().position(|step| step.n > 0).unwrap_or(start);
    let n_bad_steps = steps[start..].iter().filter(|step| step.n_bad > 0).count();
    start - first >= MIN_STEPS_BEFORE
        && n_bad_steps >= MIN_BAD_STEPS
        && since.share() >= bar.share.max(bar.ratio * before.share())
        && lasts(&steps[start..], GOES_ON * since.share())
        && newest(&steps[start..]).share() >= GOES_ON * since.share()
        && stands_out(&steps[first..start], steps.len() - start, since.share())
        && chance(before, since) <= CHANCE
}

/// Whether most steps are as bad: those that hang come and go.
fn lasts(steps: &[Tally], share: f64) -> bool {
    let known = steps.iter().filter(|step| step.n > 0);
    let (n_bad, n) = known.fold((0, 0), |(n_bad, n), step| {
        (n_bad + usize::from(step.share() >= share), n + 1)
    });
    n_bad as f64 > MOST_STEPS * n as f64
}

/// The last of the requests, in whole steps.
fn newest(steps: &[Tally]) -> Tally {
    let n = Tally::sum(steps).n.div_ceil(NEWEST).max(MIN_SINCE);
    let mut sum = Tally::default();
    for step in steps.iter().rev() {
        sum = Tally::sum(&[sum, *step]);
        if sum.n >= n {
            break;
        }
    }
    sum
}

/// Whether a share lies above those of stretches before that are as long, or
/// a third of what there is.
fn stands_out(before: &[Tally], n_steps: usize, share: f64) -> bool {
    let length = n_steps.min(before.len() / 3).max(1);
    let shares = before.rchunks(length).map(Tally::sum);
    let shares = shares.filter(|stretch| stretch.n >= MIN_SINCE);
    let mut shares: Vec<f64> = shares.map(Tally::share).collect();
    shares.sort_unstable_by(|a, b| b.total_cmp(a));
    let high = shares.get(shares.len() / ODD).copied().unwrap_or(0.0);
    share >= high + STANDS_OUT * (1.0 - high)
}

/// How likely as many of the bad requests would be since, if they were dealt
/// out by chance: Fisher's exact test, of one side.
fn chance(before: Tally, since: Tally) -> f64 {
    let (n, n_bad) = (before.n + since.n, before.n_bad + since.n_bad);
    let ways = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let all = ways(n, since.n);
    let mut sum = 0.0;
    for x in since.n_bad..=n_bad.min(since.n) {
        // As many good ones as there are.
        if since.n - x > n - n_bad {
            continue;
        }
        let likely = (ways(n_bad, x) + ways(n - n_bad, since.n - x) - all).exp();
        sum += likely;
        // They fall ever faster.
        if likely <= sum * 1e-12 {
            break;
        }
    }
    sum
}

/// Stirling's series beyond what is summed up (Abramowitz and Stegun 6.1.41):
/// right to 1e-10.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|k| (k as f64).ln()).sum();
    }
    let x = n as f64;
    let half_ln_tau = 0.5 * std::f64::consts::TAU.ln();
    (x + 0.5) * x.ln() - x + half_ln_tau + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::why::Timed;

    #[track_caller]
    fn check_chance(table: [u64; 4], expected: f64) {
        let [n, n_bad, m, m_bad] = table;
        let before = Tally { n, n_bad };
        let told = chance(before, Tally { n: m, n_bad: m_bad });
        assert!((told / expected - 1.0).abs() < 1e-3, "{told:e}");
    }

    #[test]
    fn exact_test_gives_known_values() {
        // scipy.stats.fisher_exact(alternative="greater"), and by hand.
        check_chance([4, 1, 4, 3], 17.0 / 70.0);
        check_chance([300, 0, 5, 5], 4.698_9e-11);
        check_chance([1_000, 10, 20, 4], 9.527e-5);
        check_chance([5, 0, 5, 0], 1.0);
        check_chance([0, 0, 5, 5], 1.0);
    }

    #[test]
    fn factorials_are_right_where_the_series_takes_over() {
        let summed: f64 = (2..=40_u64).map(|k| (k as f64).ln()).sum();
        assert!((ln_factorial(40) - summed).abs() < 1e-9);
    }

    /// Steps of two requests each, `bad` of them from each given step on.
    fn steps(n_steps: usize, bad: impl Fn(usize) -> u64) -> (Vec<u64>, Vec<u64>, Durations) {
        let requests = vec![2; n_steps];
        let errors: Vec<u64> = (0..n_steps).map(&bad).collect();
        let durations = Durations {
            time: Timed::Felt,
            // From a millisecond on, four rows an octave.
            bounds: (0..60)
                .map(|row| 1e-3 * 2_f64.powf(row as f64 / 4.0))
                .collect(),
            counts: (0..n_steps)
                .map(|at| {
                    let mut rows = vec![0; 59];
                    rows[20] = 2 - bad(at);
                    rows[40] = bad(at);
                    rows
                })
                .collect(),
        };
        (requests, errors, durations)
    }

    #[track_caller]
    fn check(n_steps: usize, bad: impl Fn(usize) -> u64, expected: Option<usize>) {
        let (requests, errors, durations) = steps(n_steps, bad);
        let told = found(&requests, &errors, &durations);
        let starts: Vec<usize> = told.iter().map(|sudden| sudden.start).collect();
        let expected: Vec<usize> = expected.into_iter().flat_map(|at| [at, at]).collect();
        assert_eq!(starts, expected, "{told:?}");
    }

    #[test]
    fn six_bad_requests_in_three_steps_are_told_with_their_beginning() {
        check(183, |at| if at >= 180 { 2 } else { 0 }, Some(180));
        // Forty requests before are enough.
        check(28, |at| if at >= 20 { 2 } else { 0 }, Some(20));
        check(240, |at| if at >= 200 { 2 } else { 0 }, Some(200));
        // What was over before does not hide what is now.
        let twice = |at: usize| {
            if at >= 235 || (100..110).contains(&at) {
                2
            } else {
                0
            }
        };
        check(240, twice, Some(235));
    }

    #[test]
    fn hitches_what_is_over_and_what_was_always_so_say_nothing() {
        check(240, |at| if at >= 238 { 2 } else { 0 }, None);
        check(240, |at| if (200..220).contains(&at) { 2 } else { 0 }, None);
        check(240, |at| u64::from(at % 2 == 0), None);
        check(240, |at| if at % 40 < 10 { 2 } else { 0 }, None);
        check(240, |_| 2, None);
        check(17, |at| if at >= 11 { 2 } else { 0 }, None);
        check(2, |_| 1, None);
        check(0, |_| 0, None);
    }

    #[test]
    fn times_are_told_by_their_quantile_before_and_since() {
        let (requests, _, durations) = steps(200, |at| if at >= 190 { 2 } else { 0 });
        let told = found(&requests, &[0; 200], &durations);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].figure, Figure::Slow(Timed::Felt, 0.95));
        let ratio = told[0].after / told[0].before;
        assert!((ratio - 32.0).abs() < 0.1, "{told:?}");
    }
}
