//! Where one rule stands on one service: pure steps of the state machine that
//! `core::alert` has the table of.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::alert::{AlertRule, AlertState, Comparison, Condition};
use modeltap_core::time::UnixNs;

use super::seasonal::Baseline;

/// A figure against its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) value: Option<f64>,
    /// What it was compared with.
    pub(crate) threshold: Option<f64>,
}

/// On which side of its thresholds a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Too much.
    Beyond,
    /// Neither too much nor back: between `threshold` and `clear`.
    Between,
    /// Back.
    Back,
    /// There is no figure, or nothing to compare it with.
    Unknown,
}

/// What a figure is compared with, where that is not in the rule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reference {
    /// Its own median over the past.
    pub(crate) median: Option<f64>,
    /// Its own seasonal baseline now.
    pub(crate) baseline: Option<Baseline>,
    /// Requests in the window, where the whole of it was seen.
    pub(crate) n_requests: Option<u64>,
    /// Whether there was traffic before it.
    pub(crate) had_traffic: bool,
}

/// Holds a figure against the rule's condition.
pub(crate) fn judge(rule: &AlertRule, value: Option<f64>, reference: &Reference) -> Judged {
    let threshold;
    let verdict = match (rule.condition, value) {
        (
            Condition::Threshold {
                comparison,
                threshold: limit,
                clear,
            },
            value,
        ) => {
            threshold = Some(limit);
            value.map_or(Verdict::Unknown, |value| {
                beside(comparison, value, limit, clear.unwrap_or(limit))
            })
        }
        (Condition::AgainstPast { factor, floor, .. }, value) => {
            threshold = reference.median.map(|median| (median * factor).max(floor));
            match (value, threshold) {
                (Some(value), Some(limit)) => beside(Comparison::Above, value, limit, limit),
                // Nothing below the floor is too much, whatever the past.
                (Some(value), None) if value <= floor => Verdict::Back,
                _ => Verdict::Unknown,
            }
        }
        (Condition::NoTraffic { .. }, _) => {
            threshold = None;
            match reference.n_requests {
                Some(0) if reference.had_traffic => Verdict::Beyond,
                // What there was of it before may lie too far back by now.
                Some(0) => Verdict::Between,
                Some(_) => Verdict::Back,
                None => Verdict::Unknown,
            }
        }
        (Condition::Anomaly { deviations }, value) => {
            let Some((baseline, value)) = reference.baseline.zip(value) else {
                return Judged {
                    verdict: Verdict::Unknown,
                    value,
                    threshold: None,
                };
            };
            let (low, high) = baseline.band(deviations);
            let is_low = value < low && super::seasonal::is_two_sided(rule.metric);
            threshold = Some(if is_low { low } else { high });
            if value > high || is_low {
                Verdict::Beyond
            } else {
                Verdict::Back
            }
        }
    };
    Judged {
        verdict,
        value,
        threshold,
    }
}

fn beside(comparison: Comparison, value: f64, limit: f64, clear: f64) -> Verdict {
    // Below is above with the signs changed.
    let (value, limit, clear) = match comparison {
        Comparison::Above => (value, limit, clear),
        Comparison::Below => (-value, -limit, -clear),
    };
    if value > limit {
        Verdict::Beyond
    } else if value <= clear {
        Verdict::Back
    } else {
        Verdict::Between
    }
}

/// One time that a condition held.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) id: Arc<str>,
    /// When it began to hold.
    pub(crate) since: UnixNs,
    pub(crate) fired: Option<UnixNs>,
    /// Since when the figure is back, while it fires.
    pub(crate) back_since: Option<UnixNs>,
    pub(crate) value: Option<f64>,
    pub(crate) threshold: Option<f64>,
    pub(crate) silenced_by: Option<Arc<str>>,
    /// It began before the daemon did.
    pub(crate) is_resumed: bool,
}

impl Episode {
    pub(crate) fn state(&self) -> AlertState {
        match self.fired {
            None => AlertState::Pending,
            Some(_) => AlertState::Firing,
        }
    }
}

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody is told of.
    None,
    /// It began to fire.
    Fired,
    /// It is over; the episode is still there to be told of.
    Resolved,
}

/// Takes a second's judgement.
pub(crate) fn step(
    place: &mut Option<Box<Episode>>,
    rule: &AlertRule,
    judged: Judged,
    now: UnixNs,
    id: impl FnOnce() -> Arc<str>,
) -> Change {
    let Some(episode) = place else {
        if judged.verdict != Verdict::Beyond {
            return Change::None;
        }
        let fires = rule.hold.is_zero();
        *place = Some(Box::new(Episode {
            id: id(),
            since: now,
            fired: fires.then_some(now),
            back_since: None,
            value: judged.value,
            threshold: judged.threshold,
            silenced_by: None,
            is_resumed: false,
        }));
        return if fires { Change::Fired } else { Change::None };
    };
    // The wall clock may have been set back.
    episode.since = episode.since.min(now);
    if judged.verdict != Verdict::Unknown {
        episode.value = judged.value;
        episode.threshold = judged.threshold;
    }
    if episode.fired.is_none() {
        return match judged.verdict {
            Verdict::Beyond if since(episode.since, now) >= rule.hold => {
                episode.fired = Some(now);
                Change::Fired
            }
            Verdict::Beyond => Change::None,
            Verdict::Between | Verdict::Back | Verdict::Unknown => {
                *place = None;
                Change::None
            }
        };
    }
    match judged.verdict {
        Verdict::Beyond | Verdict::Between => {
            episode.back_since = None;
            Change::None
        }
        Verdict::Back | Verdict::Unknown => {
            let back = *episode.back_since.get_or_insert(now);
            if since(back.min(now), now) >= rule.keep {
                Change::Resolved
            } else {
                Change::None
            }
        }
    }
}

pub(crate) fn since(then: UnixNs, now: UnixNs) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(then.0))
}
