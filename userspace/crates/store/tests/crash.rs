//! Processes that are killed, and files that were damaged in any place.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod children;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use children::{TASK, TestChild, beside, probe};
use duckdb::Connection;
use modeltap_core::history::Batch;
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::{Store, StoreConfig};
use support::{at, config, n_requests, open, rollup, sums_agree};

const MS: Duration = Duration::from_millis(1);
const N_KILLS: u64 = 50;
const N_OFFSETS: u64 = 200;
/// Rows of half a kilobyte.
const N_LOGGED: u64 = 200_000;
const START_LIMIT: Duration = Duration::from_secs(10);

/// What a child process of these tests does; nothing when run as a test.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let path = PathBuf::from(std::env::args().next_back().expect("the path comes last"));
    match task.as_str() {
        "probe" => modeltap_store::probe_open(&path).expect("standard output is open"),
        "write" => write_for_ever(&path),
        "keep" => keep_what_is_not_over(&path),
        "log" => leave_a_large_log(&path),
        other => panic!("no task {other:?}"),
    }
}

/// Everything of one batch, with its number in each kind.
fn batch(child: u32, number: u64) -> Batch {
    let name = format!("{child}-{number}");
    Batch {
        rollups: (0..20)
            .map(|_| rollup("api", &name, 200, number, &[MS]))
            .collect(),
        resources: vec![ResourceRollup {
            service: "api".into(),
            container: name.as_str().into(),
            start: at(number),
            width: Duration::from_secs(1),
            figures: ResourceFigures::default(),
        }],
        events: vec![TimelineEvent {
            at: at(number),
            kind: TimelineKind::DataLost,
            service: None,
            container: None,
            detail: name,
        }],
        ..Batch::default()
    }
}

fn write_for_ever(path: &Path) {
    let (writer, _reader) = open(path);
    for number in 1.. {
        writer.append(batch(std::process::id(), number));
        writer.flush();
        println!("\nwritten {number}");
        if number % 4 == 0 {
            // The minute is summed up, and what comes after it comes late.
            writer.age(at(100));
        }
    }
}

/// Rows by child and batch, of one kind.
fn found(connection: &Connection, sql: &str) -> BTreeMap<(u32, u64), u64> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
    rows.unwrap()
        .map(|row| {
            let (name, count) = row.unwrap();
            let (child, number) = name.split_once('-').unwrap();
            ((child.parse().unwrap(), number.parse().unwrap()), count)
        })
        .collect()
}

#[test]
fn writer_killed_fifty_times_loses_nothing_acknowledged_and_counts_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut acknowledged: BTreeMap<u32, u64> = BTreeMap::new();
    for round in 0..N_KILLS {
        let mut writing = TestChild::start("write", &path);
        let pid = writing.child.id();
        let mut written: u64 = 0;
        for _ in 0..=round % 9 {
            written = writing.wait_for("written ").parse().unwrap();
        }
        // Anywhere inside a write.
        std::thread::sleep(Duration::from_micros(round * 1_237 % 9_000));
        writing.kill();
        acknowledged.insert(pid, written);
    }
    let config = StoreConfig {
        probe: Some(probe()),
        ..config(&path)
    };
    let (writer, reader) = Store::open(config).unwrap();
    assert_eq!(reader.stats().notice, None);
    writer.close();
    drop(reader);
    sums_agree(&path);
    let connection = Connection::open(&path).unwrap();
    let rollups = found(
        &connection,
        "SELECT route, sum(n_requests)::UBIGINT FROM rollups GROUP BY 1",
    );
    let kinds = [
        found(
            &connection,
            "SELECT container, count(*) FROM resources GROUP BY 1",
        ),
        found(
            &connection,
            "SELECT detail, count(*) FROM events GROUP BY 1",
        ),
    ];
    for kind in kinds {
        assert!(kind.values().all(|count| *count == 1), "{kind:?}");
        assert!(kind.keys().eq(rollups.keys()), "no part of a batch");
    }
    assert!(rollups.values().all(|count| *count == 20));
    for (pid, written) in acknowledged {
        let numbers: Vec<u64> = rollups
            .keys()
            .filter_map(|(child, number)| (*child == pid).then_some(*number))
            .collect();
        let n = numbers.len() as u64;
        assert_eq!(numbers, (1..=n).collect::<Vec<_>>());
        assert!(n >= written, "{n} of {written} acknowledged");
    }
}

