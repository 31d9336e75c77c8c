//! The two tasks between capture and everything that shows figures: the
//! tracker turns events into requests, the aggregator counts them.
//!
//! Channels are bounded. The aggregator may make the tracker wait and the
//! tracker the drain; only the drain drops, and it counts what it drops.

mod so_far;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use modeltap_capture::clock;
use modeltap_core::accounting::{CgroupCounts, InProgress, ParserCounts};
use modeltap_core::connection::{CaptureEvent, CgroupId, Transport};
use modeltap_core::container::{
    Container, ContainerId, DockerState, Inspect, Lifecycle, ServiceName, Slo,
};
use modeltap_core::history::Batch;
use modeltap_core::record::{Completeness, RequestRecord, SessionRecord};
use modeltap_core::resource::ResourceReading;
use modeltap_core::rollup::Rollup;
use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};
use modeltap_core::timeline::TimelineEvent;
use modeltap_discovery::{Directory, DiscoveryEvent};
use modeltap_metrics::{Aggregator, CgroupReport, LiveSnapshot};
use modeltap_protocol::{ConnectionTable, Stats};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use self::so_far::keep_interval;
use crate::recorder::Tap;
use crate::telemetry::CounterState;

/// How often connections are looked at for what time decides.
const TIMEOUT_INTERVAL: Duration = Duration::from_millis(100);
/// Events may lie in the ring and in the queue for this long, so time that
/// decides something runs this much late.
const EVENT_LAG: Duration = Duration::from_millis(100);
/// Time between two looks after which this process is taken to have been held
/// (stopped, or without a processor): the ring may hold events as old, and no
/// time of now decides anything before they were seen.
const HELD_AFTER: Duration = Duration::from_millis(500);
/// How often the tracker tells how many requests are in progress.
const ACTIVE_INTERVAL: u32 = 5;
/// How long what was counted of a cgroup outlives its container: its last
/// events are on their way, and the last counts have to be read.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// Most that may happen to containers in a second and be kept: a thousand of
/// them may restart at once.
pub const MAX_EVENTS: usize = 4_096;

/// What the aggregator is told.
#[derive(Debug)]
pub enum Input {
    /// Requests finished, or upgraded connections ended.
    Finished(Finished),
    /// What is under way, by cgroup.
    InProgress(Vec<(CgroupId, InProgress)>),
    /// A container came, changed or went.
    Discovery(DiscoveryEvent),
    /// What the probes counted of a cgroup that is watched no longer.
    LastCounts(CgroupId, CgroupCounts),
    /// What watched containers use.
    Resources(Vec<ResourceReading>),
}

/// What came to its end.
#[derive(Debug, Default)]
pub struct Finished {
    /// Requests.
    pub records: Vec<RequestRecord>,
    /// Upgraded connections.
    pub sessions: Vec<SessionRecord>,
}

impl Finished {
    /// Whether nothing did.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.sessions.is_empty()
    }

    /// Adds what ended later.
    pub fn extend(&mut self, later: Self) {
        self.records.extend(later.records);
        self.sessions.extend(later.sessions);
    }
}

/// What the parser counted.
#[derive(Clone, Debug, Default)]
pub struct ParserReport {
    /// In all.
    pub stats: Stats,
    /// By watched cgroup.
    pub by_cgroup: Vec<(CgroupId, ParserCounts)>,
}

/// Every watched cgroup, with what may be read of its bodies. Only the newest
/// is of interest, so that telling it never waits.
pub type Permissions = Arc<HashMap<CgroupId, Inspect>>;

/// Turns events into finished requests.
pub struct Tracker {
    table: ConnectionTable,
    /// What the table was told.
    permitted: Permissions,
    /// Cgroups of containers that are gone, with the time to forget them, in
    /// the order of that.
    leaving: VecDeque<(MonotonicNs, CgroupId)>,
    recorder: Option<Tap>,
    newest_event: MonotonicNs,
}

