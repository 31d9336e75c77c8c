//! Proves on the user's own host that what modeltap tells is exact.
//!
//! A server of our own runs in a cgroup of our own, watched by probes of our
//! own: a daemon beside it sees nothing of it. It is sent a known load in every
//! situation of [`script::Situation`], and each request is compared with what
//! its client saw and with the times that the server took around its calls.
//!
//! Invariant: nothing is left behind, also where the run fails or is
//! interrupted.

mod client;
mod compare;
mod ground;
mod report;
mod script;
mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use modeltap_capture::loader::{self, Probes};
use modeltap_capture::ring::{self, DrainCounts};
use modeltap_core::accounting::CaptureAccounting;
use modeltap_core::connection::CaptureEvent;
use modeltap_core::record::RequestRecord;
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::ConnectionTable;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, interval, sleep_until};

use crate::config::Config;
use crate::verify::compare::{Counts, compare};
use crate::verify::ground::{Cgroup, Server};
pub use crate::verify::report::Found;
pub use crate::verify::server::serve;

/// Batches of events between the drain and the table.
const EVENT_BATCHES: usize = 1_024;
/// How often the table is told the time.
const TICK: Duration = Duration::from_millis(50);
/// How long events may lie in the ring and the channel.
const EVENT_LAG: Duration = Duration::from_millis(100);
/// How long after the last event something may still be told: longer than the
/// table waits for what the end of a connection overtook.
const SETTLE: Duration = Duration::from_millis(750);

/// Sends about `n_requests` and compares them; ends early at `stop`.
///
/// # Errors
/// The host lacks something, a part of the verification itself broke, or it
/// was interrupted. Requests that were told wrongly are no error here.
pub async fn run(
    config: &Config,
    n_requests: u32,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<Found> {
    loader::check()?;
    // Dropped in the other order: the server ends before its cgroup.
    let cgroup = Cgroup::create()?;
    let server = Server::start(&cgroup)?;
    let mut probes = Probes::load(&loader::Config {
        ring_bytes: config.ring_bytes,
        ..loader::Config::default()
    })?;
    probes.forward_logs();
    let control = Arc::new(Mutex::new(probes.take_control()?));
    control
        .lock()
        .await
        .watch(cgroup.id())
        .context("cannot watch the server's cgroup")?;
    let counts = Arc::new(DrainCounts::default());
    let (sender, events) = mpsc::channel(EVENT_BATCHES);
    let drain = tokio::spawn(ring::drain(
        probes.take_ring()?,
        control.clone(),
        sender,
        counts.clone(),
    ));

    let address = server.address();
    let load = tokio::task::spawn_blocking(move || client::run(address, n_requests));
    let mut seen = Seen::new(events);
    let rows = tokio::select! {
        rows = seen.follow_until(load) => rows??,
        // The server ends with this function, and the client with the server.
        () = stop => bail!("interrupted"),
    };
    let notes = tokio::task::spawn_blocking(move || server.finish());
    let notes = seen.follow_until(notes).await??;
    seen.settle().await;
    drain.abort();
    let control = control.lock().await;
    let accounting = account(&control.counts(), &counts, &seen.table);
    let counted = control.cgroup_counts();
    let counted = counted.iter().find(|(id, _)| *id == cgroup.id());
    let counted = counted.map(|(_, counts)| Counts {
        n_requests: counts.n_requests,
        n_responses: counts.n_responses,
    });
    Ok(Found {
        comparison: compare(&rows, &notes, &seen.records),
        accounting,
        counted: counted.unwrap_or_default(),
        to_count: Counts::of_truth(&rows, &notes),
    })
}

/// What the probes told, turned into requests.
struct Seen {
    events: mpsc::Receiver<Vec<CaptureEvent>>,
    table: ConnectionTable,
    records: Vec<RequestRecord>,
}

impl Seen {
    fn new(events: mpsc::Receiver<Vec<CaptureEvent>>) -> Self {
        Self {
            events,
            table: ConnectionTable::new(modeltap_protocol::Config::default()),
            records: Vec::new(),
        }
    }

    /// Takes events until `end` is ready.
    async fn follow_until<T>(&mut self, end: impl Future<Output = T>) -> T {
        tokio::pin!(end);
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                value = &mut end => return value,
                Some(batch) = self.events.recv() => self.take(&batch),
                _ = tick.tick() => self.pass_time(),
            }
        }
    }

    /// Takes events until none came for a while.
    async fn settle(&mut self) {
        let mut quiet = Instant::now() + SETTLE;
        loop {
            tokio::select! {
                Some(batch) = self.events.recv() => {
                    self.take(&batch);
                    quiet = Instant::now() + SETTLE;
                }
                () = sleep_until(quiet) => break,
            }
        }
        self.pass_time();
        self.table.handle_timeout(MonotonicNs(u64::MAX));
        self.collect();
    }

    fn take(&mut self, batch: &[CaptureEvent]) {
        for event in batch {
            self.table.handle(event);
        }
        self.collect();
    }

    fn pass_time(&mut self) {
        if self.events.is_empty() {
            let lag = u64::try_from(EVENT_LAG.as_nanos()).unwrap_or(u64::MAX);
            let now = modeltap_capture::clock::monotonic();
            self.table
                .handle_timeout(MonotonicNs(now.0.saturating_sub(lag)));
            self.collect();
        }
    }

    fn collect(&mut self) {
        self.records
            .extend(std::iter::from_fn(|| self.table.poll_record()));
    }
}

fn account(
    kernel: &modeltap_capture::control::KernelCounts,
    drain: &DrainCounts,
    table: &ConnectionTable,
) -> CaptureAccounting {
    let parser = table.stats();
    CaptureAccounting {
        events_observed: kernel.events_submitted + kernel.events_lost,
        events_lost: kernel.events_lost,
        events_dropped: drain.events_dropped.load(Ordering::Relaxed),
        events_undecoded: drain.events_undecoded.load(Ordering::Relaxed),
        bytes_observed: kernel.bytes_submitted + kernel.bytes_lost,
        bytes_parsed: parser.bytes_parsed + parser.bytes_buffered,
        bytes_skipped: parser.bytes_skipped,
        bytes_truncated: parser.bytes_truncated,
        bytes_lost: kernel.bytes_lost,
        bytes_dropped: drain.bytes_dropped.load(Ordering::Relaxed),
        connections_untracked: kernel.connections_untracked,
        probe_runs_skipped: kernel.runs_skipped,
        requests_complete: parser.n_requests_complete,
        requests_incomplete: parser.n_requests_incomplete,
        ..CaptureAccounting::default()
    }
}
