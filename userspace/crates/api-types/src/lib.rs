//! JSON shapes of the public API, shared by the daemon and the page.
//!
//! Nothing here knows where figures come from. Durations are numbers in
//! seconds and times Unix milliseconds unless a field's name says otherwise;
//! a figure that is not known is `null`, never zero.
#![forbid(unsafe_code)]

mod accounting;
mod alerts;
mod figures;
mod history;
mod host;
mod query;
mod request;
mod resource;
mod why;

use serde::{Deserialize, Serialize};

pub use accounting::{
    CaptureStatus, CountsDifference, RequestCounts, ServiceAccounting, ServiceCapture,
};
pub use alerts::{
    Alert, AlertMetric, AlertRule, AlertRules, Alerts, Condition, Delivery, Notifier, Notifiers,
    RulePreview, ServicePreview, Silence, Silences,
};
pub use figures::{Inner, Sessions, StreamFigures, TimeParts, WindowFigures};
pub use history::{
    Event, Events, Exemplar, Exemplars, Heatmap, SqlColumn, SqlRequest, SqlResult, SqlValue,
};
pub use host::{HostStatus, ProgramStatus};
pub use query::{QueryFigure, QueryResult, QuerySeries};
pub use request::{IntervalFigures, Request, Requests};
pub use resource::{Lifecycle, Resources};
pub use why::{Why, WhyBeside, WhyCarrier, WhyFinding, WhyPhase};

/// `GET /api/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Kernel release it runs on.
    pub kernel: String,
    /// The host it runs on.
    #[serde(default)]
    pub host: HostStatus,
    /// When the daemon started.
    pub started_unix_ms: u64,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// The probes.
    pub probes: ProbesStatus,
    /// What was seen and what was missed since the start.
    pub capture: CaptureStatus,
    /// The same by service, in the order of their names. Empty in live
    /// messages, where each service tells its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceAccounting>,
    /// History.
    pub store: StoreStatus,
    /// The connection to Docker.
    pub docker: DockerStatus,
    /// The daemon's own cost.
    pub process: ProcessStatus,
    /// Which privileges the daemon gave up; absent in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<ConfinementStatus>,
    /// What the daemon may cost; absent in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// Who asks the API, and who was refused.
    #[serde(default)]
    pub api: ApiStatus,
}

/// The probes in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProbesStatus {
    /// Whether they are attached (false in a replay).
    pub attached: bool,
    /// Programs attached.
    pub n_programs: u32,
    /// Watched connections open now.
    pub n_connections: u64,
    /// What this kernel is too old to tell.
    #[serde(default)]
    pub untold: Vec<Untold>,
    /// What each program cost while it was measured, the dearest first. Empty
    /// in live messages and before the first measurement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramStatus>,
}

/// Something that the running kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Untold {
    /// `arrival`, `drain` or `io_uring`.
    pub what: String,
    /// What the kernel lacks for it.
    pub because: String,
}

/// History in the database file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreStatus {
    /// Whether the file is open and the last write succeeded.
    pub ok: bool,
    /// The last error, in one line.
    pub error: Option<String>,
    /// Path of the file.
    pub path: String,
    /// Size of the file and its log, in bytes.
    pub size_bytes: u64,
    /// Rollups written since the start.
    pub rollups_written: u64,
    /// Rollups that could not be queued or written since the start.
    pub rollups_dropped: u64,
    /// Attempts to write that failed since the start.
    #[serde(default)]
    pub write_failures: u64,
    /// What happened to an older file that could not be used, if anything.
    pub notice: Option<String>,
    /// Part of `size_bytes` that is in use, in bytes; new rows take the rest
    /// first. As of the last look, within a minute.
    #[serde(default)]
    pub used_bytes: u64,
    /// Copies into a smaller file since the start.
    #[serde(default)]
    pub n_reclaimed: u64,
    /// History before this was given up for want of room, Unix milliseconds.
    #[serde(default)]
    pub given_up_before_unix_ms: Option<u64>,
    /// Rows of every kind written since the start.
    #[serde(default)]
    pub rows_written: StoreRows,
    /// Rows of every kind that could not be queued or written since the start.
    #[serde(default)]
    pub rows_dropped: StoreRows,
    /// Rows that wait in memory to be written: some for a moment each second,
    /// more while the disk is full, slow or failing.
    #[serde(default)]
    pub rows_waiting: u64,
    /// For how long the oldest of them have waited, in seconds.
    #[serde(default)]
    pub waiting_seconds: f64,
    /// Rows that the disk lost though it had acknowledged them, and that could
    /// not be written again; they are among `rows_dropped` too.
    #[serde(default)]
    pub rows_lost_by_disk: u64,
    /// Rows that the disk lost likewise, and that were written again.
    #[serde(default)]
    pub rows_written_again: u64,
}

