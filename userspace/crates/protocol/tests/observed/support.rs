//! A socket as capture tells of it, for tests.

use std::time::Duration;

use modeltap_core::connection::{
    Arrived, CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened,
    Data, Direction, Drained, Origin, Transport,
};
use modeltap_core::record::{RequestRecord, SessionRecord};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable, Stats};

pub const CGROUP: CgroupId = CgroupId(7);

/// Writes down the events of one connection; a microsecond passes with each.
#[derive(Clone, Debug)]
pub struct Socket {
    pub id: ConnectionId,
    pub now: MonotonicNs,
    pub events: Vec<CaptureEvent>,
    bytes_read: u64,
    bytes_written: u64,
}

impl Socket {
    pub fn accepted() -> Self {
        Self::open(1, MonotonicNs(1_000_000), Origin::Accepted)
    }

    pub fn inherited() -> Self {
        Self::open(1, MonotonicNs(1_000_000), Origin::Inherited)
    }

    pub fn open(socket: u64, at: MonotonicNs, origin: Origin) -> Self {
        let id = ConnectionId { socket, opened: at };
        let opened = ConnectionOpened {
            id,
            cgroup: CGROUP,
            peer: ([10, 0, 0, 2], 40_000).into(),
            local: ([10, 0, 0, 1], 8_000).into(),
            origin,
            transport: Transport::Tcp,
        };
        let events = vec![CaptureEvent::Opened(opened)];
        Self {
            id,
            now: at,
            events,
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    pub fn origin(&self) -> Origin {
        match &self.events[0] {
            CaptureEvent::Opened(opened) => opened.origin,
            other => panic!("not opened first: {other:?}"),
        }
    }

    pub fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now = self.now.after(duration);
        self
    }

    pub fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.data(Direction::Read, bytes, bytes.len())
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.data(Direction::Write, bytes, bytes.len())
    }

    /// A call of which only the first `captured` bytes are told.
    pub fn read_captured(&mut self, bytes: impl AsRef<[u8]>, captured: usize) -> &mut Self {
        self.data(Direction::Read, bytes.as_ref(), captured)
    }

    /// A call of which only the first `captured` bytes are told.
    pub fn write_captured(&mut self, bytes: impl AsRef<[u8]>, captured: usize) -> &mut Self {
        self.data(Direction::Write, bytes.as_ref(), captured)
    }

    fn data(&mut self, direction: Direction, bytes: &[u8], captured: usize) -> &mut Self {
        self.now = self.now.after(Duration::from_micros(1));
        let length = u32::try_from(bytes.len()).expect("a call moves less than 4 GB");
        let total = match direction {
            Direction::Read => &mut self.bytes_read,
            Direction::Write => &mut self.bytes_written,
        };
        let position = *total;
        *total += u64::from(length);
        let bytes = bytes[..captured.min(bytes.len())].to_vec();
        let (id, at) = (self.id, self.now);
        self.events.push(CaptureEvent::Data(Data {
            id,
            at,
            direction,
            position,
            length,
            arrived: None,
            waits: false,
            bytes,
        }));
        self
    }

    /// The first byte of the read just told arrived then.
    pub fn arrived_at(&mut self, at: MonotonicNs) -> &mut Self {
        match self.events.last_mut() {
            Some(CaptureEvent::Data(data)) => data.arrived = Some(at),
            other => panic!("no read was told: {other:?}"),
        }
        self
    }

    /// Bytes from `offset` on of the read that follows arrive now.
    pub fn arrives(&mut self, offset: u64) -> &mut Self {
        self.events.push(CaptureEvent::Arrived(Arrived {
            id: self.id,
            at: self.now,
            position: self.bytes_read + offset,
        }));
        self
    }

    /// The write just told left bytes in the socket.
    pub fn waiting(&mut self) -> &mut Self {
        match self.events.last_mut() {
            Some(CaptureEvent::Data(data)) => data.waits = true,
            other => panic!("no write was told: {other:?}"),
        }
        self
    }

    /// All that was written has left the socket.
    pub fn drained(&mut self) -> &mut Self {
        self.now = self.now.after(Duration::from_micros(1));
        self.events.push(CaptureEvent::Drained(Drained {
            id: self.id,
            at: self.now,
            position: self.bytes_written,
        }));
        self
    }

