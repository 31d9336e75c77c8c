//! What history tells beside time series, compared with what was put in.

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use modeltap_core::exemplar::{Exemplar, ExemplarReason};
use modeltap_core::history::Batch;
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::{
    EventQuery, ExemplarQuery, ExportFormat, ExportQuery, ExportTable, GroupBy, Metric, Query,
    QueryError, QueryResult, Reader, ResourceMetric, SqlValue, Stat, Unit, Writer,
};
use support::{at, open, query, rollup};

const MS: Duration = Duration::from_millis(1);

fn exemplar(service: &str, reason: ExemplarReason, second: u64, ms: u64) -> Exemplar {
    Exemplar {
        reason,
        service: service.into(),
        container: format!("{service}-1").into(),
        route: "/a".into(),
        method: (second != 7).then_some(Method::Post),
        status: (reason == ExemplarReason::Failed).then_some(503),
        outcome: Outcome::ServerAborted,
        completeness: Completeness::Truncated,
        streamed: true,
        started: at(second),
        finished: at(second),
        duration: (ms > 0).then_some(MS * ms as u32),
        time_to_first_byte: Some(MS),
        felt: None,
        queue: Some(MS * 2),
        read: Some(MS * 3),
        app: Some(MS * 4),
        stream: None,
        drain: Some(MS * 5),
        first_chunk: Some(MS * 6),
        n_chunks: Some(7),
        request_body_bytes: 8,
        response_body_bytes: 9,
        peer: "[2001:db8::1]:4711".parse().expect("an address"),
        local_port: 8000,
    }
}

fn event(kind: TimelineKind, service: Option<&str>, second: u64) -> TimelineEvent {
    TimelineEvent {
        at: at(second),
        kind,
        service: service.map(Into::into),
        container: service.map(|name| format!("{name}-1").into()),
        detail: format!("at {second}, \"quoted\"\nand on"),
    }
}

fn used(container: &str, second: u64, figures: ResourceFigures) -> ResourceRollup {
    ResourceRollup {
        service: "api".into(),
        container: container.into(),
        start: at(second),
        width: Duration::from_secs(1),
        figures,
    }
}

#[test]
fn heatmap_has_every_request_in_its_row() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let fast: Vec<_> = (1..=100).map(|n| MS * n).collect();
    writer.append(vec![
        rollup("api", "/a", 200, 0, &fast),
        rollup("api", "/b", 200, 119, &[MS * 5_000; 3]),
        rollup("other", "/a", 200, 0, &[MS; 9]),
    ]);
    writer.flush();
    let asked = Query {
        service: Some("api".into()),
        ..query(Metric::Duration, Stat::Max, 0..180, 60)
    };
    let map = reader.heatmap(&asked).unwrap();
    assert_eq!((map.from, map.step), (at(0), Duration::from_secs(60)));
    assert_eq!((map.n_requests, map.n_incomplete), (103, 0));
    assert_eq!(map.counts.len(), 3);
    assert!(map.counts[2].is_empty());
    assert!(map.bounds.is_sorted_by(|a, b| a < b));
    for (row, bounds) in map.bounds.windows(2).enumerate() {
        let lies = |at: &&Duration| (bounds[0]..bounds[1]).contains(*at);
        assert_eq!(map.counts[0][row], fast.iter().filter(lies).count() as u64);
        assert!(bounds[1].as_secs_f64() / bounds[0].as_secs_f64() <= 1.126);
    }
    assert_eq!(
        map.counts[1].last(),
        Some(&3),
        "rows end with the last in use"
    );
    assert_eq!(map.counts[1].iter().sum::<u64>(), 3);
    for metric in [Metric::Requests, Metric::Resource(ResourceMetric::CpuCores)] {
        let asked = query(metric, Stat::Max, 0..60, 60);
        assert!(matches!(
            reader.heatmap(&asked),
            Err(QueryError::Invalid(_))
        ));
    }
    let nothing = reader.heatmap(&query(Metric::TimeToFirstByte, Stat::Max, 600..660, 60));
    assert!(nothing.unwrap().bounds.is_empty());
}

#[test]
fn exemplars_come_back_whole_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    use ExemplarReason::{Failed, Slow};
    let kept = [
        exemplar("api", Slow, 1, 50),
        exemplar("api", Failed, 2, 0),
        exemplar("api", Slow, 3, 900),
        exemplar("api", Failed, 7, 10),
        exemplar("it's", Slow, 4, 70),
    ];
    writer.append(Batch {
        exemplars: kept.to_vec(),
        ..Batch::default()
    });
    writer.flush();
    let all = ExemplarQuery {
        service: None,
        container: None,
        route: None,
        reason: None,
        from: at(0),
        to: at(60),
        limit: 100,
    };
    #[track_caller]
    fn check(reader: &Reader, query: ExemplarQuery, expected: &[&Exemplar]) {
        let found = reader.exemplars(&query).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }
    let [slow, failed, slowest, later, other] = &kept;
    let ask = |change: &dyn Fn(&mut ExemplarQuery)| {
        let mut query = all.clone();
        change(&mut query);
        query
    };
    check(&reader, all.clone(), &[slowest, other, slow, later, failed]);
    check(&reader, ask(&|q| q.limit = 2), &[slowest, other]);
    check(&reader, ask(&|q| q.reason = Some(Failed)), &[later, failed]);
    check(&reader, ask(&|q| q.service = Some("it's".into())), &[other]);
    check(
        &reader,
        ask(&|q| q.container = Some("it's-1".into())),
        &[other],
    );
    check(&reader, ask(&|q| q.route = Some("/b".into())), &[]);
    check(
        &reader,
        ask(&|q| (q.from, q.to) = (at(2), at(3))),
        &[failed],
    );
    let empty = ask(&|q| q.to = q.from);
    assert!(matches!(
        reader.exemplars(&empty),
        Err(QueryError::Invalid(_))
    ));
}

