//! What happened when a figure changed.

use std::collections::BTreeMap;

use modeltap_core::timeline::{TimelineEvent, TimelineKind};

use super::finding::{Beside, BesideKind, Change, Figure, Resource};
use super::rise::median_known;
use super::series::ServiceSeries;
use super::starved::per_gpu;

/// What is told at most.
const MAX_BESIDE: usize = 4;
/// How long before and after a change an event is near it: so many steps, and
/// so many seconds at the least.
const STEPS_BEFORE: u64 = 3;
const STEPS_AFTER: u64 = 2;
const SECONDS_BEFORE: u64 = 90;
const SECONDS_AFTER: u64 = 60;
/// Steps before and since that are compared.
const COMPARED: usize = 30;
/// A share that says something, and by how much it must have risen.
const MIN_THROTTLED: f64 = 0.1;
const MIN_RISE: f64 = 0.1;
const NEAR_LIMIT: f64 = 0.9;
const MEMORY_RISE: f64 = 0.02;
const GPU_FULL: f64 = 0.95;
const GPU_IDLE: f64 = 0.05;
const GPU_USED: f64 = 0.3;
/// How many times as many requests a second are more traffic.
const MORE_TRAFFIC: f64 = 1.5;
/// Requests of a step beyond which more are no chance.
const MIN_MORE: f64 = 3.0;

/// Whether a kind tells the same as a figure.
pub(crate) fn is_of(kind: BesideKind, figure: Figure) -> bool {
    matches!(
        (kind, figure),
        (BesideKind::Throttled, Figure::Starved(Resource::Processor))
            | (
                BesideKind::MemoryNearLimit,
                Figure::Starved(Resource::Memory)
            )
            | (
                BesideKind::OomKilled,
                Figure::Starved(Resource::MemoryKills)
            )
            | (BesideKind::GpuFull, Figure::Starved(Resource::Gpu))
    )
}

/// What happened at the time of a change, what explains most first.
pub(crate) fn beside(series: &ServiceSeries, change: &Change) -> Vec<Beside> {
    let mut found = happened(series, change);
    let around = Around::of(change);
    for container in &series.throttled {
        let is_so = |before: f64, after: f64| after >= MIN_THROTTLED && after - before >= MIN_RISE;
        let name = Some(container.name.as_str());
        found.extend(around.level(
            series,
            BesideKind::Throttled,
            name,
            &container.values,
            is_so,
        ));
    }
    for container in &series.memory {
        let is_so = |before: f64, after: f64| after >= NEAR_LIMIT && after - before >= MEMORY_RISE;
        let name = Some(container.name.as_str());
        let kind = BesideKind::MemoryNearLimit;
        found.extend(around.level(series, kind, name, &container.values, is_so));
    }
    let gpu = per_gpu(&series.gpu);
    let is_full = |before: f64, after: f64| after >= GPU_FULL && after - before >= MIN_RISE;
    found.extend(around.level(series, BesideKind::GpuFull, None, &gpu, is_full));
    let is_idle = |before: f64, after: f64| after <= GPU_IDLE && before >= GPU_USED;
    found.extend(around.level(series, BesideKind::GpuIdle, None, &gpu, is_idle));
    let step = series.step.max(1) as f64;
    // Before the first request there was no service, or nobody looked.
    let first = series.requests.iter().position(|requests| *requests > 0.0);
    let first = first.unwrap_or(series.n_steps());
    let rate = |(at, requests): (usize, &f64)| (at >= first).then_some(requests / step);
    let rates = series.requests.iter().enumerate().map(rate);
    let rates: Vec<Option<f64>> = rates.collect();
    let is_more = |before: f64, after: f64| {
        let chance = (before * step).max(1.0).sqrt();
        after >= MORE_TRAFFIC * before && (after - before) * step >= MIN_MORE * chance
    };
    found.extend(around.level(series, BesideKind::MoreTraffic, None, &rates, is_more));
    found.retain(|beside| !is_of(beside.kind, change.figure));
    found.sort_by_key(|beside| (beside.kind, beside.distance.abs()));
    found.truncate(MAX_BESIDE);
    found
}

