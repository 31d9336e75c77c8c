//! Figures of alert rules over rows of every width, and the last second.

mod support;

use std::time::Duration;

use modeltap_core::alert::AlertMetric;
use modeltap_core::history::Batch;
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_store::{FigureQuery, Reader};
use support::{EPOCH, at, open, rollup};

fn used(container: &str, second: u64, width: u64, figures: ResourceFigures) -> ResourceRollup {
    ResourceRollup {
        service: "api".into(),
        container: container.into(),
        start: at(second),
        width: Duration::from_secs(width),
        figures,
    }
}

/// One core of two, half of the memory, a third of the periods throttled.
fn figures(seconds: u64) -> ResourceFigures {
    ResourceFigures {
        n_seconds: seconds,
        cpu_ns: seconds * 1_000_000_000,
        cpu_limit_cores: Some(2.0),
        n_periods: Some(9 * seconds),
        n_throttled: Some(3 * seconds),
        memory_sum_bytes: 500 * seconds,
        memory_max_bytes: 900,
        memory_limit_bytes: Some(1_000),
        n_oom_kills: Some(seconds),
        ..ResourceFigures::default()
    }
}

#[track_caller]
fn check(reader: &Reader, metric: AlertMetric, expected: [Option<f64>; 4]) {
    let query = FigureQuery {
        metric,
        service: Some("api"),
        min_requests: 1,
        from: EPOCH,
        n_steps: 4,
        step: 60,
    };
    assert_eq!(
        reader.alert_figure(&query).expect("a valid query"),
        expected,
        "{metric:?}"
    );
}

#[test]
fn rows_weigh_by_their_seconds_and_what_is_not_known_is_no_zero() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("modeltap.duckdb"));
    let bare = ResourceFigures {
        n_seconds: 60,
        cpu_ns: 60_000_000_000,
        memory_sum_bytes: 60 * 100,
        ..ResourceFigures::default()
    };
    let idle = ResourceFigures {
        cpu_ns: 0,
        n_throttled: Some(0),
        memory_sum_bytes: 0,
        n_oom_kills: Some(0),
        ..figures(10)
    };
    let resources = vec![
        // A minute of one container with limits and one without.
        used("api-1", 0, 60, figures(60)),
        used("api-2", 0, 60, bare.clone()),
        // Thirty busy seconds in three rows, and ten idle ones.
        used("api-1", 60, 10, figures(10)),
        used("api-1", 70, 10, figures(10)),
        used("api-1", 80, 10, figures(10)),
        used("api-1", 90, 10, idle),
        // A minute of which nobody told limits.
        used("api-2", 120, 60, bare),
    ];
    writer.append(Batch {
        resources,
        rollups: vec![rollup("api", "/", 200, 10, &[Duration::from_secs(6)])],
        ..Batch::default()
    });
    writer.flush();
    let half = Some(0.5);
    check(
        &reader,
        AlertMetric::CpuCores,
        [Some(2.0), Some(0.75), Some(1.0), None],
    );
    check(
        &reader,
        AlertMetric::CpuShare,
        [half, Some(0.375), None, None],
    );
    check(
        &reader,
        AlertMetric::ThrottledShare,
        [Some(1.0 / 3.0), Some(0.25), None, None],
    );
    check(
        &reader,
        AlertMetric::MemoryBytes,
        [Some(600.0), Some(375.0), Some(100.0), None],
    );
    check(
        &reader,
        AlertMetric::MemoryShare,
        [half, Some(0.375), None, None],
    );
    check(
        &reader,
        AlertMetric::OomKills,
        [Some(60.0), Some(30.0), None, None],
    );
    check(
        &reader,
        AlertMetric::Restarts,
        [Some(0.0), Some(0.0), Some(0.0), None],
    );
    check(
        &reader,
        AlertMetric::ActiveRequests,
        [Some(0.1), Some(0.0), Some(0.0), None],
    );
    check(&reader, AlertMetric::StreamAbortRate, [None; 4]);
    check(&reader, AlertMetric::GpuMemoryShare, [None; 4]);
}

#[test]
fn last_second_is_that_of_the_newest_row_wherever_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, reader) = open(&folder.path().join("modeltap.duckdb"));
    assert_eq!(reader.last_second().unwrap(), None);
    let rollups = vec![rollup("api", "/", 200, 700, &[Duration::from_secs(1)])];
    writer.append(rollups);
    writer.flush();
    assert_eq!(reader.last_second().unwrap(), Some(at(700)));
    // Closed ten minutes move on to the next table.
    writer.age(at(5_000));
    assert_eq!(reader.last_second().unwrap(), Some(at(700)));
    writer.append(Batch {
        resources: vec![used("api-1", 800, 1, figures(1))],
        ..Batch::default()
    });
    writer.flush();
    assert_eq!(reader.last_second().unwrap(), Some(at(800)));
}
