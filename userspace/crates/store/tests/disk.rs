//! A disk that is full or read-only, on a real file system of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modeltap_store::Writer;
use support::{n_requests, open, rollup};

const MS: Duration = Duration::from_millis(1);
/// Names what the child is to do.
const TASK: &str = "MODELTAP_STORE_TEST_TASK";
/// Rollups a batch.
const BATCH: u64 = 50;

/// What a child process of these tests does; nothing when run as a test.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let folder = PathBuf::from(std::env::args().next_back().expect("the folder comes last"));
    match task.as_str() {
        "full" => fill_the_disk(&folder),
        "read-only" => begin_read_only(&folder),
        other => panic!("no task {other:?}"),
    }
}

/// Runs this program's child as root of namespaces of its own, where a small
/// tmpfs lies at the folder.
#[track_caller]
fn check_in_namespace(task: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script =
        "mount -t tmpfs -o size=6m tmpfs \"$1\" && exec \"$0\" --exact child --nocapture \"$1\"";
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script])
        .arg(program)
        .arg(folder.path())
        .env(TASK, task)
        .stdin(Stdio::null())
        .output()
        .expect("unshare is part of util-linux");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("went on"), "{said}");
}

fn append(writer: &Writer, second: u64) -> u64 {
    let durations: Vec<Duration> = (1..200).map(|n| MS * n * n).collect();
    let routes = (0..BATCH).map(|n| rollup("api", &format!("/{n}"), 200, second, &durations));
    let routes: Vec<_> = routes.collect();
    let began = Instant::now();
    writer.append(routes);
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "it never waits"
    );
    BATCH * durations.len() as u64
}

fn wait_until_written(writer: &Writer) {
    let began = Instant::now();
    while writer.stats().error.is_some() {
        let stats = writer.stats();
        assert!(began.elapsed() < Duration::from_secs(20), "{stats:?}");
        std::thread::sleep(MS * 50);
    }
    writer.flush();
}

fn fill_the_disk(folder: &Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    let (writer, reader) = open(&folder.join("modeltap.duckdb"));
    let mut n_appended = 0;
    let mut second = 0;
    while writer.stats().error.is_none() {
        n_appended += append(&writer, second);
        writer.flush();
        second += 1;
        assert!(second < 5_000, "it never got full");
    }
    for _ in 0..5 {
        n_appended += append(&writer, second);
        second += 1;
    }
    writer.flush();
    let stats = writer.stats();
    assert!(stats.write_failures > 0, "{stats:?}");
    assert_eq!(stats.dropped.total(), 0, "it waits");
    // The batch that found no room and those behind it, and nothing else.
    assert_eq!(stats.n_waiting, second * BATCH - stats.written.total());
    assert!(stats.n_waiting >= 6 * BATCH, "{stats:?}");
    assert!(writer.stats().waiting_for > stats.waiting_for, "{stats:?}");
    std::fs::remove_file(&ballast).unwrap();
    wait_until_written(&writer);
    n_appended += append(&writer, second);
    writer.flush();
    assert_eq!(n_requests(&reader), n_appended, "every request once");
    let stats = writer.stats();
    assert_eq!((stats.n_waiting, stats.waiting_for), (0, Duration::ZERO));
    println!("\nwent on after {:?}", writer.stats());
}

fn remount(folder: &Path, how: &str) {
    let status = Command::new("mount")
        .args(["-o", &format!("remount,{how}")])
        .arg(folder)
        .status();
    assert!(status.unwrap().success(), "{how}");
}

fn begin_read_only(folder: &Path) {
    let path = folder.join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    let before = append(&writer, 0);
    drop((writer, reader));
    remount(folder, "ro");
    let (writer, reader) = open(&path);
    let error = writer.stats().error.unwrap();
    assert!(error.contains("Read-only file system"), "{error}");
    let mut n_appended = before;
    for second in 1..10 {
        n_appended += append(&writer, second);
    }
    writer.flush();
    assert_eq!(writer.stats().written.total(), 0);
    remount(folder, "rw");
    wait_until_written(&writer);
    assert_eq!(n_requests(&reader), n_appended, "every request once");
    assert_eq!(writer.stats().dropped.total(), 0);
    println!("\nwent on after {:?}", writer.stats());
}

#[test]
fn full_tmpfs_is_survived_and_writing_resumes_by_itself() {
    check_in_namespace("full");
}

#[test]
fn read_only_disk_at_the_start_is_survived_and_writing_begins_by_itself() {
    check_in_namespace("read-only");
}
