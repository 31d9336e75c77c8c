//! Rules, and the alerts they raise.
//!
//! | state | on | then |
//! |---|---|---|
//! | inactive | the condition holds | pending (firing at once where `hold` is zero) |
//! | pending | it holds for `hold` | firing |
//! | pending | it holds no longer | inactive |
//! | firing | the figure is back beyond `clear` for `keep` | resolved, then inactive |
//!
//! as in Prometheus, with hysteresis: between `threshold` and `clear` an alert
//! keeps its state.

use std::sync::Arc;
use std::time::Duration;

use crate::time::UnixNs;

/// What is watched, when it is too much, and what is said then.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Names it for ever: `default:error_rate`, `label:api:latency_p95`, or a
    /// UUID for one that was made by hand.
    pub id: Arc<str>,
    /// What people call it.
    pub name: String,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// The service it is about; `None` for each service on its own.
    pub service: Option<Arc<str>>,
    /// The figure.
    pub metric: AlertMetric,
    /// When the figure is too much.
    pub condition: Condition,
    /// The time the figure covers.
    pub window: Duration,
    /// How long the condition has to hold before the alert fires.
    pub hold: Duration,
    /// How long the figure has to be back before the alert is resolved.
    pub keep: Duration,
    /// How bad it is.
    pub severity: Severity,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleOrigin {
    /// It is on from the start.
    Default,
    /// A container's label asks for it; it goes with the container.
    Label,
    /// It was made by hand, by the API or the page.
    User,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// To be known.
    Info,
    /// To be looked at.
    Warning,
    /// Somebody has to get up.
    Critical,
}

/// A figure of a service that a rule may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertMetric {
    /// Requests a second.
    RequestRate,
    /// Share of requests that failed, 0 to 1.
    ErrorRate,
    /// Median duration, in seconds.
    DurationP50,
    /// 95th percentile of durations, in seconds.
    DurationP95,
    /// 99th percentile of durations, in seconds.
    DurationP99,
    /// 95th percentile of the time to the first byte, in seconds.
    TtfbP95,
    /// 95th percentile of what clients felt, in seconds.
    FeltP95,
    /// 95th percentile of the wait before the first read, in seconds.
    QueueP95,
    /// 95th percentile of the time to the first content chunk, in seconds.
    FirstChunkP95,
    /// 95th percentile of the time between content chunks, in seconds.
    ChunkIntervalP95,
    /// Share of streams whose client went away, 0 to 1.
    StreamAbortRate,
    /// Requests in progress.
    ActiveRequests,
    /// Cores used.
    CpuCores,
    /// Share of the processor quota used, 0 to 1.
    CpuShare,
    /// Share of enforcement periods that were throttled, 0 to 1.
    ThrottledShare,
    /// Working set in bytes.
    MemoryBytes,
    /// Share of the memory limit used, 0 to 1.
    MemoryShare,
    /// Processes killed for want of memory.
    OomKills,
    /// Starts of containers.
    Restarts,
    /// Share of observed bytes that were lost or dropped, 0 to 1.
    CaptureLossShare,
    /// GPU utilisation, 0 to 1.
    GpuUtilization,
    /// Share of GPU memory used, 0 to 1.
    GpuMemoryShare,
}

/// When a figure is too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Beyond a fixed value.
    Threshold {
        /// On which side.
        comparison: Comparison,
        /// The value, in the metric's unit.
        threshold: f64,
        /// The value at which it is over; `None` for `threshold` itself.
        clear: Option<f64>,
    },
    /// More than `factor` times its own median over the `past`.
    AgainstPast {
        /// How many times.
        factor: f64,
        /// The time compared with.
        past: Duration,
        /// Figures below this are never too much, in the metric's unit.
        floor: f64,
    },
    /// No request in the window, where there were some at least once a minute
    /// over the `past`.
    NoTraffic {
        /// The time compared with.
        past: Duration,
    },
    /// Further from the robust seasonal baseline of the service's own history
    /// than `deviations` scaled median absolute deviations.
    Anomaly {
        /// How far.
        deviations: f64,
    },
}

/// On which side of a threshold a figure is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Above it.
    Above,
    /// Below it.
    Below,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertState {
    /// The condition holds, but not for long enough yet.
    Pending,
    /// It is told.
    Firing,
    /// It is over.
    Resolved,
}

/// One rule's condition on one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Names this one episode.
    pub id: Arc<str>,
    /// The rule.
    pub rule: Arc<str>,
    /// The rule's name.
    pub rule_name: String,
    /// The service.
    pub service: Arc<str>,
    /// How bad it is.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// The figure now, or at the end; `None` where there is none (no traffic).
    pub value: Option<f64>,
    /// What it was compared with, in the same unit.
    pub threshold: Option<f64>,
    /// One sentence for people.
    pub summary: String,
    /// When the condition began to hold.
    pub since: UnixNs,
    /// When it began to fire.
    pub fired: Option<UnixNs>,
    /// When it was over.
    pub resolved: Option<UnixNs>,
    /// The silence that keeps it from being sent, if one does.
    pub silenced_by: Option<Arc<str>>,
}

/// Alerts that are shown but not sent for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Names it.
    pub id: Arc<str>,
    /// Only of this service; `None` for all.
    pub service: Option<Arc<str>>,
    /// Only of this rule; `None` for all.
    pub rule: Option<Arc<str>>,
    /// From when.
    pub from: UnixNs,
    /// Until when.
    pub until: UnixNs,
    /// Why, in the words of whoever made it.
    pub comment: String,
}

/// One attempt, or row of attempts, to tell somebody of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When the last attempt ended.
    pub at: UnixNs,
    /// The notifier's name (`webhook`, `slack`, `pagerduty`, `email`,
    /// `alertmanager`).
    pub notifier: Arc<str>,
    /// The alert's episode.
    pub alert: Arc<str>,
    /// The state it told of.
    pub state: AlertState,
    /// Attempts made.
    pub n_attempts: u32,
    /// Why the last attempt failed, in one line without secrets; `None` if it
    /// was taken.
    pub error: Option<String>,
    /// Whether it will be tried again.
    pub will_retry: bool,
}
