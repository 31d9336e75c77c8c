//! When requests reached the socket, against the client's own clock, and when
//! the socket had sent what waited in it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use modeltap_core::connection::{CaptureEvent, ConnectionId, Direction};
use modeltap_testbed::clock::monotonic_ns;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::{ground, images, namespace};

use crate::recorded;

const UVICORN: &str = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
const GET: &[u8] = b"GET /items/7 HTTP/1.1\r\nHost: localhost\r\n\r\n";
const GET_AND_CLOSE: &[u8] =
    b"GET /items/7 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// Latest that half of the arrivals may be told after the client's send. One
/// in ten may be later: two processors are shared with whatever else runs.
const MEDIAN_NS: u64 = 25_000;

/// What a client sent, by its port: when, and the position of its first byte.
type Sent = BTreeMap<u16, Vec<(u64, u64)>>;

/// Arrivals by connection: position of the first byte, and when.
fn arrivals(events: &[CaptureEvent]) -> BTreeMap<u16, BTreeMap<u64, u64>> {
    let mut ports: BTreeMap<ConnectionId, u16> = BTreeMap::new();
    let mut arrivals: BTreeMap<u16, BTreeMap<u64, u64>> = BTreeMap::new();
    for event in events {
        let (id, position, at) = match event {
            CaptureEvent::Opened(opened) => {
                ports.insert(opened.id, opened.peer.port());
                continue;
            }
            CaptureEvent::Data(data) if data.direction == Direction::Read => {
                let arrived = data.arrived.expect("this kernel tells arrivals");
                assert!(arrived <= data.at, "{data:?}");
                (data.id, data.position, arrived)
            }
            CaptureEvent::Arrived(arrived) => (arrived.id, arrived.position, arrived.at),
            _ => continue,
        };
        let of_connection = arrivals.entry(ports[&id]).or_default();
        of_connection.entry(position).or_insert(at.0);
    }
    arrivals
}

/// Compares every send with the arrival at its position; returns how late the
/// arrivals are told, sorted.
#[track_caller]
fn lateness(sent: &Sent, events: &[CaptureEvent]) -> Vec<u64> {
    let arrivals = arrivals(events);
    let mut late = Vec::new();
    for (port, sends) in sent {
        let told = arrivals
            .get(port)
            .expect("the connection is told with its peer");
        for (position, at) in sends {
            let arrived = told.get(position);
            let arrived = *arrived.unwrap_or_else(|| panic!("{position} in {told:?}"));
            assert!(arrived >= *at, "{arrived} before it was sent at {at}");
            late.push(arrived - at);
        }
    }
    late.sort_unstable();
    late
}

#[track_caller]
fn check(test: &str, sent: &Sent, events: &[CaptureEvent]) {
    let late = lateness(sent, events);
    let share = |percent: usize| late[(late.len() - 1) * percent / 100];
    println!(
        "{test}: {} arrivals, late by p50 {} us, p90 {} us, p99 {} us",
        late.len(),
        share(50) / 1_000,
        share(90) / 1_000,
        share(99) / 1_000
    );
    assert!(share(50) <= MEDIAN_NS, "{test}: {late:?}");
}

/// Runs `client` on `n` threads in a container's network, all at once; each
/// returns its port and what it sent.
fn drive(container: &Container, n: usize, client: fn(TcpStream) -> Vec<(u64, u64)>) -> Sent {
    let pid = container.pid();
    let address = SocketAddr::from(([127, 0, 0, 1], 8000));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..n)
            .map(|_| {
                scope.spawn(move || {
                    namespace::enter(pid);
                    let stream = TcpStream::connect(address).expect("the server listens");
                    stream.set_nodelay(true).expect("a TCP socket");
                    let patience = Some(Duration::from_secs(20));
                    stream.set_read_timeout(patience).expect("a TCP socket");
                    let port = stream.local_addr().expect("it is connected").port();
                    (port, client(stream))
                })
            })
            .collect();
        let sent = clients.into_iter().map(|client| client.join());
        sent.map(|sent| sent.expect("the client got its answers"))
            .collect()
    })
}

fn send(stream: &mut TcpStream, sent: &mut Vec<(u64, u64)>, position: &mut u64, bytes: &[u8]) {
    let at = monotonic_ns();
    stream.write_all(bytes).expect("the server reads");
    sent.push((*position, at));
    *position += bytes.len() as u64;
}

/// Reads `n` answers, each of which ends in a brace.
fn answers(stream: &mut TcpStream, n: usize) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.iter().filter(|byte| **byte == b'}').count() < n {
        let n_read = stream.read(&mut buffer).expect("the server answers");
        assert!(n_read > 0, "the server closed early");
        bytes.extend_from_slice(&buffer[..n_read]);
    }
}

