//! Clients that are a nuisance to the watched server, beside good ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::Container;
use modeltap_testbed::engine::Engine;
use modeltap_testbed::good::{GoodClient, Truth};
use modeltap_testbed::limits::allow_descriptors;
use modeltap_testbed::load::Target;
use modeltap_testbed::process::Holdings;
use modeltap_testbed::{ground, images, namespace};
use tempfile::TempDir;

use super::{size, table};
use crate::start;

/// Longest time until connections that ended are forgotten.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(30);
/// Requests written at once by the clients in a hurry.
const BURST: usize = 100;

/// A server, a daemon that watches it, and a good client's target.
struct Scene {
    container: Container,
    target: Target,
    daemon: Daemon,
    first: Truth,
    before: Holdings,
    _data: TempDir,
    /// Goes last, with the container.
    _engine: Engine,
}

impl Scene {
    fn set(name: &str) -> Self {
        allow_descriptors(4_096);
        let engine = Engine::start(&images::servers());
        let container = Container::start(name, &engine.server()).listening(8000);
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let daemon = start(data.path())
            .env("DOCKER_HOST", &engine.host())
            .ready();
        daemon.await_service(container.name());
        let target = Target::inside(&container, 8000);
        // Its routes are known before there are others.
        let mut first = Truth::default();
        first.round(target);
        first.check(&daemon, container.name());
        Self {
            before: Holdings::of(daemon.pid()),
            target,
            first,
            container,
            daemon,
            _data: data,
            _engine: engine,
        }
    }

    fn connect(&self, n: usize) -> Vec<TcpStream> {
        let address = self.target.address;
        namespace::run(self.target.namespace_of, move || {
            let connect = |_| TcpStream::connect(address).expect("the server listens");
            (0..n).map(connect).collect()
        })
    }

    /// Has a good client ask while `nuisance` goes on, and all of it told;
    /// gives how many requests of it there were, and what the daemon held
    /// before what `nuisance` gives was dropped.
    #[track_caller]
    fn beside<T>(&self, nuisance: impl FnOnce() -> T) -> (usize, Holdings) {
        let good = GoodClient::start(self.target, Duration::from_millis(50));
        let held = nuisance();
        let mut truth = good.finish();
        let during = Holdings::of(self.daemon.pid());
        drop(held);
        let n_requests = truth.rows.len();
        truth.rows.extend(self.first.rows.iter().cloned());
        truth.round(self.target);
        truth.check(&self.daemon, self.container.name());
        let capture = self.daemon.status().capture;
        let missed = (capture.events_lost, capture.events_dropped);
        assert_eq!(missed, (0, 0), "{capture:?}");
        (n_requests, during)
    }

    /// Asserts that nothing is left of the nuisance's connections.
    #[track_caller]
    fn check_forgotten(&self) -> Holdings {
        let all = || Holdings::of(self.daemon.pid());
        await_that("connections to be forgotten", FORGOTTEN_WITHIN, || {
            let now = all();
            now.map_entries.iter().all(|(name, n)| {
                let before = self.before.map_entries.get(name);
                *n <= before.copied().unwrap_or_default()
            })
        });
        all()
    }
}

/// Bytes that are no HTTP, the same for the same number.
fn noise(number: usize, length: usize) -> Vec<u8> {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| byte()).collect()
}

/// A path that no other number has, and that holds nothing like an id: of
/// words, of which no two are alike.
fn path(number: usize) -> String {
    const WORDS: [&str; 16] = [
        "apple", "bread", "chair", "dance", "eagle", "fruit", "grape", "horse", "image", "jolly",
        "knife", "lemon", "money", "night", "ocean", "piano",
    ];
    let mut path = "/kind".to_owned();
    for digit in (0..5).rev() {
        path.push('/');
        path.push_str(WORDS[number >> (4 * digit) & 15]);
    }
    path
}

