//! A daemon that is killed again and again under load.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use modeltap_api_types::QueryResult;
use modeltap_testbed::clock::monotonic_ns;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::Container;
use modeltap_testbed::engine::Engine;
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::load::{Row, Target};
use modeltap_testbed::{ground, images};

use super::{size, table};
use crate::start;

/// What may be missing at most.
const MISSING: Duration = Duration::from_secs(1);
/// How much later than its end a request may be counted, on a busy machine.
const LATE_MS: u64 = 500;

/// A daemon's life, on the monotonic clock.
struct Life {
    /// Before it was started.
    begun_ns: u64,
    /// It watches the container.
    watches_ns: u64,
    /// Before it was killed.
    killed_ns: u64,
}

/// Unix milliseconds of a time on the monotonic clock; the same for each call.
fn unix_ms(monotonic: u64) -> u64 {
    static ZERO_NS: OnceLock<u128> = OnceLock::new();
    let zero_ns = ZERO_NS.get_or_init(|| {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        unix.expect("it is past 1970").as_nanos() - u128::from(monotonic_ns())
    });
    u64::try_from((zero_ns + u128::from(monotonic)) / 1_000_000).expect("584 years fit")
}

/// Waits for the next second of the wall clock, so that no two lives share one.
fn await_another_second() {
    let ms = unix_ms(monotonic_ns()) % 1_000;
    thread::sleep(Duration::from_millis(1_020 - ms));
}

/// Requests of each second of a life, by the history; and the first of these
/// seconds, in Unix milliseconds.
#[track_caller]
fn remembered(daemon: &Daemon, service: &str, life: &Life) -> (u64, Vec<u64>) {
    let from = unix_ms(life.begun_ns) / 1_000 * 1_000;
    let to = unix_ms(life.killed_ns) / 1_000 * 1_000 + 1_000;
    let path = format!(
        "/api/v1/query?metric=requests&stat=count&service={service}&from={from}&to={to}&step=1"
    );
    let result: QueryResult = daemon.json(&path);
    assert_eq!((result.from_unix_ms, result.step_seconds), (from, 1));
    let n_seconds = usize::try_from((to - from) / 1_000).expect("lives are short");
    let mut seconds = vec![0; n_seconds];
    for series in &result.series {
        for (second, value) in seconds.iter_mut().zip(&series.values) {
            *second += value.unwrap_or_default().round() as u64;
        }
    }
    (from, seconds)
}

/// How much of a life's end history lacks.
#[track_caller]
fn missing(life: &Life, rows: &[Row], (from, seconds): (u64, Vec<u64>)) -> Duration {
    let n_ended = |from_ms: u64, to_ms: u64| {
        let ended = rows.iter().filter(|row| {
            (from_ms..to_ms).contains(&unix_ms(row.last_byte_ns))
                && (life.begun_ns..=life.killed_ns).contains(&row.last_byte_ns)
        });
        ended.count() as u64
    };
    let n_remembered: u64 = seconds.iter().sum();
    let n_sent = n_ended(0, u64::MAX);
    assert!(
        n_remembered <= n_sent,
        "{seconds:?} of {n_sent}: some twice"
    );
    let Some(last) = seconds.iter().rposition(|n| *n > 0) else {
        return Duration::from_nanos(life.killed_ns - life.watches_ns);
    };
    // Before, each second is whole, but for where it was cut from the next.
    let first = (unix_ms(life.watches_ns) - from).div_ceil(1_000) as usize;
    let begin = from + first as u64 * 1_000;
    let end = from + last as u64 * 1_000;
    if begin + LATE_MS < end {
        let whole = seconds[first..last].iter().sum::<u64>();
        let (most, least) = (n_ended(begin - LATE_MS, end), n_ended(begin, end - LATE_MS));
        assert!(
            (least..=most).contains(&whole),
            "{seconds:?}: {whole} of {least} to {most}"
        );
    }
    // The last one is there as far as it went: what is missing begins with the
    // first request that is.
    let n_since = seconds.iter().skip(first).sum::<u64>() as usize;
    let ends = rows.iter().map(|row| row.last_byte_ns);
    let ends = ends.filter(|at| unix_ms(*at) >= begin && *at <= life.killed_ns);
    let mut ends: Vec<u64> = ends.collect();
    ends.sort_unstable();
    let missing = ends.get(n_since).map(|first| life.killed_ns - first);
    Duration::from_nanos(missing.unwrap_or_default())
}

#[test]
fn daemon_that_is_killed_lacks_less_than_a_second_and_counts_nothing_twice() {
    let Some(_ground) = ground::take("killed") else {
        return;
    };
    let n_kills = size(200, 3);
    let engine = Engine::start(&images::servers());
    let container = Container::start("killed", &engine.server()).listening(8000);
    let target = Target::inside(&container, 8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let mut begin = start(data.path()).env("DOCKER_HOST", &engine.host());
    let good = GoodClient::start(target, Duration::from_millis(20));
    let mut lives = Vec::new();
    let mut slowest_start = Duration::ZERO;
    for number in 0..n_kills {
        let begun_ns = monotonic_ns();
        let started = Instant::now();
        let daemon = begin.ready();
        slowest_start = slowest_start.max(started.elapsed());
        daemon.await_service(container.name());
        let watches_ns = monotonic_ns();
        let store = daemon.status().store;
        assert!(store.ok && store.notice.is_none(), "{store:?}");
        // At every part of a second and of what is done in it; one is whole.
        thread::sleep(Duration::from_millis(1_100 + number * 137 % 1_300));
        let killed_ns = monotonic_ns();
        begin = daemon.same_again();
        daemon.kill();
        lives.push(Life {
            begun_ns,
            watches_ns,
            killed_ns,
        });
        await_another_second();
    }
    let truth = good.finish();

    let daemon = begin.ready();
    let mut gaps: Vec<Duration> = lives
        .iter()
        .map(|life| {
            let seconds = remembered(&daemon, container.name(), life);
            missing(life, &truth.rows, seconds)
        })
        .collect();
    gaps.sort_unstable();
    let worst = gaps[gaps.len() - 1];
    assert!(worst < MISSING, "{gaps:?}");
    let store = daemon.status().store;
    assert!(store.ok && store.notice.is_none(), "{store:?}");
    table::note(
        "kill -9",
        &format!("{n_kills} times under load ({} requests)", truth.rows.len()),
        &format!(
            "the file opened each time (slowest start {:.1} s); missing at the end: {:.2} s in \
             the middle, {:.2} s at most; nothing twice",
            slowest_start.as_secs_f64(),
            gaps[gaps.len() / 2].as_secs_f64(),
            worst.as_secs_f64()
        ),
    );
    daemon.stop();
}
