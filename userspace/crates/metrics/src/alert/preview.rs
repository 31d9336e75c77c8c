//! A rule against what history tells: the same steps as live, a step of
//! history at a time.

use modeltap_core::alert::{AlertRule, Condition};
use modeltap_core::time::UnixNs;

use super::minutes::Minutes;
use super::seasonal::Baseline;
use super::state::{Change, Episode, Reference, judge, step};
use super::watch::metric_of;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// What a rule would have done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preview {
    /// What the figure would have been compared with, a value a step.
    pub thresholds: Vec<Option<f64>>,
    /// From when to when it would have fired; to the end where it still does.
    pub episodes: Vec<(UnixNs, UnixNs)>,
}

/// Runs `rule` over the figure's `values`, a value every `step_seconds` (whole
/// minutes) from the second `from` on. `past` are figures of the condition's
/// metric by the minute, from the minute `past_first` on, as far back as the
/// condition looks; `[]` where it looks at no past.
#[must_use]
pub fn preview(
    rule: &AlertRule,
    from: u64,
    step_seconds: u64,
    values: &[Option<f64>],
    past_first: u64,
    past: &[Option<f64>],
) -> Preview {
    let mut found = Preview::default();
    let mut minutes = Minutes::new(past.len().max(1));
    minutes.prime(past_first, past, past_first + past.len() as u64);
    let mut episode: Option<Box<Episode>> = None;
    let mut fired = None;
    let mut end = UnixNs(from.saturating_mul(NS_PER_SECOND));
    for (at, value) in (1..).zip(values) {
        let second = from + at * step_seconds;
        end = UnixNs(second.saturating_mul(NS_PER_SECOND));
        let minute = second / 60;
        let mut reference = Reference::default();
        let in_minutes = |seconds: u64| usize::try_from(seconds.div_ceil(60)).unwrap_or(usize::MAX);
        match rule.condition {
            Condition::AgainstPast { past, .. } => {
                reference.median = minutes.median(minute, in_minutes(past.as_secs()));
            }
            Condition::NoTraffic { past } => {
                let window = rule.window.as_secs().div_ceil(60).max(1);
                let in_window = (minute - window.min(minute)..minute).map(|m| minutes.value(m));
                let known: Option<Vec<f32>> = in_window.collect();
                reference.n_requests =
                    known.map(|rates| u64::from(rates.iter().any(|rate| *rate > 0.0)));
                let before = minute.saturating_sub(window);
                reference.had_traffic = minutes.had_traffic(before, in_minutes(past.as_secs()));
            }
            Condition::Anomaly { .. } => {
                reference.baseline = Baseline::at(&minutes, metric_of(rule), minute);
            }
            Condition::Threshold { .. } => {}
        }
        let judged = judge(rule, *value, &reference);
        found.thresholds.push(judged.threshold);
        // The end of the past at which silence is the usual thing.
        let is_usual = match (rule.condition, &episode) {
            (Condition::NoTraffic { past }, Some(episode)) => {
                super::state::since(episode.since, end) >= past
            }
            _ => false,
        };
        let change = if is_usual {
            Change::Resolved
        } else {
            step(&mut episode, rule, judged, end, || "preview".into())
        };
        match change {
            Change::None => {}
            Change::Fired => fired = Some(end),
            Change::Resolved => {
                found
                    .episodes
                    .extend(fired.take().map(|began| (began, end)));
                episode = None;
            }
        }
    }
    found.episodes.extend(fired.map(|began| (began, end)));
    found
}
