//! A wall clock that is set while the daemon runs.
//!
//! The machine's clock is everybody's: the daemon alone gets another one, by a
//! library that is preloaded into it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use modeltap_api_types::QueryResult;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::{ground, images};

use super::{size, table};
use crate::start;

const LIBRARY: &str = include_str!("clock.c");
const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;
/// Longest time until the daemon lives in the new time, and until a request is
/// in history: seconds close and are written by the second.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(15);
/// Longest time of an answer meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// The clock of one process.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn build(folder: &Path) -> Self {
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        fs::write(&source, LIBRARY).expect("the folder is ours");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(built.is_ok_and(|status| status.success()), "run cc");
        let clock = Self {
            library,
            file: folder.join("ahead"),
        };
        fs::write(&clock.file, 0_i64.to_ne_bytes()).expect("the folder is ours");
        clock
    }

    /// Sets it this many seconds ahead of the machine's.
    fn set(&self, ahead: i64) {
        let file = File::options().write(true).open(&self.file);
        let file = file.expect("it is there");
        // At once, for the other side has it mapped.
        let written = file.write_all_at(&ahead.to_ne_bytes(), 0);
        written.expect("it has room");
    }
}

fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("it is past 1970").as_secs()).expect("it fits")
}

/// Requests in history around now, on a clock that is ahead.
fn remembered(daemon: &Daemon, service: &str, ahead: i64, since: Duration) -> u64 {
    let now = unix_now() + ahead;
    let lasts = i64::try_from(since.as_secs()).expect("tests are short") + 5;
    let (from, to) = (now - lasts, now + 5);
    let path = format!(
        "/api/v1/query?metric=requests&stat=count&service={service}&from={}&to={}&step=1",
        from * 1_000,
        to * 1_000
    );
    let result: QueryResult = daemon.json(&path);
    let values = result.series.iter().flat_map(|series| &series.values);
    values.flatten().sum::<f64>().round() as u64
}

#[test]
fn clock_that_is_set_costs_no_request_and_makes_no_wrong_time() {
    let Some(_ground) = ground::take("clock") else {
        return;
    };
    let lasts = size(Duration::from_secs(20), Duration::from_millis(2_500));
    let image = images::servers();
    let container = Container::start("clock", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let target = Target::inside(&container, 8000);
    let scratch = tempfile::tempdir().expect("a temporary directory can be made");
    let clock = Clock::build(scratch.path());
    let daemon = start(&scratch.path().join("data"))
        .env("LD_PRELOAD", &clock.library.display().to_string())
        .env("MOVED_CLOCK", &clock.file.display().to_string())
        .ready();
    daemon.await_service(container.name());
    let good = GoodClient::start(target, Duration::from_millis(50));
    let mut slowest = Duration::ZERO;
    let mut told = Vec::new();
    // An hour on and back; a year on and back; back in time for good.
    for ahead in [0, HOUR, 0, YEAR, 0, -HOUR, -YEAR] {
        let set = Instant::now();
        clock.set(ahead);
        let started = daemon.status().started_unix_ms;
        await_that("the daemon to live in the new time", FOLLOWS_WITHIN, || {
            let asked = Instant::now();
            let services: modeltap_api_types::Services = daemon.json("/api/v1/services");
            slowest = slowest.max(asked.elapsed());
            let at = i64::try_from(services.at_unix_ms / 1_000).expect("it fits");
            (at - unix_now() - ahead).abs() <= 3
        });
        assert_eq!(daemon.status().started_unix_ms, started);
        thread::sleep(lasts);
        let mut n = 0;
        await_that("history in the new time", FOLLOWS_WITHIN, || {
            n = remembered(&daemon, container.name(), ahead, set.elapsed());
            n > 0
        });
        told.push((ahead, n));
        // The page and its clients go on.
        for path in ["/readyz", "/metrics", "/api/v1/alerts", "/api/v1/status"] {
            let asked = Instant::now();
            let _ = daemon.get(path);
            slowest = slowest.max(asked.elapsed());
        }
    }
    let mut truth = good.finish();
    truth.round(target);
    truth.check(&daemon, container.name());
    assert!(slowest < ANSWERS_WITHIN, "{slowest:?}");
    let status = daemon.status();
    let missed = (status.capture.events_lost, status.capture.events_dropped);
    assert_eq!(missed, (0, 0), "{:?}", status.capture);
    assert!(status.store.ok, "{:?}", status.store);
    eprintln!("{told:?} {:?}", status.store);
    table::note(
        "clock set",
        &format!(
            "an hour on and back, a year on and back, an hour and a year back, {} s each, under load",
            lasts.as_secs()
        ),
        &format!(
            "{0} of {0} requests told, times to the letter; history has each time's ({1}); \
             slowest answer {2:.0} ms",
            truth.rows.len(),
            told.iter()
                .map(|(_, n)| n.to_string())
                .collect::<Vec<_>>()
                .join(", "),
            slowest.as_secs_f64() * 1e3
        ),
    );
    daemon.stop();
}
