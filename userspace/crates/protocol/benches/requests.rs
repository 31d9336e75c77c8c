//! What it costs to turn events into requests: many on one connection, one on
//! each of many, and a stream of 100 events.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use modeltap_core::connection::{
    CaptureEvent, CgroupId, CloseCause, ConnectionClosed, ConnectionId, ConnectionOpened, Data,
    Direction, Origin, Transport,
};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::{Config, ConnectionTable};

const N_REQUESTS: u64 = 1_000;
const N_EVENTS: usize = 100;
const REQUEST: &str = "POST /predict HTTP/1.1\r\nhost: 10.0.0.7:8000\r\n\
    user-agent: python-httpx/0.28\r\naccept: */*\r\naccept-encoding: gzip, deflate\r\n\
    content-type: application/json\r\ncontent-length: 12\r\n\r\n{\"x\": 1.25}\n";
const HEAD: &str = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\n\
    content-length: 9\r\ncontent-type: application/json\r\n\r\n";
const BODY: &str = "{\"y\": 2}\n";
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\n\
    content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const STREAM_EVENT: &str = "d\r\ndata: token\n\n\r\n";

/// Events of a server, in the order in which probes tell them.
#[derive(Default)]
struct Script {
    events: Vec<CaptureEvent>,
    now: u64,
    read: u64,
    written: u64,
}

impl Script {
    fn id(socket: u64) -> ConnectionId {
        ConnectionId {
            socket,
            opened: MonotonicNs(1),
        }
    }

    fn open(&mut self, socket: u64) {
        (self.read, self.written) = (0, 0);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000));
        self.events.push(CaptureEvent::Opened(ConnectionOpened {
            id: Self::id(socket),
            cgroup: CgroupId(5),
            transport: Transport::Tcp,
            peer: address,
            local: address,
            origin: Origin::Accepted,
        }));
    }

    fn data(&mut self, socket: u64, direction: Direction, text: &str) {
        self.now += 10_000;
        let position = match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.written,
        };
        self.events.push(CaptureEvent::Data(Data {
            id: Self::id(socket),
            at: MonotonicNs(self.now),
            direction,
            position: *position,
            length: text.len() as u32,
            arrived: None,
            waits: false,
            bytes: text.as_bytes().to_vec(),
        }));
        *position += text.len() as u64;
    }

    fn exchange(&mut self, socket: u64) {
        self.data(socket, Direction::Read, REQUEST);
        self.data(socket, Direction::Write, HEAD);
        self.data(socket, Direction::Write, BODY);
    }

    fn close(&mut self, socket: u64) {
        self.events.push(CaptureEvent::Closed(ConnectionClosed {
            id: Self::id(socket),
            at: MonotonicNs(self.now),
            cause: CloseCause::LocalFinished,
            bytes_read: self.read,
            bytes_written: self.written,
        }));
    }
}

/// Handles all of it and returns how many requests came out.
fn run(events: &[CaptureEvent]) -> usize {
    let mut table = ConnectionTable::new(Config::default());
    let mut n = 0;
    for event in events {
        table.handle(event);
        while let Some(record) = table.poll_record() {
            black_box(record);
            n += 1;
        }
    }
    n
}

fn requests(criterion: &mut Criterion) {
    let mut kept = Script::default();
    kept.open(1);
    (0..N_REQUESTS).for_each(|_| kept.exchange(1));
    let mut single = Script::default();
    for socket in 0..N_REQUESTS {
        single.open(socket);
        single.exchange(socket);
        single.close(socket);
    }
    let mut stream = Script::default();
    stream.open(1);
    stream.data(1, Direction::Read, REQUEST);
    stream.data(1, Direction::Write, STREAM_HEAD);
    (0..N_EVENTS).for_each(|_| stream.data(1, Direction::Write, STREAM_EVENT));
    stream.data(1, Direction::Write, "0\r\n\r\n");
    stream.close(1);

    let mut group = criterion.benchmark_group("protocol");
    for (name, script, n) in [
        ("1,000 requests of a connection", kept, N_REQUESTS),
        ("1,000 connections of a request", single, N_REQUESTS),
        ("a stream of 100 events", stream, 1),
    ] {
        assert_eq!(run(&script.events) as u64, n, "{name}");
        group.throughput(Throughput::Elements(n));
        group.bench_function(name, |bencher| bencher.iter(|| run(&script.events)));
    }
    group.finish();
}

criterion_group!(benches, requests);
criterion_main!(benches);
