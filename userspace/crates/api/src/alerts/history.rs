//! What history tells of the figures that rules are about.

use std::time::Duration;

use modeltap_core::alert::{AlertMetric, AlertRule, Condition};
use modeltap_core::measure::Measure;
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert;
use modeltap_store::{FigureQuery, Metric, Query, QueryError, Reader, Stat};

/// Seconds that a preview looks back.
const PREVIEW_SECONDS: u64 = 24 * 60 * 60;
/// Steps of one query: below the store's limit.
const MAX_STEPS: u64 = 1_440;
/// Minutes of the past that a preview of an anomaly looks back on.
const SEASONAL_MINUTES: u64 = 7 * 24 * 60 + 11;

/// A value a step; `None` where nothing was seen, or where history does not
/// tell the figure.
///
/// # Errors
/// History cannot be read now.
pub fn figures(history: &Reader, query: &FigureQuery<'_>) -> Result<Vec<Option<f64>>, QueryError> {
    let of = |metric, stat| series(history, (metric, stat), query);
    let requests = || of(Metric::Requests, Stat::Count);
    if query.metric == AlertMetric::ErrorRate {
        let share = |(errors, requests): (Option<f64>, Option<f64>)| {
            let n_requests = requests.filter(|n| is_enough(*n, query))?;
            Some(errors.unwrap_or(0.0) / n_requests)
        };
        let errors = of(Metric::Errors, Stat::Count)?.into_iter();
        return Ok(errors.zip(requests()?).map(share).collect());
    }
    if query.metric == AlertMetric::RequestRate {
        return of(Metric::Requests, Stat::Rate);
    }
    let Some((metric, q)) = times(query.metric) else {
        return history.alert_figure(query);
    };
    let mut values = of(metric, Stat::Quantile(q))?;
    if query.min_requests > 1 {
        for (value, n_requests) in values.iter_mut().zip(requests()?) {
            value.take_if(|_| n_requests.is_none_or(|n| !is_enough(n, query)));
        }
    }
    Ok(values)
}

fn is_enough(n_requests: f64, query: &FigureQuery<'_>) -> bool {
    n_requests >= query.min_requests.max(1) as f64
}

/// A series of history, whose steps may be wider, at the steps asked for.
fn series(
    history: &Reader,
    (metric, stat): (Metric, Stat),
    query: &FigureQuery<'_>,
) -> Result<Vec<Option<f64>>, QueryError> {
    let step = query.step;
    let end = query.from + query.n_steps * step;
    let mut values = Vec::new();
    let mut at = query.from;
    while at < end {
        let to = end.min(at + MAX_STEPS * step);
        let found = history.query(&Query {
            metric,
            stat,
            from: seconds(at),
            to: seconds(to),
            step: Duration::from_secs(step),
            service: query.service.map(str::to_owned),
            container: None,
            route: None,
            method: None,
            status_class: None,
            by: None,
        })?;
        let one = found.series.into_iter().next();
        let known = one.map_or_else(Vec::new, |series| series.values);
        let count = usize::try_from((to - at) / step).unwrap_or(0);
        let found = (found.from.seconds(), found.step.as_secs(), known);
        values.extend(aligned(found, at, step, count));
        at = to;
    }
    Ok(values)
}

/// A rule against the last day of one service.
pub struct Tried {
    /// The figure, a value a step.
    pub values: Vec<Option<f64>>,
    /// What the rule would have done.
    pub done: alert::Preview,
}

/// The first second of a preview that ends at `now`, and its steps.
pub fn preview_range(rule: &AlertRule, now: UnixNs) -> (u64, u64, u64) {
    // A window shorter than a minute is shown by the minute.
    let step = rule.window.as_secs().div_ceil(60).max(1) * 60;
    let end = now.seconds() / step * step;
    let n_steps = PREVIEW_SECONDS / step;
    (end.saturating_sub(n_steps * step), n_steps, step)
}

/// Tries a rule on the last day of one service.
///
/// # Errors
/// History cannot be read now.
pub fn preview(
    history: &Reader,
    rule: &AlertRule,
    service: &str,
    now: UnixNs,
) -> Result<Tried, QueryError> {
    let (from, n_steps, step) = preview_range(rule, now);
    let asked = FigureQuery {
        metric: rule.metric,
        service: Some(service),
        min_requests: rule.min_requests,
        from,
        n_steps,
        step,
    };
    let values = figures(history, &asked)?;
    let (metric, n_minutes) = match rule.condition {
        Condition::Threshold { .. } => (rule.metric, 0),
        Condition::AgainstPast { past, .. } => (rule.metric, past.as_secs().div_ceil(60)),
        Condition::NoTraffic { past } => {
            let window = rule.window.as_secs().div_ceil(60);
            (
                AlertMetric::RequestRate,
                past.as_secs().div_ceil(60) + window,
            )
        }
        Condition::Anomaly { .. } => (rule.metric, SEASONAL_MINUTES),
    };
    let past_first = (from / 60).saturating_sub(n_minutes);
    let past = if n_minutes == 0 {
        Vec::new()
    } else {
        let by_minute = FigureQuery {
            metric,
            min_requests: 1,
            from: past_first * 60,
            n_steps: (from + n_steps * step) / 60 - past_first,
            step: 60,
            ..asked
        };
        figures(history, &by_minute)?
    };
    let done = alert::preview(rule, from, step, &values, past_first, &past);
    Ok(Tried { values, done })
}

/// Values of history, whose steps may be wider, at the steps asked for.
fn aligned(
    (first, found_step, found): (u64, u64, Vec<Option<f64>>),
    from: u64,
    step: u64,
    count: usize,
) -> Vec<Option<f64>> {
    let at = |n: usize| {
        let second = from + n as u64 * step;
        let place = second.checked_sub(first)? / found_step.max(1);
        found.get(usize::try_from(place).ok()?).copied().flatten()
    };
    (0..count).map(at).collect()
}

fn times(metric: AlertMetric) -> Option<(Metric, f64)> {
    Some(match metric {
        AlertMetric::DurationP50 => (Metric::Duration, 0.5),
        AlertMetric::DurationP95 => (Metric::Duration, 0.95),
        AlertMetric::DurationP99 => (Metric::Duration, 0.99),
        AlertMetric::TtfbP95 => (Metric::TimeToFirstByte, 0.95),
        AlertMetric::FeltP95 => (Metric::Measure(Measure::Felt), 0.95),
        AlertMetric::QueueP95 => (Metric::Measure(Measure::Queue), 0.95),
        AlertMetric::FirstChunkP95 => (Metric::Measure(Measure::FirstChunk), 0.95),
        AlertMetric::ChunkIntervalP95 => (Metric::Measure(Measure::ChunkInterval), 0.95),
        _ => return None,
    })
}

fn seconds(second: u64) -> UnixNs {
    UnixNs(second.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests;
