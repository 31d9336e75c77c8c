//! Conversations that are valid by construction, and what is to be told of
//! them: the model that the table is compared with.

use std::ops::Range;

use modeltap_core::connection::{
    CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened, Data,
    Direction, Origin, Transport,
};
use modeltap_core::record::{Completeness, Method, Outcome, RequestRecord, Timings};
use modeltap_core::time::MonotonicNs;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

/// Looks like the messages of both directions and like the end of a body.
const HOSTILE: &[u8] = b"\r\n0\r\n\r\nHTTP/1.1 500 Oops\r\n\r\nGET /no HTTP/1.1\r\n\r\n0\r\n\r\n";
const OPENED: MonotonicNs = MonotonicNs(1_000_000);
const STEP_NS: u64 = 1_000;

/// How a body is delimited, and its size.
#[derive(Clone, Debug)]
pub enum Framing {
    Empty,
    Length(usize),
    Chunked { chunks: Vec<usize>, odd: bool },
    UntilClose(usize),
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: Method,
    pub minor: u8,
    /// The client sends it only once the response before was written.
    pub waits: bool,
    /// An empty line before it, as some clients send behind a POST.
    pub blank: bool,
    pub request: Framing,
    pub interim: Vec<u16>,
    pub status: u16,
    pub response: Framing,
    pub event_stream: bool,
}

impl Exchange {
    pub fn get(status: u16, length: usize) -> Self {
        Self {
            method: Method::Get,
            minor: 1,
            waits: true,
            blank: false,
            request: Framing::Empty,
            interim: Vec::new(),
            status,
            response: Framing::Length(length),
            event_stream: false,
        }
    }

    /// RFC 9110 section 6.4.1: whatever its header fields say.
    fn response_has_body(&self) -> bool {
        self.method != Method::Head && ![204, 304].contains(&self.status)
    }
}

/// What the exchanges are, and how the system calls cut them.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub exchanges: Vec<Exchange>,
    /// Bodies look like messages.
    pub hostile: bool,
    /// Sizes of the reads and of the writes, over and over.
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
    /// Whether to read first where both may happen, over and over.
    pub reads_first: Vec<bool>,
    pub close: CloseCause,
}

pub fn conversations() -> impl Strategy<Value = Conversation> {
    (
        vec(exchanges(), 1..6),
        any::<bool>(),
        sizes(),
        sizes(),
        vec(any::<bool>(), 1..20),
        select(vec![CloseCause::LocalFinished, CloseCause::Reset]),
        proptest::option::of(0..200_usize),
    )
        .prop_map(
            |(mut exchanges, hostile, reads, writes, reads_first, mut close, until_close)| {
                if let (Some(length), Some(last)) = (until_close, exchanges.last_mut())
                    && last.response_has_body()
                {
                    last.response = Framing::UntilClose(length);
                    close = CloseCause::LocalFinished;
                }
                Conversation {
                    exchanges,
                    hostile,
                    reads,
                    writes,
                    reads_first,
                    close,
                }
            },
        )
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    (
        select(vec![Method::Get, Method::Post, Method::Head, Method::Put]),
        0..=1_u8,
        any::<bool>(),
        proptest::bool::weighted(0.2),
        prop_oneof![2 => Just(Framing::Empty), 3 => framings()],
        vec(select(vec![100, 102, 103]), 0..3),
        select(vec![200, 201, 204, 206, 304, 404, 422, 500, 503]),
        framings(),
        proptest::bool::weighted(0.2),
    )
        .prop_map(
            |(method, minor, waits, blank, request, interim, status, response, event_stream)| {
                Exchange {
                    method,
                    minor,
                    waits,
                    blank,
                    request,
                    interim,
                    status,
                    response,
                    event_stream,
                }
            },
        )
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![
        (0..400_usize).prop_map(Framing::Length),
        (vec(1..60_usize, 0..6), any::<bool>())
            .prop_map(|(chunks, odd)| Framing::Chunked { chunks, odd }),
    ]
}

/// From every byte alone to everything at once.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        1 => Just(vec![1]),
        1 => Just(vec![usize::MAX]),
        3 => vec(1..12_usize, 1..20),
        3 => vec(1..300_usize, 1..20),
    ]
}

/// The bytes of one direction.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    /// Whether each byte is a body's: its value then means nothing.
    is_body: Vec<bool>,
}

impl Wire {
    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn push_framing(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.is_body.resize(self.bytes.len(), false);
    }

    fn push_data(&mut self, length: usize, hostile: bool) {
        let filler: &[u8] = if hostile { HOSTILE } else { b"x" };
        self.bytes.extend(filler.iter().cycle().take(length));
        self.is_body.resize(self.bytes.len(), true);
    }

