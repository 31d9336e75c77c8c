//! What is kept of one service so that its rules can be evaluated.

use std::sync::Arc;

use modeltap_core::accounting::CaptureAccount;
use modeltap_core::alert::{AlertMetric, AlertRule, Comparison, Condition};
use modeltap_core::container::{Container, Slo};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::Rollup;
use modeltap_core::time::UnixNs;

use super::figure::{add_requests, add_resources, plain, quantile_of};
use super::minutes::Minutes;
use super::seasonal::{self, Baseline};
use super::state::{Episode, Judged, Reference, judge};
use super::window::{Count, Counted, Level, SumWindow, Sums, TimeWindow};
use crate::live::ServiceSnapshot;
use crate::slice::Live;

/// Seconds of a minute that must have been seen for its rate to be one.
const MIN_SECONDS_OF_MINUTE: u64 = 50;

/// A rule on a service.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) rule: Arc<AlertRule>,
    /// Places of what it needs.
    sums: usize,
    times: Option<(usize, f64)>,
    minutes: Option<usize>,
    pub(crate) episode: Option<Box<Episode>>,
    /// What is compared with, as of the minute it was computed in.
    reference: Reference,
    refreshed: u64,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) name: Arc<str>,
    /// The second from which on it was seen.
    pub(crate) first_seen: u64,
    /// The last second in which it had a container.
    pub(crate) last_running: u64,
    pub(crate) is_running: bool,
    /// What its containers' labels promise, and its rules.
    pub(crate) slo: Slo,
    pub(crate) watched: Vec<Watched>,
    sums: Vec<SumWindow>,
    times: Vec<TimeWindow>,
    minutes: Vec<(AlertMetric, Minutes)>,
    open: OpenMinute,
    capture: CaptureAccount,
    /// Its containers as they were last: cgroup and start.
    containers: Vec<(u64, Option<UnixNs>)>,
    /// The second of the minute in which comparisons are made anew, so that
    /// services take turns.
    slot: u64,
}

/// What came in the minute that is not over.
#[derive(Debug, Default)]
struct OpenMinute {
    minute: u64,
    n_seconds: u64,
    sums: Sums,
    times: Vec<(Live, DurationHistogram)>,
}

impl Watch {
    pub(crate) fn new(name: Arc<str>, second: u64, slot: u64) -> Self {
        Self {
            name,
            first_seen: second,
            last_running: second,
            is_running: false,
            slo: Slo::default(),
            watched: Vec::new(),
            sums: Vec::new(),
            times: Vec::new(),
            minutes: Vec::new(),
            open: OpenMinute::default(),
            capture: CaptureAccount::default(),
            containers: Vec::new(),
            slot: slot % 60,
        }
    }

    /// Whether it has no container, and no alert.
    pub(crate) fn is_gone(&self) -> bool {
        !self.is_running && self.watched.iter().all(|rule| rule.episode.is_none())
    }

    /// Watches these rules from now on; episodes of rules that ask for the
    /// same figure as before go on. Gives what was watched and is no longer.
    pub(crate) fn plan(&mut self, rules: &[Arc<AlertRule>], budget: &mut Budget) -> Vec<Watched> {
        let mut old = std::mem::take(&mut self.watched);
        let (mut sums, mut times) = (Vec::new(), Vec::new());
        let mut minutes = Vec::new();
        for rule in rules {
            let window = rule.window.as_secs().max(1);
            let kept = old.iter().position(|known| known.rule.id == rule.id);
            let kept = kept.map(|at| old.swap_remove(at));
            let n_minutes = minutes_of(&rule.condition);
            if !budget.take(n_minutes) {
                old.extend(kept);
                continue;
            }
            let same_sums = |known: &SumWindow| known.seconds == window;
            let at_sums = place(&mut sums, &mut self.sums, same_sums, || {
                SumWindow::new(window)
            });
            let at_times = quantile_of(rule.metric).map(|(time, q)| {
                let same = |known: &TimeWindow| known.seconds == window && known.time == time;
                let fresh = || TimeWindow::new(window, time);
                (place(&mut times, &mut self.times, same, fresh), q)
            });
            let metric = metric_of(rule);
            let at_minutes = (n_minutes > 0).then(|| {
                let same = |(known, _): &(AlertMetric, Minutes)| *known == metric;
                let fresh = || (metric, Minutes::new(n_minutes));
                let at = place(&mut minutes, &mut self.minutes, same, fresh);
                minutes[at].1.grow(n_minutes);
                at
            });
            let mut episode = None;
            if let Some(mut kept) = kept {
                let is_same = kept.rule.metric == rule.metric
                    && kept.rule.window == rule.window
                    && std::mem::discriminant(&kept.rule.condition)
                        == std::mem::discriminant(&rule.condition);
                if is_same {
                    episode = kept.episode.take();
                } else {
                    old.push(kept);
                }
            }
            self.watched.push(Watched {
                rule: Arc::clone(rule),
                sums: at_sums,
                times: at_times,
                minutes: at_minutes,
                episode,
                reference: Reference::default(),
                refreshed: 0,
            });
        }
        self.sums = sums;
        self.times = times;
        self.minutes = minutes;
        let kinds = self.times.iter().map(|window| window.time);
        let of_minutes = self.minutes.iter().filter_map(|(metric, _)| {
            let (time, _) = quantile_of(*metric)?;
            Some(time)
        });
        let kinds: Vec<Live> = kinds.chain(of_minutes).collect();
        self.open.times.retain(|(time, _)| kinds.contains(time));
        for time in kinds {
            if !self.open.times.iter().any(|(known, _)| *known == time) {
                self.open.times.push((time, DurationHistogram::default()));
            }
        }
        old
    }

