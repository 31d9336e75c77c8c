//! What the API is given to show.

use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{CaptureAccounting, ProgramCost};
use modeltap_core::alert::{AlertRule, Delivery, Silence};
use modeltap_core::container::DockerState;
use modeltap_core::time::UnixNs;
use modeltap_metrics::{FinishedRequest, LiveSnapshot};
use modeltap_store::Reader;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

/// The daemon's own state, refreshed every second.
#[derive(Clone, Debug, Default)]
pub struct DaemonState {
    /// Kernel release.
    pub kernel: String,
    /// The host.
    pub host: Host,
    /// What each program cost while the kernel measured it, the dearest first.
    pub programs: Arc<[ProgramCost]>,
    /// Docker's version; empty before it was told.
    pub engine: String,
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
    /// How far the daemon is confined; `None` where a recording is shown,
    /// which takes no privilege.
    pub confinement: Option<Confinement>,
    /// What it costs and leaves out; `None` where a recording is shown.
    pub spending: Option<Spending>,
}

impl DaemonState {
    /// Whether single requests are not kept, to stay within the budget.
    #[must_use]
    pub fn leaves_details_out(&self) -> bool {
        self.spending.is_some_and(|spending| spending.step > 0)
    }
}

/// The host that is watched; what it does not tell is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its Linux distribution.
    pub system: String,
    /// Architecture of its processors.
    pub architecture: String,
    /// Its processors.
    pub n_cpus: u32,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Version of its control groups.
    pub cgroups: String,
}

/// What the daemon costs and may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spending {
    /// Most that it may cost, in cores; infinite if there is no limit.
    pub max_cores: f64,
    /// What it and its probes cost over the last seconds, in cores.
    pub cores: f64,
    /// Of this, the probes, by the last measurement.
    pub probes_cores: f64,
    /// How much is left out: `full` is nothing.
    pub level: &'static str,
    /// The same in words.
    pub left_out: &'static str,
    /// The same as a number: 0 is nothing, 3 is all but counts.
    pub step: u8,
    /// Since when; `None` if nothing was left out yet.
    pub since: Option<UnixNs>,
}

/// Which privileges the daemon gave up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confinement {
    /// Capabilities that are left, as `CAP_BPF`.
    pub kept: Vec<String>,
    /// What could not be done, and why.
    pub lacking: Vec<(&'static str, String)>,
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
    /// About alerts.
    Alerts(AlertAsk),
}

/// A question about alerts, or a change.
#[derive(Debug)]
pub enum AlertAsk {
    /// Every rule.
    Rules(oneshot::Sender<Vec<AlertRule>>),
    /// A rule that is new; its id and origin are given to it.
    Add(Box<AlertRule>, oneshot::Sender<Changed<AlertRule>>),
    /// The rule of an id that is there becomes this one.
    Change(Box<AlertRule>, oneshot::Sender<Changed<AlertRule>>),
    /// The rule of this id goes, or becomes what it was from the start.
    Remove(String, oneshot::Sender<Changed<()>>),
    /// Silences that are not over.
    Silences(oneshot::Sender<Vec<Silence>>),
    /// A silence that is new; its id is given to it.
    Silence(Box<Silence>, oneshot::Sender<Changed<Silence>>),
    /// The silence of this id ends.
    EndSilence(String, oneshot::Sender<Changed<()>>),
    /// Every notifier.
    Notifiers(oneshot::Sender<Vec<NotifierState>>),
    /// Sends a test by the notifier of this name.
    Test(String, oneshot::Sender<Result<Delivery, TestError>>),
}

/// What a change made, or why it was not made. It is told once it is kept.
pub type Changed<T> = Result<T, ChangeError>;

/// Why a change of alerts was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// There is nothing of this id.
    #[error("there is none with the id {0:?}")]
    Unknown(String),
    /// A label made the rule.
    #[error("the rule {0:?} is made by a container's label: change the label")]
    OfLabel(String),
    /// There are as many as there may be.
    #[error("there are {0} already, the most there may be: delete one")]
    TooMany(usize),
    /// It could not be kept, so it was not made.
    #[error("the change is not made, for it could not be kept: {0}")]
    NotKept(String),
}

/// A way to tell somebody of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifierState {
    /// Its name.
    pub name: &'static str,
    /// The host it sends to; `None` where it is not configured.
    pub target: Option<String>,
    /// The variables that configure it.
    pub variables: Vec<&'static str>,
    /// The last delivery.
    pub last: Option<Delivery>,
}

/// Why no test was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TestError {
    /// There is no such notifier.
    #[error("there is no notifier {0:?}")]
    Unknown(String),
    /// It cannot send now; why.
    #[error("{0}")]
    Refused(String),
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
