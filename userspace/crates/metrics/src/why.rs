//! Why a service is slower, failing or starved: since when, by how much, what
//! carries it, and what happened then.
//!
//! Pure: the stored series are arguments. It tells figures and names, no
//! sentences but one in plain English ([`summary`]), and nothing where it
//! knows too little.
//!
//! A service is compared with its own recent past. What is usual is the median
//! of the steps before, and how much it strays their scaled median absolute
//! deviation; a stretch that lies above it is found by a cumulative sum
//! (`rise`), and told only if it is large, lasts, and came at once. Stated
//! rate: at most one finding in 1,000 ranges of a service that did not change
//! (`tests/why.rs` fails beyond it).
//!
//! A level takes minutes to be one. What is worse since some seconds is told
//! by counting requests in short steps (`sudden`). Stated rate, where a service
//! is asked about every five seconds (`tests/sudden.rs`): none in 400 hours of
//! steady ones; of those that hang or fail for a step seven times an hour, one
//! in 7 to 50 hours.

mod beside;
mod carriers;
mod finding;
mod lasting;
mod rise;
mod series;
mod starved;
mod sudden;
mod summary;

pub use finding::{
    Beside, BesideKind, Carrier, Change, Figure, Finding, Phase, PhaseGrowth, Resource,
};
pub use series::{Durations, Parts, RoutePart, ServicePart, ServiceSeries, TimeSeries, Timed};
pub use summary::summary;

/// What there is to tell of a service, the gravest first; empty where nothing
/// is known to have changed. `parts` is asked for what a change is made of,
/// once for each that there is, three at most.
///
/// # Errors
/// What `parts` gives.
pub fn findings<E>(
    series: &ServiceSeries,
    mut parts: impl FnMut(&Change) -> Result<Parts, E>,
) -> Result<Vec<Finding>, E> {
    let starved = starved::changes(series);
    let mut found = Vec::new();
    let changes = match &series.durations {
        Some(durations) => sudden_changes(series, durations),
        None => lasting::changes(series),
    };
    for change in changes {
        let parts = parts(&change)?;
        let (route, container) = carriers::carriers(&change, &parts);
        found.push(Finding {
            phase: carriers::phase(&change, &parts, route.as_ref()),
            route,
            container,
            beside: beside::beside(series, &change),
            change,
        });
    }
    // What is starved explains what is slow or fails, and is told with it.
    let is_told = |change: &Change, told: &[Finding]| {
        let near = |finding: &Finding| {
            let same = |beside: &Beside| {
                beside::is_of(beside.kind, change.figure)
                    && (change.container.is_none() || beside.container == change.container)
            };
            finding.beside.iter().any(same)
        };
        told.iter().any(near)
    };
    for change in starved {
        if is_told(&change, &found) {
            continue;
        }
        let container = change.container.clone().map(|name| Carrier {
            name,
            share: 1.0,
            before: Some(change.before),
            after: change.after,
        });
        found.push(Finding {
            phase: None,
            route: None,
            container: container.filter(|_| series.n_containers() > 1),
            beside: beside::beside(series, &change),
            change,
        });
    }
    Ok(found)
}

/// Whether a service is failing or slower since a moment ago: requests, failed
/// requests and durations by short step, of which the last one is now.
pub(crate) fn is_suddenly_worse(requests: &[u64], errors: &[u64], durations: &Durations) -> bool {
    !sudden::found(requests, errors, durations).is_empty()
}

/// What is worse than a moment ago, and goes on.
fn sudden_changes(series: &ServiceSeries, durations: &Durations) -> Vec<Change> {
    let whole = |counts: &[f64]| -> Vec<u64> { counts.iter().map(|n| *n as u64).collect() };
    let (requests, errors) = (whole(&series.requests), whole(&series.errors));
    let found = sudden::found(&requests, &errors, durations).into_iter();
    found
        .map(|sudden| Change {
            figure: sudden.figure,
            since: series.at(sudden.start),
            until: None,
            before: sudden.before,
            after: sudden.after,
            container: None,
            start: sudden.start,
            end: series.n_steps(),
        })
        .collect()
}