    /// Takes a second.
    pub(crate) fn take<'a>(
        &mut self,
        second: u64,
        rollups: &[Rollup],
        resources: impl Iterator<Item = &'a ResourceFigures>,
        live: Option<&ServiceSnapshot>,
    ) {
        self.open_minute(second);
        let mut sums = Sums::default();
        add_requests(&mut sums, rollups);
        add_resources(&mut sums, resources);
        self.is_running = live.is_some_and(|live| !live.containers.is_empty());
        if let Some(live) = live {
            self.take_live(second, live, &mut sums);
        }
        for window in &mut self.sums {
            window.push(second, &sums);
        }
        self.open.n_seconds += 1;
        self.open.sums.merge(&sums);
        for (time, of_minute) in &mut self.open.times {
            let found = rollups.iter().filter_map(|rollup| time.of(&rollup.figures));
            let times: DurationHistogram = found.flat_map(DurationHistogram::buckets).collect();
            for window in self.times.iter_mut().filter(|window| window.time == *time) {
                window.push(second, Some(&times).filter(|times| !times.is_empty()));
            }
            of_minute.merge(&times);
        }
    }

    /// Judges one of its rules at the end of `second`.
    pub(crate) fn judge(&mut self, at: usize, second: u64) -> Judged {
        let observed = second + 1 - self.first_seen.min(second);
        let watched = &mut self.watched[at];
        let rule = &watched.rule;
        let window = &self.sums[watched.sums];
        let value = match watched.times {
            Some((times, q)) => self.times[times].quantile(q, rule.min_requests.max(1)),
            None => {
                let seconds = observed.min(window.seconds);
                plain(rule.metric, window, seconds, rule.min_requests)
            }
        };
        let is_whole = observed >= window.seconds;
        // Too little may only have been seen too little of.
        let below = matches!(
            rule.condition,
            Condition::Threshold {
                comparison: Comparison::Below,
                ..
            }
        );
        let value = value.filter(|_| is_whole || !below);
        let minutes = watched.minutes.map(|at| &self.minutes[at].1);
        if let Some(minutes) = minutes {
            let now = second / 60;
            match rule.condition {
                Condition::NoTraffic { past } => {
                    let n_requests = window.count(Count::Requests);
                    watched.reference.n_requests = is_whole.then_some(n_requests);
                    let before = now.saturating_sub(window.seconds.div_ceil(60));
                    watched.reference.had_traffic =
                        n_requests == 0 && minutes.had_traffic(before, minutes_in(past.as_secs()));
                }
                Condition::AgainstPast { past, .. } => {
                    if watched.refreshed < now && second % 60 >= self.slot {
                        watched.refreshed = now;
                        watched.reference.median = minutes.median(now, minutes_in(past.as_secs()));
                    }
                }
                Condition::Anomaly { .. } => {
                    if watched.refreshed < now && second % 60 >= self.slot {
                        watched.refreshed = now;
                        watched.reference.baseline = Baseline::at(minutes, rule.metric, now);
                    }
                }
                Condition::Threshold { .. } => {}
            }
        }
        judge(rule, value, &watched.reference)
    }

    /// Figures by the minute, and how many, that history was not asked for.
    pub(crate) fn take_wanted(&mut self) -> impl Iterator<Item = (AlertMetric, u64)> {
        let minutes = self.minutes.iter_mut();
        minutes.filter_map(|(metric, minutes)| Some((*metric, minutes.take_wanted()?)))
    }

    /// Fills a figure's minutes from history.
    pub(crate) fn prime(
        &mut self,
        metric: AlertMetric,
        first: u64,
        values: &[Option<f64>],
        now: u64,
    ) {
        for (known, minutes) in &mut self.minutes {
            if *known == metric {
                minutes.prime(first, values, now);
            }
        }
        for watched in &mut self.watched {
            watched.refreshed = 0;
        }
    }

    /// Whole seconds of a window that were seen at the end of `second`.
    pub(crate) fn has_seen(&self, seconds: u64, second: u64) -> bool {
        second + 1 >= self.first_seen.saturating_add(seconds)
    }

    /// The wall clock was set back to `second`.
    pub(crate) fn set_back(&mut self, second: u64) {
        self.first_seen = second;
        self.last_running = second;
        self.open = OpenMinute {
            times: std::mem::take(&mut self.open.times),
            ..OpenMinute::default()
        };
        for window in &mut self.sums {
            window.clear();
        }
        for window in &mut self.times {
            window.clear();
        }
        for (metric, minutes) in &mut self.minutes {
            *minutes = Minutes::new(minutes_of_metric(&self.watched, *metric));
        }
    }

    fn take_live(&mut self, second: u64, live: &ServiceSnapshot, sums: &mut Sums) {
        if self.is_running {
            self.last_running = second;
            sums.read(Level::Active, Some(live.n_active as f64));
        }
        if let Some(account) = live.capture {
            let lost = |account: &CaptureAccount| account.bytes_lost + account.bytes_dropped;
            let known = self.capture;
            let observed = account.bytes_observed.saturating_sub(known.bytes_observed);
            sums.add(Count::BytesObserved, observed);
            sums.add(
                Count::BytesLost,
                lost(&account).saturating_sub(lost(&known)).min(observed),
            );
            self.capture = account;
        }
        let start = |container: &Arc<Container>| (container.cgroup.0, container.lifecycle.started);
        let is_new = |container: &Arc<Container>| !self.containers.contains(&start(container));
        if live.containers.len() != self.containers.len() || live.containers.iter().any(is_new) {
            let since = UnixNs(self.first_seen.saturating_mul(1_000_000_000));
            let n_starts = live.containers.iter().filter(|container| {
                is_new(container) && container.lifecycle.started.is_some_and(|at| at >= since)
            });
            sums.add(Count::Starts, n_starts.count() as u64);
            self.containers = live.containers.iter().map(start).collect();
        }
    }

    /// Closes the minute before the one that `second` lies in.
    fn open_minute(&mut self, second: u64) {
        let minute = second / 60;
        if self.open.minute == minute {
            return;
        }
        let open = &mut self.open;
        if open.n_seconds > 0 {
            for (metric, minutes) in &mut self.minutes {
                let value = match quantile_of(*metric) {
                    Some((time, q)) => {
                        let mut times = open.times.iter();
                        let found = times.find(|(known, _)| *known == time);
                        found
                            .and_then(|(_, times)| times.quantile(q))
                            .map(|at| at.as_secs_f64())
                    }
                    None => plain(*metric, &open.sums, open.n_seconds, 1)
                        .filter(|_| open.n_seconds >= MIN_SECONDS_OF_MINUTE),
                };
                minutes.push(open.minute, value);
            }
        }
        open.minute = minute;
        open.n_seconds = 0;
        open.sums = Sums::default();
        for (_, times) in &mut open.times {
            *times = DurationHistogram::default();
        }
    }
}