    /// Pushes a body; returns where its first data byte lies and its size.
    fn push_body(&mut self, framing: &Framing, hostile: bool) -> (Option<usize>, usize) {
        let (first, size) = match framing {
            Framing::Empty => (self.len(), 0),
            Framing::Length(length) | Framing::UntilClose(length) => {
                let first = self.len();
                self.push_data(*length, hostile);
                (first, *length)
            }
            Framing::Chunked { chunks, odd } => {
                let mut first = None;
                for &size in chunks {
                    match odd {
                        false => self.push_framing(&format!("{size:x}\r\n")),
                        true => self.push_framing(&format!("0{size:X} ;a;b=\"0\"\r\n")),
                    }
                    first.get_or_insert(self.len());
                    self.push_data(size, hostile);
                    self.push_framing("\r\n");
                }
                self.push_framing(match odd {
                    false => "0\r\n\r\n",
                    true => "000;last\r\nTook: 5\r\nDigest: 0\r\n\r\n",
                });
                (first.unwrap_or_default(), chunks.iter().sum())
            }
        };
        ((size > 0).then_some(first), size)
    }
}

fn framing_fields(framing: &Framing) -> String {
    match framing {
        Framing::Empty | Framing::UntilClose(_) => String::new(),
        Framing::Length(length) => format!("Content-Length: {length}\r\n"),
        Framing::Chunked { .. } => "Transfer-Encoding: chunked\r\n".into(),
    }
}

/// Where an exchange lies in the two wires.
struct Place {
    /// With an empty line before it, if any.
    request_from: usize,
    request: Range<usize>,
    request_body_bytes: usize,
    /// With the interim responses.
    response_from: usize,
    response: Range<usize>,
    response_body_bytes: usize,
    body_first: Option<usize>,
}

/// One system call.
struct Call {
    direction: Direction,
    range: Range<usize>,
    at: MonotonicNs,
}

/// A conversation as it passed the socket.
pub struct Played {
    exchanges: Vec<Exchange>,
    read: Wire,
    written: Wire,
    places: Vec<Place>,
    calls: Vec<Call>,
    close: CloseCause,
}

pub fn path(n: usize) -> String {
    format!("/p{n}")
}

pub const ID: ConnectionId = ConnectionId {
    socket: 1,
    opened: OPENED,
};

impl Conversation {
    pub fn play(&self) -> Played {
        let (mut read, mut written) = (Wire::default(), Wire::default());
        let places = self
            .exchanges
            .iter()
            .enumerate()
            .map(|(n, exchange)| self.push(n, exchange, &mut read, &mut written))
            .collect::<Vec<_>>();
        let calls = self.calls(&places);
        Played {
            exchanges: self.exchanges.clone(),
            read,
            written,
            places,
            calls,
            close: self.close,
        }
    }

    fn push(&self, n: usize, exchange: &Exchange, read: &mut Wire, written: &mut Wire) -> Place {
        let request_from = read.len();
        if exchange.blank {
            read.push_framing("\r\n");
        }
        let request_start = read.len();
        read.push_framing(&format!(
            "{} {}?key=1 HTTP/1.{}\r\nHost: h\r\n{}\r\n",
            exchange.method.as_str(),
            path(n),
            exchange.minor,
            framing_fields(&exchange.request),
        ));
        let (_, request_body_bytes) = read.push_body(&exchange.request, self.hostile);

        let response_from = written.len();
        for status in &exchange.interim {
            written.push_framing(&format!("HTTP/1.1 {status} Wait\r\nLink: </a>\r\n\r\n"));
        }
        let response_start = written.len();
        let event_stream = match exchange.event_stream {
            false => "",
            true => "Content-Type: text/event-stream; charset=utf-8\r\n",
        };
        written.push_framing(&format!(
            "HTTP/1.1 {} Reason\r\nServer: s\r\n{event_stream}{}\r\n",
            exchange.status,
            framing_fields(&exchange.response),
        ));
        let (body_first, response_body_bytes) = match exchange.response_has_body() {
            false => (None, 0),
            true => written.push_body(&exchange.response, self.hostile),
        };
        Place {
            request_from,
            request: request_start..read.len(),
            request_body_bytes,
            response_from,
            response: response_start..written.len(),
            response_body_bytes,
            body_first,
        }
    }

    /// Reads and writes in an order that a server and its client can have: it
    /// answers what it has read, and a client that waits was answered.
    fn calls(&self, places: &[Place]) -> Vec<Call> {
        let (mut read, mut written) = (0, 0);
        let (mut reads, mut writes) = (self.reads.iter().cycle(), self.writes.iter().cycle());
        let mut reads_first = self.reads_first.iter().cycle();
        let end = places.last().expect("a conversation has exchanges");
        let (read_end, written_end) = (end.request.end, end.response.end);
        let mut calls: Vec<Call> = Vec::new();
        while (read, written) != (read_end, written_end) {
            let read_limit = (1..places.len())
                .filter(|&n| self.exchanges[n].waits && written < places[n - 1].response.end)
                .map(|n| places[n].request_from)
                .min()
                .unwrap_or(read_end);
            let write_limit = places
                .iter()
                .filter(|place| read < place.request.end)
                .map(|place| place.response_from)
                .min()
                .unwrap_or(written_end);
            let reads_now = read < read_limit
                && (written >= write_limit || *reads_first.next().expect("a cycle"));
            let (direction, passed, limit, size) = match reads_now {
                true => (Direction::Read, &mut read, read_limit, reads.next()),
                false => (Direction::Write, &mut written, write_limit, writes.next()),
            };
            let from = *passed;
            *passed = limit.min(from.saturating_add(*size.expect("a cycle")));
            assert!(from < *passed, "stuck at {read} of {read_end} read");
            calls.push(Call {
                direction,
                range: from..*passed,
                at: MonotonicNs(OPENED.0 + STEP_NS * (1 + calls.len() as u64)),
            });
        }
        calls
    }
}