#[test]
fn events_come_back_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let happened = [
        event(TimelineKind::DaemonStarted, None, 0),
        event(TimelineKind::OomKilled, Some("api"), 5),
        event(TimelineKind::ContainerStarted, Some("other"), 9),
    ];
    writer.append(Batch {
        events: happened.to_vec(),
        ..Batch::default()
    });
    writer.flush();
    let ask = |service: Option<&str>, kind, limit| {
        let query = EventQuery {
            service: service.map(Into::into),
            kind,
            from: at(0),
            to: at(10),
            limit,
        };
        reader.events(&query).unwrap()
    };
    let [first, second, third] = happened;
    assert_eq!(
        ask(None, None, 9),
        [third.clone(), second.clone(), first.clone()]
    );
    assert_eq!(ask(None, None, 1), [third]);
    assert_eq!(ask(Some("api"), None, 9), [second]);
    assert_eq!(ask(None, Some(TimelineKind::DaemonStarted), 9), [first]);
}

fn resources(directory: &Path) -> (Writer, Reader) {
    let (writer, reader) = open(&directory.join("modeltap.duckdb"));
    let mut all = Vec::new();
    for second in 0..10 {
        for (container, scale) in [("api-1", 1), ("api-2", 3)] {
            all.push(used(
                container,
                second,
                ResourceFigures {
                    n_seconds: 1,
                    cpu_ns: scale * 100_000_000 * (1 + second % 2),
                    cpu_limit_cores: Some(2.0),
                    n_periods: Some(10),
                    n_throttled: Some(scale),
                    memory_sum_bytes: scale * 1_000,
                    memory_max_bytes: scale * 1_000 + second,
                    memory_limit_bytes: (scale == 1).then_some(10_000),
                    n_oom_kills: Some(u64::from(second == 4)),
                    received_bytes: Some(scale * 50),
                    n_pids_max: Some(scale),
                    pressure_io_us: Some(scale * 100_000),
                    ..ResourceFigures::default()
                },
            ));
        }
    }
    writer.append(Batch {
        resources: all,
        ..Batch::default()
    });
    writer.flush();
    (writer, reader)
}

#[test]
fn resources_of_a_service_are_those_of_its_containers_together() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = resources(directory.path());
    let ask = |metric, stat, by| {
        let query = Query {
            by,
            service: Some("api".into()),
            ..query(Metric::Resource(metric), stat, 0..20, 10)
        };
        reader.query(&query).unwrap()
    };
    #[track_caller]
    fn check(result: &QueryResult, unit: Unit, expected: &[(&str, Option<f64>)]) {
        assert_eq!(result.unit, unit);
        assert_eq!(result.series.len(), expected.len(), "{result:?}");
        for (series, (name, value)) in result.series.iter().zip(expected) {
            assert_eq!(&series.name, name);
            let close = match (series.values[0], value) {
                (Some(found), Some(value)) => (found - value).abs() < 1e-9,
                (found, value) => found == *value,
            };
            assert!(close, "{series:?}");
            assert_eq!(series.values[1..], [None]);
        }
    }
    use ResourceMetric::*;
    check(
        &ask(CpuCores, Stat::Avg, None),
        Unit::One,
        &[("", Some(0.6))],
    );
    check(
        &ask(CpuCores, Stat::Max, None),
        Unit::One,
        &[("", Some(0.8))],
    );
    let both = &[("api-2", Some(0.45)), ("api-1", Some(0.15))];
    check(
        &ask(CpuCores, Stat::Avg, Some(GroupBy::Container)),
        Unit::One,
        both,
    );
    check(
        &ask(CpuLimitCores, Stat::Avg, None),
        Unit::One,
        &[("", Some(4.0))],
    );
    check(
        &ask(MemoryBytes, Stat::Avg, None),
        Unit::Bytes,
        &[("", Some(4_000.0))],
    );
    check(
        &ask(MemoryBytes, Stat::Max, None),
        Unit::Bytes,
        &[("", Some(4_018.0))],
    );
    // Of one container the limit is not known, nor is it of both.
    check(
        &ask(MemoryLimitBytes, Stat::Max, None),
        Unit::Bytes,
        &[("", None)],
    );
    check(
        &ask(ThrottledShare, Stat::Max, None),
        Unit::One,
        &[("", Some(0.3))],
    );
    check(
        &ask(OomKills, Stat::Count, None),
        Unit::One,
        &[("", Some(2.0))],
    );
    check(
        &ask(NetworkReceiveBytes, Stat::Rate, Some(GroupBy::Service)),
        Unit::BytesPerSecond,
        &[("api", Some(200.0))],
    );
    check(
        &ask(NetworkReceiveBytes, Stat::Count, None),
        Unit::Bytes,
        &[("", Some(2_000.0))],
    );
    check(&ask(NPids, Stat::Max, None), Unit::One, &[("", Some(4.0))]);
    check(
        &ask(PressureIo, Stat::Avg, None),
        Unit::One,
        &[("", Some(0.3))],
    );
    check(
        &ask(GpuUtilization, Stat::Avg, None),
        Unit::One,
        &[("", None)],
    );
}