impl Tracker {
    /// A tracker that has seen nothing; `recorder` gets every event too.
    pub fn new(recorder: Option<Tap>) -> Self {
        Self {
            table: ConnectionTable::new(modeltap_protocol::Config {
                tell_contents: recorder.is_some(),
                ..modeltap_protocol::Config::default()
            }),
            permitted: Permissions::default(),
            leaving: VecDeque::new(),
            recorder,
            newest_event: MonotonicNs(0),
        }
    }

    /// Takes events and gives what they finished.
    pub fn handle(&mut self, events: &[CaptureEvent]) -> Finished {
        for event in events {
            self.newest_event = self.newest_event.max(event.at());
            self.table.handle(event);
            if let Some(recorder) = &self.recorder {
                recorder.event(event, self.table.contents());
            }
        }
        self.finished()
    }

    /// Takes the time and gives what it ended.
    pub fn handle_timeout(&mut self, now: MonotonicNs) -> Finished {
        self.table.handle_timeout(now);
        self.finished()
    }

    /// What the parser counted.
    pub fn report(&self) -> ParserReport {
        ParserReport {
            stats: self.table.stats(),
            by_cgroup: self.table.counts().collect(),
        }
    }

    fn finished(&mut self) -> Finished {
        Finished {
            records: std::iter::from_fn(|| self.table.poll_record()).collect(),
            sessions: std::iter::from_fn(|| self.table.poll_session()).collect(),
        }
    }

    /// Tells the table whose bodies it may look at from now on, and notes which
    /// cgroups are gone at `now`.
    fn permit(&mut self, permissions: Permissions, now: MonotonicNs) {
        for (cgroup, change) in changes(&self.permitted, &permissions) {
            match change {
                Change::Inspect(inspect) => self.table.inspect(cgroup, inspect),
                Change::Gone => self.leaving.push_back((now.after(FORGET_AFTER), cgroup)),
            }
        }
        self.permitted = permissions;
    }

    /// Forgets cgroups whose time has come and that did not come back.
    fn forget(&mut self, now: MonotonicNs) {
        while let Some((_, cgroup)) = self.leaving.pop_front_if(|(at, _)| *at <= now) {
            if !self.permitted.contains_key(&cgroup) {
                self.table.forget(cgroup);
            }
        }
    }

    /// Runs until no more events come.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Vec<CaptureEvent>>,
        mut permissions: watch::Receiver<Permissions>,
        inputs: mpsc::Sender<Input>,
        reports: watch::Sender<ParserReport>,
    ) {
        let mut timer = interval(TIMEOUT_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut n_ticks = 0_u32;
        let mut ticked = clock::monotonic();
        loop {
            let finished = tokio::select! {
                Ok(()) = permissions.changed() => {
                    let newest = permissions.borrow_and_update().clone();
                    self.permit(newest, clock::monotonic());
                    continue;
                }
                batch = events.recv() => match batch {
                    Some(batch) => self.handle(&batch),
                    None => break,
                },
                _ = timer.tick() => {
                    n_ticks = n_ticks.wrapping_add(1);
                    self.forget(clock::monotonic());
                    if n_ticks.is_multiple_of(ACTIVE_INTERVAL) {
                        reports.send_replace(self.report());
                        let under_way = Input::InProgress(self.table.in_progress().collect());
                        if inputs.send(under_way).await.is_err() {
                            break;
                        }
                    }
                    let since = clock::monotonic().since(ticked);
                    ticked = clock::monotonic();
                    self.handle_timeout(self.now(events.is_empty(), since))
                }
            };
            if !finished.is_empty() && inputs.send(Input::Finished(finished)).await.is_err() {
                break;
            }
        }
        reports.send_replace(self.report());
    }

    /// The time up to which every event has been seen; `since` is the time from
    /// the last look to this one.
    fn now(&self, queue_is_empty: bool, since: Duration) -> MonotonicNs {
        if queue_is_empty && since < HELD_AFTER {
            let lag = u64::try_from(EVENT_LAG.as_nanos()).unwrap_or(u64::MAX);
            MonotonicNs(clock::monotonic().0.saturating_sub(lag)).max(self.newest_event)
        } else {
            self.newest_event
        }
    }
}

