//! One service: its containers, its routes and what is counted of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::container::Container;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::time::UnixNs;
use modeltap_core::totals::{ContainerTotals, DurationBuckets};

use crate::aggregator::Config;
use crate::live::{RouteTotal, ServiceSnapshot};
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
    totals: Vec<(TotalKey, u64)>,
    totals_index: HashMap<TotalKey, usize>,
    max_totals: usize,
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
    pub(crate) n_active: u64,
    pub(crate) queue: DurationBuckets,
    /// Second of its last request, or of its end.
    pub(crate) last_seen: u64,
    pub(crate) n_requests: u64,
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
            && (self.n_requests == 0 || self.last_seen.saturating_add(after) <= now)
    }

    /// Whether it stands for no container.
    pub(crate) fn is_vacant(&self) -> bool {
        self.is_vacant
    }

    /// Forgets it.
    pub(crate) fn vacate(&mut self) {
        self.is_vacant = true;
        self.queue = DurationBuckets::default();
        self.n_requests = 0;
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
            totals: Vec::new(),
            totals_index: HashMap::new(),
            max_totals: config.max_series_of_service,
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
        let fresh = ServiceContainer {
            name: name.into(),
            running: None,
            n_active: 0,
            queue: DurationBuckets::default(),
            last_seen: now,
            n_requests: 0,
            is_vacant: false,
        };
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

    pub(crate) fn count(&mut self, total: usize) {
        self.totals[total].1 += 1;
    }

    /// Counts of its containers as wholes.
    pub(crate) fn container_totals(&self) -> impl Iterator<Item = ContainerTotals> {
        self.containers
            .iter()
            .filter(|known| !known.is_vacant)
            .map(|known| ContainerTotals {
                service: Arc::clone(&self.name),
                container: Arc::clone(&known.name),
                n_active: known.n_active,
                queue: known.queue,
            })
    }

    /// The service as it was when the second before `open` ended.
    pub(crate) fn snapshot(&self, since: u64, open: u64, window: Duration) -> ServiceSnapshot {
        let mut containers: Vec<Arc<Container>> = self
            .containers
            .iter()
            .filter_map(|known| known.running.clone())
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        ServiceSnapshot {
            name: Arc::clone(&self.name),
            project: self.project.clone(),
            containers,
            window: self.live.figures(window),
            routes: self.live.routes(window),
            totals: self.route_totals(),
            second: open
                .checked_sub(1)
                .and_then(|second| self.live.second(second)),
            sparkline: self.sparkline.rates(since, open),
            last_request: self.last_request,
            n_active: self.containers.iter().map(|known| known.n_active).sum(),
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