#[test]
fn questions_about_resources_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = resources(directory.path());
    let base = query(
        Metric::Resource(ResourceMetric::CpuCores),
        Stat::Avg,
        0..10,
        1,
    );
    let refused = |query: Query| match reader.query(&query) {
        Err(QueryError::Invalid(text)) => text,
        other => panic!("{query:?}: {other:?}"),
    };
    let text = refused(Query {
        stat: Stat::Quantile(0.5),
        ..base.clone()
    });
    assert!(text.contains("avg or max"), "{text}");
    let text = refused(Query {
        route: Some("/a".into()),
        ..base.clone()
    });
    assert!(text.contains("container"), "{text}");
    refused(Query {
        by: Some(GroupBy::Method),
        ..base.clone()
    });
    let metric = Metric::Resource(ResourceMetric::OomKills);
    refused(Query {
        metric,
        ..base.clone()
    });
    // Every metric is a query that DuckDB takes.
    for metric in ResourceMetric::ALL {
        for stat in [Stat::Avg, Stat::Max, Stat::Rate, Stat::Count] {
            let query = Query {
                metric: Metric::Resource(metric),
                stat,
                ..base.clone()
            };
            assert_eq!(
                reader.query(&query).is_ok(),
                metric.has(stat),
                "{metric:?} {stat:?}"
            );
        }
    }
}

#[test]
fn export_is_a_file_without_a_name_that_holds_the_range() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join(".modeltap-export-1-1");
    fs::write(&left, "from a process that was killed").unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    assert!(!left.exists());
    writer.append(Batch {
        rollups: (0..100)
            .flat_map(|second| {
                ["api", "it's"].map(|service| rollup(service, "/a", 200, second, &[MS; 2]))
            })
            .collect(),
        resources: vec![used("api-1", 5, ResourceFigures::default())],
        exemplars: vec![exemplar("api", ExemplarReason::Slow, 5, 5)],
        events: vec![event(TimelineKind::OomKilled, Some("api"), 5)],
        ..Batch::default()
    });
    writer.flush();
    let export = |table, format, service: Option<&str>| {
        let query = ExportQuery {
            table,
            format,
            service: service.map(Into::into),
            from: at(0),
            to: at(50),
        };
        let mut export = reader.export(&query).unwrap();
        let mut bytes = Vec::new();
        export.file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, export.n_bytes);
        bytes
    };
    for table in ExportTable::ALL {
        let parquet = export(table, ExportFormat::Parquet, Some("api"));
        assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
        let reading = duckdb::Connection::open_in_memory().unwrap();
        let path = directory.path().join("read.parquet");
        fs::write(&path, parquet).unwrap();
        let sql = format!("SELECT count(*) FROM '{}'", path.display());
        let n_rows: u64 = reading.query_row(&sql, [], |row| row.get(0)).unwrap();
        fs::remove_file(path).unwrap();
        let expected = if table == ExportTable::Rollups { 50 } else { 1 };
        assert_eq!(n_rows, expected, "{table:?}");
        let csv = String::from_utf8(export(table, ExportFormat::Csv, None)).unwrap();
        assert!(csv.contains("2023-11-14T22:13:05.000000Z"), "{csv}");
        let ndjson = String::from_utf8(export(table, ExportFormat::Ndjson, None)).unwrap();
        let expected = if table == ExportTable::Rollups {
            100
        } else {
            1
        };
        assert_eq!(ndjson.lines().count(), expected);
        assert!(
            ndjson
                .lines()
                .all(|line| line.starts_with('{') && line.ends_with('}'))
        );
    }
    let quoted = export(ExportTable::Rollups, ExportFormat::Ndjson, Some("it's"));
    assert_eq!(String::from_utf8(quoted).unwrap().lines().count(), 50);
    let names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("modeltap.duckdb"))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    let answer = reader.sql("SELECT count(*) FROM requests").unwrap();
    assert_eq!(answer.rows, [[SqlValue::Integer(200)]]);
}
