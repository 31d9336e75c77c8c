//! What the fuzz targets run, and the ordinary tests with them: bytes in,
//! invariants checked.

use modeltap_core::connection::{
    Arrived, CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened,
    Data, Direction, Drained, Origin, Transport,
};
use modeltap_core::record::{Completeness, RequestRecord, StreamFigures};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable};

const OPENED: MonotonicNs = MonotonicNs(1_000);
const ID: ConnectionId = ConnectionId {
    socket: 1,
    opened: OPENED,
};

/// Choices made from the end of the input, so that its beginning stays text.
struct Choices<'a> {
    bytes: &'a [u8],
    /// Goes on where the input has no more.
    seed: u32,
}

impl<'a> Choices<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            seed: bytes.len() as u32,
        }
    }

    fn byte(&mut self) -> u8 {
        if let Some((&last, rest)) = self.bytes.split_last() {
            self.bytes = rest;
            return last;
        }
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.seed >> 24) as u8
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn u64(&mut self) -> u64 {
        match self.byte() {
            // Mostly small, sometimes at the end of the numbers.
            high @ 250.. => u64::MAX - u64::from(self.byte()) * u64::from(high - 249),
            scale => u64::from(self.byte()) << (scale % 24),
        }
    }
}

/// Reads and writes of one connection: the bytes up to the first 0xff are what
/// the server reads, the others what it writes; the last 32 choose the cuts.
pub fn http1(input: &[u8]) {
    let (wire, cuts) = input.split_at(input.len().saturating_sub(32));
    let middle = wire.iter().position(|&byte| byte == 0xff);
    let (mut read, written) = wire.split_at(middle.unwrap_or(wire.len()));
    let mut written = written.get(1..).unwrap_or_default();
    let mut choices = Choices::new(cuts);
    let mut run = Run::new(Config::default());
    run.table.inspect(CgroupId(1), choices.byte() & 1 == 1);
    run.open(ID, 1, Origin::Accepted);
    let mut positions = [0, 0];
    let mut at = OPENED.0;
    while !(read.is_empty() && written.is_empty()) {
        let choice = choices.byte();
        let reads = written.is_empty() || (!read.is_empty() && choice & 1 == 1);
        let (side, stream) = match reads {
            true => (0, &mut read),
            false => (1, &mut written),
        };
        let wanted = match choice >> 5 {
            0 => 1,
            7 => stream.len(),
            n => choices.below(16 << n) + 1,
        };
        let (call, rest) = stream.split_at(wanted.min(stream.len()));
        *stream = rest;
        at += u64::from(choice) * 1_000;
        // Few calls are captured in part, and fewer are lost.
        let captured = match choice & 0x1e {
            2 => call.len() / 2,
            _ => call.len(),
        };
        let position = positions[side];
        positions[side] += call.len() as u64;
        if choice & 0x1e == 4 && choices.byte() < 64 {
            continue;
        }
        run.event(&CaptureEvent::Data(Data {
            id: ID,
            at: MonotonicNs(at),
            direction: [Direction::Read, Direction::Write][side],
            position,
            length: call.len() as u32,
            arrived: Some(MonotonicNs(at / 2)),
            waits: choice & 0x1e == 6,
            bytes: call[..captured].to_vec(),
        }));
    }
    run.close(ID, at, positions);
    run.end();
}

/// A stream of events, lines or chunks, told whole and cut: both must have the
/// same rhythm.
pub fn sse(input: &[u8]) {
    let Some((&mode, body)) = input.split_first() else {
        return;
    };
    let (body, cuts) = body.split_at(body.len().saturating_sub(16));
    let content_type = match mode % 3 {
        0 => "text/event-stream",
        1 => "application/x-ndjson",
        _ => "text/plain",
    };
    let mut choices = Choices::new(cuts);
    let mut wire = Vec::new();
    let is_chunked = mode & 0x40 != 0 || mode % 3 == 2;
    if is_chunked {
        let mut rest = body;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at((choices.below(90) + 1).min(rest.len()));
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
            rest = behind;
        }
        wire.extend_from_slice(b"0\r\n\r\n");
    } else {
        wire.extend_from_slice(body);
    }
    let coding = match is_chunked {
        true => "Transfer-Encoding: chunked\r\n",
        false => "",
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{coding}\r\n");
    let whole = stream_figures(&head, &[&wire]);
    let mut calls = Vec::new();
    let mut rest = wire.as_slice();
    while !rest.is_empty() {
        let (call, behind) = rest.split_at((choices.below(40) + 1).min(rest.len()));
        calls.push(call);
        rest = behind;
    }
    let cut = stream_figures(&head, &calls);
    assert_eq!(whole.n_chunks, cut.n_chunks);
    assert_eq!(whole.intervals.count(), cut.intervals.count());
    assert_eq!(cut.completeness, Completeness::Whole);
}