/// How many values by the minute may be kept, and rules watched, in all.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) n_watched: usize,
    pub(crate) n_minutes: usize,
    /// Rules of services that found no room.
    pub(crate) n_left_out: u64,
}

impl Budget {
    fn take(&mut self, n_minutes: usize) -> bool {
        if self.n_watched == 0 || self.n_minutes < n_minutes {
            self.n_left_out += 1;
            return false;
        }
        self.n_watched -= 1;
        self.n_minutes -= n_minutes;
        true
    }
}

/// The figure whose minutes a rule needs.
pub(crate) fn metric_of(rule: &AlertRule) -> AlertMetric {
    match rule.condition {
        Condition::NoTraffic { .. } => AlertMetric::RequestRate,
        _ => rule.metric,
    }
}

/// Minutes of history that a condition needs.
pub(crate) fn minutes_of(condition: &Condition) -> usize {
    match condition {
        Condition::Threshold { .. } => 0,
        Condition::AgainstPast { past, .. } => minutes_in(past.as_secs()),
        // The window lies between the past and now.
        Condition::NoTraffic { past } => minutes_in(past.as_secs()) + 61,
        Condition::Anomaly { .. } => usize::try_from(seasonal::KEPT_MINUTES).unwrap_or(usize::MAX),
    }
}

fn minutes_in(seconds: u64) -> usize {
    usize::try_from(seconds.div_ceil(60)).unwrap_or(usize::MAX)
}

fn minutes_of_metric(watched: &[Watched], metric: AlertMetric) -> usize {
    let of_metric = watched
        .iter()
        .filter(|known| metric_of(&known.rule) == metric);
    let needed = of_metric.map(|known| minutes_of(&known.rule.condition));
    needed.max().unwrap_or(1)
}

/// The place in `kept` of what is the same, moved from `old` or made.
fn place<T>(
    kept: &mut Vec<T>,
    old: &mut Vec<T>,
    is_same: impl Fn(&T) -> bool,
    fresh: impl FnOnce() -> T,
) -> usize {
    if let Some(at) = kept.iter().position(&is_same) {
        return at;
    }
    let known = old.iter().position(&is_same);
    kept.push(known.map_or_else(fresh, |at| old.swap_remove(at)));
    kept.len() - 1
}
