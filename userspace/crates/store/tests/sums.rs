//! Sums by service say what the rows say that they are summed up from.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::path::Path;
use std::time::Duration;

use duckdb::Connection;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::rollup::Rollup;
use modeltap_core::time::UnixNs;
use modeltap_store::{
    GroupBy, Metric, Query, QueryError, Reader, ResourceMetric, Retention, SqlValue, Stat, Store,
    StoreConfig,
};
use support::{at, config, open, query, rollup, sums_agree};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

/// Chance without a seed of its own.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn one(chance: &mut Chance, second: u64) -> Rollup {
    let service = ["api", "chat", "other"][chance.below(3) as usize];
    let route = ["/a", "/b", "/c"][chance.below(3) as usize];
    let status = [200, 204, 404, 500, 503][chance.below(5) as usize];
    let n = 1 + chance.below(4);
    let durations: Vec<Duration> = (0..n)
        .map(|_| {
            let octave = chance.below(22);
            Duration::from_nanos(1_000 + chance.below(1 << (10 + octave)))
        })
        .collect();
    let mut rollup = rollup(service, route, status, second, &durations);
    rollup.key.container = format!("{service}-{}", chance.below(2)).into();
    if chance.below(5) == 0 {
        rollup.key.status = None;
        rollup.key.outcome = [Outcome::Lost, Outcome::ClientAborted][chance.below(2) as usize];
        rollup.figures.n_incomplete = n;
    }
    if chance.below(2) == 0 {
        let detail = rollup.figures.detail.get_or_insert_default();
        detail.measures[Measure::Felt].record(durations[0] * 2);
        detail.measures[Measure::App].record(durations[0] / 3);
        detail.streams.n_chunks = chance.below(9);
        detail.tokens.output = (chance.below(2) == 0).then_some(7);
    }
    rollup
}

/// Asks once of the sums and once of the rows: every request is a POST, and a
/// question that says so is not answered from sums.
#[track_caller]
fn check(reader: &Reader, asked: &Query, more: &[(Metric, Stat)]) {
    let rows = Query {
        method: Some(Method::Post),
        ..asked.clone()
    };
    let of_sums = reader.figures(asked, more).unwrap();
    let of_rows = reader.figures(&rows, more).unwrap();
    assert_eq!(of_sums, of_rows, "{asked:?} {more:?}");
    let Some(&(metric, stat)) = more.last() else {
        return;
    };
    let alone = Query {
        metric,
        stat,
        ..asked.clone()
    };
    let last = of_sums.last().unwrap();
    assert_eq!(*last, reader.query(&alone).unwrap(), "{alone:?}");
}

fn check_all(reader: &Reader, chance: &mut Chance, now: u64) {
    let felt = Metric::Measure(Measure::Felt);
    let figures = [
        (Metric::Requests, Stat::Rate),
        (Metric::Errors, Stat::Count),
        (Metric::Chunks, Stat::Count),
        (Metric::OutputTokens, Stat::Rate),
        (Metric::Duration, Stat::Quantile(0.5)),
        (Metric::Duration, Stat::Quantile(0.99)),
        (Metric::Duration, Stat::Avg),
        (Metric::Duration, Stat::Max),
        (Metric::TimeToFirstByte, Stat::Max),
        (felt, Stat::Quantile(0.95)),
        (felt, Stat::Avg),
        (Metric::Measure(Measure::App), Stat::Avg),
    ];
    let begins = [0, now.saturating_sub(2 * HOUR), chance.below(now)];
    for (first, step) in begins
        .into_iter()
        .zip([HOUR, MINUTE, 600])
        .chain([(chance.below(now), 2 * HOUR), (0, now.max(1))])
    {
        let by = [
            None,
            Some(GroupBy::Service),
            Some(GroupBy::Container),
            Some(GroupBy::StatusClass),
        ];
        let base = Query {
            by: by[chance.below(4) as usize],
            ..query(
                figures[0].0,
                figures[0].1,
                first.min(now - 1)..now,
                step.max(now / 1_900),
            )
        };
        let filters = [
            base.clone(),
            Query {
                service: Some("api".into()),
                ..base.clone()
            },
            Query {
                container: Some("chat-1".into()),
                status_class: Some([2, 4, 5][chance.below(3) as usize]),
                ..base
            },
        ];
        let asked = &filters[chance.below(3) as usize];
        check(reader, asked, &figures[1..]);
        let times = Query {
            metric: Metric::Duration,
            stat: Stat::Max,
            ..asked.clone()
        };
        let rows = Query {
            method: Some(Method::Post),
            ..times.clone()
        };
        assert_eq!(
            reader.heatmap(&times).unwrap(),
            reader.heatmap(&rows).unwrap()
        );
    }
    check_overview(reader, chance.below(now), now);
}

