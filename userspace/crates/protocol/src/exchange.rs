//! One request and its response while they pass, until they are a record.

use modeltap_core::connection::ConnectionOpened;
use modeltap_core::record::{
    Completeness, Inference, Method, Outcome, RequestRecord, StreamFigures, Timings,
};
use modeltap_core::time::MonotonicNs;

use crate::stream_figures::histogram_bytes;

/// An exchange that is not over.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) sequence: u64,
    /// `None` for a response without a request.
    pub(crate) method: Option<Method>,
    pub(crate) path: String,
    pub(crate) minor: u8,
    /// First byte of the request arrived at the socket.
    pub(crate) arrived: Option<MonotonicNs>,
    pub(crate) accepted: Option<MonotonicNs>,
    pub(crate) request_start: MonotonicNs,
    pub(crate) request_end: Option<MonotonicNs>,
    pub(crate) request_body_bytes: u64,
    /// The client waits for an interim response before it sends the body.
    pub(crate) expects_continue: bool,
    /// An interim response was written.
    pub(crate) interim_seen: bool,
    /// Requests were missed just before.
    pub(crate) follows_missed: bool,
    /// The response was found after a gap: it is this request's unless a later
    /// request was lost.
    pub(crate) tentative: bool,
    /// It was answered before all of its request was read, or the rest of the
    /// request was lost: the next read tells which.
    pub(crate) answered_early: bool,
    pub(crate) status: Option<u16>,
    pub(crate) response_start: Option<MonotonicNs>,
    pub(crate) body_start: Option<MonotonicNs>,
    /// What is known of the inference, of requests to such an endpoint.
    pub(crate) inference: Option<Box<Inference>>,
    /// Last byte so far of the final response.
    pub(crate) last_write: Option<MonotonicNs>,
    /// Where that write left some of it in the socket: position behind the
    /// last byte.
    pub(crate) waits_for: Option<u64>,
    pub(crate) response_body_bytes: u64,
    pub(crate) streamed: bool,
    /// The response's rhythm, once it is over.
    pub(crate) stream: Option<Box<StreamFigures>>,
    pub(crate) completeness: Completeness,
}

impl Exchange {
    /// An exchange that nothing is known of but its first instant.
    pub(crate) fn new(sequence: u64, request_start: MonotonicNs) -> Self {
        Self {
            sequence,
            method: None,
            path: String::new(),
            minor: 1,
            arrived: None,
            accepted: None,
            request_start,
            request_end: None,
            request_body_bytes: 0,
            expects_continue: false,
            interim_seen: false,
            follows_missed: false,
            tentative: false,
            answered_early: false,
            status: None,
            response_start: None,
            body_start: None,
            inference: None,
            last_write: None,
            waits_for: None,
            response_body_bytes: 0,
            streamed: false,
            stream: None,
            completeness: Completeness::Whole,
        }
    }

    /// Whether it is a response without a request.
    pub(crate) fn is_unrequested(&self) -> bool {
        self.method.is_none()
    }

    pub(crate) fn count_request_body(&mut self, n: u64) {
        self.request_body_bytes = self.request_body_bytes.saturating_add(n);
    }

    pub(crate) fn count_response_body(&mut self, n: u64) {
        self.response_body_bytes = self.response_body_bytes.saturating_add(n);
    }

    /// Takes the request from its response, which is another's: what is left
    /// is a response without a request.
    pub(crate) fn split_request(&mut self, response_sequence: u64) -> Self {
        let start = self.response_start.unwrap_or(self.request_start);
        let mut request = std::mem::replace(self, Self::new(response_sequence, start));
        self.status = request.status.take();
        self.minor = request.minor;
        self.response_start = request.response_start.take();
        self.body_start = request.body_start.take();
        self.last_write = request.last_write.take();
        self.waits_for = request.waits_for.take();
        self.response_body_bytes = std::mem::take(&mut request.response_body_bytes);
        self.streamed = std::mem::take(&mut request.streamed);
        self.stream = request.stream.take();
        self.degrade(Completeness::Gap);
        request.degrade(Completeness::Gap);
        request
    }

    /// Bytes it takes in memory.
    pub(crate) fn footprint(&self) -> usize {
        let stream = self.stream.as_ref().map_or(0, |stream| {
            size_of::<StreamFigures>() + histogram_bytes(&stream.intervals)
        });
        let inference = self.inference.as_ref().map_or(0, |inference| {
            size_of::<Inference>() + inference.model.as_ref().map_or(0, String::len)
        });
        size_of::<Self>() + self.path.len() + stream + inference
    }

    /// Notes that something of it was not seen; a loss outweighs a truncation.
    pub(crate) fn degrade(&mut self, to: Completeness) {
        self.completeness = worse(self.completeness, to);
    }

    /// Its instants in the order that causes have: threads that share a socket
    /// take the time after the bytes moved, and so perhaps in another order.
    fn timings(&self, finished: MonotonicNs) -> Timings {
        let request_start = self.request_start.max(self.accepted.unwrap_or_default());
        let request_end = self.request_end.map(|at| at.max(request_start));
        let response_start = self.response_start.map(|at| at.max(request_start));
        let response_from = response_start.unwrap_or(request_start);
        let body_start = self.body_start.map(|at| at.max(response_from));
        let response_to = body_start.unwrap_or(response_from);
        let response_end = self.last_write.map(|at| at.max(response_to));
        Timings {
            // Bytes are read once they are there; it may be before the accept.
            arrived: self.arrived.map(|at| at.min(request_start)),
            accepted: self.accepted,
            request_start,
            request_end,
            response_start,
            body_start,
            response_end,
            drained: None,
            finished: finished
                .max(response_end.unwrap_or(response_to))
                .max(request_end.unwrap_or(request_start)),
        }
    }

    /// What it came to, known to be over at `finished`.
    pub(crate) fn into_record(
        mut self,
        opened: &ConnectionOpened,
        outcome: Outcome,
        finished: MonotonicNs,
    ) -> RequestRecord {
        let timings = self.timings(finished);
        if let (Some(stream), Some(start)) = (&mut self.stream, timings.body_start) {
            let end = timings.response_end.unwrap_or(start);
            for chunk in [&mut stream.first_chunk, &mut stream.last_chunk] {
                *chunk = chunk.map(|at| at.clamp(start, end));
            }
        }
        RequestRecord {
            connection: opened.id,
            sequence: self.sequence,
            cgroup: opened.cgroup,
            transport: opened.transport,
            peer: opened.peer,
            local: opened.local,
            method: self.method,
            path: self.path,
            http_minor: self.minor,
            status: self.status,
            timings,
            request_body_bytes: self.request_body_bytes,
            response_body_bytes: self.response_body_bytes,
            streamed: self.streamed,
            stream: self.stream,
            inference: self.inference,
            outcome,
            completeness: self.completeness,
        }
    }
}

/// The worse of two: a loss outweighs a truncation.
pub(crate) fn worse(one: Completeness, other: Completeness) -> Completeness {
    match (one, other) {
        (Completeness::Gap, _) | (_, Completeness::Gap) => Completeness::Gap,
        (Completeness::Truncated, _) | (_, Completeness::Truncated) => Completeness::Truncated,
        (Completeness::Whole, Completeness::Whole) => Completeness::Whole,
    }
}
