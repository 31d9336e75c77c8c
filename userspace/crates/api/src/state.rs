//! What the API is given to show.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::CaptureAccounting;
use modeltap_core::container::DockerState;
use modeltap_core::time::UnixNs;
use modeltap_metrics::{FinishedRequest, LiveSnapshot};
use modeltap_store::Reader;
use tokio::sync::{mpsc, oneshot, watch};

/// The daemon's own state, refreshed every second.
#[derive(Clone, Debug, Default)]
pub struct DaemonState {
    /// Kernel release.
    pub kernel: String,
    /// When the daemon started.
    pub started: UnixNs,
    /// When this was taken.
    pub at: UnixNs,
    /// Programs attached; `None` where a recording is shown, which needs none.
    pub n_programs: Option<u32>,
    /// What the kernel is too old to tell, and what it lacks for it.
    pub untold: Vec<(&'static str, String)>,
    /// Watched connections open now.
    pub n_connections: u64,
    /// What was seen and what was missed.
    pub accounting: CaptureAccounting,
    /// History.
    pub store: modeltap_store::Stats,
    /// The connection to Docker.
    pub docker: DockerState,
    /// Running containers that are watched.
    pub n_containers: u32,
    /// Running containers that a label leaves out.
    pub n_excluded: u32,
    /// Own processor time, user and system.
    pub cpu: Duration,
    /// Own share of one core over the last seconds.
    pub cpu_cores: f64,
    /// Own resident memory in bytes.
    pub memory_bytes: u64,
}

/// A question to the task that counts.
#[derive(Debug)]
pub enum Ask {
    /// The requests that finished last, newest first.
    Recent(oneshot::Sender<Vec<Arc<FinishedRequest>>>),
    /// The requests over UNIX sockets that finished last, newest first.
    RecentInner(oneshot::Sender<Vec<Arc<FinishedRequest>>>),
    /// Prometheus' text of everything.
    Metrics(oneshot::Sender<String>),
}

/// Where the API takes what it shows.
#[derive(Clone)]
pub struct Sources {
    /// The live view, replaced every second.
    pub live: watch::Receiver<Arc<LiveSnapshot>>,
    /// The daemon's state, replaced every second.
    pub daemon: watch::Receiver<Arc<DaemonState>>,
    /// The task that counts.
    pub asks: mpsc::Sender<Ask>,
    /// History; `None` in a replay without one.
    pub history: Option<Reader>,
}
