//! Evaluates every rule on every service, once a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::alert::{Alert, AlertMetric, AlertRule, AlertState, Condition, Silence};
use modeltap_core::container::Slo;
use modeltap_core::history::Batch;
use modeltap_core::resource::ResourceFigures;
use modeltap_core::rollup::Rollup;
use modeltap_core::time::UnixNs;

use super::defaults::slo_rules;
use super::state::{Change, Episode, Judged, Verdict, since, step};
use super::summary::summary;
use super::watch::{Budget, Watch, Watched};
use crate::live::{LiveSnapshot, ServiceSnapshot};

/// How long a service may be without a container until its alerts are over.
const GONE_AFTER: Duration = Duration::from_secs(300);
/// How long a service that is in no snapshot any longer is remembered.
const FORGET_AFTER_SECONDS: u64 = 3_600;
/// Services without a container that are remembered at most, those with an
/// alert not counted: some 50 kB each, and a host that starts a container a
/// second has thousands of them in that time.
const MAX_GONE: usize = 200;
/// A clock that goes back by more than this was set; by less it was corrected.
const CLOCK_SET_BACK_SECONDS: u64 = 5;
/// Services that are watched at most.
const MAX_SERVICES: usize = 2_000;
/// Rules times services that are watched at most: some 10 kB each.
const MAX_WATCHED: usize = 20_000;
/// Values by the minute kept at most: 64 MB.
const MAX_MINUTES: usize = 16_000_000;

/// What of history a service's rules compare the present with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The service.
    pub service: Arc<str>,
    /// The figure.
    pub metric: AlertMetric,
    /// How many minutes of it, up to now.
    pub n_minutes: u64,
}

/// The engine's own state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Rules, of all origins.
    pub n_rules: usize,
    /// Services watched.
    pub n_services: usize,
    /// Rules of services that are not evaluated because there are too many.
    pub n_left_out: u64,
}

/// Rules, the services they are about and the alerts they raise.
///
/// It is told a second at a time, and remembers what its rules look back on.
#[derive(Debug, Default)]
pub struct Engine {
    /// Rules of all services and of single ones, but for those of labels.
    rules: Vec<Arc<AlertRule>>,
    label_rules: BTreeMap<Arc<str>, Vec<Arc<AlertRule>>>,
    silences: Vec<Silence>,
    services: BTreeMap<Arc<str>, Watch>,
    /// Alerts of before the start whose service or rule is not there yet.
    resumed: HashMap<(Arc<str>, Arc<str>), Alert>,
    /// What is over for another reason than its figure.
    ended: Vec<Alert>,
    /// The first second and the last.
    began: Option<u64>,
    last: u64,
    n_left_out: u64,
    next_slot: u64,
    is_planned: bool,
}

impl Engine {
    /// An engine without rules.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Evaluates these rules from now on, beside those of labels. Alerts of a
    /// rule that is there no longer are over.
    pub fn set_rules(&mut self, rules: Vec<AlertRule>) {
        self.rules = rules.into_iter().map(Arc::new).collect();
        self.is_planned = false;
    }

    /// Every rule that is evaluated or could be, those of labels last.
    #[must_use]
    pub fn rules(&self) -> Vec<AlertRule> {
        let labels = self.label_rules.values().flatten();
        let all = self.rules.iter().chain(labels);
        all.map(|rule| AlertRule::clone(rule)).collect()
    }

    /// Marks alerts as silenced by these from now on.
    pub fn set_silences(&mut self, silences: Vec<Silence>) {
        self.silences = silences;
    }

    /// Takes up alerts that fired or were pending when the daemon ended; before
    /// the first second. The time that a pending one has held counts on.
    pub fn resume(&mut self, active: Vec<Alert>) {
        for alert in active {
            if alert.state != AlertState::Resolved {
                let key = (Arc::clone(&alert.rule), Arc::clone(&alert.service));
                self.resumed.insert(key, alert);
            }
        }
    }