/// What the connection table has to be told of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Bodies may be looked at, or no longer.
    Inspect(bool),
    /// Nothing more comes of it.
    Gone,
}

/// What differs between what was told and what holds now.
fn changes(told: &Permissions, now: &Permissions) -> Vec<(CgroupId, Change)> {
    let allows = |permissions: &Permissions, cgroup: &CgroupId| {
        permissions
            .get(cgroup)
            .is_some_and(|inspect| !inspect.is_nothing())
    };
    let gone = told.keys().filter(|cgroup| !now.contains_key(cgroup));
    let changed = now
        .keys()
        .filter(|cgroup| allows(told, cgroup) != allows(now, cgroup));
    gone.map(|cgroup| (*cgroup, Change::Gone))
        .chain(changed.map(|cgroup| (*cgroup, Change::Inspect(allows(now, cgroup)))))
        .collect()
}

/// Takes out of a request what may not be read of its container's bodies: the
/// parser knows one permission for both fields. A model that the path names is
/// no secret of a body.
fn restrict(record: &mut RequestRecord, inspect: Inspect) {
    let Some(inference) = record.inference.as_deref_mut() else {
        return;
    };
    if !inspect.usage {
        (inference.input_tokens, inference.output_tokens) = (None, None);
    }
    if !inspect.model && inspect.usage {
        inference
            .model
            .take_if(|model| !record.path.contains(&**model));
    }
}

/// Counts requests and knows whose they are.
pub struct Counter {
    aggregator: Aggregator,
    directory: Directory,
    docker: DockerState,
    n_excluded: u32,
    engine: String,
    n_complete: u64,
    n_incomplete: u64,
    unknown: Container,
    /// What happened since the last tick.
    events: Vec<TimelineEvent>,
}

impl Counter {
    /// A counter that has seen nothing.
    pub fn new() -> Self {
        Self {
            aggregator: Aggregator::new(modeltap_metrics::Config::default()),
            directory: Directory::new(),
            docker: DockerState::Connecting,
            n_excluded: 0,
            engine: String::new(),
            n_complete: 0,
            n_incomplete: 0,
            unknown: Container {
                id: ContainerId(String::new()),
                name: "_unknown".to_owned(),
                service: ServiceName("_unknown".to_owned()),
                project: None,
                image: String::new(),
                cgroup: CgroupId(0),
                pid: 0,
                routes: Vec::new(),
                inspect: Inspect::default(),
                lifecycle: Lifecycle::default(),
                slo: Slo::default(),
            },
            events: Vec::new(),
        }
    }

    /// Takes what happened; `anchor` tells wall time.
    pub fn handle(&mut self, input: Input, anchor: TimeAnchor) {
        match input {
            Input::Finished(finished) => {
                for record in finished.records {
                    self.record(record, anchor);
                }
                for session in &finished.sessions {
                    let container = self.directory.container(session.cgroup);
                    let container = container.map_or(&self.unknown, |found| found);
                    self.aggregator.record_session(session, container, anchor);
                }
            }
            Input::InProgress(under_way) => self.aggregator.set_in_progress(under_way),
            Input::Discovery(event) => self.discovered(event),
            Input::LastCounts(cgroup, counts) => {
                let report = CgroupReport {
                    cgroup,
                    kernel: Some(counts),
                    parser: None,
                    unseen_bytes: None,
                };
                self.aggregator.set_accounts(&[report], 0);
            }
            Input::Resources(readings) => {
                let events = self.aggregator.set_resources(readings);
                self.note(events);
            }
        }
    }

    /// Takes what was counted by watched cgroup, and the bytes that the
    /// daemon's queues dropped of all of them.
    pub fn set_accounts(&mut self, reports: &[CgroupReport], bytes_dropped: u64) {
        self.aggregator.set_accounts(reports, bytes_dropped);
    }

