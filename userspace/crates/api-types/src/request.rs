//! Single requests.

use serde::{Deserialize, Serialize};

/// `GET /api/v1/requests`: recent requests, newest first; those over TCP, or
/// with `transport=unix` the inner hops.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Requests {
    /// The requests.
    pub requests: Vec<Request>,
    /// The parameter `cursor` of the next page; left out where there is none,
    /// and in live messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One finished request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// First byte arrived at the socket to first byte read, in seconds; where
    /// the arrival is not known, accept to first byte read, first request only.
    pub queue: Option<f64>,
    /// First to last byte of the response's body, in seconds.
    pub stream: Option<f64>,
    /// First byte of the request arrived at the socket, wall time.
    #[serde(default)]
    pub arrived_unix_ms: Option<u64>,
    /// First byte of the request arrived at the socket, CLOCK_MONOTONIC.
    #[serde(default)]
    pub arrived_monotonic_ns: Option<u64>,
    /// First byte arrived to last byte written, in seconds.
    #[serde(default)]
    pub felt: Option<f64>,
    /// First to last byte of the request read, in seconds.
    #[serde(default)]
    pub read: Option<f64>,
    /// Request read to first byte of the body written (to the response's end
    /// where it has none), in seconds.
    #[serde(default)]
    pub app: Option<f64>,
    /// Last byte written to last byte gone from the socket, in seconds.
    #[serde(default)]
    pub drain: Option<f64>,
    /// Body bytes read.
    pub request_body_bytes: u64,
    /// Body bytes written.
    pub response_body_bytes: u64,
    /// `tcp`, or `unix` for an inner hop.
    #[serde(default)]
    pub transport: String,
    /// How the body is cut into pieces: `server_sent_events`, `json_lines` or
    /// `chunks`; `null`, as what follows up to `after_abort`, where the
    /// response does not stream.
    #[serde(default)]
    pub stream_format: Option<String>,
    /// Content chunks written.
    #[serde(default)]
    pub n_chunks: Option<u64>,
    /// Last byte of the request to the first content chunk, in seconds.
    #[serde(default)]
    pub first_chunk: Option<f64>,
    /// Times from one content chunk to the next; `null` with fewer than two.
    #[serde(default)]
    pub chunk_interval: Option<IntervalFigures>,
    /// Content chunks a second between the first and the last.
    #[serde(default)]
    pub chunk_pace: Option<f64>,
    /// Intervals longer than a second.
    #[serde(default)]
    pub n_stalls: Option<u64>,
    /// How long the server went on writing after the client had gone, in
    /// seconds; `null` where the client stayed.
    #[serde(default)]
    pub after_abort: Option<f64>,
    /// `chat`, `text_completion`, `embeddings`, `generate_content` or
    /// `predict`; `null` where the endpoint is none of inference.
    #[serde(default)]
    pub operation: Option<String>,
    /// The model, where the path or an inspected body names it.
    #[serde(default)]
    pub model: Option<String>,
    /// Tokens of the prompt, where an inspected usage frame told them.
    #[serde(default)]
    pub input_tokens: Option<u64>,
    /// Tokens generated, as `input_tokens`.
    #[serde(default)]
    pub output_tokens: Option<u64>,
}

/// Times from one content chunk of a response to the next, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IntervalFigures {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest, exact.
    pub max: f64,
}
