//! One service: its containers, its routes and what is counted of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{InProgress, RequestCounts};
use modeltap_core::container::Container;
use modeltap_core::record::{Method, Outcome, RequestRecord, SessionRecord};
use modeltap_core::time::UnixNs;
use modeltap_core::totals::{
    ContainerTotals, InferenceTotals, InnerTotals, RouteCounters, RouteTotals, SessionTotals,
};

use crate::accounts::Account;
use crate::aggregator::Config;
use crate::exemplars::Exemplars;
use crate::facts::Facts;
use crate::hop::{InnerHops, Sessions, count_inner, count_session, snapshot_sessions};
use crate::inference::InferenceBook;
use crate::live::{ContainerSnapshot, RouteTotal, ServiceSnapshot, status_class};
use crate::pulse::Pulse;
use crate::resources::{self, Kills, Meter};
use crate::route::{RouteBook, RouteIndex};
use crate::series::Budget;
use crate::window::{LiveWindow, Sparkline};

/// The name of a total within its service.
type TotalKey = (RouteIndex, Option<Method>, Option<u16>, Outcome);

/// A service that has, or lately had, a container.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<str>,
    project: Option<String>,
    containers: Vec<ServiceContainer>,
    pub(crate) routes: RouteBook,
    pub(crate) live: LiveWindow,
    pub(crate) sparkline: Sparkline,
    pub(crate) pulse: Pulse,
    totals: Vec<(TotalKey, u64)>,
    totals_index: HashMap<TotalKey, usize>,
    max_totals: usize,
    /// By container and route, whatever the method and status: as many as
    /// there are series at most.
    route_counters: HashMap<(u32, RouteIndex), RouteCounters>,
    inference: InferenceBook,
    pub(crate) inner: Option<Box<InnerHops>>,
    sessions: Option<Box<Sessions>>,
    pub(crate) exemplars: Exemplars,
    pub(crate) last_request: Option<UnixNs>,
    /// Series of it under routes of their own, and beyond that limit.
    pub(crate) n_series: usize,
    pub(crate) n_overflow_series: usize,
}

/// A container's name within a service, and the container that bears it now.
#[derive(Debug)]
pub(crate) struct ServiceContainer {
    pub(crate) name: Arc<str>,
    pub(crate) running: Option<Arc<Container>>,
    pub(crate) in_progress: InProgress,
    /// Requests and responses over TCP, which the probes count too.
    seen: RequestCounts,
    inner: Option<InnerTotals>,
    sessions: Option<SessionTotals>,
    pub(crate) account: Account,
    /// What it uses, once it was read.
    pub(crate) meter: Option<Box<Meter>>,
    pub(crate) kills: Kills,
    /// The newest second of which there is a rollup of what it used.
    pub(crate) last_rollup: u64,
    /// Second of its last request, or of its end.
    pub(crate) last_seen: u64,
    /// Whether anything was counted that has to outlive it.
    pub(crate) is_counted: bool,
    /// Nobody bears the name any longer and its counts were forgotten.
    is_vacant: bool,
}

impl ServiceContainer {
    /// Whether its counts may be forgotten at the second `now`.
    pub(crate) fn is_forgettable(&self, now: u64, after: Duration) -> bool {
        // Two seconds at least: the window of its last request has to close.
        let after = after.as_secs().max(2);
        !self.is_vacant
            && self.running.is_none()
            && (!self.is_counted || self.last_seen.saturating_add(after) <= now)
    }

    /// Whether it stands for no container.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_vacant
    }

    /// Forgets it.
    pub(crate) fn vacate(&mut self) {
        *self = Self::new(&self.name, self.last_seen);
        self.is_vacant = true;
    }

    fn new(name: &Arc<str>, now: u64) -> Self {
        Self {
            name: Arc::clone(name),
            running: None,
            in_progress: InProgress::default(),
            seen: RequestCounts::default(),
            inner: None,
            sessions: None,
            account: Account::default(),
            meter: None,
            kills: Kills::default(),
            last_rollup: 0,
            last_seen: now,
            is_counted: false,
            is_vacant: false,
        }
    }

    fn see(&mut self, request: &RequestRecord) {
        self.seen.n_requests += u64::from(request.method.is_some());
        let class = status_class(request.status);
        if let Some(count) = self.seen.n_responses.get_mut(class) {
            *count += 1;
        }
    }
}

impl Service {
    pub(crate) fn new(name: &str, config: &Config) -> Self {
        Self {
            name: name.into(),
            project: None,
            containers: Vec::new(),
            routes: RouteBook::new(config.max_routes, config.max_unproven_routes),
            live: LiveWindow::default(),
            sparkline: Sparkline::default(),
            pulse: Pulse::default(),
            totals: Vec::new(),
            totals_index: HashMap::new(),
            max_totals: config.max_series_of_service,
            route_counters: HashMap::new(),
            inference: InferenceBook::default(),
            inner: None,
            sessions: None,
            exemplars: Exemplars::default(),
            last_request: None,
            n_series: 0,
            n_overflow_series: 0,
        }
    }

