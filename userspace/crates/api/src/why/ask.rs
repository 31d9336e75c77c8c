//! The questions to history, few and bounded: one of the service's figures,
//! five of what its containers use and what happened, in short steps one of
//! its durations, and two more for each change that there is.

use std::time::Duration;

use modeltap_core::measure::Measure;
use modeltap_core::time::UnixNs;
use modeltap_metrics::why::{
    Change, Durations, Figure, Finding, Parts, Phase, RoutePart, ServicePart, ServiceSeries,
    TimeSeries, Timed, findings as find,
};
use modeltap_store::{
    EventQuery, GroupBy, Metric, Query, QueryError, QueryResult, Reader, ResourceMetric, Stat,
};

use super::Look;

/// Requests a step should have, so that its quantile says something; and how
/// much longer steps may become for it.
const REQUESTS_A_STEP: f64 = 20.0;
const MAX_LONGER: u64 = 10;
/// Steps of what containers use that are looked at.
const RESOURCE_STEPS: u64 = 120;
/// Steps before a change and since that its parts are compared over, and the
/// seconds that they may take: they are read by route, which takes longest.
const PART_STEPS: u64 = 60;
const MIN_PART_STEPS: u64 = 5;
const PART_SECONDS: u64 = 300;
/// Events that are looked at.
const MAX_EVENTS: usize = 500;

/// What is asked of a service's requests at once.
const FIGURES: [(Metric, Stat); 7] = [
    (Metric::Errors, Stat::Count),
    (Metric::Measure(Measure::Felt), Stat::Quantile(0.95)),
    (Metric::Measure(Measure::Felt), Stat::Quantile(0.5)),
    (Metric::Duration, Stat::Quantile(0.95)),
    (Metric::Duration, Stat::Quantile(0.5)),
    (Metric::Measure(Measure::FirstChunk), Stat::Quantile(0.95)),
    (Metric::Measure(Measure::Drain), Stat::Quantile(0.95)),
];

/// A finding, and the length of the steps it was found in.
pub(super) struct Found {
    pub(super) finding: Finding,
    pub(super) step: u64,
}

/// What one look finds.
pub(super) fn findings(
    reader: &Reader,
    service: &str,
    look: Look,
) -> Result<Vec<Found>, QueryError> {
    let mut look = look;
    let mut told = reader.figures(&about(service, look), &FIGURES)?;
    if let Some(longer) = longer(&told[0]) {
        look.step *= longer;
        look.from -= look.from % look.step;
        told = reader.figures(&about(service, look), &FIGURES)?;
    }
    explain(reader, service, series(reader, service, look, told)?)
}

/// What one look finds that counts requests in its short steps; nothing where
/// history has no steps that short any more.
pub(super) fn sudden(reader: &Reader, service: &str, look: Look) -> Result<Vec<Found>, QueryError> {
    let told = reader.figures(&about(service, look), &FIGURES)?;
    let axis = Axis::of(&told[0]);
    if axis.step != look.step {
        return Ok(Vec::new());
    }
    let mut series = series(reader, service, look, told)?;
    if let Some(series) = &mut series {
        series.durations = Some(durations(
            reader,
            service,
            look,
            axis,
            series.times[0].time,
        )?);
    }
    explain(reader, service, series)
}

fn explain(
    reader: &Reader,
    service: &str,
    series: Option<ServiceSeries>,
) -> Result<Vec<Found>, QueryError> {
    let Some(series) = series else {
        return Ok(Vec::new());
    };
    let step = series.step;
    let is_felt = series.times.iter().any(|time| time.time == Timed::Felt);
    let found = find(&series, |change| {
        parts(reader, service, change, step, is_felt)
    })?;
    let with_step = |finding| Found { finding, step };
    Ok(found.into_iter().map(with_step).collect())
}

/// How long requests took, on the steps of `axis`.
fn durations(
    reader: &Reader,
    service: &str,
    look: Look,
    axis: Axis,
    time: Timed,
) -> Result<Durations, QueryError> {
    let query = Query {
        metric: match time {
            Timed::Felt => Metric::Measure(Measure::Felt),
            _ => Metric::Duration,
        },
        ..about(service, look)
    };
    let map = reader.heatmap(&query)?;
    let theirs = Axis {
        from: map.from.seconds(),
        step: map.step.as_secs().max(1),
        n_steps: map.counts.len(),
    };
    let of_step = |at: usize| {
        let place = theirs.place_of(axis.from + axis.step * at as u64);
        place.map_or_else(Vec::new, |place| map.counts[place].clone())
    };
    Ok(Durations {
        time,
        bounds: map.bounds.iter().map(Duration::as_secs_f64).collect(),
        counts: (0..axis.n_steps).map(of_step).collect(),
    })
}

