//! Which part of the time, which route and which container carry a change.

use super::finding::{Carrier, Change, Figure, Phase, PhaseGrowth};
use super::series::{Parts, RoutePart};

/// Share of the growth without which nothing carries it.
const MIN_SHARE: f64 = 0.6;
/// The same for a phase: of five, half is most.
const MIN_PHASE_SHARE: f64 = 0.5;
/// Requests before and since without which the parts are noise.
const MIN_REQUESTS: f64 = 20.0;
const MIN_SINCE: f64 = 5.0;

/// Sums before and since.
#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    before: f64,
    since: f64,
}

impl Sides {
    /// Sums `of` each step on its side of the change.
    fn sum(change: &Change, parts: &Parts, n_steps: usize, of: impl Fn(usize) -> f64) -> Self {
        let end = change.until.unwrap_or(u64::MAX);
        let mut sides = Self::default();
        for step in 0..n_steps {
            let at = parts.from + parts.step * step as u64;
            if at + parts.step <= change.since {
                sides.before += of(step);
            } else if at >= change.since && at < end {
                sides.since += of(step);
            }
        }
        sides
    }

    fn add(&mut self, more: Self) {
        self.before += more.before;
        self.since += more.since;
    }
}

/// One part's requests, and what is summed over them.
struct Part<'a> {
    name: &'a str,
    requests: Sides,
    /// Seconds or failures.
    sum: Sides,
}

fn parts_of<'a>(change: &Change, parts: &Parts, of: &'a [RoutePart]) -> Vec<Part<'a>> {
    let part = |part: &'a RoutePart| {
        let n_steps = part.requests.len();
        let sum = |of: &dyn Fn(usize) -> f64| Sides::sum(change, parts, n_steps, of);
        let value = |step: usize| match change.figure {
            Figure::Failing => part.errors.get(step).copied().unwrap_or(0.0),
            _ => part.requests[step] * part.total.get(step).copied().flatten().unwrap_or(0.0),
        };
        Part {
            name: &part.name,
            requests: sum(&|step| part.requests[step]),
            sum: sum(&value),
        }
    };
    of.iter().map(part).collect()
}

/// The route and the container that most of the growth lies in.
pub(crate) fn carriers(change: &Change, parts: &Parts) -> (Option<Carrier>, Option<Carrier>) {
    let of = |list: &[RoutePart]| carrier(&parts_of(change, parts, list));
    (of(&parts.routes), of(&parts.containers))
}

fn carrier(parts: &[Part<'_>]) -> Option<Carrier> {
    if parts.len() < 2 {
        return None;
    }
    let mut all = Sides::default();
    parts.iter().for_each(|part| all.add(part.requests));
    if all.before < MIN_REQUESTS || all.since < MIN_SINCE {
        return None;
    }
    // Of a request's mean time, the part that requests of this part make up.
    let grown = |part: &Part<'_>| part.sum.since / all.since - part.sum.before / all.before;
    let growth: f64 = parts.iter().map(grown).sum();
    let first = parts.iter().max_by(|a, b| grown(a).total_cmp(&grown(b)))?;
    let share = grown(first) / growth;
    let is_carrier = growth > 0.0 && share >= MIN_SHARE && first.requests.since > 0.0;
    is_carrier.then(|| Carrier {
        name: first.name.to_owned(),
        share: share.min(1.0),
        before: (first.requests.before > 0.0).then(|| first.sum.before / first.requests.before),
        after: first.sum.since / first.requests.since,
    })
}

/// The phase that most of the growth lies in: of the route that carries it,
/// else of all.
pub(crate) fn phase(
    change: &Change,
    parts: &Parts,
    route: Option<&Carrier>,
) -> Option<PhaseGrowth> {
    if !matches!(change.figure, Figure::Slow(..)) {
        return None;
    }
    let routes = parts.routes.iter();
    let routes: Vec<&RoutePart> = routes
        .filter(|part| route.is_none_or(|route| route.name == part.name))
        .collect();
    let mut requests = Sides::default();
    let mut sums: Vec<(Phase, Sides)> = Vec::new();
    for phase in Phase::ALL {
        let mut sum = Sides::default();
        for route in &routes {
            let means = route.phases.iter().find(|(known, _)| *known == phase);
            let Some((_, means)) = means else { continue };
            let of = |step: usize| {
                route.requests[step] * means.get(step).copied().flatten().unwrap_or(0.0)
            };
            sum.add(Sides::sum(change, parts, route.requests.len(), of));
        }
        sums.push((phase, sum));
    }
    for route in &routes {
        let of = |step: usize| route.requests[step];
        requests.add(Sides::sum(change, parts, route.requests.len(), of));
    }
    if requests.since <= 0.0 {
        return None;
    }
    let mean = |sum: &Sides| {
        let before = (requests.before > 0.0).then(|| sum.before / requests.before);
        (before, sum.since / requests.since)
    };
    let grown = |sum: &Sides| {
        let (before, since) = mean(sum);
        since - before.unwrap_or(0.0)
    };
    // What shrank does not make the others grow more.
    let growth: f64 = sums.iter().map(|(_, sum)| grown(sum).max(0.0)).sum();
    let (phase, sum) = sums
        .iter()
        .max_by(|(_, a), (_, b)| grown(a).total_cmp(&grown(b)))?;
    let share = grown(sum) / growth;
    let (before, after) = mean(sum);
    (growth > 0.0 && share >= MIN_PHASE_SHARE).then_some(PhaseGrowth {
        phase: *phase,
        share,
        before,
        after,
    })
}
