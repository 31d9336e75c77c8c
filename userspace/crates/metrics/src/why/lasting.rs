//! Failing more than it did, or slower than it was, by the level of each step.

use std::ops::Range;

use super::finding::{Change, Figure};
use super::rise::{Point, Stretch, median_known, rise};
use super::series::{ServiceSeries, TimeSeries};

/// Requests before and since without which nothing is told.
const MIN_BEFORE: f64 = 50.0;
const MIN_SINCE: f64 = 20.0;

/// Failed requests without which nothing is told.
const MIN_FAILED: f64 = 5.0;
/// Share of requests that fail, where it is over, and how many times what it
/// was: bursts of errors come and go.
const MIN_SHARE: f64 = 0.03;
const MIN_SHARE_OVER: f64 = 0.05;
const MIN_SHARE_RATIO: f64 = 3.0;
/// Least deviation of a share on the scale of [`angle`].
const LEAST_SHARE_NOISE: f64 = 0.03;
/// Least rise on that scale: from one to three in a hundred, nearly.
const MIN_RISE: f64 = 0.07;

/// Requests of a step below which its quantile says nothing.
const MIN_OF_STEP: f64 = 5.0;
/// How many times as long.
pub(crate) const MIN_TIME_RATIO: f64 = 1.5;
/// How much longer at the least, in seconds: nobody feels less.
pub(crate) const MIN_SECONDS: f64 = 0.005;
/// Least deviation of a quantile's logarithm, and its deviation by chance
/// times the root of the requests.
const LEAST_TIME_NOISE: f64 = 0.1;
const CHANCE: f64 = 1.2;

/// The rise of the share of requests that fail, and that of a time: of several
/// the one that says most.
pub(crate) fn changes(series: &ServiceSeries) -> Vec<Change> {
    let slow = series.times.iter().find_map(|time| slow(series, time));
    failing(series).into_iter().chain(slow).collect()
}

fn failing(series: &ServiceSeries) -> Option<Change> {
    let point = |at: usize, requests: f64| {
        (requests >= 1.0).then(|| Point {
            value: angle(series.errors[at] / requests),
            noise: LEAST_SHARE_NOISE.max(0.5 / requests.sqrt()),
        })
    };
    let stretch = risen(series, point, MIN_RISE)?;
    let sum = |steps: &[f64]| steps.iter().sum::<f64>();
    let share = |steps: Range<usize>| {
        let failed = sum(&series.errors[steps.clone()]);
        (failed, failed / sum(&series.requests[steps]))
    };
    let (_, before) = share(0..stretch.start);
    let (n_failed, after) = share(stretch.start..stretch.end);
    let least = if stretch.is_over {
        MIN_SHARE_OVER
    } else {
        MIN_SHARE
    };
    let is_worse = n_failed >= MIN_FAILED && after >= least && after >= MIN_SHARE_RATIO * before;
    is_worse.then(|| told(series, Figure::Failing, stretch, before, after))
}

fn slow(series: &ServiceSeries, time: &TimeSeries) -> Option<Change> {
    let point = |at: usize, requests: f64| {
        let seconds = time.values[at].filter(|_| requests >= MIN_OF_STEP)?;
        Some(Point {
            value: seconds.max(1e-6).ln(),
            noise: LEAST_TIME_NOISE.max(CHANCE / requests.sqrt()),
        })
    };
    let stretch = risen(series, point, MIN_TIME_RATIO.ln())?;
    let before = median_known(&time.values[..stretch.start])?;
    let after = median_known(&time.values[stretch.start..stretch.end])?;
    let is_felt = after - before >= MIN_SECONDS && after >= MIN_TIME_RATIO * before;
    let figure = Figure::Slow(time.time, time.quantile);
    is_felt.then(|| told(series, figure, stretch, before, after))
}

/// The rise of a figure by at least `least`, with enough requests on both
/// sides.
fn risen(
    series: &ServiceSeries,
    point: impl Fn(usize, f64) -> Option<Point>,
    least: f64,
) -> Option<Stretch> {
    let steps = series.requests.iter().enumerate();
    let points: Vec<Option<Point>> = steps.map(|(at, requests)| point(at, *requests)).collect();
    let stretch = rise(&points, series.first, least)?;
    let requests = |steps: &[f64]| steps.iter().sum::<f64>();
    let is_known = requests(&series.requests[..stretch.start]) >= MIN_BEFORE
        && requests(&series.requests[stretch.start..stretch.end]) >= MIN_SINCE;
    is_known.then_some(stretch)
}

fn told(
    series: &ServiceSeries,
    figure: Figure,
    stretch: Stretch,
    before: f64,
    after: f64,
) -> Change {
    Change {
        figure,
        since: series.at(stretch.start),
        until: stretch.is_over.then(|| series.at(stretch.end)),
        before,
        after,
        container: None,
        start: stretch.start,
        end: stretch.end,
    }
}

/// A scale on which a share of `n` strays by 1 / (2 √n), whatever it is.
fn angle(share: f64) -> f64 {
    share.clamp(0.0, 1.0).sqrt().asin()
}