/// Rows of history by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreRows {
    /// Requests, by series and second.
    pub rollups: u64,
    /// What containers used, by container and second.
    pub resources: u64,
    /// Single requests.
    pub exemplars: u64,
    /// What happened.
    pub events: u64,
    /// Changes of alerts.
    pub alerts: u64,
    /// Attempts to tell of alerts.
    pub deliveries: u64,
}

impl StoreRows {
    /// Rows of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rollups + self.resources + self.exemplars + self.events + self.alerts + self.deliveries
    }
}

/// The connection to Docker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DockerStatus {
    /// Whether the inventory is complete and events arrive.
    pub state: DockerState,
    /// Why it is unreachable, in one line.
    pub reason: Option<String>,
    /// Running containers that are watched.
    pub n_containers: u32,
    /// Running containers that a label leaves out.
    pub n_excluded: u32,
    /// Docker's version; absent before it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// State of the connection to Docker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DockerState {
    /// No answer was awaited yet.
    #[default]
    Connecting,
    /// The inventory is complete and events arrive.
    Connected,
    /// Docker does not answer; it is tried again.
    Unreachable,
}

/// The daemon's own cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProcessStatus {
    /// Share of one core over the last seconds, 0 to the number of cores.
    pub cpu_cores: f64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

/// What the daemon costs, may cost (`--max-cpu`) and leaves out for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BudgetStatus {
    /// Most that it may cost, as a share of one core; null if there is no limit.
    pub max_cores: Option<f64>,
    /// What it and its probes cost over the last seconds.
    pub cores: f64,
    /// Of this, the probes, as measured for a moment each minute.
    pub probes_cores: f64,
    /// `full`, `details`, `heads` or `counts`: how much is left out.
    pub level: String,
    /// The same in words.
    pub left_out: String,
    /// When the level changed last; absent if it never did.
    pub since_unix_ms: Option<u64>,
}

/// Which privileges the daemon gave up once its probes were attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfinementStatus {
    /// Capabilities that are left, as `CAP_BPF`; on most hosts none.
    pub capabilities: Vec<String>,
    /// What could not be done; on most hosts nothing.
    pub lacking: Vec<Unconfined>,
}

/// A confinement that this host lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unconfined {
    /// As `Landlock` or `seccomp`.
    pub what: String,
    /// Why it is not there.
    pub because: String,
}

/// Clients of the API; counts since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiStatus {
    /// HTTP connections open now, without live clients.
    pub n_connections: u64,
    /// Connections refused because all others were being answered.
    pub connections_refused: u64,
    /// Connections that said nothing and made room for others.
    pub connections_evicted: u64,
    /// Live clients (WebSockets) now.
    pub n_live_clients: u64,
    /// Live clients refused because there were too many.
    pub live_clients_refused: u64,
    /// Live clients cut off because they did not read.
    pub live_clients_dropped: u64,
}

/// `GET /api/v1/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Services {
    /// End of the window the figures cover.
    pub at_unix_ms: u64,
    /// Length of that window.
    pub window_seconds: u32,
    /// Every service with a watched container, or with requests in the window.
    pub services: Vec<Service>,
}

/// One service over the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its Compose project.
    pub project: Option<String>,
    /// Its running containers.
    pub containers: Vec<ServiceContainer>,
    /// How it is.
    pub health: Health,
    /// Figures over the window.
    pub window: WindowFigures,
    /// Requests since the daemon's start, by route, method and status: exact
    /// counts. Empty in live messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub totals: Vec<RouteTotal>,
    /// Requests a second over the last 15 minutes, oldest first, one value
    /// every ten seconds, fewer where the daemon is younger.
    pub sparkline: Vec<f32>,
    /// When its last request finished; `null` if none was seen.
    pub last_request_unix_ms: Option<u64>,
    /// Requests in progress.
    pub n_active: u64,
    /// Requests over a UNIX socket, from a proxy to the server behind it in
    /// the same container: told a second time, so counted in nothing else
    /// here. `null` where there were none. A container whose only listener is
    /// a UNIX socket shows here alone.
    #[serde(default)]
    pub inner: Option<Inner>,
    /// Upgraded connections (WebSockets); `null` where there were none.
    #[serde(default)]
    pub sessions: Option<Sessions>,
    /// Events and bytes since the start; `null` where nothing was told yet.
    #[serde(default)]
    pub capture: Option<ServiceCapture>,
    /// Requests and responses that the probes counted themselves, in the
    /// kernel: right whatever was lost behind them. `null` where they do not
    /// count (a replay).
    #[serde(default)]
    pub kernel: Option<RequestCounts>,
    /// The same as the parser saw them, with requests in progress.
    #[serde(default)]
    pub seen: RequestCounts,
    /// `kernel - seen`; `null` where the probes do not count. Responses under
    /// way make it positive for a moment. Negative where requests were
    /// pipelined: the probes count one a call.
    #[serde(default)]
    pub difference: Option<CountsDifference>,
    /// Bytes that its sockets moved by ways the kernel is too old to show
    /// (io_uring); `null` where that is not known. More than zero means that
    /// requests are missing.
    #[serde(default)]
    pub unseen_bytes: Option<u64>,
    /// What its containers use together; `null` where that was not read yet.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// Alerts that fire, not silenced.
    #[serde(default)]
    pub n_firing: u32,
}

