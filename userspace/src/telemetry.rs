//! The daemon's own state: what every part counted, gathered once a second.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use modeltap_api::state::{Confinement, DaemonState, Host, Spending};
use modeltap_capture::clock;
use modeltap_capture::control::Control;
use modeltap_capture::ring::DrainCounts;
use modeltap_core::accounting::{CaptureAccounting, CgroupCounts, ProgramCost};
use modeltap_core::alert::Alert;
use modeltap_core::connection::CgroupId;
use modeltap_core::container::DockerState;
use modeltap_core::time::{MonotonicNs, UnixNs};
use modeltap_core::totals::Totals;
use modeltap_export::notify::{NotifierStats, Notifiers};
use modeltap_export::{Exposition, HistoryState, Own, RowCounts};
use modeltap_metrics::{CgroupReport, reports};
use modeltap_protocol::Stats;
use tokio::sync::{Mutex, watch};

use crate::host;
use crate::pipeline::ParserReport;

/// Over how many of its own looks the processor time is averaged.
const CPU_WINDOW: usize = 5;
/// How often the programs' costs are read.
const PROGRAMS_EVERY: Duration = Duration::from_secs(15);

/// What the counting task knows of the whole.
#[derive(Clone, Debug)]
pub struct CounterState {
    /// Where the connection to Docker stands.
    pub docker: DockerState,
    /// Running containers that are watched.
    pub n_containers: usize,
    /// Running containers that a label leaves out.
    pub n_excluded: u32,
    /// Docker's version; empty before it was told.
    pub engine: String,
    /// Requests seen whole, and not.
    pub n_complete: u64,
    /// Requests of which something was missed.
    pub n_incomplete: u64,
}

/// Gathers the daemon's state.
pub struct Telemetry {
    /// Counts of the kernel; `None` in a replay.
    pub kernel: Option<(Arc<Mutex<Control>>, Arc<DrainCounts>, u32)>,
    /// What the kernel is too old to tell, and what it lacks for it.
    pub untold: Vec<(&'static str, String)>,
    /// How far the daemon is confined; `None` in a replay.
    pub confinement: Option<Confinement>,
    /// What the daemon costs and leaves out; `None` in a replay.
    pub spending: Option<watch::Receiver<Spending>>,
    /// Who tells of alerts; `None` in a replay.
    pub notifiers: Option<Notifiers>,
    parser: watch::Receiver<ParserReport>,
    history: modeltap_store::Reader,
    started: UnixNs,
    release: String,
    host: Host,
    /// What the programs cost so far, and when that was read.
    programs: (Option<MonotonicNs>, Arc<[ProgramCost]>),
    cpu: Vec<(MonotonicNs, Duration)>,
}

impl Telemetry {
    /// Telemetry of a daemon that starts now.
    pub fn new(parser: watch::Receiver<ParserReport>, history: modeltap_store::Reader) -> Self {
        Self {
            kernel: None,
            untold: Vec::new(),
            confinement: None,
            spending: None,
            notifiers: None,
            parser,
            history,
            started: clock::anchor().unix,
            release: kernel_release(),
            host: host::read(),
            programs: (None, Arc::default()),
            cpu: Vec::new(),
        }
    }

    /// Reads everything that counts.
    pub async fn gather(&mut self, counter: &CounterState) -> DaemonState {
        let parser = self.parser.borrow().stats;
        let accounting = self.account(&parser, counter).await;
        let programs = self.programs().await;
        DaemonState {
            kernel: self.release.clone(),
            host: self.host.clone(),
            programs,
            engine: counter.engine.clone(),
            started: self.started,
            at: clock::anchor().unix,
            n_programs: self.kernel.as_ref().map(|(_, _, n_programs)| *n_programs),
            untold: self.untold.clone(),
            n_connections: parser.n_connections,
            accounting,
            store: self.history.stats(),
            docker: counter.docker.clone(),
            n_containers: u32::try_from(counter.n_containers).unwrap_or(u32::MAX),
            n_excluded: counter.n_excluded,
            cpu: clock::process_cpu(),
            cpu_cores: self.cpu_cores(),
            memory_bytes: resident_bytes(),
            confinement: self.confinement.clone(),
            spending: self.spending.as_ref().map(|spending| *spending.borrow()),
        }
    }

    /// Everything that is counted by watched cgroup, and the bytes that the
    /// daemon's queues dropped of all of them. The one place where these
    /// inputs meet.
    pub async fn reports(&self) -> (Vec<CgroupReport>, u64) {
        let mut kernel: Vec<(CgroupId, CgroupCounts)> = Vec::new();
        let mut unseen: Vec<(CgroupId, u64)> = Vec::new();
        let mut bytes_dropped = 0;
        if let Some((control, drain, _)) = &self.kernel {
            let control = control.lock().await;
            kernel.extend(control.cgroup_counts());
            unseen.extend(control.unseen());
            bytes_dropped = drain.bytes_dropped.load(Ordering::Relaxed);
        }
        let parser = self.parser.borrow().by_cgroup.clone();
        (reports(kernel, parser, unseen), bytes_dropped)
    }

