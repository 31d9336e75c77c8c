//! The room that history takes on the disk, and files that get smaller.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod children;
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use children::{TASK, TestChild, beside, probe};
use duckdb::Connection;
use modeltap_core::history::Batch;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::{Retention, Store, StoreConfig, Writer};
use support::{at, config, n_requests, open, rollup, sums_agree};

const MS: Duration = Duration::from_millis(1);
const HOUR: u64 = 3_600;
const MAX_BYTES: u64 = 5_000_000;
const N_KILLS: u64 = 20;

/// What a child process of these tests does; nothing when run as a test.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let path = PathBuf::from(std::env::args().next_back().expect("the path comes last"));
    match task.as_str() {
        "probe" => modeltap_store::probe_open(&path).expect("standard output is open"),
        "churn" => churn_for_ever(&path),
        other => panic!("no task {other:?}"),
    }
}

/// Copies the file whenever a third of it is free.
fn eager(path: &Path) -> StoreConfig {
    StoreConfig {
        min_reclaim_bytes: 1 << 19,
        room_interval: MS * 20,
        retention: Retention::default(),
        ..config(path)
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn count(path: &Path, sql: &str) -> u64 {
    let connection = Connection::open(path).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn event(detail: String) -> TimelineEvent {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    TimelineEvent {
        at: UnixNs(now.unwrap().as_nanos() as u64),
        kind: TimelineKind::DataLost,
        service: None,
        container: None,
        detail,
    }
}

/// Some seconds of twenty routes whose histograms do not compress.
fn append(writer: &Writer, seconds: std::ops::Range<u64>) {
    for second in seconds {
        let rollups = (0..20).map(|route| {
            let durations: Vec<Duration> = (0..30)
                .map(|n| MS * ((second * 7_919 + route * 104_729 + n * 1_299_709) % 60_000) as u32)
                .collect();
            rollup("api", &format!("/{route}"), 200, second, &durations)
        });
        writer.append(rollups.collect::<Vec<_>>());
        if second % 20 == 19 {
            writer.flush();
        }
    }
    writer.flush();
}

#[test]
fn file_gets_smaller_after_its_rows_were_deleted_and_loses_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it's modeltap.duckdb");
    let mut config = eager(&path);
    config.room_interval = Duration::from_secs(3_600);
    config.retention.minutes = Duration::from_secs(48 * HOUR);
    let (writer, reader) = Store::open(config).unwrap();
    writer.age(at(0));
    append(&writer, 0..2_400);
    // Into rows of their own, that no later ones share a row group with: rows
    // of a group that is not all deleted keep their blocks.
    writer.age(at(10 * HOUR));
    writer.append(Batch {
        events: vec![TimelineEvent {
            at: at(60 * HOUR),
            ..event("kept".into())
        }],
        ..Batch::default()
    });
    append(&writer, 60 * HOUR..60 * HOUR + 20);
    writer.age(at(60 * HOUR));
    let before = reader.stats();
    assert!(before.n_reclaimed >= 1, "{before:?}");
    assert!(size(&path) < 4 << 20, "{}", size(&path));
    append(&writer, 60 * HOUR + 20..60 * HOUR + 30);
    assert_eq!(reader.stats().error, None);
    drop((writer, reader));
    assert_eq!(
        count(&path, "SELECT count(*) FROM events WHERE detail = 'kept'"),
        1
    );
    let sql = "SELECT sum(n_requests)::UBIGINT FROM rollups";
    assert_eq!(count(&path, sql), 30 * 20 * 30);
    assert_eq!(count(&path, "SELECT count(*) FROM runs"), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let (_writer, reader) = open(&path);
    assert_eq!(n_requests(&reader), 0, "the first day is gone");
}

#[test]
fn oldest_hours_make_way_for_new_ones_and_a_day_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let config = StoreConfig {
        max_bytes: MAX_BYTES,
        room_interval: Duration::from_secs(3_600),
        retention: Retention {
            seconds: Duration::from_secs(1_200 * HOUR),
            ten_seconds: Duration::from_secs(1_200 * HOUR),
            minutes: Duration::from_secs(2_400 * HOUR),
        },
        ..StoreConfig::new(&path)
    };
    let (writer, reader) = Store::open(config).unwrap();
    writer.age(at(0));
    for hour in 0..40 {
        append(&writer, hour * HOUR..hour * HOUR + 100);
        if hour % 4 == 3 {
            writer.age(at((hour + 1) * HOUR));
        }
    }
    let stats = reader.stats();
    assert!(stats.used_bytes <= MAX_BYTES, "{stats:?}");
    let before = stats.given_up_before.unwrap().seconds() - at(0).seconds();
    assert!((HOUR..=16 * HOUR).contains(&before), "{before}");
    drop((writer, reader));
    let left = format!(
        "SELECT count(*) FROM rollups WHERE start < make_timestamp({})",
        (at(0).seconds() + before) * 1_000_000
    );
    assert_eq!(count(&path, &left), 0);
    let last_day = format!(
        "SELECT sum(n_requests)::UBIGINT FROM rollups WHERE start >= make_timestamp({})",
        at(16 * HOUR).seconds() * 1_000_000
    );
    assert_eq!(count(&path, &last_day), 24 * 100 * 20 * 30);
    let told = format!(
        "SELECT count(*) FROM events WHERE kind = 'history_trouble' AND \
         detail LIKE 'history takes more than its {MAX_BYTES} bytes%'"
    );
    assert!(count(&path, &told) >= 1);
}

/// Old rows come, move on and are deleted while news of today stays.
fn churn_for_ever(path: &Path) {
    let (writer, _reader) = Store::open(eager(path)).unwrap();
    let pid = std::process::id();
    for number in 1.. {
        writer.append(Batch {
            rollups: (0..400)
                .map(|n| {
                    let durations: Vec<Duration> =
                        (0..30).map(|k| MS * (n * 37 + k * k * 11)).collect();
                    rollup("api", &format!("/{n}"), 200, number, &durations)
                })
                .collect(),
            events: vec![event(format!("{pid}-{number}"))],
            ..Batch::default()
        });
        writer.flush();
        println!("\nwritten {number} {}", writer.stats().n_reclaimed);
    }
}

#[test]
fn killed_in_the_middle_of_a_copy_nothing_is_missing_or_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut n_copies = 0;
    let mut acknowledged = Vec::new();
    for round in 0..N_KILLS {
        let mut writing = TestChild::start("churn", &path);
        let mut written = 0;
        let mut copies = 0;
        for _ in 0..30 + round * 7 % 40 {
            let line = writing.wait_for("written ");
            let (number, n_reclaimed) = line.split_once(' ').unwrap();
            written = number.parse::<u64>().unwrap();
            copies = n_reclaimed.parse::<u64>().unwrap();
        }
        std::thread::sleep(Duration::from_micros(round * 7_919 % 30_000));
        acknowledged.push((writing.child.id(), written));
        writing.kill();
        n_copies += copies;
    }
    assert!(n_copies > 0, "no copy came to its end");
    let config = StoreConfig {
        probe: Some(probe()),
        ..StoreConfig::new(&path)
    };
    let (writer, reader) = Store::open(config).unwrap();
    assert_eq!(reader.stats().notice, None);
    drop((writer, reader));
    sums_agree(&path);
    assert_eq!(beside(&path, ".copy"), Vec::<PathBuf>::new());
    for (pid, written) in acknowledged {
        let n = |what: &str| {
            let sql = format!("SELECT {what} FROM events WHERE detail LIKE '{pid}-%'");
            count(&path, &sql)
        };
        let last = n("max(split_part(detail, '-', 2)::UBIGINT)");
        assert!(last >= written, "{last} of {written} acknowledged");
        assert_eq!(n("count(*)"), last, "nothing is missing");
        assert_eq!(n("count(DISTINCT detail)"), last, "nothing is twice");
    }
}
