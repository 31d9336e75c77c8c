//! What the probes count by themselves, whatever becomes of the events.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use modeltap_capture::loader::Config;
use modeltap_core::accounting::CgroupCounts;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Row, Target};
use modeltap_testbed::namespace;

use crate::tap::{Tap, n_moments, tiny_ring};

/// Long enough for the last write to return.
const SETTLE: Duration = Duration::from_millis(300);
const GO: &str = "/srv/go-server";
const UVICORN: &str = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";

/// Requests, and responses by status class, as the client counted them.
fn sent(rows: &[Row]) -> (u64, [u64; 5]) {
    let mut classes = [0; 5];
    for row in rows {
        let status = row.status.expect("every request is answered");
        classes[usize::from(status / 100) - 1] += 1;
    }
    (rows.len() as u64, classes)
}

fn counted(counts: &CgroupCounts) -> (u64, [u64; 5]) {
    (counts.n_requests, counts.n_responses)
}

#[test]
fn requests_and_responses_are_exact_when_nobody_takes_the_events() {
    let Some(_ground) = ground::take("counts-overflow") else {
        return;
    };
    let image = images::servers();
    let servers = [
        ("counts-uvicorn", UVICORN, 1_000),
        ("counts-go", GO, 4_000),
        ("counts-node", "node node_server.js", 1_000),
        (
            "counts-gthread",
            "gunicorn --bind 0.0.0.0:8000 --worker-class gthread --threads 4 wsgi_app:app",
            600,
        ),
    ];
    for (name, command, n) in servers {
        let container = Container::start(name, &Spec::new(&image, command)).listening(8000);
        let full = Tap::start(&container, tiny_ring());
        let mut whole = Tap::draining(&container);
        let rows = load::run(Target::inside(&container, 8000), load::spread(load::mix(n)));
        thread::sleep(SETTLE);
        let (lossy, lossless) = (full.of_container(), whole.of_container());
        assert_eq!(counted(&lossy), sent(&rows), "{name}");
        assert_eq!(counted(&lossless), sent(&rows), "{name}");
        let events = whole.events();
        // Every event is in the ring or counted as lost.
        assert!(lossy.events_lost > n as u64, "{name}: {lossy:?}");
        assert_eq!(lossless.events_lost, 0, "{name}: {lossless:?}");
        let n_lossy = lossy.events_submitted + lossy.events_lost;
        assert!(
            n_lossy.abs_diff(lossless.events_submitted) <= n_moments(&events),
            "{name}: {n_lossy} {lossless:?}"
        );
        assert_eq!(
            lossy.bytes_submitted + lossy.bytes_lost,
            lossless.bytes_submitted,
            "{name}"
        );
        assert_eq!(events.len() as u64, lossless.events_submitted);
        // One container is watched: its counts are all there are.
        let all = full.counts();
        assert_eq!(
            (all.events_submitted, all.events_lost, all.bytes_lost),
            (lossy.events_submitted, lossy.events_lost, lossy.bytes_lost)
        );
        assert_eq!(lossy.events_lost_map_full, 0);
        println!(
            "{name}: {} of {n} counted, {} of {} events lost",
            lossy.n_requests, lossy.events_lost, lossless.events_submitted
        );
        assert_eq!(full.unwatch(), Some(lossy));
        assert_eq!(full.unwatch(), None);
    }
}

#[test]
fn bytes_of_connections_that_find_no_room_are_counted_as_lost_for_that_cause() {
    let Some(_ground) = ground::take("counts-map-full") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("counts-map-full", &Spec::new(&image, GO)).listening(8000);
    let config = Config {
        max_connections: 2,
        ..Config::default()
    };
    let mut narrow = Tap::start(&container, config);
    narrow.drain();
    let wide = Tap::draining(&container);
    let target = Target::inside(&container, 8000);
    let mut open: Vec<_> = (0..5).map(|_| target.connect()).collect();
    for _ in 0..4 {
        for connection in &mut open {
            load::exchange(connection, &load::mix(9)[8]).expect("the server answers");
        }
    }
    thread::sleep(SETTLE);
    let (narrow_counts, wide_counts) = (narrow.of_container(), wide.of_container());
    assert_eq!((narrow_counts.n_requests, wide_counts.n_requests), (8, 20));
    assert_eq!(
        narrow_counts.events_lost,
        narrow_counts.events_lost_map_full
    );
    assert_eq!(
        narrow_counts.events_submitted + narrow_counts.events_lost,
        wide_counts.events_submitted
    );
    assert_eq!(
        narrow_counts.bytes_submitted + narrow_counts.bytes_lost,
        wide_counts.bytes_submitted
    );
    assert_eq!(narrow.counts().connections_untracked, 3);
    // With room again, they are followed from where they are.
    open.truncate(3);
    open.swap(0, 2);
    open.truncate(1);
    thread::sleep(Duration::from_secs(3));
    load::exchange(&mut open[0], &load::mix(9)[8]).expect("the server answers");
    thread::sleep(SETTLE);
    assert_eq!(narrow.of_container().n_requests, 9);
}