    /// Closes the second that is over and gives what history keeps of it.
    pub fn tick(&mut self, now: UnixNs) -> Batch {
        let rollups = self.aggregator.tick(now);
        self.batch(rollups, now)
    }

    /// Closes the second that is not over: the daemon ends.
    pub fn finish(&mut self, now: UnixNs) -> Batch {
        let rollups = self.aggregator.finish();
        self.batch(rollups, now)
    }

    fn batch(&mut self, rollups: Vec<Rollup>, now: UnixNs) -> Batch {
        Batch {
            rollups,
            exemplars: self.aggregator.take_exemplars(),
            resources: self.aggregator.take_resources(now),
            events: std::mem::take(&mut self.events),
            ..Batch::default()
        }
    }

    /// Keeps what happened for the next tick.
    fn note(&mut self, events: Vec<TimelineEvent>) {
        let room = MAX_EVENTS.saturating_sub(self.events.len());
        if events.len() > room {
            tracing::error!(
                n_events = events.len() - room,
                "more happened in a second than history takes"
            );
        }
        self.events.extend(events.into_iter().take(room));
    }

    /// The live view.
    pub fn snapshot(&self) -> LiveSnapshot {
        self.aggregator.snapshot()
    }

    /// The counts that the daemon's state shows.
    pub fn state(&self) -> CounterState {
        CounterState {
            docker: self.docker.clone(),
            n_containers: self.directory.n_running(),
            n_excluded: self.n_excluded,
            engine: self.engine.clone(),
            n_complete: self.n_complete,
            n_incomplete: self.n_incomplete,
        }
    }

    /// The counting core, to be asked.
    pub fn aggregator(&self) -> &Aggregator {
        &self.aggregator
    }

    fn record(&mut self, mut record: RequestRecord, anchor: TimeAnchor) {
        match (record.transport, record.completeness) {
            // An inner hop is a request that was counted before.
            (Transport::Unix, _) => {}
            (Transport::Tcp, Completeness::Whole) => self.n_complete += 1,
            (Transport::Tcp, Completeness::Truncated | Completeness::Gap) => {
                self.n_incomplete += 1;
            }
        }
        let container = self
            .directory
            .container(record.cgroup)
            .map_or(&self.unknown, |found| found);
        restrict(&mut record, container.inspect);
        self.aggregator.record(record, container, anchor);
    }

    fn discovered(&mut self, event: DiscoveryEvent) {
        self.directory.apply(&event);
        match event {
            DiscoveryEvent::Upsert(container) => self.aggregator.upsert_container(&container),
            DiscoveryEvent::Removed { id, .. } => self.aggregator.remove_container(&id),
            DiscoveryEvent::Excluded(n_excluded) => self.n_excluded = n_excluded,
            DiscoveryEvent::Engine(version) => self.engine = version,
            DiscoveryEvent::State(state) => self.docker = state,
            DiscoveryEvent::Happened(event) => {
                if self.aggregator.happened(&event) {
                    self.note(vec![event]);
                }
            }
        }
    }
}

/// Waits for the next whole second of the wall clock.
pub async fn next_second() {
    let into = clock::anchor().unix.0 % 1_000_000_000;
    sleep(Duration::from_nanos(1_000_000_000 - into)).await;
}

#[cfg(test)]
mod tests {
    use modeltap_core::connection::ConnectionId;
    use modeltap_core::record::{Inference, Method, Operation, Outcome, Timings};

    use super::*;

    const MODEL: Inspect = Inspect {
        model: true,
        usage: false,
    };
    const USAGE: Inspect = Inspect {
        model: false,
        usage: true,
    };

    fn permissions<const N: usize>(all: [(u64, Inspect); N]) -> Permissions {
        let all = all.map(|(cgroup, inspect)| (CgroupId(cgroup), inspect));
        Arc::new(HashMap::from(all))
    }

