use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::totals::{ContainerTotals, SeriesTotals};

use super::*;

fn series(route: &str, status: Option<u16>, outcome: Outcome, millis: &[u64]) -> SeriesTotals {
    let mut counters = Counters::default();
    for &millis in millis {
        counters.n_requests += 1;
        counters.duration.record(Duration::from_millis(millis));
        counters.request_body.record(10);
    }
    SeriesTotals {
        key: SeriesKey {
            service: Arc::from("svc"),
            container: Arc::from("svc-1"),
            method: Some(Method::Post),
            route: Arc::from(route),
            status,
            outcome,
        },
        http_minor: 1,
        counters,
    }
}

fn rendered(series: Vec<SeriesTotals>) -> String {
    let totals = Totals {
        series,
        containers: vec![ContainerTotals {
            service: Arc::from("svc"),
            container: Arc::from("svc-1"),
            n_active: 3,
            queue: DurationBuckets::default(),
        }],
    };
    let accounting = CaptureAccounting {
        events_observed: 10,
        events_lost: 2,
        ..CaptureAccounting::default()
    };
    let own = Own {
        version: "1.2.3",
        rollups_written: 5,
        rollups_dropped: 0,
        resident_bytes: 1024,
        n_connections: 4,
        n_containers: 1,
        docker_connected: true,
    };
    render(&Exposition {
        totals: &totals,
        accounting: &accounting,
        own,
    })
}

/// Name, labels and value of every sample; checks what every text must hold.
fn parse(text: &str) -> Vec<(String, String, f64)> {
    let mut families = HashSet::new();
    let mut family = String::new();
    let mut seen = HashSet::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} is in two pieces");
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = labelled.split_once('{').unwrap_or((labelled, ""));
        assert!(name.starts_with(&family), "{name} stands in {family}");
        assert!(seen.insert(labelled.to_owned()), "{labelled} appears twice");
        samples.push((name.to_owned(), labels.to_owned(), value.parse().unwrap()));
    }
    samples
}

#[track_caller]
fn value(samples: &[(String, String, f64)], name: &str, labels: &[&str]) -> f64 {
    let found: Vec<f64> = samples
        .iter()
        .filter(|(found, all, _)| found == name && labels.iter().all(|label| all.contains(label)))
        .map(|(_, _, value)| *value)
        .collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    found[0]
}

#[test]
fn histogram_is_cumulative_and_ends_with_its_count() {
    let samples = parse(&rendered(vec![series(
        "/p",
        Some(200),
        Outcome::Complete,
        &[1, 7, 20_000],
    )]));
    let name = "http_server_request_duration_seconds_bucket";
    assert_eq!(value(&samples, name, &["le=\"0.005\""]), 1.0);
    assert_eq!(value(&samples, name, &["le=\"0.01\""]), 2.0);
    assert_eq!(value(&samples, name, &["le=\"10\""]), 2.0);
    assert_eq!(value(&samples, name, &["le=\"+Inf\""]), 3.0);
    assert_eq!(
        value(&samples, "http_server_request_duration_seconds_count", &[]),
        3.0
    );
    assert_eq!(
        value(&samples, "http_server_request_duration_seconds_sum", &[]),
        20.008
    );
}

#[test]
fn outcomes_of_one_status_share_a_histogram_and_not_a_counter() {
    let samples = parse(&rendered(vec![
        series("/p", Some(200), Outcome::Complete, &[1, 1]),
        series("/p", Some(200), Outcome::ClientAborted, &[1]),
    ]));
    assert_eq!(
        value(&samples, "http_server_request_duration_seconds_count", &[]),
        3.0
    );
    assert_eq!(
        value(
            &samples,
            "modeltap_requests_total",
            &["outcome=\"complete\""]
        ),
        2.0
    );
    assert_eq!(
        value(
            &samples,
            "modeltap_requests_total",
            &["outcome=\"client_aborted\""]
        ),
        1.0
    );
}

#[test]
fn failures_carry_their_error_type() {
    let samples = parse(&rendered(vec![
        series("/p", Some(503), Outcome::Complete, &[1]),
        series("/p", None, Outcome::Unanswered, &[1]),
        series("/p", Some(404), Outcome::Complete, &[1]),
    ]));
    let name = "http_server_request_duration_seconds_count";
    assert_eq!(value(&samples, name, &["error_type=\"503\""]), 1.0);
    assert_eq!(value(&samples, name, &["error_type=\"unanswered\""]), 1.0);
    assert_eq!(
        value(&samples, name, &["code=\"404\"", "error_type=\"\""]),
        1.0
    );
}

#[test]
fn hostile_routes_are_escaped() {
    let text = rendered(vec![series(
        "/a\"b\\c\nd",
        Some(200),
        Outcome::Complete,
        &[1],
    )]);
    assert!(text.contains(r#"http_route="/a\"b\\c\nd""#), "{text}");
    parse(&text);
}

#[test]
fn own_state_and_losses_are_told() {
    let samples = parse(&rendered(Vec::new()));
    assert_eq!(
        value(&samples, "modeltap_capture_events_total", &["captured"]),
        8.0
    );
    assert_eq!(
        value(&samples, "modeltap_capture_events_total", &["lost"]),
        2.0
    );
    assert_eq!(value(&samples, "modeltap_docker_connected", &[]), 1.0);
    assert_eq!(
        value(&samples, "modeltap_build_info", &["version=\"1.2.3\""]),
        1.0
    );
    assert_eq!(
        value(&samples, "http_server_active_requests", &["svc-1"]),
        3.0
    );
}