    /// What of history is wanted for [`Self::prime`] and was not given by this
    /// before. To be asked after a second was evaluated.
    #[must_use]
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for watch in self.services.values_mut() {
            let service = Arc::clone(&watch.name);
            for (metric, n_minutes) in watch.take_wanted() {
                wanted.push(Wanted {
                    service: Arc::clone(&service),
                    metric,
                    n_minutes,
                });
            }
        }
        wanted
    }

    /// Takes a figure of a service from history, a value a minute from the
    /// minute `first` (since the epoch) on; what was seen since the start
    /// stays as it is.
    pub fn prime(
        &mut self,
        service: &str,
        metric: AlertMetric,
        first: u64,
        values: &[Option<f64>],
    ) {
        let now = self.last / 60;
        if let Some(watch) = self.services.get_mut(service) {
            watch.prime(metric, first, values, now);
        }
    }

    /// Takes the second that ended at `now`, what it brought and how every
    /// service is after it. Gives the alerts that began to fire, are over, or
    /// whose silence began or ended.
    pub fn evaluate(&mut self, now: UnixNs, batch: &Batch, live: &LiveSnapshot) -> Vec<Alert> {
        let second = now.seconds().saturating_sub(1);
        if second + CLOCK_SET_BACK_SECONDS < self.last {
            self.began = Some(second);
            for watch in self.services.values_mut() {
                watch.set_back(second);
            }
        } else if second <= self.last {
            return Vec::new();
        }
        self.last = second;
        self.began.get_or_insert(second);
        self.meet(second, live);
        self.replan(now);

        let mut resources: Vec<(&str, &ResourceFigures)> = (batch.resources.iter())
            .map(|used| (&*used.service, &used.figures))
            .collect();
        resources.sort_unstable_by_key(|(service, _)| *service);
        let mut groups: HashMap<&str, &[Rollup]> = HashMap::new();
        let by_service = |a: &Rollup, b: &Rollup| a.key.service == b.key.service;
        for group in batch.rollups.chunk_by(by_service) {
            groups.insert(&group[0].key.service, group);
        }

        let mut changed = std::mem::take(&mut self.ended);
        let started = self.began.unwrap_or(second);
        for watch in self.services.values_mut() {
            let name = Arc::clone(&watch.name);
            let rollups = groups.get(&*name).copied().unwrap_or_default();
            let from = resources.partition_point(|(service, _)| *service < &*name);
            let own = resources[from..].iter();
            let own = own.take_while(|(service, _)| *service == &*name);
            let found = live.service(&name);
            watch.take(second, rollups, own.map(|(_, figures)| *figures), found);
            evaluate(watch, second, now, started, &self.silences, &mut changed);
        }
        self.forget(now, live, &mut changed);
        changed
    }

    /// Alerts that fire or may soon: firing before pending, then the worst,
    /// then the oldest.
    #[must_use]
    pub fn active(&self) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = (self.services.values())
            .flat_map(|watch| {
                let episodes = watch.watched.iter();
                episodes.filter_map(|watched| alert(&watch.name, watched, None))
            })
            .chain(self.resumed.values().cloned())
            .collect();
        let order = |alert: &Alert| {
            let by_badness = std::cmp::Reverse((alert.state, alert.severity));
            (by_badness, alert.since, Arc::clone(&alert.id))
        };
        alerts.sort_by_cached_key(order);
        alerts
    }

    /// The engine's own state.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            n_rules: self.rules.len() + self.label_rules.values().map(Vec::len).sum::<usize>(),
            n_services: self.services.len(),
            n_left_out: self.n_left_out,
        }
    }

    /// Makes room for services that are new, and takes what labels say.
    fn meet(&mut self, second: u64, live: &LiveSnapshot) {
        let n_gone = self.services.values().filter(|watch| watch.is_gone());
        let mut gone_may_come = MAX_GONE.saturating_sub(n_gone.count());
        for service in &live.services {
            if !self.services.contains_key(&service.name) && self.services.len() < MAX_SERVICES {
                if service.containers.is_empty() {
                    if gone_may_come == 0 {
                        continue;
                    }
                    gone_may_come -= 1;
                }
                self.add(&service.name, second);
            }
            if let Some(watch) = self.services.get_mut(&service.name)
                && !service.containers.is_empty()
                && watch.slo != promised(service)
            {
                watch.slo = promised(service);
                self.is_planned = false;
            }
        }
        // The service of an alert that goes on may be gone.
        if second == self.began.unwrap_or(second) {
            let names: Vec<Arc<str>> = self.resumed.keys().map(|(_, name)| name.clone()).collect();
            for name in names {
                if !self.services.contains_key(&name) && self.services.len() < MAX_SERVICES {
                    self.add(&name, second);
                }
            }
        }
    }

    fn add(&mut self, name: &Arc<str>, second: u64) {
        self.next_slot += 7;
        let watch = Watch::new(Arc::clone(name), second, self.next_slot);
        self.services.insert(Arc::clone(name), watch);
        self.is_planned = false;
    }

    /// Gives every service its rules, after either changed.
    fn replan(&mut self, now: UnixNs) {
        if self.is_planned {
            return;
        }
        self.is_planned = true;
        self.label_rules.clear();
        let mut budget = Budget {
            n_watched: MAX_WATCHED,
            n_minutes: MAX_MINUTES,
            n_left_out: 0,
        };
        for watch in self.services.values_mut() {
            let of_labels: Vec<_> = slo_rules(&watch.name, &watch.slo)
                .into_iter()
                .map(Arc::new)
                .collect();
            let is_about = |rule: &&Arc<AlertRule>| {
                let about = rule.service.as_ref();
                rule.enabled && about.is_none_or(|service| *service == watch.name)
            };
            let rules = self.rules.iter().chain(&of_labels);
            let rules: Vec<_> = rules.filter(is_about).cloned().collect();
            if !of_labels.is_empty() {
                self.label_rules.insert(Arc::clone(&watch.name), of_labels);
            }
            for gone in watch.plan(&rules, &mut budget) {
                let reason = "its rule was changed or taken away";
                self.ended.extend(over(&watch.name, &gone, now, reason));
            }
            if self.resumed.is_empty() {
                continue;
            }
            for watched in &mut watch.watched {
                let key = (Arc::clone(&watched.rule.id), Arc::clone(&watch.name));
                if let Some(alert) = self.resumed.remove(&key) {
                    watched.episode = Some(Box::new(resumed(alert)));
                }
            }
        }
        self.n_left_out = budget.n_left_out;
        self.end_without_rule(now);
    }

    /// Ends alerts of before the start whose rule is gone; those of labels
    /// wait for their container.
    fn end_without_rule(&mut self, now: UnixNs) {
        let rules = &self.rules;
        let is_gone = |id: &str| {
            let mut enabled = rules.iter().filter(|rule| rule.enabled);
            !id.starts_with("label:") && !enabled.any(|rule| *rule.id == *id)
        };
        let gone = self.resumed.extract_if(|(rule, _), _| is_gone(rule));
        let over = gone.filter_map(|(_, alert)| unresumed(alert, now, "its rule was taken away"));
        self.ended.extend(over);
    }

    /// Forgets services that are gone, and alerts of before the start that
    /// nothing takes up.
    fn forget(&mut self, now: UnixNs, live: &LiveSnapshot, changed: &mut Vec<Alert>) {
        let second = self.last;
        let mut n_rules_gone = 0;
        for watch in self.services.values_mut() {
            let gone_for = second.saturating_sub(watch.last_running);
            if gone_for >= GONE_AFTER.as_secs() && watch.slo != Slo::default() {
                watch.slo = Slo::default();
                n_rules_gone += 1;
            }
        }
        if n_rules_gone > 0 {
            self.is_planned = false;
        }
        self.services.retain(|name, watch| {
            second.saturating_sub(watch.last_running) < FORGET_AFTER_SECONDS
                || live.service(name).is_some()
                || watch
                    .watched
                    .iter()
                    .any(|watched| watched.episode.is_some())
        });
        self.forget_longest_gone();
        let age = second.saturating_sub(self.began.unwrap_or(second));
        if !self.resumed.is_empty() && age >= GONE_AFTER.as_secs() {
            let gone = self.resumed.drain();
            let reason = "its rule or its service is gone";
            changed.extend(gone.filter_map(|(_, alert)| unresumed(alert, now, reason)));
        }
    }

    /// Forgets the services that have been without a container for longest,
    /// where they are too many.
    fn forget_longest_gone(&mut self) {
        let gone = self.services.values().filter(|watch| watch.is_gone());
        let mut gone: Vec<_> = gone
            .map(|watch| (watch.last_running, Arc::clone(&watch.name)))
            .collect();
        let n_over = gone.len().saturating_sub(MAX_GONE);
        if n_over > 0 {
            gone.select_nth_unstable(n_over - 1);
            for (_, name) in &gone[..n_over] {
                self.services.remove(name);
            }
        }
    }
}

