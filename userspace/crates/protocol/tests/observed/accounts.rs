//! What is counted and held, by cgroup and by connection.

use std::time::Duration;

use modeltap_core::accounting::ParserCounts;
use modeltap_core::connection::{CaptureEvent, CgroupId, ConnectionOpened, Origin};
use modeltap_core::time::MonotonicNs;
use modeltap_protocol::Config;

use crate::support::{Checked, Socket};

const GET_A: &str = "GET /a HTTP/1.1\r\n\r\n";
const OK_2: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The events of a socket, as one of `cgroup`.
fn of_cgroup(socket: &Socket, cgroup: u64) -> Vec<CaptureEvent> {
    let mut events = socket.events.clone();
    if let Some(CaptureEvent::Opened(opened)) = events.first_mut() {
        *opened = ConnectionOpened {
            cgroup: CgroupId(cgroup),
            ..opened.clone()
        };
    }
    events
}

fn counts(checked: &Checked) -> Vec<(u64, ParserCounts)> {
    let counts = checked.table.counts();
    let mut counts: Vec<_> = counts.map(|(cgroup, counts)| (cgroup.0, counts)).collect();
    counts.sort_unstable_by_key(|(cgroup, _)| *cgroup);
    counts
}

#[test]
fn bytes_are_counted_by_the_cgroup_they_moved_in() {
    let at = MonotonicNs(1_000_000);
    let mut one = Socket::open(1, at, Origin::Accepted);
    one.read(GET_A).write(OK_2).read(&GET_A[..5]);
    let mut other = Socket::open(2, at, Origin::Accepted);
    other.read("no HTTP at all\r\n").write_captured(OK_2, 3);
    let mut checked = Checked::new(Config::default());
    for event in of_cgroup(&one, 1).iter().chain(&of_cgroup(&other, 2)) {
        checked.handle(event);
    }
    let told = counts(&checked);
    let parsed = (GET_A.len() + OK_2.len()) as u64;
    let expected = ParserCounts {
        bytes_observed: parsed + 5,
        bytes_parsed: parsed,
        bytes_buffered: 5,
        ..ParserCounts::default()
    };
    assert_eq!(told[0], (1, expected));
    assert_eq!((told[1].0, told[1].1.bytes_parsed), (2, 0));
    assert_eq!(told[1].1.bytes_observed, 16 + OK_2.len() as u64);

    // What was held falls to a fate at the end, and the counts stay.
    one.reset();
    checked.handle(one.events.last().expect("the reset"));
    checked.handle_timeout(MonotonicNs(u64::MAX));
    let (_, last) = counts(&checked)[0];
    assert_eq!((last.bytes_buffered, last.bytes_skipped), (0, 5));
}

#[test]
fn counts_of_a_cgroup_that_is_gone_are_forgotten_with_its_last_connection() {
    let mut s = Socket::accepted();
    s.read(GET_A);
    let mut checked = Checked::new(Config::default());
    of_cgroup(&s, 1)
        .iter()
        .for_each(|event| checked.handle(event));
    checked.table.forget(CgroupId(1));
    assert_eq!(counts(&checked).len(), 1, "a connection is open");
    s.reset();
    checked.handle(s.events.last().expect("the reset"));
    checked.handle_timeout(MonotonicNs(u64::MAX));
    assert_eq!(counts(&checked), []);
    assert_eq!(checked.records.len(), 1);
}

#[test]
fn cgroups_without_connections_are_kept_up_to_a_bound() {
    let config = Config {
        max_cgroups: 3,
        ..Config::default()
    };
    let mut checked = Checked::new(config);
    for cgroup in 1..=20 {
        let mut s = Socket::open(cgroup, MonotonicNs(cgroup), Origin::Accepted);
        s.read(GET_A).write(OK_2).reset();
        of_cgroup(&s, cgroup)
            .iter()
            .for_each(|event| checked.handle(event));
        checked.handle_timeout(MonotonicNs(u64::MAX));
    }
    assert_eq!(counts(&checked).len(), 3);
    assert_eq!(checked.records.len(), 20);
}

/// Takes in the events and returns the most that was held at a time.
#[track_caller]
fn most_held(socket: &Socket) -> u64 {
    let mut checked = Checked::new(Config::default());
    let mut most = 0;
    for event in &socket.events {
        checked.handle(event);
        let held = checked.table.stats().bytes_held;
        assert!(held <= 64 * 1_024, "{held} bytes");
        most = most.max(held);
    }
    checked.handle_timeout(MonotonicNs(u64::MAX));
    assert_eq!(checked.table.stats().bytes_held, 0);
    most
}

#[test]
fn connection_holds_64_kilobytes_at_most() {
    // Heads without end, both ways, in pieces of any size.
    for size in [1, 700, 16_000] {
        let mut s = Socket::accepted();
        s.read(GET_A).read("GET /b HTTP/1.1\r\nCookie: ");
        s.write("HTTP/1.1 200 OK\r\nSet-Cookie: ");
        for _ in 0..80_000 / size {
            s.read("x".repeat(size)).write("y".repeat(size));
        }
        s.reset();
        assert!(most_held(&s) > 32 * 1_024);
    }
    // Requests without answers.
    let mut s = Socket::accepted();
    for _ in 0..5_000 {
        s.read(format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(400)));
    }
    most_held(s.reset());
    // Streams of every rhythm, whose responses wait in the socket.
    let mut s = Socket::accepted();
    for n in 0..40_u64 {
        s.read(GET_A);
        s.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .waiting();
        for chunk in 0..300 {
            s.wait(Duration::from_nanos((1 << (n % 30 + 9)) + chunk * 600));
            s.write("1\r\nx\r\n").waiting();
        }
        s.write("0\r\n\r\n").waiting();
    }
    assert!(most_held(s.reset()) > 16 * 1_024);
    // The same without requests.
    let mut s = Socket::accepted();
    for _ in 0..40 {
        s.write("HTTP/1.1 408 Late\r\nTransfer-Encoding: chunked\r\n\r\n");
        for chunk in 0..300 {
            s.wait(Duration::from_nanos(chunk * 700));
            s.write("1\r\nx\r\n");
        }
        s.write("0\r\n\r\n");
    }
    most_held(s.reset());
}
