//! The two tasks between capture and everything that shows figures: the
//! tracker turns events into requests, the aggregator counts them.
//!
//! Channels are bounded. The aggregator may make the tracker wait and the
//! tracker the drain; only the drain drops, and it counts what it drops.

use std::time::Duration;

use modeltap_capture::clock;
use modeltap_core::connection::{CaptureEvent, CgroupId};
use modeltap_core::container::{Container, ContainerId, DockerState, ServiceName};
use modeltap_core::record::{Completeness, RequestRecord};
use modeltap_core::rollup::Rollup;
use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};
use modeltap_discovery::{Directory, DiscoveryEvent};
use modeltap_metrics::{Aggregator, LiveSnapshot};
use modeltap_protocol::{ConnectionTable, Stats};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::recorder::Tap;
use crate::telemetry::CounterState;

/// How often connections are looked at for what time decides.
const TIMEOUT_INTERVAL: Duration = Duration::from_millis(100);
/// Events may lie in the ring and in the queue for this long, so time that
/// decides something runs this much late.
const EVENT_LAG: Duration = Duration::from_millis(100);
/// How often the tracker tells how many requests are in progress.
const ACTIVE_INTERVAL: u32 = 5;

/// What the aggregator is told.
#[derive(Debug)]
pub enum Input {
    /// Requests finished.
    Records(Vec<RequestRecord>),
    /// Requests in progress, by cgroup.
    Active(Vec<(CgroupId, u64)>),
    /// A container came, changed or went.
    Discovery(DiscoveryEvent),
}

/// Turns events into finished requests.
pub struct Tracker {
    table: ConnectionTable,
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
            recorder,
            newest_event: MonotonicNs(0),
        }
    }

    /// Takes events and gives the requests that they finished.
    pub fn handle(&mut self, events: &[CaptureEvent]) -> Vec<RequestRecord> {
        for event in events {
            self.newest_event = self.newest_event.max(event.at());
            self.table.handle(event);
            if let Some(recorder) = &self.recorder {
                recorder.event(event, self.table.contents());
            }
        }
        self.finished()
    }

    /// Takes the time and gives the requests that it ended.
    pub fn handle_timeout(&mut self, now: MonotonicNs) -> Vec<RequestRecord> {
        self.table.handle_timeout(now);
        self.finished()
    }

    /// What the parser counted.
    pub fn stats(&self) -> Stats {
        self.table.stats()
    }

    fn finished(&mut self) -> Vec<RequestRecord> {
        std::iter::from_fn(|| self.table.poll_record()).collect()
    }

    /// Runs until no more events come.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Vec<CaptureEvent>>,
        inputs: mpsc::Sender<Input>,
        stats: watch::Sender<Stats>,
    ) {
        let mut timer = interval(TIMEOUT_INTERVAL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut n_ticks = 0_u32;
        loop {
            let records = tokio::select! {
                batch = events.recv() => match batch {
                    Some(batch) => self.handle(&batch),
                    None => break,
                },
                _ = timer.tick() => {
                    n_ticks = n_ticks.wrapping_add(1);
                    if n_ticks.is_multiple_of(ACTIVE_INTERVAL) {
                        stats.send_replace(self.stats());
                        let active = Input::Active(self.table.active().collect());
                        if inputs.send(active).await.is_err() {
                            break;
                        }
                    }
                    self.handle_timeout(self.now(events.is_empty()))
                }
            };
            if !records.is_empty() && inputs.send(Input::Records(records)).await.is_err() {
                break;
            }
        }
        stats.send_replace(self.stats());
    }

    /// The time up to which every event has been seen.
    fn now(&self, queue_is_empty: bool) -> MonotonicNs {
        if queue_is_empty {
            let lag = u64::try_from(EVENT_LAG.as_nanos()).unwrap_or(u64::MAX);
            MonotonicNs(clock::monotonic().0.saturating_sub(lag)).max(self.newest_event)
        } else {
            self.newest_event
        }
    }
}

/// Counts requests and knows whose they are.
pub struct Counter {
    aggregator: Aggregator,
    directory: Directory,
    docker: DockerState,
    n_excluded: u32,
    n_complete: u64,
    n_incomplete: u64,
    unknown: Container,
}

impl Counter {
    /// A counter that has seen nothing.
    pub fn new() -> Self {
        Self {
            aggregator: Aggregator::new(modeltap_metrics::Config::default()),
            directory: Directory::new(),
            docker: DockerState::Connecting,
            n_excluded: 0,
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
            },
        }
    }

    /// Takes what happened; `anchor` tells wall time.
    pub fn handle(&mut self, input: Input, anchor: TimeAnchor) {
        match input {
            Input::Records(records) => {
                for record in records {
                    self.record(record, anchor);
                }
            }
            Input::Active(active) => self.aggregator.set_active(active),
            Input::Discovery(event) => self.discovered(event),
        }
    }

    /// Closes the second that is over and gives its rollups.
    pub fn tick(&mut self, now: UnixNs) -> Vec<Rollup> {
        self.aggregator.tick(now)
    }

    /// Closes the second that is not over: the daemon ends.
    pub fn finish(&mut self) -> Vec<Rollup> {
        self.aggregator.finish()
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
            n_complete: self.n_complete,
            n_incomplete: self.n_incomplete,
        }
    }

    /// The counting core, to be asked.
    pub fn aggregator(&self) -> &Aggregator {
        &self.aggregator
    }

    fn record(&mut self, record: RequestRecord, anchor: TimeAnchor) {
        match record.completeness {
            Completeness::Whole => self.n_complete += 1,
            Completeness::Truncated | Completeness::Gap => self.n_incomplete += 1,
        }
        let container = self
            .directory
            .container(record.cgroup)
            .map_or(&self.unknown, |found| found);
        self.aggregator.record(record, container, anchor);
    }

    fn discovered(&mut self, event: DiscoveryEvent) {
        self.directory.apply(&event);
        match event {
            DiscoveryEvent::Upsert(container) => self.aggregator.upsert_container(&container),
            DiscoveryEvent::Removed { id, .. } => self.aggregator.remove_container(&id),
            DiscoveryEvent::Excluded(n_excluded) => self.n_excluded = n_excluded,
            DiscoveryEvent::State(state) => self.docker = state,
        }
    }
}

/// Waits for the next whole second of the wall clock.
pub async fn next_second() {
    let into = clock::anchor().unix.0 % 1_000_000_000;
    sleep(Duration::from_nanos(1_000_000_000 - into)).await;
}
