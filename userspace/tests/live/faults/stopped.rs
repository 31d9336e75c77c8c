//! A daemon that is stopped under load, and one that is killed again and again.

use std::thread;
use std::time::{Duration, Instant};

use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::live::LiveClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::{ground, images};

use super::{size, table};
use crate::overload::is_true;
use crate::start;
use crate::tap::Tap;

const GO: &str = "/srv/go-server";
/// Longest time until a client learns that something was lost.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn daemon_stopped_under_load_tells_what_was_lost_and_no_wrong_time() {
    let Some(_ground) = ground::take("stopped") else {
        return;
    };
    let stopped = size(Duration::from_secs(10), Duration::from_secs(2));
    // The ring has to overflow in that time.
    let ring = size("8388608", "262144");

    let image = images::servers();
    let container = Container::start("stopped", &Spec::new(&image, GO)).listening(8000);
    let target = Target::inside(&container, 8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path()).env("MODELTAP_RING_BYTES", ring).ready();
    daemon.await_service(container.name());
    let tap = Tap::draining(&container);
    let mut live = LiveClient::open(daemon.address()).expect("it takes live clients");
    assert_eq!(live.next_state().status.capture.events_lost, 0);
    let clients = [(); 3].map(|()| GoodClient::start(target, Duration::ZERO));
    await_that("the load to begin", Duration::from_secs(20), || {
        clients.iter().all(|client| client.n_asked() > 0)
    });

    daemon.hold();
    thread::sleep(stopped);
    let released = Instant::now();
    daemon.release();
    let told_after = loop {
        let state = live.next_state();
        if state.status.capture.events_lost > 0 {
            break released.elapsed();
        }
        let waited = released.elapsed();
        assert!(
            waited < Duration::from_secs(20),
            "{:?}",
            state.status.capture
        );
    };
    let mut rows = Vec::new();
    for client in clients {
        rows.extend(client.finish().rows);
    }
    // What comes after it is told to the letter.
    let mut after = modeltap_testbed::good::Truth::default();
    thread::sleep(Duration::from_secs(1));
    after.round(target);
    await_that("every event to be seen", Duration::from_secs(30), || {
        let capture = daemon.status().capture;
        let fates = capture.bytes_parsed
            + capture.bytes_skipped
            + capture.bytes_truncated
            + capture.bytes_lost
            + capture.bytes_dropped;
        capture.bytes_observed == tap.of_container().bytes_submitted
            && fates == capture.bytes_observed
    });
    after.check_times(&daemon, container.name());
    rows.extend(after.rows);

    // The probes of the test were never stopped.
    let truth = tap.of_container();
    assert_eq!(
        (truth.n_requests, truth.events_lost),
        (rows.len() as u64, 0)
    );
    let service = daemon.service(container.name()).expect("it is watched");
    let counted = service.kernel.expect("the kernel counts");
    assert_eq!(counted.requests, rows.len() as u64);
    let capture = daemon.status().capture;
    assert_eq!(
        (capture.events_dropped, capture.events_undecoded),
        (0, 0),
        "{capture:?}"
    );
    let records = daemon.requests(container.name());
    let wrong: Vec<_> = records.iter().filter(|r| !is_true(r, &rows)).collect();
    assert!(wrong.is_empty(), "of {}: {wrong:?}", records.len());
    assert!(told_after < TOLD_WITHIN, "{told_after:?}");
    table::note(
        "daemon stopped",
        &format!(
            "SIGSTOP for {} s under {} requests",
            stopped.as_secs(),
            rows.len()
        ),
        &format!(
            "{} of {} events lost, seen + lost = submitted to the byte ({}); told to live \
             clients after {:.1} s; 0 of {} records wrong",
            capture.events_lost,
            capture.events_observed,
            capture.bytes_observed,
            told_after.as_secs_f64(),
            records.len()
        ),
    );
    daemon.stop();
}
