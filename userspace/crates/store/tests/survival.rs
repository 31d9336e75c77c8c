//! Restarts, crashes, other processes and files that are none of ours.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod children;
mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use children::{TASK, TestChild, beside, probe};
use modeltap_store::{OpenError, ProbeCommand, Store, StoreConfig};
use support::{config, n_requests, open, rollup};

const MS: Duration = Duration::from_millis(1);
/// Rollups a batch of the writing child's.
const BATCH: u64 = 50;

/// What a child process of these tests does; nothing when run as a test.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let path = PathBuf::from(std::env::args().next_back().expect("the path comes last"));
    match task.as_str() {
        "probe" => modeltap_store::probe_open(&path).expect("standard output is open"),
        "abort" => std::process::abort(),
        "hang" => std::thread::sleep(Duration::from_secs(60)),
        "hold" => {
            let _store = open(&path);
            println!("\nholding");
            // Until the other end closes.
            let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        }
        "write" => write_for_ever(&path),
        "full" => write_beyond_the_limit(&path),
        other => panic!("no task {other:?}"),
    }
}

fn write_for_ever(path: &Path) {
    let (writer, _reader) = open(path);
    for second in 0.. {
        writer.append(
            (0..BATCH)
                .map(|n| rollup("api", &format!("/{n}"), 200, second, &[MS]))
                .collect::<Vec<_>>(),
        );
        writer.flush();
        println!("\nwritten {}", writer.stats().written.rollups);
    }
}

fn write_beyond_the_limit(path: &Path) {
    let (writer, reader) = open(path);
    let mut n_appended = 0;
    let mut second = 0;
    let mut append = |n_appended: &mut u64| {
        let durations: Vec<Duration> = (1..200).map(|n| MS * n * n).collect();
        let routes = 0..BATCH;
        writer.append(
            routes
                .map(|n| rollup("api", &format!("/{n}"), 200, second, &durations))
                .collect::<Vec<_>>(),
        );
        writer.flush();
        *n_appended += BATCH * durations.len() as u64;
        second += 1;
    };
    // A checkpoint may make room once more: what counts is that it was told.
    let error = loop {
        append(&mut n_appended);
        if let Some(error) = writer.stats().error {
            break error;
        }
    };
    append(&mut n_appended);
    println!("\nfailing {error}");
    let began = Instant::now();
    while writer.stats().error.is_some() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            writer.stats().error
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    append(&mut n_appended);
    let stats = writer.stats();
    println!(
        "\nresumed {n_appended} {} {}",
        n_requests(&reader),
        stats.dropped.rollups
    );
}

#[test]
fn history_is_there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/modeltap.duckdb");
    for run in 1..=3 {
        let (writer, reader) = open(&path);
        assert_eq!(n_requests(&reader), (run - 1) * 2);
        writer.append(vec![rollup("api", "/a", 200, run, &[MS, MS])]);
        writer.flush();
        assert_eq!(n_requests(&reader), run * 2);
        assert_eq!(writer.stats().written.rollups, 1);
        assert_eq!(reader.stats().notice, None);
    }
}

#[test]
fn what_is_queued_at_the_end_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let (writer, _) = open(&path);
    for second in 0..40 {
        writer.append(vec![rollup("api", "/a", 200, second, &[MS])]);
    }
    assert_eq!(writer.stats().dropped.rollups, 0);
    writer.close();
    assert_eq!(n_requests(&open(&path).1), 40);
}

#[test]
fn killed_writer_loses_nothing_it_had_written_and_no_part_of_a_batch() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut before = 0;
    for round in 0..5 {
        let mut writing = TestChild::start("write", &path);
        let mut written = 0;
        for _ in 0..10 + round * 7 {
            written = writing.wait_for("written ").parse().unwrap();
        }
        writing.kill();
        let config = StoreConfig {
            probe: Some(probe()),
            ..config(&path)
        };
        let (writer, reader) = Store::open(config).unwrap();
        let found = n_requests(&reader) - before;
        assert!(found >= written, "{found} of {written} acknowledged");
        assert_eq!(found % BATCH, 0, "no part of a batch");
        assert_eq!(reader.stats().notice, None);
        before += found;
        writer.close();
    }
    assert!(beside(&path, ".damaged-").is_empty());
}

