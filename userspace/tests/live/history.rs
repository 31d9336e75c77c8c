//! What outlives the daemon.

use std::time::{Duration, Instant};

use modeltap_api_types::QueryResult;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Target};

use crate::start;

/// Longest time until a request is in the file.
const WRITTEN_WITHIN: Duration = Duration::from_secs(90);

/// Requests of a service by the history.
#[track_caller]
pub(crate) fn remembered(daemon: &Daemon, service: &str) -> u64 {
    let now = daemon.status();
    let now = now.started_unix_ms + (now.uptime_seconds * 1e3) as u64;
    let (from, to) = (now - 600_000, now + 60_000);
    let path = format!(
        "/api/v1/query?metric=requests&stat=count&service={service}&from={from}&to={to}&step=10"
    );
    let result: QueryResult = daemon.json(&path);
    let values = result.series.iter().flat_map(|series| &series.values);
    values.flatten().sum::<f64>().round() as u64
}

/// Waits until the daemon has written everything that it has so far.
fn await_written(daemon: &Daemon, since: u64) {
    let mut last = (since, Instant::now());
    await_that("the history to be written", WRITTEN_WITHIN, || {
        let written = daemon.status().store.rollups_written;
        if written != last.0 {
            last = (written, Instant::now());
        }
        written > since && last.1.elapsed() > Duration::from_secs(5)
    });
}

#[test]
fn requests_from_before_a_crash_are_there_after_it() {
    let Some(_ground) = ground::take("crash") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("crash", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let data = tempfile::tempdir().unwrap();
    let daemon = start(data.path()).ready();
    daemon.await_service(container.name());
    let before = daemon.status().store.rollups_written;
    let rows = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(80)),
    );
    daemon.await_requests(container.name(), rows.len());
    await_written(&daemon, before);
    assert_eq!(
        remembered(&daemon, container.name()),
        rows.len() as u64,
        "before the crash"
    );
    daemon.kill();

    let daemon = start(data.path()).ready();
    assert_eq!(
        remembered(&daemon, container.name()),
        rows.len() as u64,
        "after the crash"
    );
    daemon.stop();

    // A stop in good order writes what is not written yet.
    let daemon = start(data.path()).ready();
    daemon.await_service(container.name());
    let more = load::run(
        Target::inside(&container, 8000),
        load::spread(load::mix(80)),
    );
    daemon.await_requests(container.name(), more.len());
    daemon.stop();
    let daemon = start(data.path()).ready();
    let all = (rows.len() + more.len()) as u64;
    assert_eq!(
        remembered(&daemon, container.name()),
        all,
        "after a stop in good order"
    );
    daemon.stop();
}
