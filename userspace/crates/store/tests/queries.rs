//! Answers compared with what was put in.

mod support;

use std::time::Duration;

use modeltap_core::histogram::DurationHistogram;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::Figures;
use modeltap_store::{GroupBy, MAX_SERIES, Metric, Query, QueryError, QueryResult, Stat, Unit};
use support::{at, open, query, rollup};

const MS: Duration = Duration::from_millis(1);

fn values(result: &QueryResult, name: &str) -> Vec<Option<f64>> {
    let series = result.series.iter().find(|series| series.name == name);
    series.expect("the series is there").values.clone()
}

#[test]
fn percentiles_are_those_of_the_union() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let mut minutes = vec![DurationHistogram::default(); 5];
    let mut first_bytes = vec![DurationHistogram::default(); 5];
    let mut state = 7_u64;
    for second in 0..300_u64 {
        let mut rollups = Vec::new();
        for (service, route) in [("api", "/a"), ("api", "/b"), ("other", "/a")] {
            let durations: Vec<Duration> = (0..20)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    Duration::from_nanos(1_000 + (state >> 33) % (1 << (10 + state % 22)))
                })
                .collect();
            if service == "api" {
                for &duration in &durations {
                    minutes[second as usize / 60].record(duration);
                    first_bytes[second as usize / 60].record(duration / 2);
                }
            }
            rollups.push(rollup(service, route, 200, second, &durations));
        }
        writer.append(rollups);
        writer.flush();
    }
    for (metric, expected) in [
        (Metric::Duration, &minutes),
        (Metric::TimeToFirstByte, &first_bytes),
    ] {
        for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
            let asked = Query {
                service: Some("api".into()),
                ..query(metric, Stat::Quantile(q), 0..300, 60)
            };
            let result = reader.query(&asked).unwrap();
            assert_eq!(result.unit, Unit::Seconds);
            let expected: Vec<Option<f64>> = expected
                .iter()
                .map(|all| all.quantile(q).map(|at| at.as_secs_f64()))
                .collect();
            assert_eq!(values(&result, ""), expected, "{metric:?} {q}");
            assert_eq!(result.n_requests, 300 * 40);
        }
    }
    let mut all = DurationHistogram::default();
    minutes.iter().for_each(|minute| all.merge(minute));
    let overview = reader.overview(at(0), at(300)).unwrap();
    assert_eq!(overview.len(), 2);
    assert_eq!(overview[0].service, "api");
    assert_eq!(overview[0].n_requests, 300 * 40);
    assert_eq!(overview[0].p95, all.quantile(0.95));
    assert_eq!(overview[1].n_requests, 300 * 20);
}

#[test]
fn counts_rates_and_sums_are_exact_and_steps_are_aligned() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    writer.append(vec![
        rollup("api", "/a", 200, 3, &[MS; 7]),
        rollup("api", "/a", 500, 3, &[MS * 3; 2]),
        rollup("api", "/a", 200, 14, &[MS * 10]),
        rollup("api", "/a", 200, 31, &[MS; 4]),
    ]);
    writer.flush();
    let ask = |metric, stat, from: u64| reader.query(&query(metric, stat, from..25, 10)).unwrap();

    let result = ask(Metric::Requests, Stat::Count, 2);
    assert_eq!(
        (result.from, result.step, result.n_steps),
        (at(0), Duration::from_secs(10), 3)
    );
    assert_eq!(values(&result, ""), [Some(9.0), Some(1.0), Some(0.0)]);
    assert_eq!((result.n_requests, result.unit), (10, Unit::One));
    let result = ask(Metric::Errors, Stat::Count, 0);
    assert_eq!(values(&result, ""), [Some(2.0), Some(0.0), Some(0.0)]);
    let result = ask(Metric::Requests, Stat::Rate, 0);
    assert_eq!(values(&result, ""), [Some(0.9), Some(0.1), Some(0.0)]);
    let result = ask(Metric::Duration, Stat::Max, 0);
    assert_eq!(values(&result, ""), [Some(0.003), Some(0.01), None]);
    let result = ask(Metric::Duration, Stat::Avg, 0);
    assert!((values(&result, "")[0].unwrap() - 0.013 / 9.0).abs() < 1e-12);
    assert_eq!(values(&result, "")[2], None, "nothing was seen");
}

