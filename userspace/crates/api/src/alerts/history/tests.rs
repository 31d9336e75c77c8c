//! What history tells of a rule's figure is what the engine had of it live.

use std::collections::HashMap;
use std::time::Duration;

use modeltap_core::alert::{Comparison, RuleOrigin, Severity};
use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, ContainerId};
use modeltap_core::history::Batch;
use modeltap_core::record::{Outcome, RequestRecord};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::time::{MonotonicNs, TimeAnchor};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_metrics::alert::Engine;
use modeltap_metrics::{Aggregator, Config};
use modeltap_store::{Store, StoreConfig};

use super::*;
use crate::convert::tests::{chat, container};

const MINUTE: u64 = 60;
const MINUTES: u64 = 5;
/// Figures that history has to the last digit, but for the rounding of sums.
const SAME: [AlertMetric; 14] = [
    AlertMetric::RequestRate,
    AlertMetric::ErrorRate,
    AlertMetric::DurationP95,
    AlertMetric::FirstChunkP95,
    AlertMetric::StreamAbortRate,
    AlertMetric::CpuCores,
    AlertMetric::CpuShare,
    AlertMetric::ThrottledShare,
    AlertMetric::MemoryBytes,
    AlertMetric::MemoryShare,
    AlertMetric::OomKills,
    AlertMetric::Restarts,
    AlertMetric::GpuUtilization,
    AlertMetric::GpuMemoryShare,
];

/// A rule that holds as long as its figure is known.
fn known(metric: AlertMetric) -> AlertRule {
    AlertRule {
        id: metric.as_str().into(),
        name: metric.as_str().to_owned(),
        origin: RuleOrigin::User,
        enabled: true,
        service: None,
        metric,
        condition: Condition::Threshold {
            comparison: Comparison::Above,
            threshold: -1.0,
            clear: None,
        },
        window: Duration::from_secs(MINUTE),
        hold: Duration::ZERO,
        keep: Duration::ZERO,
        min_requests: 1,
        severity: Severity::Info,
    }
}

fn named(name: &str, cgroup: u64, started: Option<UnixNs>) -> Container {
    let mut container = container();
    container.id = ContainerId(format!("{name}/{cgroup}"));
    container.name = name.to_owned();
    container.cgroup = CgroupId(cgroup);
    container.lifecycle.started = started;
    container
}

/// The chat, moved to a second; each of a second is a millisecond longer.
fn finished(second: u64, nth: u64) -> RequestRecord {
    let later = |at: &mut MonotonicNs| at.0 += second * 1_000_000_000;
    let mut record = chat();
    let timings = &mut record.timings;
    later(&mut timings.request_start);
    later(&mut timings.finished);
    for at in [
        &mut timings.arrived,
        &mut timings.accepted,
        &mut timings.request_end,
        &mut timings.response_start,
        &mut timings.body_start,
        &mut timings.response_end,
        &mut timings.drained,
    ] {
        at.as_mut().map(later);
    }
    if let Some(stream) = &mut record.stream {
        for at in [&mut stream.first_chunk, &mut stream.last_chunk] {
            at.as_mut().map(later);
        }
    }
    if (second + nth).is_multiple_of(7) {
        record.outcome = Outcome::ClientAborted;
    }
    if second.is_multiple_of(50) {
        record.status = Some(500);
    }
    record
}

/// What a container with all limits used in a second.
fn limited(second: u64) -> ResourceFigures {
    ResourceFigures {
        n_seconds: 1,
        cpu_ns: 400_000_000 + second * 1_000_000,
        cpu_limit_cores: Some(0.8),
        n_periods: Some(if second.is_multiple_of(3) { 0 } else { 10 }),
        n_throttled: Some(second % 3),
        memory_sum_bytes: 600 + second,
        memory_max_bytes: 600 + second,
        memory_limit_bytes: Some(1_000),
        n_oom_kills: Some(u64::from(second == 70 || second == 71)),
        gpu_utilization_sum: Some(0.25),
        gpu_memory_max_bytes: Some(30 + second),
        gpu_memory_total_bytes: Some(1_000),
        ..ResourceFigures::default()
    }
}