    /// The place of a container's name, which is made where there is none.
    pub(crate) fn place(&mut self, name: &str, now: u64) -> usize {
        let known = self
            .containers
            .iter()
            .position(|known| !known.is_vacant && *known.name == *name);
        if let Some(at) = known {
            return at;
        }
        let fresh = ServiceContainer::new(&name.into(), now);
        match self.containers.iter().position(|known| known.is_vacant) {
            Some(at) => {
                self.containers[at] = fresh;
                at
            }
            None => {
                self.containers.push(fresh);
                self.containers.len() - 1
            }
        }
    }

    pub(crate) fn container(&mut self, at: usize) -> &mut ServiceContainer {
        &mut self.containers[at]
    }

    pub(crate) fn containers(&self) -> &[ServiceContainer] {
        &self.containers
    }

    pub(crate) fn containers_mut(&mut self) -> &mut [ServiceContainer] {
        &mut self.containers
    }

    /// Takes project and route labels from the containers that run now.
    pub(crate) fn refresh(&mut self) {
        let running = || {
            self.containers
                .iter()
                .filter_map(|known| known.running.as_deref())
        };
        if let Some(project) = running().find_map(|container| container.project.clone()) {
            self.project = Some(project);
        }
        let labels: Vec<String> = running()
            .flat_map(|container| container.routes.clone())
            .collect();
        // Late requests of a service that is gone keep its route names.
        if !labels.is_empty() || running().next().is_some() {
            self.routes.set_labels(labels.iter().map(String::as_str));
        }
    }

    /// The series of a forgotten container leaves its limit.
    pub(crate) fn release(&mut self, budget: Budget) {
        match budget {
            Budget::Own => self.n_series -= 1,
            Budget::Overflow => self.n_overflow_series -= 1,
            Budget::Last => {}
        }
    }

    /// The wall clock was set back to `now`: nothing was seen after that.
    pub(crate) fn set_back(&mut self, now: u64) {
        self.live = LiveWindow::default();
        self.pulse = Pulse::default();
        if let Some(inner) = &mut self.inner {
            inner.set_back();
        }
        for place in &mut self.containers {
            place.last_seen = place.last_seen.min(now);
        }
    }

    /// The place of a total, which is made where there is none; beyond the
    /// limit those of an outcome share one under `_other`.
    pub(crate) fn total(&mut self, key: TotalKey) -> usize {
        if let Some(&at) = self.totals_index.get(&key) {
            return at;
        }
        let key = if self.totals.len() < self.max_totals {
            key
        } else {
            (RouteIndex::OTHER, None, None, key.3)
        };
        let next = self.totals.len();
        let at = *self.totals_index.entry(key).or_insert(next);
        if at == next {
            self.totals.push((key, 0));
        }
        at
    }

    /// Whether a route of the container at `place` has histograms of its own.
    pub(crate) fn measures(&self, place: u32, route: RouteIndex) -> bool {
        self.route_counters.contains_key(&(place, route))
    }

    /// Counts a request of the container at `place` under `route`, whose
    /// series has `total`; gives how many histograms that made.
    pub(crate) fn record(
        &mut self,
        (place, route, total): (u32, RouteIndex, usize),
        request: &RequestRecord,
        facts: &Facts<'_>,
        now: u64,
    ) -> usize {
        self.totals[total].1 += 1;
        let n_before = self.route_counters.len();
        let counters = self.route_counters.entry((place, route)).or_default();
        facts.count(counters);
        self.inference.record(place, request, facts);
        let container = self.container(place as usize);
        container.last_seen = now;
        container.is_counted = true;
        container.see(request);
        self.route_counters.len() - n_before
    }

    /// Counts requests of a series with `total`, of which nothing else is known.
    pub(crate) fn count(&mut self, total: usize, n_requests: u64) {
        self.totals[total].1 += n_requests;
    }

    /// Counts a request over a UNIX socket.
    pub(crate) fn record_inner(&mut self, place: u32, request: &RequestRecord, now: u64) {
        self.inner.get_or_insert_default().record(request);
        let container = self.container(place as usize);
        container.last_seen = now;
        container.is_counted = true;
        count_inner(&mut container.inner, request);
    }

    /// Counts an upgraded connection that ended.
    pub(crate) fn record_session(&mut self, place: u32, session: &SessionRecord, now: u64) {
        self.sessions.get_or_insert_default().record(session);
        let container = self.container(place as usize);
        container.last_seen = now;
        container.is_counted = true;
        count_session(&mut container.sessions, session);
    }

