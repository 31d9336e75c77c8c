//! Single requests that are kept in history: the slowest and the failed ones
//! of each minute.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{Completeness, Method, Outcome};
use crate::time::UnixNs;

/// One request that stands for its minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// Why it was kept.
    pub reason: ExemplarReason,
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// The route template, or `_other`.
    pub route: Arc<str>,
    /// The method; `None` for a response without a request.
    pub method: Option<Method>,
    /// The status written, if one was.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether all of it was seen.
    pub completeness: Completeness,
    /// Whether the response was sent piece by piece.
    pub streamed: bool,
    /// When its first byte was read, wall time.
    pub started: UnixNs,
    /// When it was over, wall time.
    pub finished: UnixNs,
    /// First byte read to last byte written; `None` where the end was lost.
    pub duration: Option<Duration>,
    /// Last byte of the request to first byte of the response.
    pub time_to_first_byte: Option<Duration>,
    /// Arrival to last byte written.
    pub felt: Option<Duration>,
    /// Arrival to first byte read.
    pub queue: Option<Duration>,
    /// First to last byte of the request read.
    pub read: Option<Duration>,
    /// Request read to first byte of the body written.
    pub app: Option<Duration>,
    /// First to last byte of the body written.
    pub stream: Option<Duration>,
    /// Last byte written to last byte gone from the socket.
    pub drain: Option<Duration>,
    /// Request read to first content chunk written.
    pub first_chunk: Option<Duration>,
    /// Content chunks written, of a stream.
    pub n_chunks: Option<u64>,
    /// Body bytes read.
    pub request_body_bytes: u64,
    /// Body bytes written.
    pub response_body_bytes: u64,
    /// The client.
    pub peer: SocketAddr,
    /// The server's port.
    pub local_port: u16,
}

/// Why a request was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExemplarReason {
    /// It was among the slowest of its service in its minute.
    Slow,
    /// It failed (5xx, or ended without a whole response).
    Failed,
}

impl ExemplarReason {
    /// The name, as history and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Slow, Self::Failed]
            .into_iter()
            .find(|reason| reason.as_str() == name)
    }
}
