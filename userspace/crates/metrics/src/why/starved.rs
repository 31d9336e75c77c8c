//! Short of processor, memory or GPU as it was not before.

use modeltap_core::timeline::TimelineKind;

use super::finding::{Change, Figure, Resource};
use super::rise::median_known;
use super::series::{ServicePart, ServiceSeries};

/// Steps without which a level is none, and seconds that they take where they
/// are short beside others that tell; and steps before it without which nothing
/// is known to be usual.
const MIN_STEPS: usize = 3;
const MIN_SECONDS: u64 = 25;
const MIN_BEFORE: usize = 12;
/// Steps without a kill after which it is over.
const QUIET_STEPS: u64 = 10;

/// From where on it is short, to where it may fall and still be, and below
/// which it must have been before.
struct Levels {
    on: f64,
    off: f64,
    usual: f64,
}

const PROCESSOR: Levels = Levels {
    on: 0.25,
    off: 0.15,
    usual: 0.1,
};
const MEMORY: Levels = Levels {
    on: 0.95,
    off: 0.9,
    usual: 0.9,
};
const GPU: Levels = Levels {
    on: 0.95,
    off: 0.9,
    usual: 0.8,
};

/// What has become short, what explains most first: one of each resource.
pub(crate) fn changes(series: &ServiceSeries) -> Vec<Change> {
    let of_parts = |parts: &[ServicePart], levels: &Levels, resource| {
        let found = parts.iter().filter_map(|part| {
            let mut change = level(series, &part.values, levels, resource)?;
            change.container = Some(part.name.clone());
            Some(change)
        });
        found.min_by_key(|change| change.since)
    };
    let per_gpu = per_gpu(&series.gpu);
    [
        kills(series),
        of_parts(&series.memory, &MEMORY, Resource::Memory),
        of_parts(&series.throttled, &PROCESSOR, Resource::Processor),
        level(series, &per_gpu, &GPU, Resource::Gpu),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Utilisation a GPU, of as many as were ever in use at once.
pub(crate) fn per_gpu(used: &[Option<f64>]) -> Vec<Option<f64>> {
    let most = used.iter().flatten().copied().fold(0.0, f64::max);
    // A sample may lie a little above the whole.
    let n_gpus = (most - 0.02).ceil().max(1.0);
    used.iter().map(|used| Some((*used)? / n_gpus)).collect()
}

/// The level that a figure reached and keeps to the end.
fn level(
    series: &ServiceSeries,
    values: &[Option<f64>],
    levels: &Levels,
    resource: Resource,
) -> Option<Change> {
    let known = values.iter().enumerate();
    let known: Vec<(usize, f64)> = known
        .filter_map(|(at, value)| Some((at, (*value)?)))
        .collect();
    let first = known.iter().rposition(|(_, value)| *value < levels.off);
    let run = &known[first? + 1..];
    let start = run.iter().position(|(_, value)| *value >= levels.on)?;
    let run = &run[start..];
    let start = run.first()?.0;
    let before = median_known(&values[..start])?;
    let after = median_known(&values[start..])?;
    let n_before = values[..start].iter().flatten().count();
    let least = match &series.durations {
        Some(_) => usize::try_from(MIN_SECONDS / series.step.max(1)).unwrap_or(MIN_STEPS),
        None => MIN_STEPS,
    };
    let is_short = run.len() >= least.max(MIN_STEPS)
        && n_before >= MIN_BEFORE
        && after >= levels.on
        && before < levels.usual;
    is_short.then(|| Change {
        figure: Figure::Starved(resource),
        since: series.at(start),
        until: None,
        before,
        after,
        container: None,
        start,
        end: series.n_steps(),
    })
}

/// Processes killed for want of memory, oftener than before the range.
fn kills(series: &ServiceSeries) -> Option<Change> {
    let events = series.events.iter();
    let kills = events.filter(|event| event.kind == TimelineKind::OomKilled);
    let begin = series.at(series.first);
    let (mut before, mut within) = (0_u32, Vec::new());
    for kill in kills {
        let at = kill.at.seconds();
        if at < begin {
            before += u32::from(at >= series.from);
        } else if at < series.end() {
            within.push((at, kill.container.as_deref()));
        }
    }
    within.sort_unstable();
    let (since, container) = *within.first()?;
    let (last, _) = *within.last()?;
    let n_within = within.len() as f64;
    let share_of_past = series.first as f64 / (series.n_steps() - series.first).max(1) as f64;
    let is_news = f64::from(before) <= 0.5 * n_within * share_of_past;
    let is_one = within.iter().all(|(_, of)| *of == container);
    let start = usize::try_from((since - series.from) / series.step.max(1)).unwrap_or(0);
    is_news.then(|| Change {
        figure: Figure::Starved(Resource::MemoryKills),
        since,
        until: (last + QUIET_STEPS * series.step < series.end()).then_some(last),
        before: f64::from(before),
        after: n_within,
        container: container.filter(|_| is_one).map(str::to_owned),
        start: start.min(series.n_steps()),
        end: series.n_steps(),
    })
}
