//! Times beside the duration, counts of streams, and files from before them.

mod support;

use std::path::Path;
use std::time::Duration;

use duckdb::Connection;
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::measure::Measure;
use modeltap_core::record::Outcome;
use modeltap_core::rollup::Rollup;
use modeltap_store::{GroupBy, Metric, Query, QueryResult, Reader, SCHEMA_VERSION, Stat};
use support::{EPOCH, at, n_requests, open, query, rollup};

const MS: Duration = Duration::from_millis(1);

/// A rollup of one request that also has the given measures.
fn measured(route: &str, second: u64, measures: &[(Measure, Duration)]) -> Rollup {
    let mut rollup = rollup("api", route, 200, second, &[MS]);
    let detail = rollup.figures.detail.get_or_insert_default();
    for (measure, time) in measures {
        detail.measures[*measure].record(*time);
    }
    rollup
}

/// Two minutes by the minute.
fn ask(reader: &Reader, metric: Metric, stat: Stat) -> QueryResult {
    reader
        .query(&query(metric, stat, 0..120, 60))
        .expect("a valid query")
}

/// A file as the first version left it: 30 requests of 10 ms, one a second.
fn old_file(path: &Path) {
    let connection = Connection::open(path).expect("a database of the first version");
    connection
        .execute_batch(include_str!("../src/schema_1.sql"))
        .expect("a database of the first version");
    connection
        .execute_batch("INSERT INTO modeltap_schema VALUES (1, now() AT TIME ZONE 'UTC')")
        .expect("a database of the first version");
    let mut durations = DurationHistogram::default();
    durations.record(10 * MS);
    let bytes = durations.encode();
    for second in 0..30 {
        connection
            .execute(
                "INSERT INTO rollups_1s VALUES (make_timestamp(?), 'api', 'api-1', '/a', 'POST', \
                 200, 'complete', 1, 0, 0, 10000000, 10000000, 0, 0, ?, ?)",
                duckdb::params![(EPOCH + second) as i64 * 1_000_000, bytes, bytes],
            )
            .expect("a database of the first version");
    }
}

#[test]
fn every_measure_comes_back_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let mut merged = vec![DurationHistogram::default(); Measure::COUNT];
    for second in 0..60 {
        let times = Measure::ALL.map(|measure| {
            let n = measure as u64 + 1;
            (measure, Duration::from_micros(n * 1_000 + second * 7 * n))
        });
        for (measure, time) in times {
            merged[measure as usize].record(time);
        }
        writer.append(vec![measured("/a", second, &times)]);
        writer.flush();
    }
    for measure in Measure::ALL {
        for q in [0.5, 0.95, 0.99] {
            let found = ask(&reader, Metric::Measure(measure), Stat::Quantile(q));
            let expected = merged[measure as usize].quantile(q).unwrap().as_secs_f64();
            assert_eq!(
                found.series[0].values,
                [Some(expected), None],
                "{measure:?} {q}"
            );
        }
        let mean = ask(&reader, Metric::Measure(measure), Stat::Avg).series[0].values[0];
        let n = measure as u64 as f64 + 1.0;
        let exact = n * (1_000.0 + 29.5 * 7.0) / 1e6;
        assert!((mean.unwrap() - exact).abs() < exact / 128.0, "{measure:?}");
    }
}

#[test]
fn what_was_not_measured_is_null_and_not_zero() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    writer.append(vec![
        measured("/felt", 0, &[(Measure::Felt, 5 * MS)]),
        measured("/none", 0, &[]),
        rollup("api", "/plain", 200, 60, &[MS]),
    ]);
    writer.flush();
    let asked = Query {
        by: Some(GroupBy::Route),
        ..query(
            Metric::Measure(Measure::Felt),
            Stat::Quantile(0.5),
            0..120,
            60,
        )
    };
    let result = reader.query(&asked).unwrap();
    for series in &result.series {
        let has = [series.name == "/felt", false];
        let found: Vec<bool> = series.values.iter().map(Option::is_some).collect();
        assert_eq!(found, has, "{}", series.name);
    }
    let drain = ask(&reader, Metric::Measure(Measure::Drain), Stat::Max);
    assert_eq!(drain.series[0].values, [None, None]);
}