#[test]
fn idle_connections_and_endless_heads_take_little_and_harm_nobody() {
    let Some(_ground) = ground::take("idle") else {
        return;
    };
    let (n_idle, n_slow) = size((10_000, 2_000), (1_000, 200));
    let n_lines = size(60, 4);
    allow_descriptors((n_idle + n_slow) as u64 + 2_000);
    let scene = Scene::set("idle");
    let (n_good, during) = scene.beside(|| {
        let idle = scene.connect(n_idle);
        let mut slow = scene.connect(n_slow);
        for stream in &mut slow {
            let begun = stream.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n");
            begun.expect("the server reads");
        }
        for _ in 0..n_lines {
            thread::sleep(Duration::from_millis(500));
            for stream in &mut slow {
                let more = stream.write_all(b"X-More: and more\r\n");
                more.expect("the server waits for the end");
            }
        }
        let n_known = || scene.daemon.status().probes.n_connections;
        await_that("all to be known", Duration::from_secs(20), || {
            n_known() >= (n_idle + n_slow) as u64
        });
        (idle, slow)
    });
    let after = scene.check_forgotten();
    let grown = during
        .anonymous_bytes
        .saturating_sub(scene.before.anonymous_bytes);
    assert!(
        grown < size(64 << 20, 24 << 20),
        "{} -> {during}",
        scene.before
    );
    table::note(
        "idle connections, slowloris",
        &format!("{n_idle} idle, {n_slow} with a head that never ends"),
        &format!(
            "{n_good} of {n_good} good requests told; before {}; during {during}; after {after}",
            scene.before
        ),
    );
    scene.daemon.stop();
}

#[test]
fn heads_of_a_megabyte_are_told_and_held_by_nobody() {
    let Some(_ground) = ground::take("large-heads") else {
        return;
    };
    let n = size(200, 10);
    let scene = Scene::set("large-heads");
    let mut head = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
    while head.len() < 1_000_000 {
        head.extend(format!("X-{}: {}\r\n", head.len(), "a".repeat(8_000)).bytes());
    }
    head.extend(b"\r\n");
    let (n_good, during) = scene.beside(|| {
        for _ in 0..n {
            let mut stream = scene.connect(1).remove(0);
            stream.write_all(&head).expect("the server reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("it answers");
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        }
    });
    let n_told = || {
        let service = scene.daemon.service(scene.container.name());
        let totals = service.map(|service| service.totals).unwrap_or_default();
        let large = totals
            .iter()
            .filter(|t| t.route == "/large" && t.status == Some(404));
        large.map(|total| total.n_requests).sum::<u64>()
    };
    await_that(
        "every large head to be told",
        Duration::from_secs(20),
        || n_told() == n,
    );
    let after = scene.check_forgotten();
    let grown = after
        .anonymous_bytes
        .saturating_sub(scene.before.anonymous_bytes);
    assert!(grown < 16 << 20, "{} -> {after}", scene.before);
    table::note(
        "heads of 1 MB",
        &format!("{n} requests, one after the other"),
        &format!(
            "{n} told with their status, {n_good} of {n_good} good ones; before {}; during \
             {during}; after {after}",
            scene.before
        ),
    );
    scene.daemon.stop();
}

#[test]
fn distinct_paths_without_end_take_the_place_of_no_route() {
    let Some(_ground) = ground::take("paths") else {
        return;
    };
    const CLIENTS: usize = 4;
    // Of the answer to a path that the server does not know, with its body.
    const LINES: usize = 7;
    // A second, all clients together, if the server can.
    let rate = size(100_000, 5_000);
    let lasts = size(Duration::from_secs(10), Duration::from_secs(2));
    let scene = Scene::set("paths");
    let each = rate * lasts.as_secs() as usize / CLIENTS / BURST;
    let begun = Instant::now();
    let mut took = Duration::ZERO;
    let (n_good, during) = scene.beside(|| {
        thread::scope(|scope| {
            for (client, mut stream) in scene.connect(CLIENTS).into_iter().enumerate() {
                scope.spawn(move || {
                    let mut room = vec![0; 65_536];
                    for number in 0..each {
                        let due = lasts * number as u32 / each as u32;
                        thread::sleep(due.saturating_sub(begun.elapsed()));
                        let first = (client * each + number) * BURST;
                        let burst: String = (first..first + BURST)
                            .map(|n| format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path(n)))
                            .collect();
                        stream
                            .write_all(burst.as_bytes())
                            .expect("the server reads");
                        let mut n_lines = 0;
                        while n_lines < BURST * LINES {
                            let n = stream.read(&mut room).expect("it answers");
                            assert!(n > 0, "it closed");
                            n_lines += room[..n].iter().filter(|byte| **byte == b'\n').count();
                        }
                    }
                });
            }
        });
        took = begun.elapsed();
    });
    let n_paths = each * CLIENTS * BURST;
    let service = scene
        .daemon
        .service(scene.container.name())
        .expect("it is watched");
    let mut routes: Vec<_> = service
        .totals
        .iter()
        .map(|total| total.route.as_str())
        .collect();
    routes.sort_unstable();
    routes.dedup();
    assert!(routes.len() <= 201, "{}", routes.len());
    let n_other: u64 = service
        .totals
        .iter()
        .filter(|total| total.route == "_other" || total.route.starts_with("/kind/"))
        .map(|total| total.n_requests)
        .sum();
    assert_eq!(n_other, n_paths as u64);
    let grown = during
        .anonymous_bytes
        .saturating_sub(scene.before.anonymous_bytes);
    assert!(grown < 64 << 20, "{} -> {during}", scene.before);
    table::note(
        "distinct paths",
        &format!(
            "{n_paths} paths, {:.0} a second (asked for: {rate})",
            n_paths as f64 / took.as_secs_f64()
        ),
        &format!(
            "all counted, {} routes; {n_good} of {n_good} good requests told; before {}; during \
             {during}",
            routes.len(),
            scene.before
        ),
    );
    scene.daemon.stop();
}

