//! A daemon that is stopped under load, with a ring far too small.

use std::thread;
use std::time::Duration;

use modeltap_api_types::Request as Record;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Row, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::start;
use crate::tap::{Tap, n_moments};

const UVICORN: &str = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";

/// Whether a record is one of these rows, told as it was or with what is known
/// of it missing, but with nothing invented.
pub(crate) fn is_true(record: &Record, rows: &[Row]) -> bool {
    let mut on_port = rows.iter().filter(|row| row.local_port == record.peer_port);
    let is_inside = |row: &Row| {
        row.sent_ns <= record.started_monotonic_ns && record.ended_monotonic_ns <= row.last_byte_ns
    };
    on_port.any(|row| {
        let same_status = record.status.is_none() || record.status == row.status;
        let same_method = record.method.as_deref().is_none_or(|m| m == row.method);
        let is_told_whole = record.outcome == "complete";
        same_status && same_method && (is_inside(row) || !is_told_whole)
    })
}

#[test]
fn stopped_daemon_loses_events_that_the_kernel_counts_and_invents_nothing() {
    let Some(_ground) = ground::take("overload") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("overload", &Spec::new(&image, UVICORN)).listening(8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path())
        .env("MODELTAP_RING_BYTES", "65536")
        .ready();
    daemon.await_service(container.name());
    let mut tap = Tap::draining(&container);
    let target = Target::inside(&container, 8000);
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).expect("process ids are positive"));
    let send = |signal| kill(pid, signal).expect("the daemon runs");

    let mut rows = load::run(target, load::spread(load::mix(100)));
    daemon.await_requests(container.name(), rows.len());
    let before = daemon.status().capture;
    assert_eq!(before.events_lost, 0);
    send(Signal::SIGSTOP);
    rows.extend(load::run(target, load::spread(load::mix(2_000))));
    // A connection that the ring has no room to tell of.
    let mut untold = target.connect();
    let planned = &load::mix(9)[8];
    let mut ask = || {
        let (row, _) = load::exchange(&mut untold, planned).expect("the server answers");
        row
    };
    rows.push(ask());
    thread::sleep(Duration::from_secs(1));
    send(Signal::SIGCONT);
    thread::sleep(Duration::from_secs(1));
    let late = [ask(), ask()];
    rows.extend(late.clone());
    rows.extend(load::run(target, load::spread(load::mix(100))));
    await_that(
        "the daemon to have seen the last",
        Duration::from_secs(10),
        || {
            let capture = daemon.status().capture;
            capture.events_observed > before.events_observed
                && daemon.n_requests(container.name()) >= 200
        },
    );
    thread::sleep(Duration::from_millis(1_500));

    let capture = daemon.status().capture;
    let truth = tap.of_container();
    let n_answered: u64 = truth.n_responses.iter().sum();
    assert_eq!(
        (truth.n_requests, n_answered, truth.events_lost),
        (rows.len() as u64, rows.len() as u64, 0)
    );
    // The daemon's probes saw what the test's saw, in the ring or not, and
    // told again of the one connection.
    assert!(capture.events_lost > 2_000, "{capture:?}");
    assert_eq!(capture.bytes_observed, truth.bytes_submitted, "{capture:?}");
    let n_expected = truth.events_submitted + 1;
    assert!(
        capture.events_observed.abs_diff(n_expected) <= n_moments(&tap.events()),
        "{n_expected}: {capture:?}"
    );
    assert_eq!(
        (capture.events_dropped, capture.events_undecoded),
        (0, 0),
        "{capture:?}"
    );
    let records = daemon.requests(container.name());
    let false_ones: Vec<_> = records.iter().filter(|r| !is_true(r, &rows)).collect();
    assert!(
        false_ones.is_empty(),
        "of {}: {false_ones:?}",
        records.len()
    );
    for row in &late {
        let told = records.iter().find(|record| {
            record.peer_port == row.local_port && record.started_monotonic_ns >= row.sent_ns
        });
        let told = told.map(|record| (record.status, record.outcome.as_str()));
        assert_eq!(told, Some((row.status, "complete")), "{row:?}");
    }
    println!(
        "{} sent, {} told, {} of {} events lost",
        rows.len(),
        records.len(),
        capture.events_lost,
        capture.events_observed
    );
    daemon.stop();
}