fn stream_figures(head: &str, calls: &[&[u8]]) -> StreamFigures {
    let mut run = Run::new(Config::default());
    run.table.inspect(CgroupId(1), true);
    run.open(ID, 1, Origin::Accepted);
    let mut positions = [0, 0];
    let mut at = OPENED.0;
    let mut data = |run: &mut Run, side: usize, bytes: &[u8]| {
        at += 1_000_000;
        run.event(&CaptureEvent::Data(Data {
            id: ID,
            at: MonotonicNs(at),
            direction: [Direction::Read, Direction::Write][side],
            position: positions[side],
            length: bytes.len() as u32,
            arrived: None,
            waits: false,
            bytes: bytes.to_vec(),
        }));
        positions[side] += bytes.len() as u64;
    };
    data(&mut run, 0, b"POST /api/chat HTTP/1.1\r\n\r\n");
    data(&mut run, 1, head.as_bytes());
    for call in calls {
        data(&mut run, 1, call);
    }
    run.close(ID, at, positions);
    let mut records = run.end();
    assert_eq!(records.len(), 1);
    let record = records.remove(0);
    *record.stream.expect("it streams")
}

/// Any operations on a table with room for few.
pub fn table(input: &[u8]) {
    let config = Config {
        max_connections: 3,
        max_pipelined: 4,
        max_held_bytes: 8_000,
        max_connection_bytes: 6_000,
        max_cgroups: 2,
        ..Config::default()
    };
    let mut run = Run::new(config);
    let mut choices = Choices::new(input);
    // Where the next byte of each socket's streams is expected.
    let mut positions = [[0_u64; 2]; 4];
    let mut now = OPENED.0;
    while !choices.bytes.is_empty() {
        let operation = choices.byte();
        let socket = choices.below(4);
        let id = ConnectionId {
            socket: socket as u64,
            opened: MonotonicNs(OPENED.0 + u64::from(operation >> 7)),
        };
        now = match operation & 0x70 {
            0x70 => choices.u64(),
            step => now.saturating_add(u64::from(step) * 1_000_000),
        };
        let at = MonotonicNs(now);
        let side = choices.below(2);
        match operation & 0x0f {
            0 => {
                let origin = [Origin::Accepted, Origin::Inherited][side];
                run.open(id, 1 + socket as u64 % 3, origin);
                positions[socket] = [0, 0];
            }
            1 => run.event(&CaptureEvent::Closed(ConnectionClosed {
                id,
                at,
                cause: [
                    CloseCause::PeerFinished,
                    CloseCause::LocalFinished,
                    CloseCause::Reset,
                ][choices.below(3)],
                bytes_read: choices.u64(),
                bytes_written: choices.u64(),
            })),
            2 => run.event(&CaptureEvent::Arrived(Arrived {
                id,
                at,
                position: positions[socket][0].saturating_add(choices.u64()),
            })),
            3 => run.event(&CaptureEvent::Drained(Drained {
                id,
                at,
                position: positions[socket][1].saturating_sub(choices.u64()),
            })),
            4 => run.timeout(at),
            5 => run.table.forget(CgroupId(1 + socket as u64)),
            6 => run.table.inspect(CgroupId(1 + socket as u64), side == 1),
            _ => {
                let bytes = fragment(&mut choices);
                let unseen = match choices.byte() {
                    0..200 => 0,
                    _ => choices.u64() as u32,
                };
                let gap = match choices.byte() {
                    0..220 => 0,
                    _ => choices.u64(),
                };
                let length = (bytes.len() as u32).saturating_add(unseen);
                let position = positions[socket][side].saturating_add(gap);
                positions[socket][side] = position.saturating_add(length.into());
                run.event(&CaptureEvent::Data(Data {
                    id,
                    at,
                    direction: [Direction::Read, Direction::Write][side],
                    position,
                    length,
                    arrived: (operation & 0x10 != 0).then_some(MonotonicNs(now / 2)),
                    waits: operation & 0x20 != 0,
                    bytes,
                }));
            }
        }
    }
    run.end();
}

/// Pieces of what connections carry; a longer one is taken from the input.
fn fragment(choices: &mut Choices<'_>) -> Vec<u8> {
    let known = FRAGMENTS.get(choices.below(FRAGMENTS.len() + 8));
    match known {
        Some(fragment) => {
            let whole = fragment.as_bytes();
            let end = match choices.byte() {
                0..200 => whole.len(),
                byte => usize::from(byte - 200) % (whole.len() + 1),
            };
            whole[..end].to_vec()
        }
        None => {
            let length = choices.below(60).min(choices.bytes.len());
            let (rest, bytes) = choices.bytes.split_at(choices.bytes.len() - length);
            choices.bytes = rest;
            bytes.to_vec()
        }
    }
}

