//! Alerts, their rules, silences and the notifiers that tell of them.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/alerts`: what fires and what may soon, then what is over,
/// newest first; `service`, `state`, `from`, `to` and `limit` narrow it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alerts {
    /// Firing and pending, the worst first.
    pub active: Vec<Alert>,
    /// Over, newest first.
    pub history: Vec<Alert>,
}

/// One rule's condition on one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alert {
    /// Names this one episode.
    pub id: String,
    /// The rule's id.
    pub rule: String,
    /// The rule's name.
    pub rule_name: String,
    /// The service.
    pub service: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `pending`, `firing` or `resolved`.
    pub state: String,
    /// The figure now, or at the end, in the metric's unit.
    pub value: Option<f64>,
    /// What it was compared with, in the same unit.
    pub threshold: Option<f64>,
    /// Unit of both: `s`, `1/s`, `By`, `1`.
    pub unit: String,
    /// One sentence for people.
    pub summary: String,
    /// When the condition began to hold.
    pub since_unix_ms: u64,
    /// When it began to fire.
    pub fired_unix_ms: Option<u64>,
    /// When it was over.
    pub resolved_unix_ms: Option<u64>,
    /// The silence that keeps it from being sent.
    pub silenced_by: Option<String>,
}

/// `GET /api/v1/alert-rules`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertRules {
    /// Every rule: those that are on from the start, those of labels, those
    /// made by hand.
    pub rules: Vec<AlertRule>,
    /// The figures a rule may be about.
    pub metrics: Vec<AlertMetric>,
}

/// A figure that a rule may be about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertMetric {
    /// Its name: `error_rate`, `duration_p95` ...
    pub name: String,
    /// Its unit: `s`, `1/s`, `By`, `1`.
    pub unit: String,
    /// What it is, in a few words.
    pub description: String,
}

/// A rule. `POST /api/v1/alert-rules` makes one (without `id` and `origin`),
/// `PUT /api/v1/alert-rules/{id}` changes one, `DELETE` removes one that was
/// made by hand, or brings a changed one back to what it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Names it for ever; given by the daemon.
    #[serde(default)]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `default`, `label` or `user`; given by the daemon.
    #[serde(default)]
    pub origin: String,
    /// Whether it is evaluated.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The service it is about; `null` for each service on its own.
    #[serde(default)]
    pub service: Option<String>,
    /// The figure's name.
    pub metric: String,
    /// When the figure is too much.
    pub condition: Condition,
    /// The time the figure covers, in seconds: 1 to 3,600.
    #[serde(default = "minute")]
    pub window_seconds: u64,
    /// How long the condition has to hold before the alert fires, in seconds.
    #[serde(default)]
    pub for_seconds: u64,
    /// How long the figure has to be back before it is over, in seconds.
    #[serde(default)]
    pub keep_firing_seconds: u64,
    /// Requests that the window must have for a figure of requests to be
    /// taken as one; 1 if it is left out.
    #[serde(default = "one")]
    pub min_requests: u64,
    /// `info`, `warning` or `critical`.
    pub severity: String,
}

fn yes() -> bool {
    true
}

fn minute() -> u64 {
    60
}

fn one() -> u64 {
    1
}

/// When a figure is too much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// Above a fixed value.
    Above {
        /// The value, in the metric's unit.
        threshold: f64,
        /// The value at which it is over; below or at `threshold`.
        #[serde(default)]
        clear: Option<f64>,
    },
    /// Below a fixed value.
    Below {
        /// The value, in the metric's unit.
        threshold: f64,
        /// The value at which it is over; above or at `threshold`.
        #[serde(default)]
        clear: Option<f64>,
    },
    /// More than `factor` times its own median over the past.
    AgainstPast {
        /// How many times.
        factor: f64,
        /// The time compared with, in seconds.
        past_seconds: u64,
        /// Figures below this are never too much, in the metric's unit.
        #[serde(default)]
        floor: f64,
    },
    /// No request in the window, where there were some.
    NoTraffic {
        /// The time compared with, in seconds.
        past_seconds: u64,
    },
    /// Further from the service's own seasonal baseline than this many scaled
    /// median absolute deviations.
    Anomaly {
        /// How far.
        deviations: f64,
    },
}

impl Default for Condition {
    fn default() -> Self {
        Self::Above {
            threshold: 0.0,
            clear: None,
        }
    }
}

/// `POST /api/v1/alert-rules/preview` with a rule: how often it would have
/// fired over the last 24 h.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RulePreview {
    /// Each service the rule is about.
    pub services: Vec<ServicePreview>,
    /// Unit of the values.
    pub unit: String,
    /// Beginning of the first step.
    pub from_unix_ms: u64,
    /// Length of a step.
    pub step_seconds: u32,
}

/// A rule against the last 24 h of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicePreview {
    /// The service.
    pub service: String,
    /// The figure, a value a step; `null` where nothing was seen.
    pub values: Vec<Option<f64>>,
    /// What it would have been compared with, a value a step.
    pub thresholds: Vec<Option<f64>>,
    /// When it would have fired: beginning and end of each episode.
    pub episodes: Vec<[u64; 2]>,
}

/// `GET /api/v1/silences`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Silences {
    /// Those that hold or will, the next to end first.
    pub silences: Vec<Silence>,
}

/// Alerts that are shown but not sent. `POST /api/v1/silences` makes one
/// (without `id`), `DELETE /api/v1/silences/{id}` ends it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Names it; given by the daemon.
    #[serde(default)]
    pub id: String,
    /// Only of this service.
    #[serde(default)]
    pub service: Option<String>,
    /// Only of the rule with this id.
    #[serde(default)]
    pub rule: Option<String>,
    /// From when; now if it is left out.
    #[serde(default)]
    pub from_unix_ms: u64,
    /// Until when.
    pub until_unix_ms: u64,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// `GET /api/v1/notifiers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notifiers {
    /// Every notifier, configured or not.
    pub notifiers: Vec<Notifier>,
    /// The last deliveries, newest first.
    pub deliveries: Vec<Delivery>,
}

/// A way to tell somebody. `POST /api/v1/notifiers/{name}/test` sends a test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notifier {
    /// `webhook`, `slack`, `pagerduty`, `email` or `alertmanager`.
    pub name: String,
    /// Whether the environment configures it.
    pub configured: bool,
    /// Where it sends to, without secrets: a host.
    pub target: Option<String>,
    /// The variables that configure it.
    pub variables: Vec<String>,
    /// The last delivery.
    pub last: Option<Delivery>,
}

/// One alert told to somebody, or not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Delivery {
    /// When the last attempt ended.
    pub at_unix_ms: u64,
    /// The notifier.
    pub notifier: String,
    /// The alert's id; `test` for a test.
    pub alert: String,
    /// The state it told of.
    pub state: String,
    /// Attempts made.
    pub n_attempts: u32,
    /// Why the last attempt failed; `null` if it was taken.
    pub error: Option<String>,
    /// Whether it will be tried again.
    pub will_retry: bool,
}
