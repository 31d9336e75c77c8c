//! Failing more than it did.

use super::finding::{Change, Figure};
use super::rise::{Point, rise};
use super::series::ServiceSeries;

/// Requests before and since without which nothing is told.
const MIN_BEFORE: f64 = 50.0;
const MIN_SINCE: f64 = 20.0;
/// Failed requests without which nothing is told.
const MIN_FAILED: f64 = 5.0;
/// Share of requests that fail, where it is over, and how many times what it
/// was: bursts of errors come and go.
const MIN_SHARE: f64 = 0.03;
const MIN_SHARE_OVER: f64 = 0.05;
const MIN_RATIO: f64 = 3.0;
/// Least deviation of a share on the scale of [`angle`].
const LEAST_NOISE: f64 = 0.03;
/// Least rise on that scale: from one to three in a hundred, nearly.
const MIN_RISE: f64 = 0.07;

/// The rise of the share of requests that fail.
pub(crate) fn change(series: &ServiceSeries) -> Option<Change> {
    let steps = series.requests.iter().zip(&series.errors);
    let points: Vec<Option<Point>> = steps
        .map(|(requests, errors)| {
            (*requests >= 1.0).then(|| Point {
                value: angle(errors / requests),
                noise: LEAST_NOISE.max(0.5 / requests.sqrt()),
            })
        })
        .collect();
    let stretch = rise(&points, series.first, MIN_RISE)?;
    let (start, end) = (stretch.start, stretch.end);
    let sum = |steps: &[f64]| steps.iter().sum::<f64>();
    let before = (sum(&series.errors[..start]), sum(&series.requests[..start]));
    let since = (
        sum(&series.errors[start..end]),
        sum(&series.requests[start..end]),
    );
    if before.1 < MIN_BEFORE || since.1 < MIN_SINCE || since.0 < MIN_FAILED {
        return None;
    }
    let (before, after) = (before.0 / before.1, since.0 / since.1);
    let least = if stretch.is_over {
        MIN_SHARE_OVER
    } else {
        MIN_SHARE
    };
    let is_worse = after >= least && after >= MIN_RATIO * before;
    is_worse.then(|| Change {
        figure: Figure::Failing,
        since: series.at(start),
        until: stretch.is_over.then(|| series.at(end)),
        before,
        after,
        container: None,
        start,
        end,
    })
}

/// A scale on which a share of `n` strays by 1 / (2 √n), whatever it is.
fn angle(share: f64) -> f64 {
    share.clamp(0.0, 1.0).sqrt().asin()
}