    /// The event just told is lost.
    pub fn lost(&mut self) -> &mut Self {
        self.events.pop();
        self
    }

    /// The last two events are told in the other order.
    pub fn overtaken(&mut self) -> &mut Self {
        let last = self.events.len() - 1;
        self.events.swap(last - 1, last);
        self
    }

    pub fn peer_finished(&mut self) -> &mut Self {
        self.close(CloseCause::PeerFinished)
    }

    pub fn local_finished(&mut self) -> &mut Self {
        self.close(CloseCause::LocalFinished)
    }

    pub fn reset(&mut self) -> &mut Self {
        self.close(CloseCause::Reset)
    }

    fn close(&mut self, cause: CloseCause) -> &mut Self {
        self.now = self.now.after(Duration::from_micros(1));
        self.events.push(CaptureEvent::Closed(ConnectionClosed {
            id: self.id,
            at: self.now,
            cause,
            bytes_read: self.bytes_read,
            bytes_written: self.bytes_written,
        }));
        self
    }
}

/// A table that checks its invariants after every event.
pub struct Checked {
    pub table: ConnectionTable,
    pub records: Vec<RequestRecord>,
    pub sessions: Vec<SessionRecord>,
}

impl Checked {
    pub fn new(config: Config) -> Self {
        Self {
            table: ConnectionTable::new(config),
            records: Vec::new(),
            sessions: Vec::new(),
        }
    }

    #[track_caller]
    pub fn handle(&mut self, event: &CaptureEvent) {
        self.table.handle(event);
        self.drain();
    }

    #[track_caller]
    pub fn handle_timeout(&mut self, now: MonotonicNs) {
        self.table.handle_timeout(now);
        self.drain();
    }

    #[track_caller]
    fn drain(&mut self) {
        while let Some(record) = self.table.poll_record() {
            self.records.push(record);
        }
        assert_accounted_by_cgroup(&self.table);
        self.sessions
            .extend(std::iter::from_fn(|| self.table.poll_session()));
        assert_accounted(&self.table.stats());
    }
}

#[track_caller]
fn assert_accounted_by_cgroup(table: &ConnectionTable) {
    for (cgroup, counts) in table.counts() {
        assert_eq!(
            counts.bytes_observed,
            counts.bytes_parsed
                + counts.bytes_skipped
                + counts.bytes_truncated
                + counts.bytes_buffered,
            "{cgroup:?} {counts:?}"
        );
    }
}

#[track_caller]
pub fn assert_accounted(stats: &Stats) {
    assert_eq!(
        stats.bytes_observed,
        stats.bytes_parsed + stats.bytes_skipped + stats.bytes_truncated + stats.bytes_buffered,
        "{stats:?}"
    );
}

/// Runs the events to their end, all timers included.
#[track_caller]
pub fn run(events: &[CaptureEvent]) -> (Vec<RequestRecord>, Stats) {
    let mut checked = Checked::new(Config::default());
    for event in events {
        checked.handle(event);
    }
    checked.handle_timeout(MonotonicNs(u64::MAX));
    (checked.records, checked.table.stats())
}

/// A record in one line: method, path, status, body sizes, outcome and, where
/// not whole, completeness.
pub fn line(record: &RequestRecord) -> String {
    let method = record.method.map_or("-", |method| method.as_str());
    let status = record
        .status
        .map_or("-".into(), |status| status.to_string());
    let completeness = match record.completeness.as_str() {
        "whole" => String::new(),
        other => format!(" {other}"),
    };
    format!(
        "{method} {} {status} {}>{} {}{completeness}",
        record.path,
        record.request_body_bytes,
        record.response_body_bytes,
        record.outcome.as_str(),
    )
}

/// Checks the records that a connection yields.
#[track_caller]
pub fn check(socket: &Socket, expected: &[&str]) -> (Vec<RequestRecord>, Stats) {
    let (records, stats) = run(&socket.events);
    let lines: Vec<_> = records.iter().map(line).collect();
    assert_eq!(lines, expected);
    (records, stats)
}
