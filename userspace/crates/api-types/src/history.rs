//! What history tells beside time series: latency heatmaps, exemplars, events
//! and answers to SQL.

use serde::{Deserialize, Serialize};

use crate::Request;

/// `GET /api/v1/heatmap`: `service`, `container`, `route`, `method`,
/// `status_class`, `metric` (a duration; `duration` if left out), `from`,
/// `to`, `step`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heatmap {
    /// The metric asked for.
    pub metric: String,
    /// Beginning of the first step.
    pub from_unix_ms: u64,
    /// Length of a step.
    pub step_seconds: u32,
    /// Bounds of the rows, ascending, in seconds: row `i` lies from
    /// `bounds[i]` to `bounds[i + 1]`.
    pub bounds: Vec<f64>,
    /// Requests, by step and then by row; an empty step is an empty list.
    pub counts: Vec<Vec<u64>>,
    /// Requests in the range.
    pub n_requests: u64,
    /// Of them: something was lost or truncated.
    pub n_incomplete: u64,
}

/// `GET /api/v1/exemplars`: `service`, `route`, `reason`, `from`, `to`,
/// `limit`; the slowest and the failed requests of each minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exemplars {
    /// The slowest first; failed ones the newest first.
    pub exemplars: Vec<Exemplar>,
}

/// One request that stands for its minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exemplar {
    /// `slow` or `failed`.
    pub reason: String,
    /// The request; what history does not keep of it is `null` or empty.
    pub request: Request,
}

/// `GET /api/v1/events`: `service`, `kind`, `from`, `to`, `limit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Events {
    /// Newest first.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// When.
    pub at_unix_ms: u64,
    /// `container_started`, `container_stopped`, `image_changed`,
    /// `oom_killed`, `health_changed`, `alert_firing`, `alert_resolved`,
    /// `daemon_started`, `daemon_stopped`, `data_lost`, `history_trouble`.
    pub kind: String,
    /// The service; `null` for the daemon's own.
    pub service: Option<String>,
    /// The container.
    pub container: Option<String>,
    /// The particulars in a few words.
    pub detail: String,
}

/// `POST /api/v1/sql`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SqlRequest {
    /// One statement that only reads.
    pub sql: String,
}

/// The answer to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SqlResult {
    /// Names and DuckDB types of the columns.
    pub columns: Vec<SqlColumn>,
    /// Rows, each with a value a column: numbers, strings, booleans, `null`.
    pub rows: Vec<Vec<SqlValue>>,
    /// Whether there were more rows than are told.
    pub truncated: bool,
    /// How long it took.
    pub elapsed_seconds: f64,
}

/// A column of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SqlColumn {
    /// Its name.
    pub name: String,
    /// Its type, as DuckDB calls it.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A value of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum SqlValue {
    /// None.
    #[default]
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond the signed ones.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// Everything else, as text; times in RFC 3339, blobs in hexadecimal.
    Text(String),
}