/// Evaluates the rules of one service.
fn evaluate(
    watch: &mut Watch,
    second: u64,
    now: UnixNs,
    started: u64,
    silences: &[Silence],
    changed: &mut Vec<Alert>,
) {
    let name = Arc::clone(&watch.name);
    let gone_since = watch.last_running.max(started);
    let is_gone = second.saturating_sub(gone_since) >= GONE_AFTER.as_secs();
    for at in 0..watch.watched.len() {
        let judged = watch.judge(at, second);
        let has_seen = watch.has_seen(watch.watched[at].rule.window.as_secs(), second);
        let is_running = watch.is_running;
        let watched = &mut watch.watched[at];
        let is_traffic = matches!(watched.rule.condition, Condition::NoTraffic { .. });
        // What is left in the windows of a service that is gone begins nothing.
        let begins = judged.verdict == Verdict::Beyond && (is_traffic || !is_gone);
        if watched.episode.is_none() && !begins {
            continue;
        }
        let rule = Arc::clone(&watched.rule);
        let held = watched
            .episode
            .as_deref()
            .is_some_and(|episode| waits(episode, judged, has_seen, is_running));
        if let Some(reason) = ended(watched, now, is_gone) {
            changed.extend(over(&name, watched, now, &reason));
            watched.episode = None;
            continue;
        }
        if !held {
            let id = || episode_id(&rule.id, &name, now);
            match step(&mut watched.episode, &rule, judged, now, id) {
                Change::None => {}
                Change::Fired => {
                    silence(watched, &name, now, silences);
                    changed.extend(alert(&name, watched, None));
                    continue;
                }
                Change::Resolved => {
                    let reason = match judged.verdict {
                        Verdict::Unknown => Some("there is no figure any longer"),
                        _ => None,
                    };
                    changed.extend(over(&name, watched, now, reason.unwrap_or_default()));
                    watched.episode = None;
                    continue;
                }
            }
        }
        if silence(watched, &name, now, silences) {
            changed.extend(alert(&name, watched, None));
        }
    }
}