#[test]
fn second_process_is_told_who_holds_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut holder = TestChild::start("hold", &path);
    holder.wait_for("holding");
    let pid = holder.child.id();
    for probe in [None, Some(probe())] {
        let error = Store::open(StoreConfig {
            probe,
            ..config(&path)
        })
        .unwrap_err();
        assert!(
            matches!(error, OpenError::Locked { pid: Some(p), .. } if p == pid),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains(&format!("(PID {pid})")) && !text.contains('\n'),
            "{text}"
        );
    }
    holder.kill();
    open(&path);
    assert!(beside(&path, ".damaged-").is_empty());
}

/// Opens what is at `path`, which makes way, and checks that history goes on
/// and that what was there is kept.
#[track_caller]
fn check_makes_way(path: &Path, probe: Option<ProbeCommand>, aside: &str, words: &str) {
    let before = std::fs::read(path).unwrap();
    let began = Instant::now();
    let config = StoreConfig {
        probe,
        ..config(path)
    };
    let (writer, reader) = Store::open(config).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    writer.append(vec![rollup("api", "/a", 200, 0, &[MS])]);
    writer.flush();
    assert_eq!(n_requests(&reader), 1);
    let notice = reader.stats().notice.unwrap();
    assert!(notice.contains(words), "{notice}");
    let name = path.file_name().unwrap().to_string_lossy();
    let kept: Vec<_> = beside(path, &format!("{name}.{aside}-"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let kept_name = kept[0].file_name().unwrap().to_string_lossy();
    assert!(notice.contains(&*kept_name), "{notice}");
    assert!(
        std::fs::read(&kept[0]).unwrap() == before,
        "{name} was changed"
    );
    std::fs::remove_file(&kept[0]).unwrap();
}

#[test]
fn file_that_is_no_database_makes_way_and_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    for content in [&b"short"[..], &[b'x'; 100_000]] {
        for probe in [None, Some(probe())] {
            std::fs::write(&path, content).unwrap();
            check_makes_way(&path, probe, "foreign", "is no DuckDB file");
        }
    }
}

#[test]
fn database_of_somebody_else_or_of_later_makes_way_and_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let theirs = "CREATE TABLE theirs (a INTEGER); INSERT INTO theirs VALUES (7)";
    let later = "CREATE TABLE modeltap_schema (version UINTEGER, applied TIMESTAMP); \
                 INSERT INTO modeltap_schema VALUES (99, NULL)";
    for (sql, aside, words) in [
        (theirs, "foreign", "somebody else's tables"),
        (
            later,
            "later",
            "later version of modeltap (schema version 99)",
        ),
    ] {
        for probe in [None, Some(probe())] {
            if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
            let connection = duckdb::Connection::open(&path).unwrap();
            connection.execute_batch(sql).unwrap();
            drop(connection);
            check_makes_way(&path, probe, aside, words);
        }
    }
}

#[test]
fn empty_file_is_kept_aside_and_a_new_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    std::fs::write(&path, b"").unwrap();
    let (writer, reader) = open(&path);
    writer.append(vec![rollup("api", "/a", 200, 0, &[MS])]);
    writer.flush();
    assert_eq!(n_requests(&reader), 1);
    let notice = reader.stats().notice.unwrap();
    assert!(notice.contains("modeltap.duckdb.damaged-"), "{notice}");
    assert_eq!(beside(&path, ".damaged-").len(), 1);
}

