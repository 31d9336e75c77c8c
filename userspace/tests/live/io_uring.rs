//! Servers that move their bytes by io_uring: no system call shows them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use modeltap_core::connection::{CaptureEvent, Direction, Origin};
use modeltap_testbed::clock::await_some;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Planned, Target};
use modeltap_testbed::{ground, namespace};

use crate::{recorded, servers, watch};

/// The mix without chunked requests: `rings` moves bytes in every way, but
/// reads nothing of HTTP but lengths.
fn mix(n: usize) -> Vec<Planned> {
    let mut plan = load::mix(n);
    for planned in &mut plan {
        planned.request.chunked = false;
    }
    plan
}

#[track_caller]
fn check(test: &str, command: &str, n: usize) {
    let Some(_ground) = ground::take(test) else {
        return;
    };
    let image = images::uring();
    let spec = Spec::new(&image, command).more(images::URING_ALLOWED);
    let container = Container::start(test, &spec).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let rows = load::run(Target::inside(&container, 8000), load::spread(mix(n)));
    servers::judge(test, &watch, &container, &rows);
    watch.daemon.stop();
}

#[test]
fn thousand_requests_to_ntex_on_io_uring_are_exact() {
    check("ntex", "/ntex-server 8000", 1_000);
}

#[test]
fn single_shot_requests_are_exact() {
    check("uring-single", "/rings single 8000", 200);
}

#[test]
fn provided_buffers_are_exact() {
    check("uring-provided", "/rings provided 8000", 2_000);
}

#[test]
fn multishot_receives_are_exact() {
    check("uring-multishot", "/rings multishot 8000", 200);
}

#[test]
fn direct_descriptors_are_exact() {
    check("uring-direct", "/rings direct 8000", 200);
}

#[test]
fn multishot_receives_on_direct_descriptors_are_exact() {
    check(
        "uring-direct-multishot",
        "/rings direct-multishot 8000",
        200,
    );
}

#[test]
fn requests_submitted_by_the_kernels_thread_are_exact() {
    check("uring-sqpoll", "/rings sqpoll 8000", 200);
}

#[test]
fn requests_run_by_worker_threads_are_exact() {
    check("uring-worker", "/rings worker 8000", 200);
}

#[test]
fn reads_and_writes_of_files_are_exact() {
    check("uring-file", "/rings file 8000", 200);
}

#[test]
fn messages_of_several_segments_are_exact() {
    check("uring-message", "/rings message 8000", 200);
}

#[test]
fn sends_without_copying_are_exact() {
    check("uring-zero-copy", "/rings zero-copy 8000", 200);
}

#[test]
fn chained_sends_on_direct_descriptors_are_exact() {
    check("uring-linked", "/rings linked 8000", 200);
}

#[test]
fn connection_accepted_by_io_uring_has_its_origin_its_peer_and_its_arrivals() {
    let Some(_ground) = ground::take("uring-accepted") else {
        return;
    };
    let image = images::uring();
    let spec = Spec::new(&image, "/rings multishot 8000").more(images::URING_ALLOWED);
    let container = Container::start("uring-accepted", &spec).listening(8000);
    let mut rows = Vec::new();
    let events = recorded(container.name(), 40, || {
        let plans = load::spread(mix(40));
        rows = load::run(Target::inside(&container, 8000), plans);
    });
    let ports: std::collections::BTreeSet<u16> = rows.iter().map(|row| row.local_port).collect();
    let mut told = std::collections::BTreeSet::new();
    for event in &events {
        match event {
            CaptureEvent::Opened(opened) => {
                assert_eq!(opened.origin, Origin::Accepted);
                told.insert(opened.peer.port());
            }
            CaptureEvent::Data(data) if data.direction == Direction::Read => {
                let arrived = data.arrived.expect("the kernel tells it");
                assert!(arrived <= data.at, "{data:?}");
            }
            _ => {}
        }
    }
    assert_eq!(told, ports);
}

#[test]
fn bytes_that_nothing_explains_are_told_as_unseen() {
    let Some(_ground) = ground::take("uring-unseen") else {
        return;
    };
    let image = images::uring();
    let spec = Spec::new(&image, "/rings multishot 8000").more(images::URING_ALLOWED);
    let container = Container::start("uring-unseen", &spec).listening(8000);
    let connect = || TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 8000)));
    let mut stream = namespace::run(Some(container.pid()), connect).expect("it listens");
    let request = b"GET /items/5 HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut ask = || {
        stream.write_all(request).expect("it reads");
        let mut answer = [0; 1_024];
        let n = stream.read(&mut answer).expect("it answers");
        assert!(answer[..n].starts_with(b"HTTP/1.1 200"), "{answer:?}");
    };
    // Its receive is armed before there is anyone to see it.
    ask();
    let watch = watch();
    watch.daemon.await_service(container.name());
    for _ in 0..3 {
        ask();
    }
    // The read's own system call might come for a second.
    thread::sleep(Duration::from_millis(1_100));
    drop(stream);
    let unseen = await_some("unseen bytes", Duration::from_secs(10), || {
        watch.daemon.service(container.name())?.unseen_bytes
    });
    assert_eq!(unseen, 3 * request.len() as u64);
    watch.daemon.stop();
}
