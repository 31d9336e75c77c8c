//! Why a service is slower, failing or starved.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/services/{service}/why`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Why {
    /// The service.
    pub service: String,
    /// Beginning of the range, in whole steps.
    pub from_unix_ms: u64,
    /// Its end, likewise.
    pub to_unix_ms: u64,
    /// What is worse than it was, the gravest first; empty where nothing is
    /// known to be.
    pub findings: Vec<WhyFinding>,
}

/// Something that is worse than it was in the hours before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyFinding {
    /// `slow`, `failing` or `starved`.
    pub kind: String,
    /// The figure that tells: `felt`, `duration`, `first_chunk` or `drain`
    /// (seconds); `error_rate`, `throttled_share`, `memory_share` or
    /// `gpu_utilization` (shares, 0 to 1); `oom_kills` (a count).
    pub figure: String,
    /// Which quantile of it, `p95` or `p50`; `null` of what is no time.
    pub stat: Option<String>,
    /// Since when, right to `step_seconds` or two.
    pub since_unix_ms: u64,
    /// When it was over; `null` while it goes on.
    pub until_unix_ms: Option<u64>,
    /// Length of the steps that were compared.
    pub step_seconds: u32,
    /// What was usual before.
    pub before: f64,
    /// What is since.
    pub after: f64,
    /// The part of the time that at least half of the growth lies in.
    pub phase: Option<WhyPhase>,
    /// The route that most of it lies in; `null` where there is but one, or
    /// none stands out.
    pub route: Option<WhyCarrier>,
    /// The container that most of it lies in, likewise.
    pub container: Option<WhyCarrier>,
    /// What happened at that time, what explains most first.
    pub beside: Vec<WhyBeside>,
    /// All of it in one or two sentences of plain English.
    pub summary: String,
    /// Paths of this API that show it: the figure over time, single requests,
    /// events.
    pub evidence: Vec<String>,
}

/// The part of the time that grew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyPhase {
    /// `queue`, `read`, `app`, `stream` or `drain`.
    pub name: String,
    /// Its share of the growth (of the route's, where there is one), 0 to 1.
    pub share: f64,
    /// Its mean before, in seconds.
    pub before: Option<f64>,
    /// Its mean since, in seconds.
    pub after: f64,
}

/// The route or container that carries it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyCarrier {
    /// Its name.
    pub name: String,
    /// Its share of the growth, 0 to 1.
    pub share: f64,
    /// Its own mean, or share of failures, before; `null` where it had no
    /// requests.
    pub before: Option<f64>,
    /// Its own since.
    pub after: f64,
}

/// Something that happened at the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WhyBeside {
    /// `image_changed`, `oom_killed`, `restarted`, `stopped`, `throttled`,
    /// `memory_near_limit`, `gpu_full`, `gpu_idle`, `more_traffic`,
    /// `health_changed`.
    pub kind: String,
    /// When; of several the first.
    pub at_unix_ms: u64,
    /// Seconds from the change to it: negative where it came first.
    pub distance_seconds: i64,
    /// The container it happened to.
    pub container: Option<String>,
    /// The particulars in a few words.
    pub detail: String,
    /// How often.
    pub n: u64,
    /// A figure of it before: a share, or requests a second.
    pub before: Option<f64>,
    /// The figure since.
    pub after: Option<f64>,
}