    /// Lets go of what vacant containers counted beside their series; gives
    /// how many routes' histograms that were.
    pub(crate) fn forget_vacant(&mut self) -> usize {
        let n_before = self.route_counters.len();
        let containers = &self.containers;
        let is_gone = |place: u32| containers[place as usize].is_vacant;
        self.route_counters.retain(|(place, _), _| !is_gone(*place));
        self.inference.forget(is_gone);
        n_before - self.route_counters.len()
    }

    /// What its routes counted, by container.
    pub(crate) fn route_counters(&self) -> impl Iterator<Item = RouteTotals> {
        self.route_counters
            .iter()
            .map(|(&(place, route), counters)| RouteTotals {
                service: Arc::clone(&self.name),
                container: Arc::clone(&self.containers[place as usize].name),
                route: Arc::clone(self.routes.name(route)),
                counters: counters.clone(),
            })
    }

    /// What its requests to inference endpoints counted.
    pub(crate) fn inference(&self) -> impl Iterator<Item = InferenceTotals> {
        self.inference
            .iter()
            .map(|(key, counters)| InferenceTotals {
                service: Arc::clone(&self.name),
                container: Arc::clone(&self.containers[key.container as usize].name),
                operation: key.operation,
                model: Arc::clone(&key.model),
                error_type: Arc::clone(&key.error_type),
                counters: counters.clone(),
            })
    }

    /// Counts of its containers as wholes.
    pub(crate) fn container_totals(&self) -> impl Iterator<Item = ContainerTotals> {
        self.containers
            .iter()
            .filter(|known| !known.is_vacant)
            .map(|known| ContainerTotals {
                service: Arc::clone(&self.name),
                container: Arc::clone(&known.name),
                n_active: known.in_progress.n_requests,
                inner: known.inner.clone(),
                sessions: known.sessions.clone(),
                capture: known.account.capture,
                kernel: known.account.kernel,
                unseen_bytes: known.account.unseen_bytes,
                lifecycle: known.running.as_ref().map(|running| running.lifecycle),
                n_oom_kills: known.kills.total(),
                resources: known.meter.as_ref().map(|meter| meter.latest().clone()),
            })
    }

    /// The service as it was when the second before `open` ended.
    pub(crate) fn snapshot(&self, since: u64, open: u64, window: Duration) -> ServiceSnapshot {
        let mut running: Vec<(&Arc<Container>, &ServiceContainer)> = self
            .containers
            .iter()
            .filter_map(|known| Some((known.running.as_ref()?, known)))
            .collect();
        running.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let (mut account, mut seen) = (Account::default(), RequestCounts::default());
        for known in self.containers.iter().filter(|known| !known.is_vacant) {
            account.merge(&known.account);
            seen.merge(&known.seen);
        }
        let mut in_progress = InProgress::default();
        for known in &self.containers {
            in_progress.add(&known.in_progress);
        }
        seen.n_requests += in_progress.n_requests;
        ServiceSnapshot {
            name: Arc::clone(&self.name),
            project: self.project.clone(),
            containers: running.iter().map(|(found, _)| Arc::clone(found)).collect(),
            window: self.live.figures(window),
            routes: self.live.routes(window),
            totals: self.route_totals(),
            second: open
                .checked_sub(1)
                .and_then(|second| self.live.second(second)),
            sparkline: self.sparkline.rates(since, open),
            last_request: self.last_request,
            n_active: in_progress.n_requests,
            by_container: running
                .iter()
                .map(|(_, known)| ContainerSnapshot {
                    window: self.live.container(&known.name, window),
                    unseen_bytes: known.account.unseen_bytes,
                    resources: resources::snapshot(
                        known.meter.as_deref().into_iter(),
                        known.kills.total(),
                        open,
                    ),
                })
                .collect(),
            inner: self.inner.as_ref().map(|inner| inner.snapshot(window)),
            sessions: snapshot_sessions(self.sessions.as_deref(), in_progress.n_sessions),
            capture: account.capture,
            kernel: account.kernel,
            seen,
            left_out: account.left_out,
            unseen_bytes: account.unseen_bytes,
            is_suddenly_worse: self.pulse.is_worse(),
            n_firing: 0,
            worst_firing: None,
            resources: resources::snapshot(
                self.containers
                    .iter()
                    .filter_map(|known| known.meter.as_deref()),
                self.n_oom_kills(),
                open,
            ),
        }
    }

    fn route_totals(&self) -> Vec<RouteTotal> {
        let mut totals: Vec<RouteTotal> = self
            .totals
            .iter()
            .map(
                |&((route, method, status, outcome), n_requests)| RouteTotal {
                    route: Arc::clone(self.routes.name(route)),
                    method,
                    status,
                    outcome,
                    n_requests,
                },
            )
            .collect();
        totals.sort_by(|a, b| {
            let name = |total: &RouteTotal| (total.method, total.status, total.outcome);
            a.route.cmp(&b.route).then_with(|| name(a).cmp(&name(b)))
        });
        totals
    }
}