/// The service's figures; `None` where history has nothing of it.
fn series(
    reader: &Reader,
    service: &str,
    look: Look,
    told: Vec<QueryResult>,
) -> Result<Option<ServiceSeries>, QueryError> {
    let axis = Axis::of(&told[0]);
    let first = axis.place(look.from).min(axis.n_steps);
    let mut told = told.into_iter().map(|result| axis.values(&result, 0));
    let mut next = || told.next().unwrap_or_default();
    let (requests, errors) = (counts(next()), counts(next()));
    let (felt, felt_median) = (next(), next());
    let (duration, duration_median) = (next(), next());
    let (first_chunk, drain) = (next(), next());
    let n_known = |values: &[Option<f64>]| values.iter().flatten().count();
    // Older kernels do not tell when a request arrived.
    let is_felt = 2 * n_known(&felt) >= n_known(&duration) && n_known(&felt) > 0;
    let (time, high, median) = if is_felt {
        (Timed::Felt, felt, felt_median)
    } else {
        (Timed::Duration, duration, duration_median)
    };
    let times = [
        (time, 0.95, high),
        (time, 0.5, median),
        (Timed::FirstChunk, 0.95, first_chunk),
        (Timed::Drain, 0.95, drain),
    ];
    let times = times
        .into_iter()
        .map(|(time, quantile, values)| TimeSeries {
            time,
            quantile,
            values,
        });
    let mut series = ServiceSeries {
        from: axis.from,
        step: axis.step,
        first,
        requests,
        errors,
        times: times.collect(),
        events: reader.events(&EventQuery {
            service: Some(service.to_owned()),
            kind: None,
            from: unix(look.past),
            to: unix(look.to),
            limit: MAX_EVENTS,
        })?,
        ..ServiceSeries::default()
    };
    resources(reader, service, look, axis, &mut series)?;
    let is_nothing = series.requests.iter().all(|n| *n == 0.0)
        && series.events.is_empty()
        && series.memory.is_empty();
    Ok((!is_nothing).then_some(series))
}

/// How many times as long steps must be for their quantiles to say something.
fn longer(requests: &QueryResult) -> Option<u64> {
    let values = requests.series.iter().flat_map(|series| &series.values);
    let mut busy: Vec<f64> = values.flatten().copied().filter(|n| *n > 0.0).collect();
    busy.sort_unstable_by(f64::total_cmp);
    let middle = *busy.get(busy.len() / 2)?;
    let longer = (REQUESTS_A_STEP / middle).ceil() as u64;
    (longer > 1).then(|| longer.min(MAX_LONGER))
}

/// What the service's containers used, on the steps of its requests.
fn resources(
    reader: &Reader,
    service: &str,
    look: Look,
    axis: Axis,
    series: &mut ServiceSeries,
) -> Result<(), QueryError> {
    let near = look.to.saturating_sub(RESOURCE_STEPS * look.step);
    let look = Look {
        past: near.max(look.past),
        ..look
    };
    let ask = |metric, stat, by| {
        let query = Query {
            metric: Metric::Resource(metric),
            stat,
            by,
            ..about(service, look)
        };
        reader.query(&query)
    };
    let by_container = Some(GroupBy::Container);
    let part = |result: &QueryResult, at: usize| ServicePart {
        name: result.series[at].name.clone(),
        values: axis.values(result, at),
    };
    let parts = |result: &QueryResult| -> Vec<ServicePart> {
        (0..result.series.len())
            .map(|at| part(result, at))
            .collect()
    };
    let throttled = ask(ResourceMetric::ThrottledShare, Stat::Avg, by_container)?;
    series.throttled = parts(&throttled);
    let memory = ask(ResourceMetric::MemoryBytes, Stat::Max, by_container)?;
    let limits = ask(ResourceMetric::MemoryLimitBytes, Stat::Avg, by_container)?;
    let limits = parts(&limits);
    series.memory = parts(&memory);
    for used in &mut series.memory {
        let limit = limits.iter().find(|limit| limit.name == used.name);
        for (at, value) in used.values.iter_mut().enumerate() {
            let limit = limit.and_then(|limit| limit.values[at]);
            let limit = limit.filter(|limit| *limit > 0.0);
            *value = value.and_then(|used| Some(used / limit?));
        }
    }
    let gpu = ask(ResourceMetric::GpuUtilization, Stat::Avg, None)?;
    series.gpu = axis.values(&gpu, 0);
    Ok(())
}