impl Played {
    /// All of it, with every byte captured.
    pub fn events(&self) -> Vec<CaptureEvent> {
        self.events_captured(|_| 0)
    }

    /// All of it. Of the bytes of each call that are a body's and end it,
    /// `left_out(how many there are)` are not captured.
    pub fn events_captured(&self, mut left_out: impl FnMut(usize) -> usize) -> Vec<CaptureEvent> {
        let opened = CaptureEvent::Opened(opened(ID, Origin::Accepted));
        let data = self.calls.iter().map(|call| {
            let wire = self.wire(call.direction);
            let is_body = &wire.is_body[call.range.clone()];
            let tail = is_body.iter().rev().take_while(|&&is| is).count();
            let captured = call.range.len() - left_out(tail).min(tail);
            CaptureEvent::Data(Data {
                id: ID,
                at: call.at,
                direction: call.direction,
                position: call.range.start as u64,
                length: u32::try_from(call.range.len()).expect("conversations are short"),
                arrived: None,
                waits: false,
                bytes: wire.bytes[call.range.clone()][..captured].to_vec(),
            })
        });
        let closed = CaptureEvent::Closed(ConnectionClosed {
            id: ID,
            at: self.closed_at(),
            cause: self.close,
            bytes_read: self.read.len() as u64,
            bytes_written: self.written.len() as u64,
        });
        std::iter::once(opened)
            .chain(data)
            .chain([closed])
            .collect()
    }

    /// What is to be told of it.
    pub fn expected(&self) -> Vec<RequestRecord> {
        let opened = opened(ID, Origin::Accepted);
        let exchanges = self.exchanges.iter().zip(&self.places).enumerate();
        exchanges
            .map(|(n, (exchange, place))| {
                let request_at = |offset| self.at(Direction::Read, offset);
                let response_at = |offset| self.at(Direction::Write, offset);
                let response_end = response_at(place.response.end - 1);
                let until_close = matches!(exchange.response, Framing::UntilClose(_));
                RequestRecord {
                    connection: ID,
                    sequence: n as u64,
                    cgroup: opened.cgroup,
                    transport: opened.transport,
                    peer: opened.peer,
                    local: opened.local,
                    method: Some(exchange.method),
                    path: path(n),
                    http_minor: exchange.minor,
                    status: Some(exchange.status),
                    timings: Timings {
                        arrived: None,
                        accepted: (n == 0).then_some(OPENED),
                        request_start: request_at(place.request.start),
                        request_end: Some(request_at(place.request.end - 1)),
                        response_start: Some(response_at(place.response.start)),
                        body_start: place.body_first.map(response_at),
                        response_end: Some(response_end),
                        drained: None,
                        finished: match until_close {
                            true => self.closed_at(),
                            false => response_end,
                        },
                    },
                    request_body_bytes: place.request_body_bytes as u64,
                    response_body_bytes: place.response_body_bytes as u64,
                    streamed: exchange.event_stream
                        || matches!(exchange.response, Framing::Chunked { .. }),
                    stream: None,
                    inference: None,
                    outcome: Outcome::Complete,
                    completeness: Completeness::Whole,
                }
            })
            .collect()
    }

    pub fn n_bytes(&self) -> u64 {
        (self.read.len() + self.written.len()) as u64
    }

    fn wire(&self, direction: Direction) -> &Wire {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.written,
        }
    }

    fn at(&self, direction: Direction, offset: usize) -> MonotonicNs {
        let mut calls = self.calls.iter();
        calls
            .find(|call| call.direction == direction && call.range.contains(&offset))
            .expect("calls cover the wire")
            .at
    }

    fn closed_at(&self) -> MonotonicNs {
        MonotonicNs(OPENED.0 + STEP_NS * (1 + self.calls.len() as u64))
    }
}

pub fn opened(id: ConnectionId, origin: Origin) -> ConnectionOpened {
    ConnectionOpened {
        id,
        cgroup: CgroupId(7),
        peer: ([10, 0, 0, 2], 40_000).into(),
        local: ([10, 0, 0, 1], 8_000).into(),
        origin,
        transport: Transport::Tcp,
    }
}