/// A running container of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceContainer {
    /// Docker's id, twelve digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Figures over the window, of this container alone.
    #[serde(default)]
    pub window: WindowFigures,
    /// As the service's `unseen_bytes`, of this container alone.
    #[serde(default)]
    pub unseen_bytes: Option<u64>,
    /// What a label or the configuration lets it be asked beside its heads:
    /// `model`, `usage`.
    #[serde(default)]
    pub inspect: Vec<String>,
    /// What it uses of the host; `null` where that was not read yet.
    #[serde(default)]
    pub resources: Option<Resources>,
    /// What Docker tells of its life.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// How a service is, by what was seen of it and by its alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// 5 % or more of the window's requests failed, or a critical alert fires.
    Critical,
    /// 1 % or more failed, a warning fires, or it is failing or slower since a
    /// moment ago.
    Warning,
    /// Fewer failed.
    Ok,
    /// No request in the window.
    #[default]
    Idle,
}

/// Exact count of one route, method, status and outcome since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteTotal {
    /// Route template, or `_other`.
    pub route: String,
    /// Method; `null` for responses without a request.
    pub method: Option<String>,
    /// Status written; `null` if none was.
    pub status: Option<u16>,
    /// `complete`, `client_aborted`, `server_aborted`, `unanswered` or `lost`.
    pub outcome: String,
    /// Requests.
    pub n_requests: u64,
}

/// `GET /api/v1/services/{service}/routes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Routes {
    /// The service.
    pub service: String,
    /// End of the window the figures cover.
    pub at_unix_ms: u64,
    /// Length of that window.
    pub window_seconds: u32,
    /// Its routes, those that took the most time first.
    pub routes: Vec<Route>,
}

/// One route of a service over the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Route {
    /// Route template, or `_other`.
    pub route: String,
    /// Method; `null` for responses without a request.
    pub method: Option<String>,
    /// Figures over the window.
    pub window: WindowFigures,
    /// Requests of the window by status.
    pub by_status: Vec<StatusCount>,
    /// Its share of the service's summed durations, 0 to 1.
    pub time_share: f64,
}

/// Requests that were answered with one status.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusCount {
    /// Status written; `null` if none was.
    pub status: Option<u16>,
    /// Requests.
    pub n_requests: u64,
}

/// Messages of `GET /api/v1/live` (WebSocket), server to client: a `snapshot`
/// at once, then an `update` every second, and `requests` if asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveMessage {
    /// Everything, once.
    Snapshot(Live),
    /// The services that changed, and the status.
    Update(Live),
    /// Requests that finished since the last message, newest first.
    Requests(Requests),
    /// A command that was not understood; nothing else changes.
    Error {
        /// What was wrong and what would be right.
        detail: String,
    },
}

/// The body of `snapshot` and `update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Live {
    /// The daemon's state.
    pub status: Status,
    /// Services; in an update only those that changed.
    pub services: Vec<Service>,
    /// Names of all services; one that is missing has gone.
    pub names: Vec<String>,
    /// The newest whole second of each service that had requests in it.
    pub seconds: Vec<Second>,
    /// Alerts that fire or may soon, the worst first.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// End of the window the services' figures cover.
    pub at_unix_ms: u64,
    /// Length of that window.
    pub window_seconds: u32,
}

/// One second of one service, for charts that move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Second {
    /// The service.
    pub service: String,
    /// Beginning of the second.
    pub at_unix_ms: u64,
    /// Figures of that second.
    pub figures: WindowFigures,
    /// Requests by status class: `1xx` to `5xx`, then those without a status.
    pub by_status_class: [u64; 6],
}

/// Messages of `GET /api/v1/live`, client to server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveCommand {
    /// Send only this of live figures; answered with a `snapshot` of it. At
    /// first everything is sent.
    Subscribe(LiveSelection),
    /// Send requests as they finish; replaces an earlier subscription.
    SubscribeRequests(RequestSelection),
    /// Send no requests.
    UnsubscribeRequests,
}

/// What a live client wants to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LiveSelection {
    /// Only these services, at most 200; all of them if it is `null`.
    #[serde(default)]
    pub services: Option<Vec<String>>,
    /// Whether alerts are told, of these services.
    #[serde(default = "yes")]
    pub alerts: bool,
}

fn yes() -> bool {
    true
}

/// Which requests a live client wants, as the parameters of
/// `GET /api/v1/requests`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RequestSelection {
    /// Only of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only of the container with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Only of this route template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Only with this status, as `404`, or of this class, as `4xx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Only with this outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Only those that took at least this long: seconds, or a number with a
    /// unit, as `300ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_duration: Option<String>,
    /// `tcp`, which holds if it is left out, or `unix` for the inner hops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
}

/// An error, as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `about:blank`: the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status' name.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What was wrong and what would be right.
    pub detail: String,
}