/// Whether an alert stays as it is, whatever was judged: nothing is known, of
/// what goes on from before the start, until the whole window was seen, nor, of
/// what fires, while the service has no container.
fn waits(episode: &Episode, judged: Judged, has_seen: bool, is_running: bool) -> bool {
    let goes_on = episode.is_resumed && !has_seen;
    match (episode.fired, judged.verdict) {
        (_, Verdict::Beyond) => false,
        (None, _) => goes_on,
        (Some(_), Verdict::Between) => false,
        (Some(_), Verdict::Back) => goes_on,
        (Some(_), Verdict::Unknown) => goes_on || !is_running,
    }
}

/// Why a firing alert is over though its figure is not back.
fn ended(watched: &Watched, now: UnixNs, is_gone: bool) -> Option<String> {
    let episode = watched.episode.as_deref()?;
    match watched.rule.condition {
        Condition::NoTraffic { past } => {
            // A minute more, for the past is told by whole ones.
            let is_usual = since(episode.since, now) >= past + Duration::from_secs(60);
            is_usual.then(|| "there was some too long ago to miss it".to_owned())
        }
        _ => is_gone.then(|| {
            let minutes = GONE_AFTER.as_secs() / 60;
            format!("the service has had no container for {minutes} min")
        }),
    }
}

