//! What history tells of the figures that rules are about.

use std::time::Duration;

use modeltap_core::alert::{AlertMetric, AlertRule, Condition};
use modeltap_core::measure::Measure;
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert;
use modeltap_store::{Metric, Query, QueryError, Reader, Stat};

/// Seconds that a preview looks back.
const PREVIEW_SECONDS: u64 = 24 * 60 * 60;
/// Steps of one query: below the store's limit.
const MAX_STEPS: u64 = 1_440;
/// Minutes of the past that a preview of an anomaly looks back on.
const SEASONAL_MINUTES: u64 = 7 * 24 * 60 + 11;

/// A figure of one service or of all together, a value every `step` seconds (whole minutes) from
/// the second `from` (a multiple of it) on; `None` where nothing was seen, or
/// where history does not tell the figure.
///
/// # Errors
/// History cannot be read now.
pub fn figures(
    history: &Reader,
    metric: AlertMetric,
    service: Option<&str>,
    from: u64,
    n_steps: u64,
    step: u64,
) -> Result<Vec<Option<f64>>, QueryError> {
    let mut values = Vec::new();
    let mut at = from;
    let end = from + n_steps * step;
    while at < end {
        let to = end.min(at + MAX_STEPS * step);
        let part = |metric, stat| {
            let query = Query {
                metric,
                stat,
                from: seconds(at),
                to: seconds(to),
                step: Duration::from_secs(step),
                service: service.map(str::to_owned),
                container: None,
                route: None,
                method: None,
                status_class: None,
                by: None,
            };
            let found = history.query(&query)?;
            let series = found.series.into_iter().next();
            let found_step = found.step.as_secs();
            let values = series.map_or_else(Vec::new, |series| series.values);
            Ok::<_, QueryError>((found.from.seconds(), found_step, values))
        };
        let count = usize::try_from((to - at) / step).unwrap_or(0);
        values.extend(match metric {
            AlertMetric::RequestRate => {
                let requests = part(Metric::Requests, Stat::Rate)?;
                aligned(requests, at, step, count)
            }
            AlertMetric::ErrorRate => {
                let errors = aligned(part(Metric::Errors, Stat::Count)?, at, step, count);
                let requests = aligned(part(Metric::Requests, Stat::Count)?, at, step, count);
                let share = |(errors, requests): (Option<f64>, Option<f64>)| {
                    requests
                        .filter(|n| *n > 0.0)
                        .map(|n| errors.unwrap_or(0.0) / n)
                };
                errors.into_iter().zip(requests).map(share).collect()
            }
            other => match times(other) {
                Some((metric, q)) => aligned(part(metric, Stat::Quantile(q))?, at, step, count),
                None => vec![None; count],
            },
        });
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
    let values = figures(history, rule.metric, Some(service), from, n_steps, step)?;
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
        let n_minutes = (from + n_steps * step) / 60 - past_first;
        figures(
            history,
            metric,
            Some(service),
            past_first * 60,
            n_minutes,
            60,
        )?
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
