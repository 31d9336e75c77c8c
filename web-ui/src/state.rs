//! The live store: what the daemon last said, in signals fine enough that a
//! second's update touches only what changed in it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet, VecDeque};

use leptos::prelude::*;
use modeltap_api_types::{
    Alert, CaptureStatus, Health, Live, LiveCommand, LiveMessage, Request, Service, Status,
};

use crate::alerts::MAX_ALERTS;
use crate::series::LiveSeconds;
use crate::words::{W, t};

/// Services held, whatever the daemon sends.
const MAX_SERVICES: usize = 2_000;
/// Services that one frame takes in: a row of the overview costs 0.4 ms to
/// change, lay out and paint, and a frame is 16.
pub const MOST_A_FRAME: usize = 8;
/// Frames that must do, however many services there are: half a second.
const MOST_FRAMES: usize = 30;
/// Single requests held.
pub const MAX_REQUESTS: usize = 500;

/// The connection to the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Connection {
    /// No answer was awaited yet.
    Connecting,
    /// Messages arrive.
    Open,
    /// It broke, or never came about; it is tried again.
    Lost {
        /// Since when, in milliseconds by the browser's clock.
        since_ms: f64,
    },
}

/// A service.
struct Held {
    /// As it is shown.
    shown: ArcRwSignal<Service>,
    /// The newest that was told of it, until a frame shows it.
    waiting: Option<Service>,
}

/// Everything the pages show that arrives by itself.
#[derive(Clone, Copy)]
pub struct Store {
    /// The connection to the daemon.
    pub connection: RwSignal<Connection>,
    /// Whether it broke because the daemon asks for a token.
    pub refused: RwSignal<bool>,
    /// The daemon's state.
    pub status: RwSignal<Option<Status>>,
    /// End of the window the figures cover, Unix milliseconds.
    pub at_ms: RwSignal<u64>,
    /// Length of that window.
    pub window_seconds: RwSignal<u32>,
    /// The service whose seconds are kept.
    pub watched: RwSignal<Option<String>>,
    /// Its seconds.
    pub seconds: RwSignal<LiveSeconds>,
    /// The subscription to single requests.
    pub subscription: RwSignal<Option<LiveCommand>>,
    /// Requests of the subscription that the page has not taken yet, newest
    /// first.
    pub inbox: RwSignal<VecDeque<Request>>,
    /// Alerts that fire or may soon, the worst first.
    pub alerts: RwSignal<Vec<Alert>>,
    /// How far the browser's clock is ahead of the daemon's, milliseconds.
    pub clock_ahead_ms: RwSignal<f64>,
    /// A signal a service, so that a row follows its own service only; the
    /// map itself changes when services come or go.
    services: RwSignal<BTreeMap<String, Held>>,
    /// Told when nothing waits: what is made of all services is made once a
    /// second, not once a frame.
    settled: Trigger,
}

impl Store {
    /// An empty store, before the first message.
    #[must_use]
    pub fn new() -> Self {
        Self {
            connection: RwSignal::new(Connection::Connecting),
            refused: RwSignal::new(false),
            status: RwSignal::new(None),
            at_ms: RwSignal::new(0),
            window_seconds: RwSignal::new(60),
            watched: RwSignal::new(None),
            seconds: RwSignal::default(),
            subscription: RwSignal::new(None),
            inbox: RwSignal::default(),
            alerts: RwSignal::default(),
            clock_ahead_ms: RwSignal::new(0.0),
            services: RwSignal::default(),
            settled: Trigger::new(),
        }
    }

    /// Takes a message; `now_ms` is the browser's clock.
    pub fn apply(&self, message: LiveMessage, now_ms: f64) {
        match message {
            LiveMessage::Snapshot(live) => self.apply_live(live, now_ms),
            LiveMessage::Update(live) => self.apply_live(live, now_ms),
            LiveMessage::Requests(requests) => self.inbox.update(|inbox| {
                for request in requests.requests.into_iter().take(MAX_REQUESTS).rev() {
                    inbox.push_front(request);
                }
                inbox.truncate(MAX_REQUESTS);
            }),
            // The page's own commands are understood.
            LiveMessage::Error { .. } => {}
        }
    }

    fn apply_live(&self, live: Live, now_ms: f64) {
        self.connection
            .maybe_update(|c| replace(c, Connection::Open));
        self.apply_services(live.services, live.names);
        if let Some(name) = self.watched.get_untracked() {
            let second = live.seconds.into_iter().find(|s| s.service == name);
            self.seconds
                .update(|seconds| seconds.push(live.at_unix_ms, second));
        }
        let mut alerts = live.alerts;
        alerts.truncate(MAX_ALERTS);
        self.alerts.maybe_update(|held| replace(held, alerts));
        self.clock_ahead_ms.set(now_ms - live.at_unix_ms as f64);
        self.at_ms.set(live.at_unix_ms);
        self.window_seconds
            .maybe_update(|w| replace(w, live.window_seconds));
        self.status.set(Some(live.status));
    }