/// What the requests around a change are made of.
fn parts(
    reader: &Reader,
    service: &str,
    change: &Change,
    step: u64,
    is_felt: bool,
) -> Result<Parts, QueryError> {
    let n_steps = (PART_SECONDS / step).clamp(MIN_PART_STEPS, PART_STEPS);
    let since = change.since - change.since % step;
    let end = change.until.unwrap_or(u64::MAX);
    let look = Look {
        past: since.saturating_sub(n_steps * step),
        from: since,
        to: end.min(since + n_steps * step),
        step,
    };
    let total = match change.figure {
        Figure::Slow(Timed::FirstChunk, _) => Metric::Measure(Measure::FirstChunk),
        Figure::Slow(Timed::Drain, _) => Metric::Measure(Measure::Drain),
        _ if is_felt => Metric::Measure(Measure::Felt),
        _ => Metric::Duration,
    };
    let is_slow = matches!(change.figure, Figure::Slow(..));
    let mut asked = vec![(Metric::Errors, Stat::Count)];
    if is_slow {
        asked.push((total, Stat::Avg));
    }
    let containers = by(reader, service, look, GroupBy::Container, &asked)?;
    if is_slow {
        asked.extend(Phase::ALL.map(|phase| (Metric::Measure(measure(phase)), Stat::Avg)));
    }
    let routes = by(reader, service, look, GroupBy::Route, &asked)?;
    Ok(Parts {
        from: routes.0,
        step: routes.1,
        containers: if (containers.0, containers.1) == (routes.0, routes.1) {
            containers.2
        } else {
            Vec::new()
        },
        routes: routes.2,
    })
}

/// Beginning and length of the steps, and the parts of a kind.
fn by(
    reader: &Reader,
    service: &str,
    look: Look,
    by: GroupBy,
    asked: &[(Metric, Stat)],
) -> Result<(u64, u64, Vec<RoutePart>), QueryError> {
    let query = Query {
        by: Some(by),
        ..about(service, look)
    };
    let told = reader.figures(&query, asked)?;
    let axis = Axis::of(&told[0]);
    let values = |figure: usize, name: &str| {
        let of_figure = told.get(figure);
        let at = of_figure.and_then(|told| told.series.iter().position(|one| one.name == name));
        match (of_figure, at) {
            (Some(told), Some(at)) => axis.values(told, at),
            _ => vec![None; axis.n_steps],
        }
    };
    let part = |name: &str| RoutePart {
        name: name.to_owned(),
        requests: counts(values(0, name)),
        errors: counts(values(1, name)),
        total: values(2, name),
        phases: Phase::ALL
            .into_iter()
            .enumerate()
            .filter(|(place, _)| told.len() > 3 + place)
            .map(|(place, phase)| (phase, values(3 + place, name)))
            .collect(),
    };
    let parts = told[0].series.iter().map(|series| part(&series.name));
    Ok((axis.from, axis.step, parts.collect()))
}

/// The service's requests in the steps of a look.
fn about(service: &str, look: Look) -> Query {
    Query {
        metric: Metric::Requests,
        stat: Stat::Count,
        service: Some(service.to_owned()),
        container: None,
        route: None,
        method: None,
        status_class: None,
        by: None,
        from: unix(look.past),
        to: unix(look.to),
        step: Duration::from_secs(look.step),
    }
}

fn measure(phase: Phase) -> Measure {
    match phase {
        Phase::Queue => Measure::Queue,
        Phase::Read => Measure::Read,
        Phase::App => Measure::App,
        Phase::Stream => Measure::Stream,
        Phase::Drain => Measure::Drain,
    }
}

/// The steps of an answer, which may be wider than those asked for.
#[derive(Clone, Copy, Debug)]
struct Axis {
    from: u64,
    step: u64,
    n_steps: usize,
}

impl Axis {
    fn of(result: &QueryResult) -> Self {
        Self {
            from: result.from.seconds(),
            step: result.step.as_secs().max(1),
            n_steps: result.n_steps,
        }
    }

    fn place(self, second: u64) -> usize {
        let steps = second.saturating_sub(self.from) / self.step;
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    /// The step that a second lies in; `None` outside of them.
    fn place_of(self, second: u64) -> Option<usize> {
        let place = self.place(second);
        (second >= self.from && place < self.n_steps).then_some(place)
    }

    /// A series of another answer on these steps.
    fn values(self, result: &QueryResult, series: usize) -> Vec<Option<f64>> {
        let theirs = Self::of(result);
        let values = result.series.get(series).map(|series| &series.values);
        (0..self.n_steps)
            .map(|at| {
                let place = theirs.place_of(self.from + self.step * at as u64)?;
                *values?.get(place)?
            })
            .collect()
    }
}

fn counts(values: Vec<Option<f64>>) -> Vec<f64> {
    let values = values.into_iter();
    values.map(|value| value.unwrap_or(0.0)).collect()
}

fn unix(seconds: u64) -> UnixNs {
    UnixNs(seconds.saturating_mul(1_000_000_000))
}
