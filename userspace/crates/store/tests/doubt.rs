//! Databases that must not be written before they are opened anew.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modeltap_store::{Writer, takes_over_cut};
use support::{at, n_requests, open, rollup, sums_agree};

const MS: Duration = Duration::from_millis(1);

/// One test at a time: logs that could not be cut are counted for the process,
/// and another's would make a write fail once.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append(writer: &Writer, second: u64) {
    let routes = (0..20).map(|n| rollup("api", &format!("/{n}"), 200, second, &[MS]));
    writer.append(routes.collect::<Vec<_>>());
    writer.flush();
    assert_eq!(writer.stats().error, None);
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("duckdb.wal")
}

#[test]
fn nothing_is_written_behind_a_commit_that_could_not_be_taken_back() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    // The first look at the room writes a checkpoint.
    writer.age(at(0));
    append(&writer, 0);
    let before = fs::read(log_of(&path)).unwrap();
    append(&writer, 1);
    let after = fs::read(log_of(&path)).unwrap();
    assert!(after.len() > before.len());
    // As a commit that broke off leaves it: all of it but the end.
    let part = &after[before.len()..after.len() - 20];
    let mut log = OpenOptions::new().append(true).open(log_of(&path)).unwrap();
    log.write_all(part).unwrap();
    assert!(takes_over_cut(log.as_raw_fd()));
    for second in 2..5 {
        append(&writer, second);
    }
    assert_eq!(n_requests(&reader), 100);
    // As after a crash now.
    let crashed = folder.path().join("crashed.duckdb");
    fs::copy(&path, &crashed).unwrap();
    fs::copy(log_of(&path), log_of(&crashed)).unwrap();
    let (_writer, reader) = open(&crashed);
    assert_eq!(n_requests(&reader), 100, "every request once");
}

#[test]
fn file_that_was_taken_away_is_begun_anew() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    // The file and its log go at once.
    let (place, away) = (folder.path().join("place"), folder.path().join("away"));
    let path = place.join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    // The first look at the room writes a checkpoint, which needs the place.
    writer.age(at(0));
    append(&writer, 0);
    fs::rename(&place, &away).unwrap();
    for second in 1..4 {
        append(&writer, second);
    }
    assert_eq!(n_requests(&reader), 60);
    assert_eq!(writer.stats().dropped.total(), 0);
    let (_writer, reader) = open(&away.join("modeltap.duckdb"));
    assert_eq!(n_requests(&reader), 20);
}

/// What a disk that acknowledges and then forgets leaves: an earlier state of
/// the database, which the daemon is made to open anew.
fn forget(path: &Path, file: &[u8], log: &[u8]) {
    // In place, as a disk does it.
    for (path, bytes) in [(path, file), (&log_of(path), log)] {
        let mut place = OpenOptions::new().write(true).open(path).unwrap();
        place.set_len(bytes.len() as u64).unwrap();
        place.write_all(bytes).unwrap();
    }
    let log = fs::File::open(log_of(path)).unwrap();
    assert!(takes_over_cut(log.as_raw_fd()));
}

#[test]
fn acknowledged_batches_that_the_disk_forgot_are_written_again_and_counted() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    writer.age(at(0));
    append(&writer, 0);
    append(&writer, 1);
    let (file, log) = (fs::read(&path).unwrap(), fs::read(log_of(&path)).unwrap());
    for second in 2..5 {
        append(&writer, second);
    }
    forget(&path, &file, &log);
    append(&writer, 5);
    let stats = writer.stats();
    assert_eq!((stats.n_written_again, stats.n_lost_by_disk), (60, 0));
    assert_eq!((stats.written.total(), stats.dropped.total()), (120, 0));
    assert_eq!(n_requests(&reader), 120, "every request once");
    drop((writer, reader));
    sums_agree(&path);
}

#[test]
fn acknowledged_batches_that_are_nowhere_any_more_are_told_as_lost() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    writer.age(at(0));
    append(&writer, 0);
    let (file, log) = (fs::read(&path).unwrap(), fs::read(log_of(&path)).unwrap());
    append(&writer, 1);
    // More than is remembered of what was committed.
    let long: Vec<Duration> = (1..400).map(|n| MS * n * n).collect();
    for second in 2..6 {
        let routes = (0..500).map(|n| rollup("api", &format!("/{n}"), 200, second, &long));
        writer.append(routes.collect::<Vec<_>>());
        writer.flush();
    }
    forget(&path, &file, &log);
    append(&writer, 5);
    let stats = writer.stats();
    let (n_again, n_lost) = (stats.n_written_again, stats.n_lost_by_disk);
    assert_eq!(n_again + n_lost, 20 + 4 * 500);
    assert!(
        n_lost >= 20 && n_again > 0 && stats.dropped.total() == n_lost,
        "{stats:?}"
    );
    let n_big = long.len() as u64;
    assert_eq!(n_requests(&reader), 40 + n_again * n_big, "{stats:?}");
}
