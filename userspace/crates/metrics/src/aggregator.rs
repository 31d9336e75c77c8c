//! The one place where requests become figures.

mod counted;
mod inventory;
mod minutes;
mod resources;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::InProgress;
use modeltap_core::connection::{CgroupId, Transport};
use modeltap_core::container::{Container, ContainerId};
use modeltap_core::exemplar::Exemplar;
use modeltap_core::record::{RequestRecord, SessionRecord};
use modeltap_core::resource::ResourceRollup;
use modeltap_core::rollup::{Rollup, SeriesKey};
use modeltap_core::time::{TimeAnchor, UnixNs};
use modeltap_core::totals::Totals;

use crate::accounts::{Accounts, CgroupReport, Place};
use crate::facts::Facts;
use crate::hop::InnerHops;
use crate::live::LiveSnapshot;
use crate::recent::{FinishedRequest, Recent};
use crate::route::{Proof, RouteIndex};
use crate::series::{Budget, Series, SeriesIndex};
use crate::service::Service;

/// Series under `_other` that a service may have beyond its limit, so that
/// statuses stay exact for a host that is merely large.
const MAX_OVERFLOW_SERIES: usize = 256;
/// Seconds between two looks for what can be forgotten.
const SWEEP_SECONDS: u64 = 60;
/// A clock that goes back by more than this was set; by less it was corrected.
const CLOCK_SET_BACK_SECONDS: u64 = 5;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Limits of the aggregator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Series kept in all; the requests of further ones are counted under
    /// their service's route `_other`.
    pub max_series: usize,
    /// Of them, series of one service.
    pub max_series_of_service: usize,
    /// Routes of a service that have a name.
    pub max_routes: usize,
    /// Of them, routes known only from answers such as 404.
    pub max_unproven_routes: usize,
    /// Routes, of all containers, that have histograms of their own since the
    /// start for where the time went; further ones share their container's
    /// `_other`. They are most of what is exported: some 20 kB of text each.
    pub max_measured_routes: usize,
    /// Requests kept one by one.
    pub max_recent_requests: usize,
    /// Requests over UNIX sockets kept one by one.
    pub max_recent_inner: usize,
    /// Length of the live window, in whole seconds.
    pub window: Duration,
    /// How long the counts of a container outlive it, from its last request.
    pub forget_after: Duration,
    /// Containers whose counts outlive them, at most: those that ended last.
    /// A host that starts five a second has 18,000 an hour.
    pub max_ended: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_series: 10_000,
            max_series_of_service: 2_000,
            max_routes: 200,
            max_unproven_routes: 20,
            max_measured_routes: 1_000,
            max_recent_requests: 2_000,
            max_recent_inner: 500,
            window: Duration::from_secs(60),
            forget_after: Duration::from_secs(3_600),
            max_ended: 500,
        }
    }
}

/// The aggregator's own state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests counted since the start.
    pub n_requests: u64,
    /// Of them: under `_other` because there were too many series.
    pub n_requests_overflowed: u64,
    /// Requests beside those that only the kernel counted.
    pub n_requests_counted: u64,
    /// Series kept now.
    pub n_series: usize,
    /// Services kept now.
    pub n_services: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placement {
    service: u32,
    container: u32,
}

impl Placement {
    fn place(self) -> Place {
        (self.service, self.container)
    }
}

/// Counts finished requests: by series and second for history, over the last
/// minute for the live view, and since the start for exact totals.
///
/// Every recorded request is in exactly one window: the one that is open when
/// it is recorded, whenever it finished. The caller closes windows by
/// [`Self::tick`], once a second.
#[derive(Debug)]
pub struct Aggregator {
    config: Config,
    services: Vec<Option<Service>>,
    service_names: HashMap<Arc<str>, u32>,
    placements: HashMap<ContainerId, Placement>,
    cgroups: HashMap<CgroupId, Placement>,
    series: Vec<Option<Series>>,
    free_series: Vec<u32>,
    series_index: HashMap<SeriesIndex, u32>,
    /// Series within the limits, of all services.
    n_own_series: usize,
    /// Routes with histograms of their own since the start.
    n_measured_routes: usize,
    /// Series with requests in the open window.
    touched: Vec<u32>,
    recent: Recent,
    recent_inner: Recent,
    n_inner: u64,
    accounts: Accounts,
    /// What containers used in seconds that closed, until it is taken.
    resource_rollups: Vec<ResourceRollup>,
    /// Single requests of minutes that are over.
    exemplars: Vec<Exemplar>,
    /// The open second and the first one, on the wall clock.
    open: Option<Open>,
    next_sweep: u64,
    stats: Stats,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    second: u64,
    since: u64,
}