#[test]
fn tls_and_noise_on_the_port_are_no_requests() {
    let Some(_ground) = ground::take("noise") else {
        return;
    };
    let n = size(5_000, 200);
    let scene = Scene::set("noise");
    let (n_good, during) = scene.beside(|| {
        for number in 0..n {
            let mut bytes = noise(number, 64 + number % 2_000);
            if number % 2 == 0 {
                // A handshake's record, and in it a hello (RFC 8446).
                let length = (bytes.len() - 9) as u16;
                bytes[..3].copy_from_slice(&[0x16, 0x03, 0x01]);
                bytes[3..5].copy_from_slice(&(length + 4).to_be_bytes());
                bytes[5..7].copy_from_slice(&[0x01, 0x00]);
                bytes[7..9].copy_from_slice(&length.to_be_bytes());
            }
            let mut stream = scene.connect(1).remove(0);
            let sent = stream.write_all(&bytes);
            sent.expect("the server reads");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // What it says to that, if anything, is its own affair.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let after = scene.check_forgotten();
    let service = scene
        .daemon
        .service(scene.container.name())
        .expect("it is watched");
    // An answer without a request has a status and nothing else.
    let invented: Vec<_> = service
        .totals
        .iter()
        .filter(|t| {
            t.method.is_some()
                && !["/predict", "/items/{id}", "/fail", "/missing"].contains(&t.route.as_str())
        })
        .collect();
    assert!(invented.is_empty(), "{invented:?}");
    let capture = scene.daemon.status().capture;
    table::note(
        "TLS and random bytes",
        &format!("{n} connections, half of them a TLS hello"),
        &format!(
            "no request invented, {} bytes skipped, {n_good} of {n_good} good requests told; during \
             {during}; after {after}",
            capture.bytes_skipped
        ),
    );
    scene.daemon.stop();
}