    /// What each program cost, as of a quarter of a minute ago at most: the
    /// kernel measures them for a moment each minute.
    async fn programs(&mut self) -> Arc<[ProgramCost]> {
        let (read, programs) = &mut self.programs;
        let now = clock::monotonic();
        let is_old = read.is_none_or(|read| now.since(read) >= PROGRAMS_EVERY);
        if let Some((control, _, _)) = self.kernel.as_ref().filter(|_| is_old) {
            *read = Some(now);
            let costs = control.lock().await.program_costs();
            *programs = costs.into();
        }
        programs.clone()
    }

    async fn account(&self, parser: &Stats, counter: &CounterState) -> CaptureAccounting {
        let mut accounting = CaptureAccounting {
            events_observed: parser.n_events,
            bytes_observed: parser.bytes_observed,
            // Bytes of heads that are not whole yet are on their way.
            bytes_parsed: parser.bytes_parsed + parser.bytes_buffered,
            bytes_skipped: parser.bytes_skipped,
            bytes_truncated: parser.bytes_truncated,
            requests_complete: counter.n_complete,
            requests_incomplete: counter.n_incomplete,
            ..CaptureAccounting::default()
        };
        if let Some((control, drain, _)) = &self.kernel {
            let kernel = control.lock().await.counts();
            accounting.events_observed =
                kernel.events_submitted + kernel.events_lost + kernel.events_left_out;
            accounting.events_left_out = kernel.events_left_out;
            accounting.events_lost = kernel.events_lost;
            accounting.events_dropped = drain.events_dropped.load(Ordering::Relaxed);
            accounting.events_undecoded = drain.events_undecoded.load(Ordering::Relaxed);
            accounting.bytes_observed =
                kernel.bytes_submitted + kernel.bytes_lost + kernel.bytes_left_out;
            accounting.bytes_left_out = kernel.bytes_left_out;
            accounting.bytes_lost = kernel.bytes_lost;
            accounting.bytes_dropped = drain.bytes_dropped.load(Ordering::Relaxed);
            accounting.connections_untracked = kernel.connections_untracked;
            accounting.probe_runs_skipped = kernel.runs_skipped;
        }
        accounting
    }

    fn cpu_cores(&mut self) -> f64 {
        let now = (clock::monotonic(), clock::process_cpu());
        if self.cpu.len() > CPU_WINDOW {
            self.cpu.remove(0);
        }
        self.cpu.push(now);
        let (then, used) = self.cpu[0];
        let wall = now.0.since(then).as_secs_f64();
        if wall > 0.0 {
            now.1.saturating_sub(used).as_secs_f64() / wall
        } else {
            0.0
        }
    }
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches(" kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kilobytes| kilobytes * 1024)
}

/// Prometheus' text of everything.
pub fn render(
    totals: &Totals,
    daemon: &DaemonState,
    notifiers: &[NotifierStats],
    alerts: &[Alert],
) -> String {
    let own = Own {
        version: env!("CARGO_PKG_VERSION"),
        cpu_seconds: daemon.cpu.as_secs_f64(),
        resident_bytes: daemon.memory_bytes,
        n_connections: daemon.n_connections,
        n_containers: daemon.n_containers,
        docker_connected: daemon.docker == DockerState::Connected,
        probes_cores: daemon
            .spending
            .map_or(0.0, |spending| spending.probes_cores),
        reduction: daemon.spending.map_or(0, |spending| spending.step),
    };
    modeltap_export::render(&Exposition {
        totals,
        accounting: &daemon.accounting,
        own,
        history: &history(&daemon.store),
        notifiers,
        alerts,
    })
}

fn history(store: &modeltap_store::Stats) -> HistoryState {
    let kinds = store.written.by_kind().into_iter();
    let rows = kinds.zip(store.dropped.by_kind());
    let rows = rows.map(|((kind, written), (_, dropped))| RowCounts {
        kind,
        written,
        dropped,
    });
    HistoryState {
        rows: rows.collect(),
        write_failures: store.write_failures,
        size_bytes: store.size_bytes,
        used_bytes: store.used_bytes,
        n_reclaimed: store.n_reclaimed,
        given_up_before: store.given_up_before,
        n_waiting: store.n_waiting,
        waiting_for: store.waiting_for,
        n_lost_by_disk: store.n_lost_by_disk,
        n_written_again: store.n_written_again,
    }
}
