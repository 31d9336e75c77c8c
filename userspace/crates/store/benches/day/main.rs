//! A day of 100 services with 10 routes each, asked while it is written on.
//!
//! `cargo bench -p modeltap-store`; the database is made once, in `target/`,
//! and takes some 700 MB there. Goals: 60 ms for a service's percentiles by
//! minute, 100 ms for the overview.

mod made;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode};
use modeltap_core::time::UnixNs;
use modeltap_store::{GroupBy, Metric, Query, Reader, Retention, Stat, Store, StoreConfig};

use crate::made::{DAY, EPOCH, N_SERVICES};

fn main() {
    let path = made::database();
    let for_ever = Duration::from_secs(100 * 366 * 86_400);
    let config = StoreConfig {
        retention: Retention {
            seconds: for_ever,
            ten_seconds: for_ever,
            minutes: for_ever,
        },
        ..StoreConfig::new(path)
    };
    let (writer, reader) = Store::open(config).expect("the database opens");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            for second in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                writer.append(made::second(second));
                next += Duration::from_secs(1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let mut criterion = Criterion::default().configure_from_args();
        measure(&mut criterion, &reader);
        criterion.final_summary();
        is_over.store(true, Ordering::Relaxed);
    });
    writer.close();
}

fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH + second) * 1_000_000_000)
}

fn query(metric: Metric, stat: Stat, by: Option<GroupBy>, seconds: u64) -> Query {
    Query {
        metric,
        stat,
        service: Some("service-042".into()),
        container: None,
        route: None,
        method: None,
        status_class: None,
        by,
        from: at(DAY - seconds),
        to: at(DAY),
        step: Duration::from_secs((seconds / 1_440).max(15)),
    }
}

fn measure(criterion: &mut Criterion, reader: &Reader) {
    let mut group = criterion.benchmark_group("day");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    let p95 = Stat::Quantile(0.95);
    let ask = |query: &Query| reader.query(query).expect("an answer");
    group.bench_function("percentile by minute, 24 h", |bencher| {
        let query = query(Metric::Duration, p95, None, DAY);
        bencher.iter(|| {
            let answer = ask(&query);
            assert_eq!(answer.n_steps, 1_440);
            assert!(answer.series[0].values.iter().all(Option::is_some));
        });
    });
    group.bench_function("rate by status, 24 h", |bencher| {
        let query = query(
            Metric::Requests,
            Stat::Rate,
            Some(GroupBy::StatusClass),
            DAY,
        );
        bencher.iter(|| ask(&query));
    });
    group.bench_function("heatmap, 24 h", |bencher| {
        let query = query(Metric::Duration, p95, None, DAY);
        bencher.iter(|| reader.heatmap(&query).expect("an answer"));
    });
    group.bench_function("page of a service, 1 h", |bencher| {
        let queries = [
            query(Metric::Duration, Stat::Quantile(0.5), None, 3_600),
            query(Metric::Duration, p95, None, 3_600),
            query(Metric::Duration, Stat::Quantile(0.99), None, 3_600),
            query(
                Metric::Requests,
                Stat::Rate,
                Some(GroupBy::StatusClass),
                3_600,
            ),
            query(Metric::Errors, Stat::Rate, None, 3_600),
            query(Metric::TimeToFirstByte, p95, None, 3_600),
            query(Metric::Duration, p95, Some(GroupBy::Route), 3_600),
        ];
        bencher.iter(|| queries.iter().for_each(|query| drop(ask(query))));
    });
    for (name, seconds) in [("overview, 1 h", 3_600), ("overview, 24 h", DAY)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let services = reader.overview(at(DAY - seconds), at(DAY));
                assert_eq!(services.expect("an answer").len(), N_SERVICES as usize);
            });
        });
    }
    group.finish();
}