/// Marks the alert by the silence that holds; true if that changed and it
/// fires.
fn silence(watched: &mut Watched, service: &str, now: UnixNs, silences: &[Silence]) -> bool {
    let rule = &watched.rule.id;
    let holds = |silence: &&Silence| {
        (silence.from..silence.until).contains(&now)
            && silence.service.as_deref().is_none_or(|of| of == service)
            && silence.rule.as_ref().is_none_or(|of| of == rule)
    };
    let by = silences.iter().find(holds).map(|found| found.id.clone());
    let Some(episode) = watched.episode.as_deref_mut() else {
        return false;
    };
    if episode.silenced_by == by {
        return false;
    }
    episode.silenced_by = by;
    episode.fired.is_some()
}

/// The alert of a rule that holds.
fn alert(service: &Arc<str>, watched: &Watched, over: Option<(UnixNs, &str)>) -> Option<Alert> {
    let episode = watched.episode.as_deref()?;
    let rule = &watched.rule;
    let reason = over
        .map(|(_, reason)| reason)
        .filter(|text| !text.is_empty());
    Some(Alert {
        id: Arc::clone(&episode.id),
        rule: Arc::clone(&rule.id),
        rule_name: rule.name.clone(),
        service: Arc::clone(service),
        metric: rule.metric,
        severity: rule.severity,
        state: over.map_or(episode.state(), |_| AlertState::Resolved),
        value: episode.value,
        threshold: episode.threshold,
        summary: summary(service, rule, episode.value, episode.threshold, reason),
        since: episode.since,
        fired: episode.fired,
        resolved: over.map(|(at, _)| at),
        silenced_by: episode.silenced_by.clone(),
    })
}

/// The same, over; `None` if it never fired.
fn over(service: &Arc<str>, watched: &Watched, now: UnixNs, reason: &str) -> Option<Alert> {
    watched.episode.as_ref()?.fired?;
    alert(service, watched, Some((now, reason)))
}

/// An alert of before the start that nothing takes up, over; `None` if it never
/// fired.
fn unresumed(mut alert: Alert, now: UnixNs, reason: &str) -> Option<Alert> {
    alert.fired?;
    alert.state = AlertState::Resolved;
    alert.resolved = Some(now);
    alert.summary.push_str("; over, for ");
    alert.summary.push_str(reason);
    Some(alert)
}

fn resumed(alert: Alert) -> Episode {
    Episode {
        id: alert.id,
        since: alert.since,
        fired: alert.fired,
        back_since: None,
        value: alert.value,
        threshold: alert.threshold,
        silenced_by: alert.silenced_by,
        is_resumed: true,
    }
}

/// The strictest of what the running containers promise.
fn promised(service: &ServiceSnapshot) -> Slo {
    let mut strictest = Slo::default();
    for container in &service.containers {
        let Slo {
            latency_p95,
            error_rate,
        } = container.slo;
        strictest.latency_p95 = match (strictest.latency_p95, latency_p95) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        strictest.error_rate = match (strictest.error_rate, error_rate) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    strictest
}

/// Names an episode: the same rule, service and instant give the same name.
fn episode_id(rule: &str, service: &str, since: UnixNs) -> Arc<str> {
    // FNV-1a, with the names kept apart by a byte that is in neither.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in rule.bytes().chain([0xff]).chain(service.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{:x}-{hash:016x}", since.millis()).into()
}