#[test]
fn filters_and_groups_take_what_they_name() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let mut odd = rollup("other", "/it's", 404, 1, &[MS; 5]);
    odd.key.method = None;
    odd.key.outcome = Outcome::Lost;
    odd.figures.n_incomplete = 5;
    let mut silent = rollup("other", "/a", 200, 1, &[MS; 2]);
    silent.key.status = None;
    writer.append(vec![
        rollup("api", "/a", 200, 0, &[MS; 30]),
        rollup("api", "/b", 503, 0, &[MS; 20]),
        odd,
        silent,
    ]);
    writer.flush();
    let count = query(Metric::Requests, Stat::Count, 0..10, 10);
    #[track_caller]
    fn check(result: &QueryResult, expected: &[(&str, f64)]) {
        let found: Vec<_> = result
            .series
            .iter()
            .map(|series| (series.name.as_str(), series.values[0].unwrap()))
            .collect();
        assert_eq!(found, expected);
    }
    let by = |by| {
        reader
            .query(&Query {
                by: Some(by),
                ..count.clone()
            })
            .unwrap()
    };
    check(&by(GroupBy::Service), &[("api", 50.0), ("other", 7.0)]);
    check(
        &by(GroupBy::Container),
        &[("api-1", 50.0), ("other-1", 7.0)],
    );
    check(
        &by(GroupBy::Route),
        &[("/a", 32.0), ("/b", 20.0), ("/it's", 5.0)],
    );
    check(&by(GroupBy::Method), &[("POST", 52.0), ("", 5.0)]);
    check(
        &by(GroupBy::StatusClass),
        &[("2xx", 30.0), ("5xx", 20.0), ("4xx", 5.0), ("none", 2.0)],
    );
    let only = |change: &dyn Fn(&mut Query)| {
        let mut asked = count.clone();
        change(&mut asked);
        reader.query(&asked).unwrap()
    };
    check(&only(&|q| q.service = Some("api".into())), &[("", 50.0)]);
    check(&only(&|q| q.route = Some("/it's".into())), &[("", 5.0)]);
    check(
        &only(&|q| q.container = Some("other-1".into())),
        &[("", 7.0)],
    );
    check(&only(&|q| q.method = Some(Method::Post)), &[("", 52.0)]);
    check(&only(&|q| q.status_class = Some(5)), &[("", 20.0)]);
    let result = only(&|q| q.service = Some("' OR 1=1 --".into()));
    assert!(result.series.is_empty());
    assert_eq!(result.n_requests, 0);
    assert_eq!(only(&|_| {}).n_incomplete, 5);
}

#[test]
fn series_are_bounded_and_the_busiest_are_given() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    writer.append(
        (0..80_u32)
            .map(|n| {
                rollup(
                    "api",
                    &format!("/{n:02}"),
                    200,
                    0,
                    &vec![MS; n as usize + 1],
                )
            })
            .collect::<Vec<_>>(),
    );
    writer.flush();
    for (metric, stat) in [
        (Metric::Requests, Stat::Count),
        (Metric::Duration, Stat::Quantile(0.95)),
    ] {
        let asked = Query {
            by: Some(GroupBy::Route),
            ..query(metric, stat, 0..60, 1)
        };
        let result = reader.query(&asked).unwrap();
        assert_eq!(
            (result.series.len(), result.n_series_left_out),
            (MAX_SERIES, 30)
        );
        assert_eq!(result.series[0].name, "/79");
        assert!(
            result
                .series
                .iter()
                .all(|series| series.values[0].is_some())
        );
        assert_eq!(result.n_requests, (1..=80).sum::<u64>());
    }
}

#[test]
fn many_rows_are_read_in_slices_without_losing_any() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let mut all = Figures::default();
    for second in 0..600_u64 {
        let rollups: Vec<_> = (0..200_u32)
            .map(|n| rollup("api", &format!("/{n}"), 200, second, &[MS * (n + 1), MS]))
            .collect();
        rollups.iter().for_each(|rollup| all.merge(&rollup.figures));
        writer.append(rollups);
        writer.flush();
    }
    assert_eq!(writer.stats().written.rollups, 120_000);
    // One step that is longer than a slice, and steps that are shorter.
    let asked = query(Metric::Duration, Stat::Quantile(0.9), 0..600, 86_400);
    let p90 = all.duration.quantile(0.9).map(|at| at.as_secs_f64());
    assert_eq!(
        values(&reader.query(&asked).unwrap(), "")
            .iter()
            .flatten()
            .next(),
        p90.as_ref()
    );
    let asked = query(Metric::Duration, Stat::Quantile(0.9), 0..600, 7);
    let by_step = values(&reader.query(&asked).unwrap(), "");
    let filled: Vec<f64> = by_step.iter().flatten().copied().collect();
    assert!(
        filled.len() >= 86 && filled.iter().all(|value| Some(*value) == p90),
        "{filled:?}"
    );
}

#[test]
fn nothing_in_the_range_is_no_series() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let result = reader
        .query(&query(Metric::Duration, Stat::Quantile(0.5), 0..60, 1))
        .unwrap();
    assert!(result.series.is_empty());
    assert_eq!((result.n_requests, result.n_steps), (0, 60));
    assert!(reader.overview(at(0), at(60)).unwrap().is_empty());
    assert!(matches!(
        reader.overview(at(1), at(1)),
        Err(QueryError::Invalid(_))
    ));
}

#[test]
fn answers_do_not_end_with_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    writer.append(vec![rollup("api", "/a", 200, 0, &[MS])]);
    writer.close();
    assert_eq!(support::n_requests(&reader), 1);
}
