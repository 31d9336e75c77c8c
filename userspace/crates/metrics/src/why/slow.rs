//! Slower than it was.

use super::finding::{Change, Figure};
use super::rise::{Point, median_known, rise};
use super::series::{ServiceSeries, TimeSeries};

/// Requests of a step below which its quantile says nothing.
const MIN_OF_STEP: f64 = 5.0;
/// Requests before and since without which nothing is told.
const MIN_BEFORE: f64 = 50.0;
const MIN_SINCE: f64 = 20.0;
/// How many times as long.
const MIN_RATIO: f64 = 1.5;
/// How much longer at the least, in seconds: nobody feels less.
const MIN_SECONDS: f64 = 0.005;
/// Least deviation of a quantile's logarithm, and its deviation by chance
/// times the root of the requests.
const LEAST_NOISE: f64 = 0.1;
const CHANCE: f64 = 1.2;

/// The time that grew; of several the one that says most.
pub(crate) fn change(series: &ServiceSeries) -> Option<Change> {
    series.times.iter().find_map(|time| of(series, time))
}

fn of(series: &ServiceSeries, time: &TimeSeries) -> Option<Change> {
    let steps = time.values.iter().zip(&series.requests);
    let points: Vec<Option<Point>> = steps
        .map(|(seconds, requests)| {
            let seconds = seconds.filter(|_| *requests >= MIN_OF_STEP)?;
            Some(Point {
                value: seconds.max(1e-6).ln(),
                noise: LEAST_NOISE.max(CHANCE / requests.sqrt()),
            })
        })
        .collect();
    let stretch = rise(&points, series.first, MIN_RATIO.ln())?;
    let (start, end) = (stretch.start, stretch.end);
    let requests = |steps: &[f64]| steps.iter().sum::<f64>();
    if requests(&series.requests[..start]) < MIN_BEFORE
        || requests(&series.requests[start..end]) < MIN_SINCE
    {
        return None;
    }
    let before = median_known(&time.values[..start])?;
    let after = median_known(&time.values[start..end])?;
    let is_felt = after - before >= MIN_SECONDS && after >= MIN_RATIO * before;
    is_felt.then(|| Change {
        figure: Figure::Slow(time.time, time.quantile),
        since: series.at(start),
        until: stretch.is_over.then(|| series.at(end)),
        before,
        after,
        container: None,
        start,
        end,
    })
}
