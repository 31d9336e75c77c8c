//! A finished exchange: one request and what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connection::{CgroupId, ConnectionId, Transport};
use crate::histogram::DurationHistogram;
use crate::time::MonotonicNs;

/// Request methods of RFC 9110 section 9 and RFC 5789; anything else is `Other`, as
/// the semantic conventions ask, so that hostile methods make no new series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Connect,
    Options,
    Trace,
    Other,
}

impl Method {
    /// Every method, in the order of their indices.
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Connect,
        Self::Options,
        Self::Trace,
        Self::Other,
    ];

    /// Reads a method token; methods are case-sensitive (RFC 9110 section 9.1).
    #[must_use]
    pub fn parse(token: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == token)
            .unwrap_or(Self::Other)
    }

    /// The token, or `_OTHER`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Other => "_OTHER",
        }
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The whole response was written.
    Complete,
    /// The client went away first.
    ClientAborted,
    /// The server ended the connection inside its response.
    ServerAborted,
    /// The connection ended, in good order, without a response.
    Unanswered,
    /// We missed bytes, so its end is not known.
    Lost,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Complete,
        Self::ClientAborted,
        Self::ServerAborted,
        Self::Unanswered,
        Self::Lost,
    ];

    /// The name used on the wire and in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientAborted => "client_aborted",
            Self::ServerAborted => "server_aborted",
            Self::Unanswered => "unanswered",
            Self::Lost => "lost",
        }
    }

    /// The outcome of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == name)
    }
}

/// Whether everything of an exchange was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every byte that framing needs.
    Whole,
    /// Some of it was moved but not captured.
    Truncated,
    /// Some of it was in events that were lost.
    Gap,
}

impl Completeness {
    /// The name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Truncated => "truncated",
            Self::Gap => "gap",
        }
    }
}

/// Instants of an exchange: returns of the system calls that moved the bytes,
/// but for `arrived` and `drained`, which are the network stack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// First byte of the request arrived at the socket, where the kernel tells.
    pub arrived: Option<MonotonicNs>,
    /// The connection was accepted; only for its first request, and only if
    /// the accept was seen.
    pub accepted: Option<MonotonicNs>,
    /// First byte of the request read. For a response without a request: its
    /// first byte written.
    pub request_start: MonotonicNs,
    /// Last byte of the request read, if it was read to its end.
    pub request_end: Option<MonotonicNs>,
    /// First byte of the final (not 1xx) response written.
    pub response_start: Option<MonotonicNs>,
    /// First byte of the response's body written.
    pub body_start: Option<MonotonicNs>,
    /// Last byte of the response written; where the response has no end, the
    /// last byte of it that was.
    pub response_end: Option<MonotonicNs>,
    /// Last byte of the response left the socket for the network; only where
    /// it had to wait for a slow peer.
    pub drained: Option<MonotonicNs>,
    /// When the exchange was known to be over: `response_end`, or the
    /// connection's end.
    pub finished: MonotonicNs,
}

impl Timings {
    /// `http.server.request.duration`: first byte of the request read to last
    /// byte of the response written, or to the end of an exchange without one.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.response_end
            .unwrap_or(self.finished)
            .since(self.request_start)
    }

    /// Last byte of the request read to first byte of the final response
    /// written. A server that answers before it has read the whole request
    /// makes it zero.
    #[must_use]
    pub fn time_to_first_byte(&self) -> Option<Duration> {
        let response_start = self.response_start?;
        Some(response_start.since(self.request_end.unwrap_or(response_start)))
    }

    /// How long the request waited before the server read it: from the arrival
    /// of its first byte, or from the accept where the arrival is not known
    /// (first request only).
    #[must_use]
    pub fn queue(&self) -> Option<Duration> {
        Some(self.request_start.since(self.arrived.or(self.accepted)?))
    }

    /// What the client felt: first byte of the request arrived to last byte of
    /// the response written. Only of requests whose arrival is known.
    #[must_use]
    pub fn felt(&self) -> Option<Duration> {
        Some(self.response_end?.since(self.arrived?))
    }

    /// First byte of the request read to its last: a slow upload.
    #[must_use]
    pub fn read(&self) -> Option<Duration> {
        Some(self.request_end?.since(self.request_start))
    }

    /// Last byte of the request read to first byte of the response's body, or
    /// to the response's end where it has none: the server's own work. With
    /// [`read`](Self::read) and [`stream`](Self::stream) it makes up the
    /// duration.
    #[must_use]
    pub fn app(&self) -> Option<Duration> {
        let until = self.body_start.or(self.response_end)?;
        Some(until.since(self.request_end?))
    }

    /// Last byte of the response written to its last byte gone from the
    /// socket; zero where nothing waited.
    #[must_use]
    pub fn drain(&self) -> Option<Duration> {
        let end = self.response_end?;
        Some(
            self.drained
                .map_or(Duration::ZERO, |drained| drained.since(end)),
        )
    }

    /// First byte of the response's body to its last byte.
    #[must_use]
    pub fn stream(&self) -> Option<Duration> {
        Some(self.response_end?.since(self.body_start?))
    }
}

/// How a response's body is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamFormat {
    /// `text/event-stream`.
    ServerSentEvents,
    /// One JSON value a line.
    JsonLines,
    /// HTTP chunks of another content type: a chunk is a piece.
    Chunks,
}

impl StreamFormat {
    /// The name used on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ServerSentEvents => "server_sent_events",
            Self::JsonLines => "json_lines",
            Self::Chunks => "chunks",
        }
    }
}

