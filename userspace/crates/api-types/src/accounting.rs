//! What was seen and what was missed.

use serde::{Deserialize, Serialize};

/// Accounting of events, bytes and requests since the daemon's start.
/// `bytes_observed = bytes_parsed + bytes_skipped + bytes_truncated +
/// bytes_lost + bytes_dropped + bytes_left_out`, once the queues are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// Of them: left out to stay within the processor budget, all but their
    /// counts.
    #[serde(default)]
    pub events_left_out: u64,
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
    /// Bytes in events that were left out.
    #[serde(default)]
    pub bytes_left_out: u64,
    /// Connections not tracked because the kernel's map was full.
    pub connections_untracked: u64,
    /// Runs of probes that the kernel left out, at most: each may be a call
    /// whose bytes were not seen.
    #[serde(default)]
    pub probe_runs_skipped: u64,
    /// Requests seen from beginning to end.
    pub requests_complete: u64,
    /// Requests of which something was lost or truncated.
    pub requests_incomplete: u64,
}

/// Accounting of one service in `GET /api/v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceAccounting {
    /// The service.
    pub service: String,
    /// Events and bytes; `null` where nothing was told yet.
    pub capture: Option<ServiceCapture>,
    /// As [`Service::kernel`](crate::Service::kernel).
    pub kernel: Option<RequestCounts>,
    /// As [`Service::seen`](crate::Service::seen).
    pub seen: RequestCounts,
    /// As [`Service::difference`](crate::Service::difference).
    pub difference: Option<CountsDifference>,
    /// As [`Service::unseen_bytes`](crate::Service::unseen_bytes).
    pub unseen_bytes: Option<u64>,
}

/// Events and bytes of one service since the daemon's start, of containers
/// that stopped too, for as long as their other counts are kept.
/// `bytes_observed = bytes_parsed + bytes_skipped + bytes_truncated +
/// bytes_lost + bytes_dropped + bytes_left_out + bytes_pending`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceCapture {
    /// Events placed in the kernel's ring buffer; zero in a replay.
    pub events_submitted: u64,
    /// Events that were not, for either cause: the ring had no room, or the
    /// kernel's map of connections.
    pub events_lost: u64,
    /// Of them: the map of connections had no room.
    #[serde(default)]
    pub events_lost_map_full: u64,
    /// Events whose bytes in the server's memory could not be read; they are
    /// told all the same, with nothing captured.
    #[serde(default)]
    pub user_reads_failed: u64,
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
    /// Bytes in events that never reached the parser: a queue of the daemon's
    /// was full, or they could not be decoded.
    pub bytes_dropped: u64,
    /// Events left out to stay within the processor budget, all but their
    /// counts.
    #[serde(default)]
    pub events_left_out: u64,
    /// Bytes in them.
    #[serde(default)]
    pub bytes_left_out: u64,
    /// Bytes on their way from the probes to the parser.
    pub bytes_pending: u64,
}

/// Requests and responses that began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RequestCounts {
    /// Requests.
    pub requests: u64,
    /// Final responses by status class, `1xx` (101 alone) to `5xx`.
    pub responses: [u64; 5],
}

/// One [`RequestCounts`] less another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountsDifference {
    /// Requests.
    pub requests: i64,
    /// Responses by status class.
    pub responses: [i64; 5],
}
