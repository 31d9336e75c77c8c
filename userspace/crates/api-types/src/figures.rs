//! Figures of a window: of a service, a route, a container or a second.

use serde::{Deserialize, Serialize};

/// Figures of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Median, in seconds, of what clients felt: first byte of the request
    /// arrived at the socket to last byte of the response written. Of
    /// requests whose arrival is known; so are the next three.
    #[serde(default)]
    pub felt_p50: Option<f64>,
    /// 95th percentile of the same.
    #[serde(default)]
    pub felt_p95: Option<f64>,
    /// Median wait before the server read the request, in seconds.
    #[serde(default)]
    pub queue_p50: Option<f64>,
    /// 95th percentile of the same.
    #[serde(default)]
    pub queue_p95: Option<f64>,
    /// Where the time went; `null` where it is known of no request.
    #[serde(default)]
    pub parts: Option<TimeParts>,
    /// Responses that streamed; `null` where none did.
    #[serde(default)]
    pub streams: Option<StreamFigures>,
}

/// Where the time of a window's requests went: the mean of each part, in
/// seconds. `read + app + stream` is the mean duration of the requests told of
/// here; with `queue`, where it is known of all of them, what clients felt.
/// Requests that were answered before they were read are left out: their parts
/// overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TimeParts {
    /// Requests told of here.
    pub n_requests: u64,
    /// Of them: those whose wait before the first read is known.
    pub n_queue: u64,
    /// First byte arrived at the socket (else, of a connection's first
    /// request: connection accepted) to first byte read. Of `n_queue` requests.
    pub queue: Option<f64>,
    /// First byte of the request read to its last: a slow upload.
    pub read: f64,
    /// Request read to first byte of the response's body written: the server's
    /// own work.
    pub app: f64,
    /// First byte of the body written to its last.
    pub stream: f64,
    /// Last byte written to last byte gone from the socket: a slow client.
    /// Comes after everything above.
    pub drain: f64,
}

/// Responses of a window that were sent piece by piece. A *content chunk* is
/// one event, line or HTTP chunk that carries content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StreamFigures {
    /// Responses that ended.
    pub n_streams: u64,
    /// Of them: the client went away first.
    pub n_aborted: u64,
    /// Content chunks written.
    pub n_chunks: u64,
    /// Intervals between them longer than a second.
    pub n_stalls: u64,
    /// Content chunks a second, over the whole window.
    pub chunk_rate: f64,
    /// Content chunks a second of one stream, while it streamed: the mean.
    pub chunk_pace: Option<f64>,
    /// Median time from the request's last byte read to the first content
    /// chunk written, in seconds.
    pub first_chunk_p50: Option<f64>,
    /// 95th percentile of the same.
    pub first_chunk_p95: Option<f64>,
    /// Median time from one content chunk to the next, in seconds.
    pub chunk_interval_p50: Option<f64>,
    /// 95th percentile of the same.
    pub chunk_interval_p95: Option<f64>,
    /// 99th percentile of the same.
    pub chunk_interval_p99: Option<f64>,
    /// Seconds, in all, that servers went on writing after the client had gone.
    pub after_abort: f64,
    /// Tokens of prompts, where usage frames told them.
    pub input_tokens: Option<u64>,
    /// Tokens generated, where usage frames told them.
    pub output_tokens: Option<u64>,
}

/// Requests over UNIX sockets inside a service's containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Inner {
    /// Requests since the daemon's start.
    pub n_requests: u64,
    /// The same by status class: `1xx` to `5xx`, then those without a status.
    pub by_status_class: [u64; 6],
    /// Figures over the window.
    pub window: WindowFigures,
}

/// Upgraded connections of a service since the daemon's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sessions {
    /// Open now; `null` where that is not known.
    pub n_active: Option<u64>,
    /// Sessions that ended.
    pub n_sessions: u64,
    /// Median duration in seconds, of those that ended.
    pub duration_p50: Option<f64>,
    /// 95th percentile of durations in seconds.
    pub duration_p95: Option<f64>,
    /// Longest duration in seconds.
    pub duration_max: Option<f64>,
    /// Messages the servers read, of sessions whose messages could be told
    /// apart; so are the next two.
    pub messages_read: u64,
    /// Messages the servers wrote.
    pub messages_written: u64,
    /// Messages a second, both ways, of one session: the mean over their time.
    pub message_rate: Option<f64>,
    /// Bytes the servers read.
    pub bytes_read: u64,
    /// Bytes the servers wrote.
    pub bytes_written: u64,
}