    #[test]
    fn table_is_told_only_what_changed() {
        let told = permissions([(1, MODEL), (2, Inspect::default()), (3, USAGE), (4, USAGE)]);
        let now = permissions([(1, USAGE), (2, MODEL), (3, Inspect::default()), (5, MODEL)]);
        let mut changed = changes(&told, &now);
        changed.sort_by_key(|(cgroup, _)| *cgroup);
        let expected = [
            (2, Change::Inspect(true)),
            (3, Change::Inspect(false)),
            (4, Change::Gone),
            (5, Change::Inspect(true)),
        ];
        assert_eq!(
            changed,
            expected.map(|(cgroup, change)| (CgroupId(cgroup), change))
        );
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn time_that_passed_while_the_process_was_held_ends_nothing() {
        let mut tracker = Tracker::new(None);
        tracker.newest_event = MonotonicNs(5);
        let usual = TIMEOUT_INTERVAL;
        assert!(tracker.now(true, usual) > MonotonicNs(5));
        assert_eq!(tracker.now(false, usual), MonotonicNs(5));
        // The first look after it: nothing of that time was drained yet.
        assert_eq!(tracker.now(true, Duration::from_secs(10)), MonotonicNs(5));
    }

    #[test]
    fn cgroup_that_came_back_is_not_forgotten() {
        let mut tracker = Tracker::new(None);
        let at = |seconds| MonotonicNs(0).after(Duration::from_secs(seconds));
        tracker.permit(permissions([(1, MODEL), (2, MODEL)]), at(1));
        tracker.permit(permissions([]), at(2));
        tracker.permit(permissions([(2, MODEL)]), at(3));
        tracker.forget(at(6));
        assert_eq!(tracker.leaving.len(), 2);
        // The table keeps an account for a permission without connections.
        let known = |tracker: &Tracker| {
            let by_cgroup = tracker.report().by_cgroup;
            let mut known: Vec<u64> = by_cgroup.iter().map(|(cgroup, _)| cgroup.0).collect();
            known.sort_unstable();
            known
        };
        assert_eq!(known(&tracker), [1, 2]);
        tracker.forget(at(7));
        assert_eq!(known(&tracker), [2]);
        assert!(tracker.leaving.is_empty());
    }

    fn restricted(path: &str, inspect: Inspect) -> Inference {
        let at = MonotonicNs(1);
        let mut record = RequestRecord {
            connection: ConnectionId {
                socket: 1,
                opened: at,
            },
            sequence: 0,
            cgroup: CgroupId(1),
            transport: Transport::Tcp,
            peer: "10.0.0.2:1".parse().unwrap(),
            local: "10.0.0.1:80".parse().unwrap(),
            method: Some(Method::Post),
            path: path.to_owned(),
            http_minor: 1,
            status: Some(200),
            timings: Timings {
                arrived: None,
                accepted: None,
                request_start: at,
                request_end: None,
                response_start: None,
                body_start: None,
                response_end: None,
                drained: None,
                finished: at,
            },
            request_body_bytes: 0,
            response_body_bytes: 0,
            streamed: false,
            stream: None,
            inference: Some(Box::new(Inference {
                operation: Operation::Chat,
                model: Some("tiny".to_owned()),
                input_tokens: Some(3),
                output_tokens: Some(4),
            })),
            outcome: Outcome::Complete,
            completeness: Completeness::Whole,
        };
        restrict(&mut record, inspect);
        *record.inference.unwrap()
    }

    #[test]
    fn field_that_was_not_allowed_is_not_kept() {
        let of = |path: &str, inspect| {
            let found = restricted(path, inspect);
            (found.model.is_some(), found.output_tokens.is_some())
        };
        assert_eq!(of("/v1/chat/completions", MODEL.or(USAGE)), (true, true));
        assert_eq!(of("/v1/chat/completions", MODEL), (true, false));
        assert_eq!(of("/v1/chat/completions", USAGE), (false, true));
        assert_eq!(of("/v2/models/tiny/infer", USAGE), (true, true));
        assert_eq!(
            of("/v2/models/tiny/infer", Inspect::default()),
            (true, false)
        );
    }
}
