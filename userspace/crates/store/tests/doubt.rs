//! Databases that must not be written before they are opened anew.

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modeltap_store::{Writer, takes_over_cut};
use support::{at, n_requests, open, rollup};

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
