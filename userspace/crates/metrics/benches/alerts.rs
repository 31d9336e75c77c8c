//! What a second of rules costs: the default ones on 100 services of ten
//! routes, ten requests a second and route.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, ContainerId, Inspect, Lifecycle, ServiceName, Slo};
use modeltap_core::history::Batch;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::rollup::{Figures, Rollup, SeriesKey};
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert::{Engine, default_rules};
use modeltap_metrics::{Aggregator, Config, LiveSnapshot};

const SERVICES: u64 = 100;
const ROUTES: u64 = 10;
const REQUESTS: u64 = 10;
const EPOCH: u64 = 1_700_000_000;

fn name(service: u64) -> Arc<str> {
    format!("service-{service:03}").into()
}

fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH + second) * 1_000_000_000)
}

fn live() -> LiveSnapshot {
    let mut aggregator = Aggregator::new(Config::default());
    for service in 0..SERVICES {
        aggregator.upsert_container(&Container {
            id: ContainerId(format!("{service:064x}")),
            name: format!("service-{service:03}-1"),
            service: ServiceName(name(service).to_string()),
            project: None,
            image: "image:1".into(),
            cgroup: CgroupId(service + 1),
            pid: 1,
            routes: Vec::new(),
            inspect: Inspect::default(),
            lifecycle: Lifecycle::default(),
            slo: Slo::default(),
        });
    }
    aggregator.tick(at(0));
    aggregator.snapshot()
}

fn batch(second: u64) -> Batch {
    let mut batch = Batch::default();
    for service in 0..SERVICES {
        for route in 0..ROUTES {
            let mut figures = Figures {
                n_requests: REQUESTS,
                ..Figures::default()
            };
            for request in 0..REQUESTS {
                let micros = 5_000 + (second * 7_919 + request * 104_729 + route * 31) % 40_000;
                figures.duration.record(Duration::from_micros(micros));
            }
            batch.rollups.push(Rollup {
                key: SeriesKey {
                    service: name(service),
                    container: "c".into(),
                    method: Some(Method::Post),
                    route: format!("/{route}").into(),
                    status: Some(200),
                    outcome: Outcome::Complete,
                },
                start: at(second),
                width: Duration::from_secs(1),
                figures,
            });
        }
        batch.resources.push(ResourceRollup {
            service: name(service),
            container: "c".into(),
            start: at(second),
            width: Duration::from_secs(1),
            figures: ResourceFigures {
                n_seconds: 1,
                cpu_ns: 100_000_000,
                memory_sum_bytes: 1 << 28,
                memory_max_bytes: 1 << 28,
                memory_limit_bytes: Some(1 << 30),
                n_oom_kills: Some(0),
                ..ResourceFigures::default()
            },
        });
    }
    batch
}

fn second_of_rules(criterion: &mut Criterion) {
    let live = live();
    let batches: Vec<Batch> = (0..64).map(batch).collect();
    let mut engine = Engine::new();
    engine.set_rules(default_rules());
    let mut second = 0;
    let mut next = |engine: &mut Engine| {
        second += 1;
        engine.evaluate(at(second), &batches[(second % 64) as usize], &live)
    };
    // Windows and an hour of minutes are full.
    for _ in 0..3_700 {
        next(&mut engine);
    }
    criterion.bench_function("default rules, 100 services, a second", |bencher| {
        bencher.iter(|| black_box(next(&mut engine)));
    });
}

criterion_group!(benches, second_of_rules);
criterion_main!(benches);
