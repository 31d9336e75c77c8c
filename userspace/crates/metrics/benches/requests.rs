//! What it costs to count a request, over few and over many series, and to
//! close a second in which each of them had some.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use modeltap_core::record::RequestRecord;
use modeltap_metrics::{Aggregator, Config};

use crate::support::{ANCHOR, at, container, request};

#[path = "../tests/support/mod.rs"]
mod support;

/// Requests of a second.
const N_REQUESTS: usize = 10_000;

/// A second's requests, spread over so many routes.
fn second(second: f64, n_routes: usize) -> Vec<RequestRecord> {
    (0..N_REQUESTS)
        .map(|index| {
            let path = format!("/models/m{}/infer", letters(index % n_routes));
            let when = second + index as f64 / N_REQUESTS as f64;
            let took = Duration::from_micros(500 + (index as u64 * 7_919) % 50_000);
            request(&path, 200, when, took)
        })
        .collect()
}

/// A name that no rule takes for a number.
fn letters(number: usize) -> String {
    number
        .to_string()
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

fn seconds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("aggregation");
    group.throughput(Throughput::Elements(N_REQUESTS as u64));
    for n_routes in [1, 100] {
        let container = container("shop", "shop-1");
        let mut aggregator = Aggregator::new(Config::default());
        aggregator.upsert_container(&container);
        let now = Cell::new(1.0);
        let name = format!("10,000 requests on {n_routes} routes, and their second");
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    now.set(now.get() + 1.0);
                    second(now.get(), n_routes)
                },
                |requests| {
                    for record in requests {
                        aggregator.record(record, &container, ANCHOR);
                    }
                    black_box(aggregator.tick(at(now.get() + 1.0)))
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, seconds);
criterion_main!(benches);