fn unlimited(second: u64) -> ResourceFigures {
    ResourceFigures {
        n_seconds: 1,
        cpu_ns: 2_000_000_000 - second * 1_000_000,
        memory_sum_bytes: 5_000,
        memory_max_bytes: 5_000,
        ..ResourceFigures::default()
    }
}

#[test]
fn figures_of_history_are_those_that_the_engine_had_live() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.duckdb");
    let (writer, reader) = Store::open(StoreConfig::new(path)).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let first = (u64::try_from(now).unwrap() / MINUTE - MINUTES - 1) * MINUTE;
    let at = |second: u64| UnixNs((first + second) * 1_000_000_000);
    let anchor = TimeAnchor {
        monotonic: MonotonicNs(0),
        unix: at(0),
    };
    let mut aggregator = Aggregator::new(Config::default());
    let mut engine = Engine::new();
    engine.set_rules(SAME.map(known).to_vec());
    let one = named("api-1", 1, None);
    let mut other = named("api-2", 2, None);
    let mut live: HashMap<(String, u64), f64> = HashMap::new();
    for second in 0..MINUTES * MINUTE {
        let mut batch = Batch::default();
        for nth in 0..2 {
            aggregator.record(finished(second, nth), &one, anchor);
        }
        if second == 130 {
            aggregator.remove_container(&other.id);
            other = named("api-2", 3, Some(at(130)));
            batch.events.push(TimelineEvent {
                at: at(130),
                kind: TimelineKind::ContainerStarted,
                service: Some("api".into()),
                container: Some("api-2".into()),
                detail: String::new(),
            });
        }
        aggregator.set_containers(&[one.clone(), other.clone()]);
        // In the fourth minute one of them cannot be read.
        let is_read = second / MINUTE != 3;
        let used = [
            (&other, Some(unlimited(second))),
            (&one, is_read.then(|| limited(second))),
        ];
        let used = used.into_iter().filter_map(|(container, figures)| {
            Some(ResourceRollup {
                service: "api".into(),
                container: container.name.as_str().into(),
                start: at(second),
                width: Duration::from_secs(1),
                figures: figures?,
            })
        });
        batch.resources.extend(used);
        let end = at(second + 1);
        batch.rollups = aggregator.tick(end);
        engine.evaluate(end, &batch, &aggregator.snapshot());
        writer.append(batch);
        if (second + 1).is_multiple_of(MINUTE) {
            writer.flush();
            for alert in engine.active() {
                let value = alert.value.unwrap();
                live.insert((alert.rule.to_string(), second / MINUTE), value);
            }
        }
    }
    let asked = |metric| FigureQuery {
        metric,
        service: Some("api"),
        min_requests: 1,
        from: first,
        n_steps: MINUTES,
        step: MINUTE,
    };
    for metric in SAME {
        let found = figures(&reader, &asked(metric)).unwrap();
        assert_eq!(found.len() as u64, MINUTES, "{metric:?}");
        for (minute, found) in (0..).zip(found) {
            let live = live.get(&(metric.as_str().to_owned(), minute)).copied();
            let is_same = match (live, found) {
                (Some(live), Some(found)) => (live - found).abs() <= 1e-9 * live.abs(),
                (live, found) => live == found,
            };
            assert!(is_same, "{metric:?} in minute {minute}: {live:?} {found:?}");
        }
    }
    let n_known = live.len();
    assert!(n_known > 60, "the engine knew {n_known} figures");
    // Two requests of 302 ms a second.
    let active = figures(&reader, &asked(AlertMetric::ActiveRequests)).unwrap();
    assert!(
        active
            .iter()
            .all(|n| n.is_some_and(|n| (n - 0.604).abs() < 0.01)),
        "{active:?}"
    );
    let of_nobody = FigureQuery {
        service: Some("nobody"),
        ..asked(AlertMetric::CpuCores)
    };
    assert_eq!(figures(&reader, &of_nobody).unwrap(), [None; 5]);
}