#[test]
fn damaged_database_is_kept_aside_and_a_new_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let (writer, _) = open(&path);
    for second in 0..200 {
        writer.append(
            (0..20)
                .map(|n| rollup("api", &format!("/{n}"), 200, second, &[MS]))
                .collect::<Vec<_>>(),
        );
        writer.flush();
    }
    writer.close();
    let sound = std::fs::read(&path).unwrap();
    let mut headers = sound.clone();
    headers[4_096..12_288].fill(0xa5);
    let truncated = sound[..sound.len() / 3].to_vec();
    for (n, damaged) in [headers, truncated].into_iter().enumerate() {
        std::fs::write(&path, &damaged).unwrap();
        let config = StoreConfig {
            probe: Some(probe()),
            ..config(&path)
        };
        let (writer, reader) = Store::open(config).unwrap();
        assert_eq!(n_requests(&reader), 0);
        assert!(reader.stats().notice.unwrap().contains(".damaged-"));
        writer.close();
        let aside = beside(&path, ".damaged-");
        assert_eq!(aside.len(), n + 1);
        let contents: Vec<_> = aside
            .iter()
            .map(|file| std::fs::read(file).unwrap())
            .collect();
        assert!(
            contents.contains(&damaged),
            "what was moved aside is what was there"
        );
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn child_that_dies_or_hangs_has_the_log_and_then_the_file_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    for (task, reason) in [("abort", "signal: 6"), ("hang", "longer than")] {
        let path = directory.path().join(format!("{task}.duckdb"));
        let (writer, _) = open(&path);
        writer.append(vec![rollup("api", "/a", 200, 0, &[MS])]);
        writer.close();
        std::fs::write(path.with_extension("duckdb.wal"), b"a log").unwrap();
        let mut probe = probe();
        probe.variables[0].1 = task.into();
        probe.timeout = Duration::from_millis(500);
        let (_writer, reader) = Store::open(StoreConfig {
            probe: Some(probe),
            ..config(&path)
        })
        .unwrap();
        let notice = reader.stats().notice.unwrap();
        assert!(notice.contains(reason), "{notice}");
        let aside = beside(&path, ".damaged-");
        let of_task = aside
            .iter()
            .filter(|file| file.to_string_lossy().contains(task));
        assert_eq!(of_task.count(), 2, "log and file: {aside:?}");
        assert_eq!(n_requests(&reader), 0);
    }
}

#[test]
fn unwritable_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Store::open(StoreConfig::new(file.join("modeltap.duckdb"))).unwrap_err();
    assert!(
        matches!(&error, OpenError::Unwritable { path, .. } if *path == file),
        "{error:?}"
    );
    assert!(error.to_string().contains("--data-dir"));
    let error = Store::open(StoreConfig::new("/proc/modeltap.duckdb")).unwrap_err();
    assert!(matches!(error, OpenError::Unwritable { .. }), "{error:?}");
}

#[test]
fn full_queue_drops_and_counts_and_never_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let config = StoreConfig {
        queue: 1,
        ..config(&path)
    };
    let (writer, reader) = Store::open(config).unwrap();
    let began = Instant::now();
    for second in 0..500 {
        writer.append(vec![rollup("api", "/a", 200, second, &[MS])]);
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    writer.flush();
    let stats = writer.stats();
    assert!(stats.dropped.rollups > 0);
    assert_eq!(stats.written.rollups + stats.dropped.rollups, 500);
    assert_eq!(n_requests(&reader), stats.written.rollups);
}

#[test]
fn full_disk_is_counted_and_writing_resumes_without_counting_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    // 3 MB: room for a database, and not for its log and blocks for long.
    // A write beyond that fails, as on a full disk.
    let script = "trap '' XFSZ; ulimit -S -f 6000; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    command.arg("-c").arg(script).arg(program);
    let mut writing = TestChild::spawn(command, "full", &path);
    let error = writing.wait_for("failing ");
    assert!(!error.is_empty());
    let pid = writing.child.id().to_string();
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &pid])
        .status();
    assert!(raised.expect("prlimit is part of util-linux").success());
    let counts = writing.wait_for("resumed ");
    let counts: Vec<u64> = counts
        .split(' ')
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(counts[0], counts[1], "every request is in history once");
    assert_eq!(counts[2], 0, "nothing was dropped");
    drop(writing.child.stdin.take().map(|mut stdin| stdin.flush()));
    assert!(writing.child.wait().unwrap().success());
    assert_eq!(n_requests(&open(&path).1), counts[0]);
}
