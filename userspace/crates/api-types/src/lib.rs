//! JSON shapes of the public API, shared by the daemon and the page.
//!
//! Nothing here knows where figures come from. Durations are numbers in
//! seconds and times Unix milliseconds unless a field's name says otherwise;
//! a figure that is not known is `null`, never zero.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// `GET /api/v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Kernel release it runs on.
    pub kernel: String,
    /// When the daemon started.
    pub started_unix_ms: u64,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// The probes.
    pub probes: ProbesStatus,
    /// What was seen and what was missed since the start.
    pub capture: CaptureStatus,
    /// History.
    pub store: StoreStatus,
    /// The connection to Docker.
    pub docker: DockerStatus,
    /// The daemon's own cost.
    pub process: ProcessStatus,
}

/// The probes in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbesStatus {
    /// Whether they are attached (false in a replay).
    pub attached: bool,
    /// Programs attached.
    pub n_programs: u32,
    /// Watched connections open now.
    pub n_connections: u64,
}

/// Accounting of events, bytes and requests since the daemon's start.
/// `bytes_observed = bytes_parsed + bytes_skipped + bytes_truncated +
/// bytes_lost + bytes_dropped`, once the queues are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CaptureStatus {
    /// Socket events seen on watched connections.
    pub events_observed: u64,
    /// Of them: reached the parser.
    pub events_captured: u64,
    /// Of them: the kernel's ring buffer was full.
    pub events_lost: u64,
    /// Of them: a queue of the daemon's was full.
    pub events_dropped: u64,
    /// Of them: could not be decoded.
    pub events_undecoded: u64,
    /// Bytes moved on watched connections.
    pub bytes_observed: u64,
    /// Bytes understood as part of a message.
    pub bytes_parsed: u64,
    /// Bytes that are part of no message.
    pub bytes_skipped: u64,
    /// Bytes needed for framing but not captured.
    pub bytes_truncated: u64,
    /// Bytes in lost events.
    pub bytes_lost: u64,
    /// Bytes in dropped events.
    pub bytes_dropped: u64,
    /// Connections not tracked because the kernel's map was full.
    pub connections_untracked: u64,
    /// Requests seen from beginning to end.
    pub requests_complete: u64,
    /// Requests of which something was lost or truncated.
    pub requests_incomplete: u64,
}

/// History in the database file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// What happened to an older file that could not be used, if anything.
    pub notice: Option<String>,
}

/// The connection to Docker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DockerStatus {
    /// Whether the inventory is complete and events arrive.
    pub state: DockerState,
    /// Why it is unreachable, in one line.
    pub reason: Option<String>,
    /// Running containers that are watched.
    pub n_containers: u32,
    /// Running containers that a label leaves out.
    pub n_excluded: u32,
}

/// State of the connection to Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DockerState {
    /// No answer was awaited yet.
    Connecting,
    /// The inventory is complete and events arrive.
    Connected,
    /// Docker does not answer; it is tried again.
    Unreachable,
}

/// The daemon's own cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Share of one core over the last seconds, 0 to the number of cores.
    pub cpu_cores: f64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
}

/// `GET /api/v1/services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// End of the window the figures cover.
    pub at_unix_ms: u64,
    /// Length of that window.
    pub window_seconds: u32,
    /// Every service with a watched container, or with requests in the window.
    pub services: Vec<Service>,
}

/// One service over the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// A running container of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceContainer {
    /// Docker's id, twelve digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
}

/// How a service is, by what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// 5 % or more of the window's requests failed.
    Critical,
    /// 1 % or more failed.
    Warning,
    /// Fewer failed.
    Ok,
    /// No request in the window.
    Idle,
}

/// Figures of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowFigures {
    /// Requests that finished.
    pub n_requests: u64,
    /// Of them: failed (5xx, or ended by the server without a whole response).
    pub n_errors: u64,
    /// Of them: something was lost or truncated, so their durations may be short.
    pub n_incomplete: u64,
    /// Requests a second.
    pub rate: f64,
    /// `n_errors / n_requests`; `null` without requests.
    pub error_rate: Option<f64>,
    /// Median duration in seconds.
    pub p50: Option<f64>,
    /// 95th percentile of durations in seconds.
    pub p95: Option<f64>,
    /// 99th percentile of durations in seconds.
    pub p99: Option<f64>,
    /// Longest duration in seconds.
    pub max: Option<f64>,
    /// Median time to the first byte in seconds.
    pub ttfb_p50: Option<f64>,
    /// 95th percentile of the time to the first byte in seconds.
    pub ttfb_p95: Option<f64>,
}