/// The rhythm of a response that streams. A *content chunk* is one event, line
/// or HTTP chunk that carries content: comments, keep-alives, frames that only
/// name a role, that end the stream or that tell usage are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFigures {
    /// How the body is cut into pieces.
    pub format: StreamFormat,
    /// Content chunks written.
    pub n_chunks: u64,
    /// When the call returned that wrote the first content chunk.
    pub first_chunk: Option<MonotonicNs>,
    /// When the call returned that wrote the last content chunk.
    pub last_chunk: Option<MonotonicNs>,
    /// Times from one content chunk to the next; chunks of one call are
    /// counted with zero.
    pub intervals: DurationHistogram,
    /// The longest of them.
    pub longest_interval: Duration,
    /// Intervals longer than a stall: a second.
    pub n_stalls: u64,
    /// How long the server went on writing after the client had gone.
    pub after_abort: Option<Duration>,
    /// Whether all of it was seen. Where not, chunks may be missing from the
    /// counts; intervals in which some may be missing are left out, and so is
    /// the first chunk where others may have come before it.
    pub completeness: Completeness,
}

/// What an inference endpoint does; names are OpenTelemetry's
/// `gen_ai.operation.name` where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// A chat completion.
    Chat,
    /// A completion of a text.
    TextCompletion,
    /// Embeddings.
    Embeddings,
    /// Content of another or an unknown shape.
    GenerateContent,
    /// A prediction of any other model.
    Predict,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 5] = [
        Self::Chat,
        Self::TextCompletion,
        Self::Embeddings,
        Self::GenerateContent,
        Self::Predict,
    ];

    /// The name used on the wire and in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
            Self::GenerateContent => "generate_content",
            Self::Predict => "predict",
        }
    }

    /// Whether it generates, so that its first content chunk is the model's.
    #[must_use]
    pub fn is_generative(self) -> bool {
        matches!(
            self,
            Self::Chat | Self::TextCompletion | Self::GenerateContent
        )
    }
}

/// What is known of a request to an inference endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inference {
    /// What the endpoint does.
    pub operation: Operation,
    /// The model: from the path, or from the body where the container's label
    /// allows a look.
    pub model: Option<String>,
    /// Tokens of the prompt, where a usage frame told them.
    pub input_tokens: Option<u64>,
    /// Tokens generated, where a usage frame told them.
    pub output_tokens: Option<u64>,
}

/// What one upgraded connection (a WebSocket) carried after its handshake,
/// which is a request of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The connection.
    pub connection: ConnectionId,
    /// The watched cgroup of the server.
    pub cgroup: CgroupId,
    /// The handshake's path, as in [`RequestRecord::path`].
    pub path: String,
    /// The response to the handshake was written.
    pub started: MonotonicNs,
    /// The connection's end, or its last byte.
    pub ended: MonotonicNs,
    /// Messages the server read; `None` where the protocol is no WebSocket or
    /// its frames could not be followed.
    pub n_messages_read: Option<u64>,
    /// Messages the server wrote, as `n_messages_read`.
    pub n_messages_written: Option<u64>,
    /// Bytes the server read.
    pub bytes_read: u64,
    /// Bytes the server wrote.
    pub bytes_written: u64,
    /// Whether something of it was not seen.
    pub completeness: Completeness,
}

/// One request and its response, as the wire showed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// The connection it came by.
    pub connection: ConnectionId,
    /// Its place on that connection, from zero.
    pub sequence: u64,
    /// The watched cgroup of the server.
    pub cgroup: CgroupId,
    /// What the connection runs over. Requests over a UNIX socket are an inner
    /// hop: those of the proxy before it, told a second time.
    pub transport: Transport,
    /// The client's address.
    pub peer: SocketAddr,
    /// The server's address.
    pub local: SocketAddr,
    /// The method; `None` for a response without a request.
    pub method: Option<Method>,
    /// The path without query and fragment, at most
    /// [`MAX_PATH_BYTES`] long; empty where no request was seen.
    pub path: String,
    /// Minor version of HTTP/1: 0 or 1.
    pub http_minor: u8,
    /// The status that was written, if one was.
    pub status: Option<u16>,
    /// Instants.
    pub timings: Timings,
    /// Bytes of the request's body that were read, transfer coding removed.
    pub request_body_bytes: u64,
    /// Bytes of the response's body that were written, transfer coding removed.
    pub response_body_bytes: u64,
    /// Whether the response's body was sent piece by piece: server-sent
    /// events, NDJSON or chunked.
    pub streamed: bool,
    /// The rhythm of the response, of those that stream.
    pub stream: Option<Box<StreamFigures>>,
    /// What is known of the inference, of requests to such an endpoint.
    pub inference: Option<Box<Inference>>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether everything of it was seen.
    pub completeness: Completeness,
}

/// Longest path kept of a request; the rest is cut.
pub const MAX_PATH_BYTES: usize = 512;

impl RequestRecord {
    /// Whether it counts as failed: a 5xx status, or an end that was not the
    /// client's doing. Client errors (4xx) are the client's.
    #[must_use]
    pub fn is_error(&self) -> bool {
        match self.outcome {
            Outcome::ServerAborted | Outcome::Unanswered => true,
            Outcome::Complete | Outcome::ClientAborted | Outcome::Lost => {
                self.status.is_some_and(|status| status >= 500)
            }
        }
    }
}
