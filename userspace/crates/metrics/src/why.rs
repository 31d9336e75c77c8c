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

mod beside;
mod carriers;
mod failing;
mod finding;
mod rise;
mod series;
mod slow;
mod starved;
mod summary;

pub use finding::{
    Beside, BesideKind, Carrier, Change, Figure, Finding, Phase, PhaseGrowth, Resource,
};
pub use series::{Parts, RoutePart, ServicePart, ServiceSeries, TimeSeries, Timed};
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
    for change in [failing::change(series), slow::change(series)] {
        let Some(change) = change else { continue };
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