impl Aggregator {
    /// An aggregator that has seen nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let recent = Recent::new(config.max_recent_requests);
        let recent_inner = Recent::new(config.max_recent_inner);
        Self {
            config,
            services: Vec::new(),
            service_names: HashMap::new(),
            placements: HashMap::new(),
            cgroups: HashMap::new(),
            series: Vec::new(),
            free_series: Vec::new(),
            series_index: HashMap::new(),
            n_own_series: 0,
            n_measured_routes: 0,
            touched: Vec::new(),
            recent,
            recent_inner,
            n_inner: 0,
            accounts: Accounts::default(),
            resource_rollups: Vec::new(),
            exemplars: Vec::new(),
            open: None,
            next_sweep: 0,
            stats: Stats::default(),
        }
    }

    /// Counts one finished request of `container`, which need not be in the
    /// inventory (any longer). One over a UNIX socket is an inner hop: it is
    /// in no figure of the service but its own.
    pub fn record(&mut self, request: RequestRecord, container: &Container, anchor: TimeAnchor) {
        let finished = anchor.unix(request.timings.finished);
        let open = self.open_at(finished).second;
        let placement = self.placement(container, open);
        match request.transport {
            Transport::Tcp => self.record_request(placement, open, request, anchor),
            Transport::Unix => self.record_inner(placement, open, request, anchor),
        }
    }

    /// Counts an upgraded connection of `container` that ended; it is in no
    /// figure of the requests.
    pub fn record_session(
        &mut self,
        session: &SessionRecord,
        container: &Container,
        anchor: TimeAnchor,
    ) {
        let open = self.open_at(anchor.unix(session.ended)).second;
        let placement = self.placement(container, open);
        self.service_mut(placement)
            .record_session(placement.container, session, open);
    }

    /// Takes what was counted by watched cgroup since the start;
    /// `bytes_dropped` is what the daemon's queues dropped of all of them.
    pub fn set_accounts(&mut self, reports: &[CgroupReport], bytes_dropped: u64) {
        self.accounts.report(reports, bytes_dropped);
        for ((service, container), account) in self.accounts.by_place() {
            self.record_counted(Placement { service, container }, &account.left_out);
            if let Some(service) = &mut self.services[service as usize] {
                let place = service.container(container as usize);
                place.account = account;
                place.is_counted |= account
                    .capture
                    .is_some_and(|capture| capture.bytes_observed > 0);
            }
        }
    }

    /// Closes the open window if its second is over, and gives its rollups,
    /// sorted by service, route and method. To be called once a second; where
    /// it comes late, the window takes what came in the meantime.
    pub fn tick(&mut self, now: UnixNs) -> Vec<Rollup> {
        let open = self.open_at(now);
        let second = now.seconds();
        if second > open.second {
            let rollups = self.close(open.second);
            self.advance(Open { second, ..open });
            rollups
        } else if second + CLOCK_SET_BACK_SECONDS < open.second {
            // The live window has no meaning on the new time; history has.
            let rollups = self.close(open.second);
            for service in self.services.iter_mut().flatten() {
                service.set_back(second);
            }
            self.next_sweep = second;
            self.advance(Open {
                second,
                since: second,
            });
            rollups
        } else {
            Vec::new()
        }
    }

    /// Closes the open window before its end: what it has would be lost at
    /// the daemon's end.
    pub fn finish(&mut self) -> Vec<Rollup> {
        self.close_minute();
        self.open
            .map(|open| self.close(open.second))
            .unwrap_or_default()
    }

    /// Takes what is under way by watched cgroup; those not named have nothing.
    pub fn set_in_progress(
        &mut self,
        in_progress: impl IntoIterator<Item = (CgroupId, InProgress)>,
    ) {
        for service in self.services.iter_mut().flatten() {
            for place in service.containers_mut() {
                place.in_progress = InProgress::default();
            }
        }
        for (cgroup, more) in in_progress {
            if let Some(&placement) = self.cgroups.get(&cgroup) {
                let service = self.service_mut(placement);
                let place = service.container(placement.container as usize);
                place.in_progress.add(&more);
            }
        }
    }

    /// Every service as it was at the end of the last closed second: call
    /// [`Self::tick`] first.
    #[must_use]
    pub fn snapshot(&self) -> LiveSnapshot {
        let Some(open) = self.open else {
            return LiveSnapshot::default();
        };
        let age = Duration::from_secs(open.second.saturating_sub(open.since));
        let window = age.min(self.config.window);
        let mut services: Vec<_> = self
            .services
            .iter()
            .flatten()
            .map(|service| service.snapshot(open.since, open.second, window))
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        LiveSnapshot {
            at: start_of(open.second),
            window,
            services,
            alerts: Vec::new(),
        }
    }

    /// Exact counts since the start, for export.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            series: self
                .series
                .iter()
                .flatten()
                .flat_map(Series::totals)
                .collect(),
            routes: self.of_services(Service::route_counters),
            inference: self.of_services(Service::inference),
            containers: self.of_services(Service::container_totals),
        }
    }

    /// The requests that finished last, newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Arc<FinishedRequest>> {
        self.recent.iter()
    }

    /// The requests over UNIX sockets that finished last, newest first.
    pub fn recent_inner(&self) -> impl Iterator<Item = &Arc<FinishedRequest>> {
        self.recent_inner.iter()
    }

    /// The aggregator's own state.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            n_series: self.series_index.len(),
            n_services: self.service_names.len(),
            ..self.stats
        }
    }

    fn record_request(
        &mut self,
        placement: Placement,
        open: u64,
        request: RequestRecord,
        anchor: TimeAnchor,
    ) {
        let index = self.series_of(placement, &request);
        let series = self.series[index as usize]
            .as_mut()
            .expect("the index names a series");
        if series.window.n_requests == 0 {
            self.touched.push(index);
        }
        let facts = Facts::of(&request);
        series.record(&request, &facts);

        let service = self.services[placement.service as usize]
            .as_mut()
            .expect("a placement names a service");
        let route = if self.n_measured_routes < self.config.max_measured_routes
            || service.measures(placement.container, series.index.route)
        {
            series.index.route
        } else {
            RouteIndex::OTHER
        };
        let place = (placement.container, route, series.total);
        self.n_measured_routes += service.record(place, &request, &facts, open);
        let finished = anchor.unix(request.timings.finished);
        service.last_request = service.last_request.max(Some(finished));
        service
            .exemplars
            .offer(&series.key, &request, &facts, anchor);

        self.stats.n_requests += 1;
        self.recent.push(FinishedRequest {
            number: self.stats.n_requests,
            service: Arc::clone(&series.key.service),
            container: Arc::clone(&series.key.container),
            route: Arc::clone(&series.key.route),
            arrived: request.timings.arrived.map(|at| anchor.unix(at)),
            started: anchor.unix(request.timings.request_start),
            finished,
            record: request,
        });
    }

    fn record_inner(
        &mut self,
        placement: Placement,
        open: u64,
        request: RequestRecord,
        anchor: TimeAnchor,
    ) {
        let service = self.services[placement.service as usize]
            .as_mut()
            .expect("a placement names a service");
        service.record_inner(placement.container, &request, open);
        let proof = Proof::of(request.status);
        let route = service.routes.resolve(&request.path, proof);
        self.n_inner += 1;
        self.recent_inner.push(FinishedRequest {
            number: self.n_inner,
            service: Arc::clone(&service.name),
            container: Arc::clone(&service.container(placement.container as usize).name),
            route: Arc::clone(service.routes.name(route)),
            arrived: request.timings.arrived.map(|at| anchor.unix(at)),
            started: anchor.unix(request.timings.request_start),
            finished: anchor.unix(request.timings.finished),
            record: request,
        });
    }

    fn of_services<'a, T, I: Iterator<Item = T>>(
        &'a self,
        part: impl Fn(&'a Service) -> I,
    ) -> Vec<T> {
        self.services.iter().flatten().flat_map(part).collect()
    }

    fn open_at(&mut self, now: UnixNs) -> Open {
        let second = now.seconds();
        *self.open.get_or_insert(Open {
            second,
            since: second,
        })
    }

    fn close(&mut self, second: u64) -> Vec<Rollup> {
        let start = start_of(second);
        let mut rollups = Vec::with_capacity(self.touched.len());
        for index in self.touched.drain(..) {
            let series = self.series[index as usize]
                .as_mut()
                .expect("a touched series is kept");
            rollups.push(Rollup {
                key: series.key.clone(),
                start,
                width: Duration::from_secs(1),
                figures: std::mem::take(&mut series.window),
            });
        }
        rollups.sort_unstable_by(|a, b| {
            let name = |key: &SeriesKey| (key.method, key.status, key.outcome);
            (a.key.service.cmp(&b.key.service))
                .then_with(|| a.key.route.cmp(&b.key.route))
                .then_with(|| a.key.method.cmp(&b.key.method))
                .then_with(|| a.key.container.cmp(&b.key.container))
                .then_with(|| name(&a.key).cmp(&name(&b.key)))
        });
        for group in rollups.chunk_by(|a, b| a.key.service == b.key.service) {
            let Some(&at) = self.service_names.get(&group[0].key.service) else {
                continue;
            };
            if let Some(service) = &mut self.services[at as usize] {
                service.live.push(second, group);
                service.pulse.push(second, group);
                let n_requests = group.iter().map(|rollup| rollup.figures.n_requests).sum();
                service.sparkline.add(second, n_requests);
            }
        }
        for inner in self.inner_hops() {
            inner.close(second);
        }
        rollups
    }

    fn inner_hops(&mut self) -> impl Iterator<Item = &mut InnerHops> {
        self.services
            .iter_mut()
            .flatten()
            .filter_map(|service| service.inner.as_deref_mut())
    }

    fn advance(&mut self, open: Open) {
        let before = self.open.replace(open);
        if before.is_some_and(|before| before.second / 60 != open.second / 60) {
            self.close_minute();
        }
        let first = open.second.saturating_sub(self.config.window.as_secs());
        for service in self.services.iter_mut().flatten() {
            service.live.expire(first, open.second);
            service.pulse.look(open.second);
        }
        for inner in self.inner_hops() {
            inner.expire(first, open.second);
        }
        if open.second >= self.next_sweep {
            self.next_sweep = open.second + SWEEP_SECONDS;
            self.forget(open.second);
            self.forget_old_ids();
        }
    }

    fn service_mut(&mut self, placement: Placement) -> &mut Service {
        self.services[placement.service as usize]
            .as_mut()
            .expect("a placement names a service")
    }

    fn series_of(&mut self, placement: Placement, request: &RequestRecord) -> u32 {
        let service = self.services[placement.service as usize]
            .as_mut()
            .expect("a placement names a service");
        let route = service
            .routes
            .resolve(&request.path, Proof::of(request.status));
        let index = SeriesIndex {
            service: placement.service,
            container: placement.container,
            route,
            method: request.method,
            status: request.status,
            outcome: request.outcome,
        };
        self.series_at(index)
    }

    /// The series of that name, or the one that it is counted under where there
    /// are too many.
    fn series_at(&mut self, index: SeriesIndex) -> u32 {
        if let Some(&known) = self.series_index.get(&index) {
            return known;
        }
        let service = self.services[index.service as usize]
            .as_mut()
            .expect("a placement names a service");
        if self.n_own_series < self.config.max_series
            && service.n_series < self.config.max_series_of_service
        {
            service.n_series += 1;
            self.n_own_series += 1;
            return self.add_series(index, Budget::Own);
        }
        self.stats.n_requests_overflowed += 1;
        let other = SeriesIndex {
            route: RouteIndex::OTHER,
            ..index
        };
        if let Some(&known) = self.series_index.get(&other) {
            return known;
        }
        if service.n_overflow_series < MAX_OVERFLOW_SERIES {
            service.n_overflow_series += 1;
            return self.add_series(other, Budget::Overflow);
        }
        // Five a container at most: one an outcome.
        let last = SeriesIndex {
            method: None,
            status: None,
            ..other
        };
        match self.series_index.get(&last) {
            Some(&known) => known,
            None => self.add_series(last, Budget::Last),
        }
    }

    fn add_series(&mut self, index: SeriesIndex, budget: Budget) -> u32 {
        let service = self.services[index.service as usize]
            .as_mut()
            .expect("the caller found the service");
        let key = SeriesKey {
            service: Arc::clone(&service.name),
            container: Arc::clone(&service.container(index.container as usize).name),
            method: index.method,
            route: Arc::clone(service.routes.name(index.route)),
            status: index.status,
            outcome: index.outcome,
        };
        let total = service.total((index.route, index.method, index.status, index.outcome));
        let series = Some(Series::new(index, budget, key, total));
        let at = match self.free_series.pop() {
            Some(at) => {
                self.series[at as usize] = series;
                at
            }
            None => {
                self.series.push(series);
                u32::try_from(self.series.len() - 1).expect("series are bounded")
            }
        };
        self.series_index.insert(index, at);
        at
    }
}

fn start_of(second: u64) -> UnixNs {
    UnixNs(second.saturating_mul(NS_PER_SECOND))
}