/// Writes a second and keeps a part of the next, over and over.
fn keep_what_is_not_over(path: &Path) {
    let (writer, _reader) = open(path);
    for number in 1.. {
        writer.append(batch(std::process::id(), number));
        let kept = || -> u64 {
            let sizes = beside(path, ".tail-").into_iter().map(std::fs::metadata);
            sizes.flatten().map(|file| file.len()).sum()
        };
        writer.flush();
        for part in 1..=3 {
            let before = kept();
            let mut so_far = batch(std::process::id(), number + 1);
            so_far.rollups.truncate(5 * part);
            writer.keep(so_far);
            let began = Instant::now();
            while kept() == before {
                assert!(began.elapsed() < START_LIMIT, "nothing is kept");
                std::thread::yield_now();
            }
            println!("\nkept {number} {}", 5 * part);
        }
    }
}

#[test]
fn second_that_is_not_over_is_there_after_a_kill_and_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut kept = BTreeMap::new();
    for round in 0..12_u64 {
        let mut writing = TestChild::start("keep", &path);
        let mut last = String::new();
        for _ in 0..=round {
            last = writing.wait_for("kept ");
        }
        let pid = writing.child.id();
        std::thread::sleep(Duration::from_micros(round * 731 % 4_000));
        writing.kill();
        let (number, part) = last.split_once(' ').unwrap();
        let (number, part): (u64, u64) = (number.parse().unwrap(), part.parse().unwrap());
        kept.insert(pid, (number, part));
    }
    let (writer, reader) = open(&path);
    assert_eq!(reader.stats().notice, None);
    let is_tail = |file: &PathBuf| std::fs::metadata(file).is_ok_and(|file| file.len() > 0);
    assert!(!beside(&path, ".tail-").iter().any(is_tail));
    drop((writer, reader));
    sums_agree(&path);
    let connection = Connection::open(&path).unwrap();
    let rollups = "SELECT route, sum(n_requests)::UBIGINT FROM rollups GROUP BY 1";
    let rollups = found(&connection, rollups);
    let events = "SELECT detail, count(*) FROM events GROUP BY 1";
    let events = found(&connection, events);
    assert!(events.values().all(|count| *count == 1), "{events:?}");
    for (pid, (number, part)) in kept {
        let of = |number| rollups.get(&(pid, number)).copied().unwrap_or(0);
        // It went on until the kill came; all but its last second are whole.
        let last = rollups.keys().filter(|(child, _)| *child == pid);
        let last = last.map(|(_, number)| *number).max().unwrap_or(0);
        assert!(last > number, "{last} of {number} and a part");
        assert!((1..last).all(|whole| of(whole) == 20), "{pid} {last}");
        let least = if last == number + 1 { part } else { 1 };
        assert!((least..=20).contains(&of(last)), "{} of {part}", of(last));
    }
}

/// A database and its log, with rows of all kinds in both.
fn database_with_a_log(directory: &Path) -> (Vec<u8>, Vec<u8>) {
    let path = directory.join("sound.duckdb");
    let (writer, reader) = open(&path);
    let durations: Vec<Duration> = (1..40).map(|n| MS * n * n).collect();
    let fill = |seconds: std::ops::Range<u64>| {
        for second in seconds {
            let mut all = batch(1, second);
            all.rollups
                .extend((0..20).map(|n| rollup("api", &format!("/{n}"), 200, second, &durations)));
            writer.append(all);
            writer.flush();
        }
    };
    fill(0..60);
    drop((writer, reader));
    let (writer, reader) = open(&path);
    (0..20).for_each(|second| {
        let routes = (0..20).map(|n| rollup("api", &format!("/{n}"), 200, second, &durations));
        writer.append(routes.collect::<Vec<_>>());
        writer.flush();
    });
    let log = path.with_extension("duckdb.wal");
    let files = (std::fs::read(&path).unwrap(), std::fs::read(log).unwrap());
    drop((writer, reader));
    files
}

fn is_aside(file: &Path) -> bool {
    let name = file.to_string_lossy();
    [".damaged-", ".later-", ".foreign-"]
        .iter()
        .any(|word| name.contains(word))
}

