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
    /// Requests that the window must have for a figure of requests to be
    /// taken as one: percentiles and shares of a few are noise.
    pub min_requests: u64,
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
    /// The figure that the rule is about.
    pub metric: AlertMetric,
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

impl RuleOrigin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::Default, Self::Label, Self::User];

    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Label => "label",
            Self::User => "user",
        }
    }

    /// The origin of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == name)
    }
}

impl Severity {
    /// Every severity, ascending.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|severity| severity.as_str() == name)
    }
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Firing, Self::Resolved];

    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl AlertMetric {
    /// Every metric, in the order they are offered.
    pub const ALL: [Self; 22] = [
        Self::RequestRate,
        Self::ErrorRate,
        Self::DurationP50,
        Self::DurationP95,
        Self::DurationP99,
        Self::TtfbP95,
        Self::FeltP95,
        Self::QueueP95,
        Self::FirstChunkP95,
        Self::ChunkIntervalP95,
        Self::StreamAbortRate,
        Self::ActiveRequests,
        Self::CpuCores,
        Self::CpuShare,
        Self::ThrottledShare,
        Self::MemoryBytes,
        Self::MemoryShare,
        Self::OomKills,
        Self::Restarts,
        Self::CaptureLossShare,
        Self::GpuUtilization,
        Self::GpuMemoryShare,
    ];

    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestRate => "request_rate",
            Self::ErrorRate => "error_rate",
            Self::DurationP50 => "duration_p50",
            Self::DurationP95 => "duration_p95",
            Self::DurationP99 => "duration_p99",
            Self::TtfbP95 => "ttfb_p95",
            Self::FeltP95 => "felt_p95",
            Self::QueueP95 => "queue_p95",
            Self::FirstChunkP95 => "first_chunk_p95",
            Self::ChunkIntervalP95 => "chunk_interval_p95",
            Self::StreamAbortRate => "stream_abort_rate",
            Self::ActiveRequests => "active_requests",
            Self::CpuCores => "cpu_cores",
            Self::CpuShare => "cpu_share",
            Self::ThrottledShare => "throttled_share",
            Self::MemoryBytes => "memory_bytes",
            Self::MemoryShare => "memory_share",
            Self::OomKills => "oom_kills",
            Self::Restarts => "restarts",
            Self::CaptureLossShare => "capture_loss_share",
            Self::GpuUtilization => "gpu_utilization",
            Self::GpuMemoryShare => "gpu_memory_share",
        }
    }

    /// The metric of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::RequestRate => "requests a second",
            Self::ErrorRate => "share of requests that failed",
            Self::DurationP50 => "median duration",
            Self::DurationP95 => "95th percentile of durations",
            Self::DurationP99 => "99th percentile of durations",
            Self::TtfbP95 => "95th percentile of the time to the first byte",
            Self::FeltP95 => "95th percentile of what clients felt",
            Self::QueueP95 => "95th percentile of the wait before the first read",
            Self::FirstChunkP95 => "95th percentile of the time to the first content chunk",
            Self::ChunkIntervalP95 => "95th percentile of the time between content chunks",
            Self::StreamAbortRate => "share of streams whose client went away",
            Self::ActiveRequests => "requests in progress",
            Self::CpuCores => "cores used",
            Self::CpuShare => "share of the processor quota used, of the container nearest to it",
            Self::ThrottledShare => {
                "share of enforcement periods throttled, of the container with most"
            }
            Self::MemoryBytes => "working set of its containers",
            Self::MemoryShare => "share of the memory limit used, of the container nearest to it",
            Self::OomKills => "processes killed for want of memory",
            Self::Restarts => "starts of containers",
            Self::CaptureLossShare => "share of observed bytes that were lost or dropped",
            Self::GpuUtilization => "GPU utilisation",
            Self::GpuMemoryShare => "share of GPU memory used",
        }
    }

    /// Its unit: `s`, `1/s`, `By` or `1`.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::RequestRate => "1/s",
            Self::DurationP50
            | Self::DurationP95
            | Self::DurationP99
            | Self::TtfbP95
            | Self::FeltP95
            | Self::QueueP95
            | Self::FirstChunkP95
            | Self::ChunkIntervalP95 => "s",
            Self::MemoryBytes => "By",
            _ => "1",
        }
    }

    /// Whether it is a share, 0 to 1.
    #[must_use]
    pub fn is_share(self) -> bool {
        matches!(
            self,
            Self::ErrorRate
                | Self::StreamAbortRate
                | Self::ThrottledShare
                | Self::MemoryShare
                | Self::CaptureLossShare
                | Self::GpuUtilization
                | Self::GpuMemoryShare
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for metric in AlertMetric::ALL {
            assert_eq!(AlertMetric::parse(metric.as_str()), Some(metric));
        }
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
        for state in AlertState::ALL {
            assert_eq!(AlertState::parse(state.as_str()), Some(state));
        }
        for origin in RuleOrigin::ALL {
            assert_eq!(RuleOrigin::parse(origin.as_str()), Some(origin));
        }
        assert_eq!(AlertMetric::parse("latency"), None);
    }
}
