//! Time series of history.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/query`: `metric`, `stat`, `from`, `to` (Unix milliseconds or
/// RFC 3339), `step` (seconds or `10s`, `1m`), filters `service`, `container`,
/// `route`, `method`, `status_class` (`2xx`), and `by` (`service`,
/// `container`, `route`, `method`, `status_class`) for a series each; `more`
/// (`duration.p50,felt.p95`) for further figures of the same requests.
///
/// | metric | stat |
/// |---|---|
/// | `requests`, `errors`, `chunks`, `stalls`, `input_tokens`, `output_tokens` | `rate`, `count` |
/// | `duration`, `ttfb`, `felt`, `queue`, `read`, `app`, `stream`, `drain`, `first_chunk`, `chunk_interval` | `p50`, `p90`, `p95`, `p99`, `p999`, `max`, `avg` |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// The figures that `more` named, in its order; of the same steps.
    #[serde(default)]
    pub more: Vec<QueryFigure>,
}

/// A further figure of the requests that were asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueryFigure {
    /// The metric.
    pub metric: String,
    /// The statistic.
    pub stat: String,
    /// Unit of the values.
    pub unit: String,
    /// One series, or one a value of `by`.
    pub series: Vec<QuerySeries>,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuerySeries {
    /// The value of `by`, or an empty string.
    pub name: String,
    /// One value a step; `null` where nothing was seen.
    pub values: Vec<Option<f64>>,
}
