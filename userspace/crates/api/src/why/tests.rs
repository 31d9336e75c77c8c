//! Asked through every check, over a real database.

use modeltap_core::history::Batch;
use modeltap_core::measure::Measure;
use modeltap_core::record::{Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::rollup::{Detail, Figures, Rollup, SeriesKey};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::{Retention, Store, StoreConfig, Writer};

use super::*;
use crate::fixture::{Answer, Fixture};

/// 2023-11-14T22:13:00Z.
const EPOCH: u64 = 1_699_999_980;
/// Seconds of history: twenty minutes, of which five are the range.
const SECONDS: u64 = 1_200;
const SERVICE: &str = "=api &1";

struct Past {
    api: Fixture,
    // Dropped before its directory.
    _writer: Writer,
    _directory: tempfile::TempDir,
}

impl Past {
    async fn why(&self, parameters: &str) -> Answer {
        let path = format!("/api/v1/services/%3Dapi%20%261/why?{parameters}");
        self.api.get(&path, &[]).await
    }
}

fn at(second: u64) -> UnixNs {
    UnixNs((EPOCH + second) * 1_000_000_000)
}

/// A second's requests of one route and container.
fn rollup(second: u64, container: &str, route: &str, ms: [u64; 5], status: u16) -> Rollup {
    const PHASES: [Measure; 5] = [
        Measure::Queue,
        Measure::Read,
        Measure::App,
        Measure::Stream,
        Measure::Drain,
    ];
    let mut figures = Figures::default();
    let mut detail = Detail::default();
    for n in 0..4 {
        let long = |ms: u64| Duration::from_micros(ms * (900 + 50 * n));
        figures.n_requests += 1;
        figures.n_errors += u64::from(status >= 500);
        let duration = long(ms[1]) + long(ms[2]) + long(ms[3]);
        figures.duration_sum_ns += u64::try_from(duration.as_nanos()).unwrap();
        figures.duration.record(duration);
        for (phase, ms) in PHASES.into_iter().zip(ms) {
            detail.measures[phase].record(long(ms));
        }
        detail.measures[Measure::Felt].record(long(ms[0]) + duration);
    }
    figures.detail = Some(Box::new(detail));
    Rollup {
        key: SeriesKey {
            service: SERVICE.into(),
            container: container.into(),
            method: Some(Method::Get),
            route: route.into(),
            status: Some(status),
            outcome: Outcome::Complete,
        },
        start: at(second),
        width: Duration::from_secs(1),
        figures,
    }
}

/// History in which `ms` tells the phases of each second, route and container,
/// and their status.
fn past(throttled: impl Fn(u64) -> u64, of: impl Fn(u64, &str, &str) -> ([u64; 5], u16)) -> Past {
    let directory = tempfile::tempdir().unwrap();
    let for_ever = Duration::from_secs(100 * 366 * 86_400);
    let config = StoreConfig {
        retention: Retention {
            seconds: for_ever,
            ten_seconds: for_ever,
            minutes: for_ever,
        },
        ..StoreConfig::new(directory.path().join("modeltap.duckdb"))
    };
    let (writer, reader) = Store::open(config).unwrap();
    let mut batch = Batch::default();
    for second in 0..SECONDS {
        for container in ["api-1", "api-2"] {
            for route in ["/a", "/b/{id}"] {
                let (ms, status) = of(second, container, route);
                batch
                    .rollups
                    .push(rollup(second, container, route, ms, status));
            }
            batch.resources.push(ResourceRollup {
                service: SERVICE.into(),
                container: container.into(),
                start: at(second),
                width: Duration::from_secs(1),
                figures: ResourceFigures {
                    n_seconds: 1,
                    n_periods: Some(10),
                    n_throttled: Some(if container == "api-2" {
                        throttled(second)
                    } else {
                        0
                    }),
                    memory_sum_bytes: 50,
                    memory_max_bytes: 50,
                    memory_limit_bytes: Some(100),
                    ..ResourceFigures::default()
                },
            });
        }
    }
    batch.events.push(TimelineEvent {
        at: at(1_070),
        kind: TimelineKind::ImageChanged,
        service: Some(SERVICE.into()),
        container: Some("api-2".into()),
        detail: "api:1 -> api:2".into(),
    });
    writer.append(batch);
    writer.flush();
    let mut api = Fixture::new(0);
    api.sources.history = Some(reader);
    Past {
        api,
        _writer: writer,
        _directory: directory,
    }
}

fn range() -> String {
    let end = (EPOCH + SECONDS) * 1_000;
    format!("from={}&to={end}", end - 300_000)
}

#[tokio::test]
async fn slow_route_is_told_with_its_phase_container_and_what_happened() {
    let past = past(
        |second| if second >= 1_080 { 8 } else { 0 },
        |second, container, route| {
            let is_slow = second >= 1_080 && container == "api-2" && route == "/b/{id}";
            ([1, 1, if is_slow { 200 } else { 10 }, 2, 1], 200)
        },
    );
    let answer = past.why(&range()).await;
    let told: wire::Why = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(told.findings.len(), 1, "{told:#?}");
    let found = &told.findings[0];
    assert_eq!(
        (found.kind.as_str(), found.figure.as_str()),
        ("slow", "felt")
    );
    assert_eq!(found.step_seconds, 5);
    let since = found.since_unix_ms.abs_diff((EPOCH + 1_080) * 1_000);
    assert!(since <= 10_000, "{found:#?}");
    assert_eq!(found.until_unix_ms, None);
    let names = [
        found.phase.as_ref().map(|phase| phase.name.as_str()),
        found.route.as_ref().map(|route| route.name.as_str()),
        found
            .container
            .as_ref()
            .map(|container| container.name.as_str()),
    ];
    assert_eq!(names, [Some("app"), Some("/b/{id}"), Some("api-2")]);
    let beside: Vec<_> = found
        .beside
        .iter()
        .map(|beside| beside.kind.as_str())
        .collect();
    assert_eq!(beside, ["image_changed", "throttled"]);
    assert_eq!(
        found.beside[0].distance_seconds.abs_diff(-10),
        since / 1_000
    );
    assert!(
        found.summary.starts_with("Slower for "),
        "{}",
        found.summary
    );
    // Every path is one that answers: the time, its phase, requests, events.
    assert_eq!(found.evidence.len(), 4);
    let slow = past.api.get(&found.evidence[1], &[]).await.json();
    let values = slow["series"][0]["values"].as_array().unwrap();
    assert!(
        values.iter().any(|value| value.as_f64() > Some(0.15)),
        "{slow}"
    );
    for path in &found.evidence {
        let shown = past.api.get(path, &[]).await;
        assert_eq!(shown.status, 200, "{path}: {shown:?}");
    }
}

#[tokio::test]
async fn failing_route_is_told() {
    let past = past(
        |_| 0,
        |second, _, route| {
            let fails = second >= 1_100 && route == "/a";
            ([1, 1, 10, 2, 1], if fails { 500 } else { 200 })
        },
    );
    let told: wire::Why = serde_json::from_slice(&past.why(&range()).await.body).unwrap();
    assert_eq!(told.findings.len(), 1, "{told:#?}");
    let found = &told.findings[0];
    assert_eq!(found.kind, "failing");
    assert_eq!((found.before, found.after), (0.0, 0.5));
    assert_eq!(
        found.route.as_ref().map(|route| route.name.as_str()),
        Some("/a")
    );
    assert_eq!(found.container, None, "both fail alike");
}

#[tokio::test]
async fn service_that_did_not_change_and_one_that_is_not_known_are_said_nothing_of() {
    let past = past(|_| 1, |second, _, _| ([1, 1, 10 + second % 3, 2, 1], 200));
    let first = past.why(&range()).await;
    assert_eq!(first.json()["findings"], serde_json::json!([]));
    let tag = first.header("etag").to_owned();
    assert!(!tag.is_empty());
    assert!(
        first.header("cache-control").contains("max-age"),
        "{first:?}"
    );
    let path = format!("/api/v1/services/nobody/why?{}", range());
    let unknown = past.api.get(&path, &[]).await;
    assert_eq!(unknown.json()["findings"], serde_json::json!([]));
    assert_eq!(past.why("from=5&to=4").await.status, 400);
    assert_eq!(past.why("from=1000&to=2000").await.status, 400, "a second");
    assert_eq!(
        past.why("from=2000-01-01T00:00:00Z").await.status,
        400,
        "years"
    );
    assert_eq!(past.why("").await.status, 200, "the last hour");
}

#[test]
fn steps_are_those_that_history_has() {
    for (span, step) in [
        (10, 1),
        (60, 1),
        (300, 5),
        (900, 15),
        (1_000, 20),
        (3_600, 60),
        (4_000, 120),
        (21_600, 360),
        (86_400, 1_440),
        (7 * 86_400, 3 * HOUR),
    ] {
        let range = Range::of(at(0), at(span));
        assert_eq!(range.step, step, "{span} s");
        assert_eq!((range.from % step, range.to % step), (0, 0));
        for look in range.looks() {
            assert!((look.to - look.past) / look.step <= 320, "{look:?}");
        }
    }
    let looks: Vec<u64> = Range::of(at(0), at(300))
        .looks()
        .map(|look| look.step)
        .collect();
    assert_eq!(looks, [5, 60]);
}