    /// New services are there at once, as is the one whose page is open; of
    /// the others what is new waits for [`Store::show_more`].
    fn apply_services(&self, changed: Vec<Service>, names: Vec<String>) {
        let names: HashSet<String> = names.into_iter().collect();
        let watched = self.watched.get_untracked();
        self.services.maybe_update(|services| {
            let n_before = services.len();
            services.retain(|name, _| names.contains(name));
            let mut members_changed = services.len() != n_before;
            for service in changed {
                let has_room = services.len() < MAX_SERVICES;
                match services.get_mut(&service.name) {
                    Some(held) => {
                        let is_watched = watched.as_ref() == Some(&service.name);
                        held.waiting = Some(service);
                        if is_watched {
                            held.show();
                        }
                    }
                    None if has_room && names.contains(&service.name) => {
                        let name = service.name.clone();
                        let shown = ArcRwSignal::new(service);
                        let waiting = None;
                        services.insert(name, Held { shown, waiting });
                        members_changed = true;
                    }
                    None => {}
                }
            }
            members_changed
        });
    }

    /// Shows the next of what waits: as much as one frame has time for.
    /// Returns whether more waits; to be called again in the next frame then.
    #[must_use]
    pub fn show_more(&self) -> bool {
        let mut more = false;
        self.services.maybe_update(|services| {
            let mut room = MOST_A_FRAME.max(services.len().div_ceil(MOST_FRAMES));
            for held in services.values_mut().filter(|h| h.waiting.is_some()) {
                if room == 0 {
                    more = true;
                    break;
                }
                room -= 1;
                held.show();
            }
            // There are as many as before.
            false
        });
        if !more {
            self.settled.notify();
        }
        more
    }

    /// Follows one service's seconds from now on.
    pub fn watch(&self, name: Option<String>) {
        self.seconds.set(LiveSeconds::default());
        self.watched.set(name);
    }

    /// Follows all services: told once when a second's changes are all shown.
    /// They are to be read untracked.
    #[must_use]
    pub fn settled_services(&self) -> Vec<ArcRwSignal<Service>> {
        self.settled.track();
        self.services()
    }

    /// Follows which services there are.
    #[must_use]
    pub fn services(&self) -> Vec<ArcRwSignal<Service>> {
        self.services
            .with(|services| services.values().map(|h| h.shown.clone()).collect())
    }

    /// Follows whether a service is there, and hands out its signal.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<ArcRwSignal<Service>> {
        self.services
            .with(|services| services.get(name).map(|h| h.shown.clone()))
    }

    /// Whether a first message has arrived.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.status.with(Option::is_some)
    }

    /// The daemon's clock, by the browser's.
    #[must_use]
    pub fn daemon_now_ms(&self, now_ms: f64) -> f64 {
        now_ms - self.clock_ahead_ms.get_untracked()
    }
}

impl Held {
    fn show(&mut self) {
        if let Some(service) = self.waiting.take() {
            self.shown.maybe_update(|shown| replace(shown, service));
        }
    }
}

fn replace<T: PartialEq>(slot: &mut T, value: T) -> bool {
    let changed = *slot != value;
    if changed {
        *slot = value;
    }
    changed
}

/// What the overview's table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// Worst first.
    Health,
    /// Name.
    Name,
    /// Requests a second.
    Rate,
    /// Median duration.
    P50,
    /// 95th percentile of durations.
    P95,
    /// 99th percentile of durations.
    P99,
    /// Share of requests that failed.
    ErrorRate,
    /// Requests in progress.
    Active,
    /// Running containers.
    Containers,
    /// Cores used.
    Cpu,
    /// Memory used.
    Memory,
}

/// A column, and whether its natural direction is turned round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub by: SortBy,
    /// Names from Z to A, figures from the smallest, the healthiest first.
    pub reversed: bool,
}

impl Sort {
    /// The order of two services; names decide between equals, so that rows
    /// stay where they are.
    #[must_use]
    pub fn compare(&self, a: &Service, b: &Service) -> Ordering {
        let figure = |f: fn(&Service) -> Option<f64>| compare_known(f(a), f(b), self.reversed);
        let plain = |order: Ordering| {
            if self.reversed {
                order.reverse()
            } else {
                order
            }
        };
        let order = match self.by {
            // Whole percents only: the order must not flicker with every
            // request.
            SortBy::Health => plain(a.health.cmp(&b.health).then_with(|| {
                let percent = |s: &Service| s.window.error_rate.map_or(0, |r| (r * 100.0) as u32);
                percent(b).cmp(&percent(a))
            })),
            SortBy::Name => plain(a.name.cmp(&b.name)),
            SortBy::Rate => figure(|s| Some(s.window.rate)),
            SortBy::P50 => figure(|s| s.window.p50),
            SortBy::P95 => figure(|s| s.window.p95),
            SortBy::P99 => figure(|s| s.window.p99),
            SortBy::ErrorRate => figure(|s| s.window.error_rate),
            SortBy::Active => plain(b.n_active.cmp(&a.n_active)),
            SortBy::Cpu => figure(|s| Some(s.resources.as_ref()?.cpu_cores)),
            SortBy::Memory => figure(|s| Some(s.resources.as_ref()?.memory_bytes as f64)),
            SortBy::Containers => plain(b.containers.len().cmp(&a.containers.len())),
        };
        order.then_with(|| a.name.cmp(&b.name))
    }
}