/// A connection whose bytes the test chooses.
struct Raw(TcpStream);

impl Raw {
    fn open(container: &Container) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 8000));
        let stream = namespace::run(Some(container.pid()), || TcpStream::connect(address));
        let stream = stream.expect("the server listens");
        stream.set_nodelay(true).expect("it is TCP");
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).expect("it is a socket");
        Self(stream)
    }

    /// Sends each part by itself, late enough to be read by itself.
    fn send(&mut self, parts: &[&str]) {
        for part in parts {
            let sent = self.0.write_all(part.as_bytes());
            sent.expect("the server reads");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Reads until `n` status lines came.
    fn await_statuses(&mut self, n: usize) -> String {
        let mut text = String::new();
        while text.matches("HTTP/1.1 ").count() < n {
            let mut bytes = [0; 4096];
            let n = self.0.read(&mut bytes).expect("the server answers");
            assert!(n > 0, "the server closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
        text
    }
}

/// A body that begins like a request, with the length that a head tells.
const DECEPTIVE: &str = "GET /items/1 HTTP/1.1\r\nHost: nobody\r\n\r\n";

fn upload(more: &str) -> String {
    let length = DECEPTIVE.len();
    format!("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n")
}

#[track_caller]
fn check(container: &Container, expected: (u64, [u64; 5]), converse: impl FnOnce(&mut Raw)) {
    let tap = Tap::start(container, tiny_ring());
    let mut raw = Raw::open(container);
    converse(&mut raw);
    thread::sleep(SETTLE);
    let counts = tap.of_container();
    assert_eq!(counted(&counts), expected, "{counts:?}");
}

#[test]
fn request_is_counted_once_however_its_bytes_come() {
    let Some(_ground) = ground::take("counts-splits") else {
        return;
    };
    let image = images::servers();
    let start = |command| Container::start("counts-splits", &Spec::new(&image, command));
    for command in [GO, UVICORN] {
        let container = start(command).listening(8000);
        // In pieces, also inside the method.
        check(&container, (2, [0, 2, 0, 0, 0]), |raw| {
            raw.send(&["G", "ET", " /items/5 HTTP/1.1\r\nHost: x\r", "\n\r\n"]);
            raw.await_statuses(1);
            raw.send(&["GE", "T /items/6 HTTP/1.1\r\nHost: x\r\n\r\n"]);
            raw.await_statuses(1);
        });
        // The body by itself, and after `100 Continue`.
        check(&container, (1, [0, 0, 0, 1, 0]), |raw| {
            raw.send(&[&upload(""), DECEPTIVE]);
            raw.await_statuses(1);
        });
        check(&container, (1, [0, 0, 0, 1, 0]), |raw| {
            raw.send(&[&upload("Expect: 100-continue\r\n")]);
            raw.await_statuses(1);
            raw.send(&[DECEPTIVE]);
            raw.await_statuses(1);
        });
        // Read in one call: the responses tell.
        let get = "GET /items/7 HTTP/1.1\r\nHost: x\r\n\r\n";
        check(&container, (1, [0, 3, 0, 0, 0]), |raw| {
            raw.send(&[&get.repeat(3)]);
            raw.await_statuses(3);
        });
    }
    // Go answers 404 unread and reads the body afterwards.
    let container = start(GO).listening(8000);
    let body = "x".repeat(60_000);
    let head = format!(
        "POST /missing HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    check(&container, (2, [0, 1, 0, 1, 0]), |raw| {
        raw.send(&[&head]);
        raw.send(&[&body[..30_000], &body[30_000..]]);
        raw.await_statuses(1);
        raw.send(&["GET /items/8 HTTP/1.1\r\nHost: x\r\n\r\n"]);
        raw.await_statuses(1);
    });
}