/// The overview of any range against its rows, and of a whole step against a
/// question a service.
fn check_overview(reader: &Reader, first: u64, now: u64) {
    let (from, to) = (at(first), at(now));
    let sql = format!(
        "SELECT service, sum(n_requests)::UBIGINT, sum(n_errors)::UBIGINT, \
         sum(n_incomplete)::UBIGINT, max(duration_max_ns) FROM rollups \
         WHERE start >= make_timestamp({}) AND start < make_timestamp({}) GROUP BY 1 ORDER BY 1",
        from.0 / 1_000,
        to.0 / 1_000
    );
    let of_rows = reader.sql(&sql).unwrap().rows;
    let number = |n: u64| SqlValue::Integer(n as i64);
    let told = reader.overview(from, to).unwrap().into_iter().map(|one| {
        let max = one.max.unwrap_or_default();
        vec![
            SqlValue::Text(one.service),
            number(one.n_requests),
            number(one.n_errors),
            number(one.n_incomplete),
            number(max.as_nanos() as u64),
        ]
    });
    assert_eq!(told.collect::<Vec<_>>(), of_rows, "{first} to {now}");

    let step = 5 * HOUR;
    let from = from.seconds() - from.seconds() % step;
    let range = [from, from + step].map(|second| UnixNs(second * 1_000_000_000));
    for one in reader.overview(range[0], range[1]).unwrap() {
        let asked = Query {
            service: Some(one.service.clone()),
            method: Some(Method::Post),
            from: range[0],
            to: range[1],
            ..query(Metric::Duration, Stat::Avg, 0..1, step)
        };
        let q = |q| (Metric::Duration, Stat::Quantile(q));
        let answers = reader.figures(&asked, &[q(0.5), q(0.95), q(0.99)]).unwrap();
        let mut values = answers.iter().map(|answer| answer.series[0].values[0]);
        let avg = values
            .next()
            .unwrap()
            .map(|s| Duration::from_nanos((s * 1e9) as u64));
        let close = |a: Duration, b: Duration| a.abs_diff(b) < Duration::from_nanos(10);
        assert!(avg.zip(one.avg).is_none_or(|(a, b)| close(a, b)));
        for (value, told) in values.zip([one.p50, one.p95, one.p99]) {
            let most = one.max.unwrap_or_default().as_secs_f64();
            assert_eq!(value.map(|s| s.min(most)), told.map(|t| t.as_secs_f64()));
        }
    }
}

/// Hours of batches, new and late, with all that happens to rows meanwhile.
fn live_through(seed: u64, path: &Path, config: StoreConfig, n_turns: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut writer, mut reader) = Store::open(config.clone()).unwrap();
    writer.age(at(0));
    let mut now = 1;
    for turn in 0..n_turns {
        let second = now;
        now += 1 + chance.below(3_600);
        let n = 1 + chance.below(40);
        let mut rollups: Vec<Rollup> = (0..n)
            .map(|_| {
                let second = second + chance.below(now - second);
                one(&mut chance, second)
            })
            .collect();
        if chance.below(3) == 0 {
            // The clock was set back, or the disk refused for a while.
            let late = chance.below(now);
            rollups.push(one(&mut chance, late));
            let mut wide = one(&mut chance, late - late % MINUTE);
            wide.width = Duration::from_secs(MINUTE);
            rollups.push(wide);
        }
        writer.append(rollups);
        writer.flush();
        if chance.below(3) == 0 {
            writer.age(at(now));
        }
        if chance.below(8) == 0 {
            writer.close();
            drop(reader);
            sums_agree(path);
            (writer, reader) = Store::open(config.clone()).unwrap();
            writer.age(at(now));
        }
        if turn % 8 == 7 {
            check_all(&reader, &mut chance, now);
        }
    }
    assert_eq!(writer.stats().error, None);
    writer.age(at(now + 2 * HOUR));
    check_all(&reader, &mut chance, now);
    writer.close();
    drop(reader);
    sums_agree(path);
}

#[test]
fn sums_answer_as_the_rows_do_whatever_happens_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let config = StoreConfig {
        retention: Retention {
            seconds: Duration::from_secs(HOUR),
            ten_seconds: Duration::from_secs(2 * HOUR),
            minutes: Duration::from_secs(3 * HOUR),
        },
        min_reclaim_bytes: 1 << 18,
        ..StoreConfig::new(&path)
    };
    live_through(1, &path, config, 24);
}

#[test]
fn sums_are_given_up_with_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let config = StoreConfig {
        // Less than an empty database takes: all but the newest hours go.
        max_bytes: 1 << 19,
        ..config(&path)
    };
    live_through(9, &path, config, 16);
}

#[test]
fn history_of_an_earlier_version_is_summed_up_by_and_by() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let mut chance = Chance(77);
    let (writer, reader) = open(&path);
    writer.age(at(0));
    let rollups = (0..3_000).map(|n| one(&mut chance, n * 10));
    writer.append(rollups.collect::<Vec<_>>());
    writer.close();
    drop(reader);
    // As an earlier version left it: nothing is summed up.
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "UPDATE summed SET until = NULL; DELETE FROM service_minutes; \
             DELETE FROM service_minutes_new; DELETE FROM service_hours",
        )
        .unwrap();
    let (writer, reader) = open(&path);
    check_all(&reader, &mut chance, 30_000);
    writer.age(at(30_000));
    check_all(&reader, &mut chance, 30_000);
    writer.close();
    drop(reader);
    let connection = Connection::open(&path).unwrap();
    let n_hours: u64 = connection
        .query_row(
            "SELECT count(DISTINCT start) FROM service_hours",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(n_hours >= 8, "{n_hours}");
    drop(connection);
    sums_agree(&path);
}

#[test]
fn figures_beyond_what_fits_one_question_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_writer, reader) = open(&directory.path().join("modeltap.duckdb"));
    let asked = query(Metric::Requests, Stat::Count, 0..60, 60);
    let p50 = (Metric::Duration, Stat::Quantile(0.5));
    let refused = |asked: &Query, more: &[(Metric, Stat)]| {
        let answer = reader.figures(asked, more);
        assert!(matches!(answer, Err(QueryError::Invalid(_))), "{more:?}");
    };
    assert_eq!(reader.figures(&asked, &[p50; 19]).unwrap().len(), 20);
    refused(&asked, &[p50; 20]);
    refused(&asked, &[(Metric::Duration, Stat::Rate)]);
    let memory = (Metric::Resource(ResourceMetric::MemoryBytes), Stat::Max);
    refused(&asked, &[memory]);
    let of_memory = Query {
        metric: memory.0,
        stat: memory.1,
        ..asked
    };
    refused(&of_memory, &[p50]);
}
