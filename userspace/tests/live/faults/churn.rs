//! Containers that come and go, many a second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::clock::{await_some, await_that};
use modeltap_testbed::docker::Container;
use modeltap_testbed::engine::{Engine, GO, IMAGE};
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::process::Holdings;
use modeltap_testbed::{ground, images, namespace};

use super::{size, table};
use crate::start;

/// Containers that begin in a second.
const PER_SECOND: usize = 5;
/// Containers under way at a time.
const WORKERS: usize = 10;
/// How long each lives, if that can be had.
const LIFE: Duration = Duration::from_millis(700);
/// Longest time until nothing is left of the last one: the daemon lists what
/// it may have missed, and its counts outlive a container.
const GONE_WITHIN: Duration = Duration::from_secs(40);

/// One container's life: it serves a request and is killed with the connection
/// open.
fn live_and_die(engine: &Engine, number: usize) {
    let call = |method: &str, path: &str, body: &str| {
        let (status, text) = engine.call(method, path, body).expect("Docker answers");
        assert!(status < 300, "{method} {path}: {text}");
        text
    };
    let spec = format!(
        "{{\"Image\": \"{IMAGE}\", \"Cmd\": [\"{GO}\"], \
          \"HostConfig\": {{\"NetworkMode\": \"none\", \"AutoRemove\": true}}}}"
    );
    let name = format!("churn-{number}");
    call("POST", &format!("/containers/create?name={name}"), &spec);
    call("POST", &format!("/containers/{name}/start"), "");
    let text = call("GET", &format!("/containers/{name}/json"), "");
    let pid = text.split("\"Pid\":").nth(1).expect("it has a process");
    let pid = pid.split(',').next().and_then(|pid| pid.parse().ok());
    let pid = pid.expect("process ids are numbers");
    let connection = namespace::run(Some(pid), || {
        let address = ([127, 0, 0, 1], 8000).into();
        await_some("a new server", Duration::from_secs(20), || {
            Connection::open(address).ok()
        })
    });
    let mut connection = connection;
    connection
        .send(&Request::get("/items/7"))
        .expect("it listens");
    assert_eq!(connection.receive().expect("it answers").status, 200);
    thread::sleep(LIFE);
    call("POST", &format!("/containers/{name}/kill"), "");
}

/// `n` containers at the rate, or as fast as this machine can; the time it
/// took.
fn churn(engine: &Engine, first: usize, n: usize) -> Duration {
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= n {
                        return;
                    }
                    let due = Duration::from_secs(number as u64) / PER_SECOND as u32;
                    thread::sleep(due.saturating_sub(begun.elapsed()));
                    live_and_die(engine, first + number);
                }
            });
        }
    });
    begun.elapsed()
}

#[test]
fn containers_that_come_and_go_leave_nothing_behind() {
    let Some(_ground) = ground::take("churn") else {
        return;
    };
    let n = size(PER_SECOND * 600, 40);
    // More than the daemon remembers after their end.
    let n_before = size(700, 10);
    let allowed_bytes = size(24 << 20, 16 << 20);

    let engine = Engine::start(&images::servers());
    let container = Container::start("stays", &engine.server()).listening(8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path())
        .env("DOCKER_HOST", &engine.host())
        .ready();
    daemon.await_service(container.name());
    let settled = || {
        let what = "the daemon to see the last one go";
        await_that(what, GONE_WITHIN, || {
            daemon.status().docker.n_containers == 1
        });
        thread::sleep(Duration::from_secs(size(8, 6)));
        Holdings::of(daemon.pid())
    };
    // What the first ones need is kept for the next.
    churn(&engine, 0, n_before);
    let before = settled();
    let good = GoodClient::start(Target::inside(&container, 8000), Duration::from_millis(500));
    let took = churn(&engine, n_before, n);
    let truth = good.finish();
    let after = settled();
    eprintln!("{before:?}\n{after:?}");

    assert!(
        after.n_entries() <= before.n_entries(),
        "{before:?} -> {after:?}"
    );
    assert!(
        after.n_descriptors <= before.n_descriptors + 4,
        "{before} -> {after}"
    );
    // Those that wait for files come and go.
    assert!(
        after.n_threads <= before.n_threads + 8,
        "{before} -> {after}"
    );
    let grown = after.anonymous_bytes.saturating_sub(before.anonymous_bytes);
    assert!(grown < allowed_bytes, "{before} -> {after}");
    truth.check(&daemon, container.name());
    table::note(
        "containers come and go",
        &format!(
            "{n} containers, {:.1} a second, each killed with a connection open",
            n as f64 / took.as_secs_f64()
        ),
        &format!(
            "before: {before}; after: {after}; {} of {} requests beside them told",
            truth.rows.len(),
            truth.rows.len()
        ),
    );
    daemon.stop();
}