/// Messages and parts of them.
pub const FRAGMENTS: [&str; 40] = [
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /b?q=1 HTTP/1.0\r\n\r\nHEAD /c HTTP/1.1\r\n\r\n",
    "POST /d HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 14\r\n\r\n{\"model\":\"m\"} ",
    "POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /f HTTP/1.1\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "POST /g HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n",
    "POST /h HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n",
    "CONNECT h:443 HTTP/1.1\r\n\r\n",
    "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
    "HTTP/1.0 500 Oops\r\nConnection: close\r\n\r\noops",
    "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "\r\n",
    "ffffffffffffffff\r\n",
    "1d\r\ndata: {\"choices\": [{\"delta\":\r\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
    "data: [DONE]\n\n",
    ": ping\r\n\r\n",
    "data: a\rdata: b\r\r",
    "{\"response\":\"x\",\"done\":false}\n",
    "{\"done\":true,\"eval_count\":5}\n",
    "\u{1}\u{2}ok",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /",
    "HTTP/1.",
    "HTTP/1.1 200 OK\r\nX: ",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// A table whose invariants are checked after every operation.
struct Run {
    table: ConnectionTable,
    config: Config,
    opened: Vec<ConnectionId>,
    records: Vec<RequestRecord>,
    n_sessions: usize,
}

impl Run {
    fn new(config: Config) -> Self {
        Self {
            table: ConnectionTable::new(config.clone()),
            config,
            opened: Vec::new(),
            records: Vec::new(),
            n_sessions: 0,
        }
    }

    fn open(&mut self, id: ConnectionId, cgroup: u64, origin: Origin) {
        self.opened.push(id);
        self.event(&CaptureEvent::Opened(ConnectionOpened {
            id,
            cgroup: CgroupId(cgroup),
            transport: Transport::Tcp,
            peer: ([10, 0, 0, 2], 40_000).into(),
            local: ([10, 0, 0, 1], 8_000).into(),
            origin,
        }));
    }

    fn close(&mut self, id: ConnectionId, at: u64, [bytes_read, bytes_written]: [u64; 2]) {
        self.event(&CaptureEvent::Closed(ConnectionClosed {
            id,
            at: MonotonicNs(at),
            cause: CloseCause::LocalFinished,
            bytes_read,
            bytes_written,
        }));
    }

    fn event(&mut self, event: &CaptureEvent) {
        self.table.handle(event);
        self.check();
    }

    fn timeout(&mut self, now: MonotonicNs) {
        self.table.handle_timeout(now);
        self.check();
    }

    fn check(&mut self) {
        let stats = self.table.stats();
        let fates = stats.bytes_parsed + stats.bytes_skipped + stats.bytes_truncated;
        assert_eq!(stats.bytes_observed, fates + stats.bytes_buffered);
        assert!(stats.n_connections <= self.config.max_connections as u64);
        let most = stats.n_connections * self.config.max_connection_bytes as u64;
        assert!(stats.bytes_held <= most);
        assert!(stats.bytes_buffered <= stats.bytes_held);
        for (_, counts) in self.table.counts() {
            let fates = counts.bytes_parsed + counts.bytes_skipped + counts.bytes_truncated;
            assert_eq!(counts.bytes_observed, fates + counts.bytes_buffered);
        }
        while let Some(record) = self.table.poll_record() {
            check_record(&record);
            self.records.push(record);
        }
        while let Some(session) = self.table.poll_session() {
            assert!(session.started <= session.ended);
            self.n_sessions += 1;
        }
    }

    /// Ends every connection; nothing is held then.
    fn end(mut self) -> Vec<RequestRecord> {
        for id in std::mem::take(&mut self.opened) {
            self.event(&CaptureEvent::Closed(ConnectionClosed {
                id,
                at: MonotonicNs(u64::MAX / 2),
                cause: CloseCause::Reset,
                bytes_read: 0,
                bytes_written: 0,
            }));
        }
        self.timeout(MonotonicNs(u64::MAX));
        let stats = self.table.stats();
        let held = (stats.n_active, stats.bytes_buffered, stats.bytes_held);
        assert_eq!((stats.n_connections, held), (0, (0, 0, 0)));
        let told = stats.n_requests_complete + stats.n_requests_incomplete;
        assert_eq!(told, self.records.len() as u64);
        assert!(self.n_sessions as u64 <= stats.n_connections_opened);
        self.records
    }
}

fn check_record(record: &RequestRecord) {
    let timings = &record.timings;
    let response = [
        timings.arrived,
        Some(timings.request_start),
        timings.response_start,
        timings.body_start,
        timings.response_end,
        Some(timings.finished),
    ];
    assert!(response.iter().flatten().is_sorted(), "{record:?}");
    let request = [Some(timings.request_start), timings.request_end];
    assert!(request.iter().flatten().is_sorted(), "{record:?}");
    assert!(timings.accepted <= Some(timings.request_start));
    assert!(timings.drained.is_none() || timings.drained >= timings.response_end);
    assert!(
        record
            .status
            .is_none_or(|status| (100..1_000).contains(&status))
    );
    if let Some(stream) = &record.stream {
        let n_intervals = stream.n_chunks.saturating_sub(1);
        assert!(stream.intervals.count() <= n_intervals, "{stream:?}");
        assert!(stream.first_chunk <= stream.last_chunk);
        assert!(stream.n_stalls <= stream.intervals.count());
    }
    if let Some(model) = record
        .inference
        .as_ref()
        .and_then(|known| known.model.as_ref())
    {
        assert!(!model.is_empty() && model.len() <= 128);
    }
}