#[test]
fn damage_anywhere_in_the_file_or_its_log_ends_nothing_and_deletes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (file, log) = database_with_a_log(directory.path());
    let check = &|offset: u64| {
        let folder = directory.path().join(offset.to_string());
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("modeltap.duckdb");
        let (mut file, mut log) = (file.clone(), log.clone());
        let place = offset as usize * (file.len() + log.len()) / N_OFFSETS as usize;
        for place in place..place + 16 {
            let in_log = place.checked_sub(file.len());
            let byte = match in_log {
                None => file.get_mut(place),
                Some(place) => log.get_mut(place),
            };
            if let Some(byte) = byte {
                *byte ^= 0xa5;
            }
        }
        std::fs::write(&path, &file).unwrap();
        std::fs::write(path.with_extension("duckdb.wal"), &log).unwrap();
        let began = Instant::now();
        let config = StoreConfig {
            probe: Some(probe()),
            ..config(&path)
        };
        let (writer, reader) = Store::open(config).unwrap();
        assert!(began.elapsed() < START_LIMIT, "{:?}", began.elapsed());
        writer.append(batch(2, 90));
        let began = Instant::now();
        while writer.stats().written.rollups < 20 {
            writer.flush();
            let stats = writer.stats();
            assert!(began.elapsed() < START_LIMIT, "offset {offset}: {stats:?}");
            std::thread::sleep(MS);
        }
        // A damaged block may show only now, as an error and no more.
        let all = support::query(
            modeltap_store::Metric::Duration,
            modeltap_store::Stat::Quantile(0.99),
            0..86_400,
            3_600,
        );
        let _damaged = reader.query(&all);
        // The file, its log or both, under a name with the time.
        let aside = beside(&path, "modeltap.duckdb.");
        let aside: Vec<_> = aside.iter().filter(|kept| is_aside(kept)).collect();
        let stats = reader.stats();
        assert_eq!(stats.notice.is_some(), !aside.is_empty(), "{stats:?}");
        drop((writer, reader));
        for kept in &aside {
            let size = std::fs::metadata(kept).unwrap().len();
            assert!(size > 0, "offset {offset}: {kept:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
        !aside.is_empty()
    };
    // Two at a time.
    let n_aside: usize = std::thread::scope(|scope| {
        let half = |first: u64| (first..N_OFFSETS).step_by(2);
        let other = scope.spawn(move || half(1).filter(|offset| check(*offset)).count());
        half(0).filter(|offset| check(*offset)).count() + other.join().unwrap()
    });
    assert!(
        n_aside > 20,
        "{n_aside} of {N_OFFSETS} were seen to be damaged"
    );
}

/// A log of 100 MB, with nothing of it in the file.
fn leave_a_large_log(path: &Path) {
    drop(open(path));
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch("SET checkpoint_threshold = '1TB'")
        .unwrap();
    // Larger transactions go to the file at once.
    for _ in 0..N_LOGGED / 2_000 {
        let sql = "INSERT INTO events SELECT make_timestamp(n), 'data_lost', NULL, NULL, \
                   repeat(md5(n::VARCHAR), 16) FROM range(2000) AS t(n)";
        connection.execute_batch(sql).unwrap();
    }
    std::process::abort();
}

#[test]
fn log_larger_than_the_memory_limit_is_read_back_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut child = TestChild::start("log", &path);
    child.child.wait().unwrap();
    let config = StoreConfig {
        probe: Some(probe()),
        ..config(&path)
    };
    let log = std::fs::metadata(path.with_extension("duckdb.wal")).unwrap();
    assert!(log.len() > config.memory_limit_bytes, "{}", log.len());
    let began = Instant::now();
    let (writer, reader) = Store::open(config).unwrap();
    assert!(began.elapsed() < START_LIMIT, "{:?}", began.elapsed());
    assert_eq!(reader.stats().notice, None);
    writer.append(vec![rollup("api", "/a", 200, 0, &[MS])]);
    writer.flush();
    assert_eq!(n_requests(&reader), 1);
    drop((writer, reader));
    let connection = Connection::open(&path).unwrap();
    let count = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
    assert_eq!(count, Ok(N_LOGGED));
}