/// Largest first, or smallest first if `reversed`; what is not known is last
/// either way.
fn compare_known(a: Option<f64>, b: Option<f64>, reversed: bool) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if reversed => a.total_cmp(&b),
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Whether a service is meant by what was typed: every word is in its name,
/// project, health, or a container's name or image.
#[must_use]
pub fn matches(service: &Service, typed: &str) -> bool {
    typed.split_whitespace().all(|word| {
        let word = word.to_ascii_lowercase();
        let has = |text: &str| text.to_ascii_lowercase().contains(&word);
        has(&service.name)
            || service.project.as_deref().is_some_and(has)
            || has(health_label(service.health))
            || service
                .containers
                .iter()
                .any(|c| has(&c.name) || has(&c.image))
    })
}

/// The word for a health.
#[must_use]
pub fn health_label(health: Health) -> &'static str {
    match health {
        Health::Critical => t(W::Critical),
        Health::Warning => t(W::Warning),
        Health::Ok => t(W::Healthy),
        Health::Idle => t(W::Idle),
    }
}

/// All services in one line of figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Services by health: critical, warning, healthy, idle.
    pub by_health: [usize; 4],
    /// Requests a second.
    pub rate: f64,
    /// Requests in the window.
    pub n_requests: u64,
    /// Of them: failed.
    pub n_errors: u64,
    /// Requests in progress.
    pub n_active: u64,
    /// The highest p95 of a service, and whose it is. Percentiles of
    /// different services cannot be joined.
    pub highest_p95: Option<(f64, String)>,
}

impl Totals {
    /// Adds up services.
    pub fn add(&mut self, service: &Service) {
        let window = &service.window;
        self.by_health[service.health as usize] += 1;
        self.rate += window.rate;
        self.n_requests += window.n_requests;
        self.n_errors += window.n_errors;
        self.n_active += service.n_active;
        if let Some(p95) = window.p95
            && self
                .highest_p95
                .as_ref()
                .is_none_or(|(highest, _)| p95 > *highest)
        {
            self.highest_p95 = Some((p95, service.name.clone()));
        }
    }

    /// Share of requests that failed.
    #[must_use]
    pub fn error_rate(&self) -> Option<f64> {
        (self.n_requests > 0).then(|| self.n_errors as f64 / self.n_requests as f64)
    }
}

/// How much can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Everything was seen.
    Whole,
    /// Something was cut short or could not be understood.
    Partial,
    /// Something was not seen at all.
    Lossy,
}

/// The capture accounting in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptureSummary {
    /// The worst that happened.
    pub trust: Trust,
    /// Events that were neither lost, dropped, undecodable nor left out.
    pub events_kept: u64,
    /// Events in all.
    pub events_observed: u64,
    /// What was missed: a figure and its word.
    pub misses: Vec<(u64, W)>,
}

impl CaptureSummary {
    /// Sums up the accounting.
    #[must_use]
    pub fn new(c: &CaptureStatus) -> Self {
        let missed = c.events_lost.saturating_add(c.events_dropped);
        let missed = missed.saturating_add(c.events_undecoded);
        let missed = missed.saturating_add(c.events_left_out);
        let lossy = [
            (c.events_lost, W::EventsLost),
            (c.events_dropped, W::EventsDropped),
            (c.events_undecoded, W::EventsUndecoded),
            (c.connections_untracked, W::ConnectionsUntracked),
        ];
        let partial = [
            (c.events_left_out, W::LeftOutWord),
            (c.bytes_truncated, W::BytesTruncated),
            (c.requests_incomplete, W::RequestsIncompleteWord),
        ];
        let any = |list: &[(u64, W)]| list.iter().any(|(n, _)| *n > 0);
        let trust = if any(&lossy) {
            Trust::Lossy
        } else if any(&partial) {
            Trust::Partial
        } else {
            Trust::Whole
        };
        Self {
            trust,
            events_kept: c.events_observed.saturating_sub(missed),
            events_observed: c.events_observed,
            misses: lossy
                .into_iter()
                .chain(partial)
                .filter(|(n, _)| *n > 0)
                .collect(),
        }
    }

    /// Share of events that were kept; not known before the first.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.events_observed > 0).then(|| self.events_kept as f64 / self.events_observed as f64)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