/// Exact count of one route, method, status and outcome since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
pub struct StatusCount {
    /// Status written; `null` if none was.
    pub status: Option<u16>,
    /// Requests.
    pub n_requests: u64,
}

/// `GET /api/v1/query`: `metric` (`requests`, `errors`, `duration`, `ttfb`),
/// `stat` (`rate`, `count`, `p50`, `p90`, `p95`, `p99`, `p999`, `max`, `avg`),
/// `from`, `to` (Unix milliseconds or RFC 3339), `step` (seconds or `10s`,
/// `1m`), filters `service`, `container`, `route`, `method`, `status_class`
/// (`2xx`), and `by` (`service`, `container`, `route`, `method`,
/// `status_class`) for a series each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryResult {
    /// The metric asked for.
    pub metric: String,
    /// The statistic asked for.
    pub stat: String,
    /// Unit of the values: `s`, `1/s` or `1`.
    pub unit: String,
    /// Beginning of the first step.
    pub from_unix_ms: u64,
    /// Length of a step.
    pub step_seconds: u32,
    /// One series, or one a value of `by`.
    pub series: Vec<QuerySeries>,
    /// Requests in the range of which something was lost or truncated.
    pub n_incomplete: u64,
    /// Requests in the range.
    pub n_requests: u64,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuerySeries {
    /// The value of `by`, or an empty string.
    pub name: String,
    /// One value a step; `null` where nothing was seen.
    pub values: Vec<Option<f64>>,
}

/// `GET /api/v1/requests`: recent requests, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// The requests.
    pub requests: Vec<Request>,
}

/// One finished request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The service.
    pub service: String,
    /// The container's name.
    pub container: String,
    /// Method; `null` for a response without a request.
    pub method: Option<String>,
    /// Route template, or `_other`.
    pub route: String,
    /// Status written; `null` if none was.
    pub status: Option<u16>,
    /// `complete`, `client_aborted`, `server_aborted`, `unanswered` or `lost`.
    pub outcome: String,
    /// `whole`, `truncated` or `gap`.
    pub completeness: String,
    /// Whether the response was sent piece by piece.
    pub streamed: bool,
    /// The client's address.
    pub peer_address: String,
    /// The client's port.
    pub peer_port: u16,
    /// The server's port.
    pub local_port: u16,
    /// Names the connection; equal for requests of the same connection.
    pub connection: String,
    /// Place on the connection, from zero.
    pub sequence: u64,
    /// First byte of the request read, wall time.
    pub started_unix_ms: u64,
    /// First byte of the request read, CLOCK_MONOTONIC.
    pub started_monotonic_ns: u64,
    /// Last byte of the response written, CLOCK_MONOTONIC.
    pub ended_monotonic_ns: u64,
    /// First byte read to last byte written, in seconds.
    pub duration: f64,
    /// Last byte of the request to first byte of the response, in seconds.
    pub ttfb: Option<f64>,
    /// Accept to first byte read, in seconds; first request only.
    pub queue: Option<f64>,
    /// First to last byte of the response's body, in seconds.
    pub stream: Option<f64>,
    /// Body bytes read.
    pub request_body_bytes: u64,
    /// Body bytes written.
    pub response_body_bytes: u64,
}

/// Messages of `GET /api/v1/live` (WebSocket), server to client: a `snapshot`
/// at once, then an `update` every second, and `requests` if asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveMessage {
    /// Everything, once.
    Snapshot(Live),
    /// The services that changed, and the status.
    Update(Live),
    /// Requests that finished since the last message, newest first.
    Requests(Requests),
}

/// The body of `snapshot` and `update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// The daemon's state.
    pub status: Status,
    /// Services; in an update only those that changed.
    pub services: Vec<Service>,
    /// Names of all services; one that is missing has gone.
    pub names: Vec<String>,
    /// The newest whole second of each service that had requests in it.
    pub seconds: Vec<Second>,
    /// End of the window the services' figures cover.
    pub at_unix_ms: u64,
    /// Length of that window.
    pub window_seconds: u32,
}

/// One second of one service, for charts that move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveCommand {
    /// Send requests as they finish; replaces an earlier subscription.
    SubscribeRequests {
        /// Only of this service.
        #[serde(default)]
        service: Option<String>,
    },
    /// Send no requests.
    UnsubscribeRequests,
}

/// An error, as RFC 9457 has it (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