#[test]
fn chunks_stalls_and_tokens_add_up() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    for second in 0..60 {
        let mut streamed = measured("/v1/chat/completions", second, &[]);
        let detail = streamed.figures.detail.as_mut().unwrap();
        detail.streams.n_chunks = 12;
        detail.streams.n_stalls = second % 2;
        detail.tokens.output = (second < 30).then_some(10);
        writer.append(vec![streamed, rollup("api", "/plain", 200, second, &[MS])]);
    }
    writer.flush();
    let of = |metric, stat| ask(&reader, metric, stat).series[0].values.clone();
    assert_eq!(of(Metric::Chunks, Stat::Count), [Some(720.0), Some(0.0)]);
    assert_eq!(of(Metric::Chunks, Stat::Rate), [Some(12.0), Some(0.0)]);
    assert_eq!(of(Metric::Stalls, Stat::Count), [Some(30.0), Some(0.0)]);
    assert_eq!(
        of(Metric::OutputTokens, Stat::Count),
        [Some(300.0), Some(0.0)]
    );
    let input = ask(&reader, Metric::InputTokens, Stat::Count);
    assert_eq!(input.series[0].values, [Some(0.0), Some(0.0)]);
}

#[test]
fn mean_duration_leaves_out_requests_whose_end_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let mut lost = rollup("api", "/a", 200, 0, &[]);
    lost.key.outcome = Outcome::Lost;
    lost.figures.n_requests = 3;
    writer.append(vec![
        rollup("api", "/a", 200, 0, &[4 * MS, 6 * MS]),
        lost.clone(),
    ]);
    writer.append(vec![Rollup {
        start: at(60),
        ..lost
    }]);
    writer.flush();
    let result = ask(&reader, Metric::Duration, Stat::Avg);
    assert_eq!(result.n_requests, 8);
    assert_eq!(result.series[0].values, [Some(0.005), None]);
    let overview = reader.overview(at(0), at(60)).unwrap();
    assert_eq!(overview[0].avg, Some(5 * MS));
}

#[test]
fn file_of_the_first_version_is_migrated_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    old_file(&path);
    for start in 0..3 {
        let (writer, reader) = open(&path);
        assert_eq!(reader.stats().notice, None);
        assert_eq!(n_requests(&reader), 30 + start);
        writer.append(vec![measured("/a", 60 + start, &[(Measure::Felt, 8 * MS)])]);
        writer.flush();
        assert_eq!(reader.stats().error, None);
        let old = ask(&reader, Metric::Duration, Stat::Max);
        assert_eq!(old.series[0].values, [Some(0.01), Some(0.001)]);
        let felt = ask(&reader, Metric::Measure(Measure::Felt), Stat::Max);
        let values = &felt.series[0].values;
        assert!(values[0].is_none() && values[1].is_some(), "{values:?}");
        writer.close();
    }
    let connection = Connection::open(&path).unwrap();
    let version: u32 = connection
        .query_row("SELECT max(version) FROM modeltap_schema", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(version, SCHEMA_VERSION);
    let sql = "SELECT count(*), count(felt) FROM rollups";
    let rows: (u64, u64) = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(rows, (33, 3), "the view has the new columns");
}

#[test]
fn crash_after_a_migration_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    old_file(&path);
    let (writer, reader) = open(&path);
    writer.append(vec![measured("/a", 60, &[(Measure::Felt, 8 * MS)])]);
    writer.flush();
    assert_eq!(n_requests(&reader), 31);
    // What a crash leaves: the file and its log, as they are now.
    let copy = directory.path().join("copy.duckdb");
    std::fs::copy(&path, &copy).unwrap();
    let log = |path: &Path| path.with_extension("duckdb.wal");
    std::fs::copy(log(&path), log(&copy)).unwrap();
    let (_writer, reader) = open(&copy);
    assert_eq!(reader.stats().notice, None);
    assert_eq!(n_requests(&reader), 31);
    let felt = ask(&reader, Metric::Measure(Measure::Felt), Stat::Max);
    assert!(felt.series[0].values[1].is_some());
}