/// The steps before a change and since.
struct Around {
    since: u64,
    from: usize,
    start: usize,
    end: usize,
}

impl Around {
    fn of(change: &Change) -> Self {
        Self {
            since: change.since,
            from: change.start.saturating_sub(COMPARED),
            start: change.start,
            end: change.end.min(change.start + COMPARED),
        }
    }

    /// A level that changed with the figure.
    fn level(
        &self,
        series: &ServiceSeries,
        kind: BesideKind,
        container: Option<&str>,
        values: &[Option<f64>],
        is_so: impl Fn(f64, f64) -> bool,
    ) -> Option<Beside> {
        let before = median_known(values.get(self.from..self.start)?)?;
        let after = median_known(values.get(self.start..self.end)?)?;
        if !is_so(before, after) {
            return None;
        }
        // It changed where it is nearer to what it became.
        let near = self.start.saturating_sub(10).max(self.from);
        let is_after = |value: f64| (value - after).abs() < (value - before).abs();
        let mut steps = near..self.end;
        let first = steps.find(|step| values[*step].is_some_and(is_after));
        let at = series.at(first.unwrap_or(self.start));
        Some(Beside {
            kind,
            at,
            distance: distance(at, self.since),
            container: container.map(str::to_owned),
            detail: String::new(),
            n: 1,
            before: Some(before),
            after: Some(after),
        })
    }
}

/// The events near a change; kills for want of memory until its end.
fn happened(series: &ServiceSeries, change: &Change) -> Vec<Beside> {
    let near_from = (STEPS_BEFORE * series.step).max(SECONDS_BEFORE);
    let near_from = change.since.saturating_sub(near_from);
    let near_to = change.since + (STEPS_AFTER * series.step).max(SECONDS_AFTER);
    let end = change.until.unwrap_or(series.end());
    let mut events: Vec<&TimelineEvent> = series.events.iter().collect();
    events.sort_by_key(|event| event.at);
    let mut found: BTreeMap<(BesideKind, Option<&str>), Beside> = BTreeMap::new();
    for event in events {
        let at = event.at.seconds();
        let kind = match event.kind {
            TimelineKind::ImageChanged => BesideKind::ImageChanged,
            TimelineKind::OomKilled => BesideKind::OomKilled,
            TimelineKind::ContainerStarted => BesideKind::Restarted,
            TimelineKind::ContainerStopped => BesideKind::Stopped,
            TimelineKind::HealthChanged => BesideKind::HealthChanged,
            _ => continue,
        };
        let to = match kind {
            BesideKind::OomKilled => end,
            _ => near_to.min(end),
        };
        if !(near_from..to).contains(&at) {
            continue;
        }
        let container = event.container.as_deref();
        let known = found.entry((kind, container)).or_insert_with(|| Beside {
            kind,
            at,
            distance: distance(at, change.since),
            container: container.map(str::to_owned),
            detail: event.detail.clone(),
            n: 0,
            before: None,
            after: None,
        });
        known.n += 1;
        if kind == BesideKind::HealthChanged {
            known.detail.clone_from(&event.detail);
        }
    }
    let has = |kind, found: &BTreeMap<(BesideKind, Option<&str>), Beside>| {
        found.keys().any(|(known, _)| *known == kind)
    };
    // A new image comes with an end and a start, and a start after an end.
    if has(BesideKind::ImageChanged, &found) {
        found.retain(|(kind, _), _| !matches!(kind, BesideKind::Restarted | BesideKind::Stopped));
    } else if has(BesideKind::Restarted, &found) {
        found.retain(|(kind, _), _| *kind != BesideKind::Stopped);
    }
    found.into_values().collect()
}

fn distance(at: u64, since: u64) -> i64 {
    let less = |a: u64, b: u64| i64::try_from(a - b).unwrap_or(i64::MAX);
    if at >= since {
        less(at, since)
    } else {
        -less(since, at)
    }
}