fn keep_alive(mut stream: TcpStream) -> Vec<(u64, u64)> {
    let (mut sent, mut position) = (Vec::new(), 0);
    for _ in 0..25 {
        send(&mut stream, &mut sent, &mut position, GET);
        answers(&mut stream, 1);
    }
    sent
}

fn once(mut stream: TcpStream) -> Vec<(u64, u64)> {
    let (mut sent, mut position) = (Vec::new(), 0);
    send(&mut stream, &mut sent, &mut position, GET_AND_CLOSE);
    answers(&mut stream, 1);
    sent
}

fn pipelined(mut stream: TcpStream) -> Vec<(u64, u64)> {
    let (mut sent, mut position) = (Vec::new(), 0);
    for _ in 0..10 {
        send(&mut stream, &mut sent, &mut position, GET);
        thread::sleep(Duration::from_micros(200));
        send(&mut stream, &mut sent, &mut position, GET);
        answers(&mut stream, 2);
    }
    sent
}

fn in_two_segments(mut stream: TcpStream) -> Vec<(u64, u64)> {
    let (mut sent, mut position) = (Vec::new(), 0);
    for _ in 0..10 {
        send(&mut stream, &mut sent, &mut position, &GET[..30]);
        thread::sleep(Duration::from_millis(2));
        send(&mut stream, &mut sent, &mut position, &GET[30..]);
        answers(&mut stream, 1);
    }
    sent
}

#[track_caller]
fn check_client(
    test: &str,
    n_clients: usize,
    n_requests: usize,
    client: fn(TcpStream) -> Vec<(u64, u64)>,
) {
    let Some(_ground) = ground::take(test) else {
        return;
    };
    let image = images::servers();
    let container = Container::start(test, &Spec::new(&image, UVICORN)).listening(8000);
    let mut sent = Sent::new();
    let events = recorded(container.name(), n_requests, || {
        sent = drive(&container, n_clients, client);
    });
    check(test, &sent, &events);
}

#[test]
fn every_request_of_a_kept_connection_has_its_arrival() {
    check_client("arrival-keep-alive", 16, 400, keep_alive);
}

#[test]
fn request_that_waits_in_the_backlog_has_its_arrival() {
    check_client("arrival-once", 60, 60, once);
}

#[test]
fn pipelined_requests_have_an_arrival_each() {
    check_client("arrival-pipelined", 4, 80, pipelined);
}

#[test]
fn head_in_two_segments_has_the_arrival_of_its_first_byte() {
    check_client("arrival-segments", 4, 40, in_two_segments);
}

#[test]
fn answer_that_a_slow_client_keeps_waiting_is_told_when_it_has_left() {
    let Some(_ground) = ground::take("drained") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("drained", &Spec::new(&image, UVICORN)).listening(8000);
    let (mut resumed, mut ended, mut n_bytes) = (0, 0, 0);
    let events = recorded(container.name(), 1, || {
        let pid = container.pid();
        (resumed, ended, n_bytes) = namespace::run(Some(pid), || {
            let address = SocketAddr::from(([127, 0, 0, 1], 8000));
            let mut stream = TcpStream::connect(address).expect("the server listens");
            let request = b"GET /stream?n=60000&ms=0 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request).expect("the server reads");
            // Until both buffers are full and the server waits.
            thread::sleep(Duration::from_secs(3));
            let resumed = monotonic_ns();
            let mut buffer = vec![0; 1 << 20];
            let (mut end, mut n_bytes) = (Vec::new(), 0);
            while !end.ends_with(b"\r\n0\r\n\r\n") {
                let n = stream.read(&mut buffer).expect("the server goes on");
                assert!(n > 0, "the server closed early");
                n_bytes += n as u64;
                end.extend_from_slice(&buffer[..n]);
                end.drain(..end.len().saturating_sub(16));
            }
            (resumed, monotonic_ns(), n_bytes)
        });
    });
    let drained = events.iter().filter_map(|event| match event {
        CaptureEvent::Drained(event) => Some(*event),
        _ => None,
    });
    let drained: Vec<_> = drained.collect();
    println!("drained: {drained:?} of {n_bytes}, {resumed} to {ended}");
    assert!(drained.iter().all(|event| event.position <= n_bytes));
    let since = drained.iter().filter(|event| event.at.0 >= resumed);
    assert!(since.clone().count() > 0, "{drained:?}");
    assert!(
        since.clone().all(|event| event.at.0 <= ended),
        "{drained:?}"
    );
}
