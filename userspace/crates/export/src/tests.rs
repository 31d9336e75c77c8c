use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::{CaptureAccount, RequestCounts};
use modeltap_core::measure::{Measure, TokenSums};
use modeltap_core::record::{Operation, Outcome};
use modeltap_core::time::UnixNs;
use modeltap_core::time_buckets::{
    FIRST_TOKEN_BOUNDS_NS, INFERENCE_BOUNDS_NS, PART_BOUNDS_NS, SESSION_BOUNDS_NS,
};
use modeltap_core::totals::{
    ContainerTotals, InferenceCounters, InferenceTotals, InnerTotals, RouteCounters, RouteTotals,
    SeriesTotals, SessionTotals,
};

use super::*;
use crate::notify::Channel;

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
            ..ContainerTotals::default()
        }],
        ..Totals::default()
    };
    rendered_totals(&totals)
}

fn rendered_totals(totals: &Totals) -> String {
    let accounting = CaptureAccounting {
        events_observed: 10,
        events_lost: 2,
        ..CaptureAccounting::default()
    };
    let own = Own {
        version: "1.2.3",
        cpu_seconds: 1.25,
        resident_bytes: 1024,
        n_connections: 4,
        n_containers: 1,
        docker_connected: true,
        probes_cores: 0.0,
        reduction: 0,
    };
    render(&Exposition {
        totals,
        accounting: &accounting,
        own,
        history: &HistoryState {
            rows: vec![
                RowCounts {
                    kind: "rollups",
                    written: 5,
                    dropped: 0,
                },
                RowCounts {
                    kind: "events",
                    written: 3,
                    dropped: 2,
                },
            ],
            write_failures: 6,
            size_bytes: 4_096,
            used_bytes: 1_024,
            n_reclaimed: 1,
            given_up_before: Some(UnixNs(1_500_000_000)),
            n_waiting: 70,
            waiting_for: Duration::from_millis(2_500),
            n_lost_by_disk: 20,
            n_written_again: 50,
        },
        alerts: &[],
        notifiers: &[NotifierStats {
            channel: Channel::Slack,
            delivered: 4,
            retried: 3,
            failed: 2,
            dropped: 1,
            silenced: 5,
            n_queued: 6,
        }],
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

fn buckets(bounds: &'static [u64], millis: &[u64]) -> TimeBuckets {
    let mut buckets = TimeBuckets::new(bounds);
    for &millis in millis {
        buckets.record(Duration::from_millis(millis));
    }
    buckets
}

/// Everything that a container can have, once.
fn full() -> Totals {
    let (service, container): (Arc<str>, Arc<str>) = (Arc::from("svc"), Arc::from("svc-1"));
    let mut counters = RouteCounters::default();
    for (at, measure) in (1..).zip(Measure::ALL) {
        let times = counters.measure_mut(measure);
        times.record(Duration::from_millis(at));
    }
    counters.streams.n_streams = 4;
    counters.streams.n_aborted = 1;
    counters.streams.n_chunks = 40;
    counters.streams.n_stalls = 2;
    counters.streams.after_abort_ns = 1_500_000_000;
    Totals {
        series: Vec::new(),
        routes: vec![RouteTotals {
            service: service.clone(),
            container: container.clone(),
            route: Arc::from("/p"),
            counters,
        }],
        inference: vec![InferenceTotals {
            service: service.clone(),
            container: container.clone(),
            operation: Operation::Chat,
            model: Arc::from("tiny"),
            error_type: Arc::from(""),
            counters: InferenceCounters {
                duration: buckets(&INFERENCE_BOUNDS_NS, &[15, 90_000]),
                first_token: Some(buckets(&FIRST_TOKEN_BOUNDS_NS, &[3])),
                tokens: TokenSums {
                    input: None,
                    output: Some(7),
                },
            },
        }],
        containers: vec![ContainerTotals {
            service,
            container,
            n_active: 3,
            inner: Some(InnerTotals {
                by_status_class: [0, 5, 0, 0, 1, 2],
                duration: buckets(&PART_BOUNDS_NS, &[1]),
            }),
            sessions: Some(SessionTotals {
                duration: buckets(&SESSION_BOUNDS_NS, &[4_000, 90_000]),
                n_messages_read: 10,
                n_messages_written: 20,
            }),
            capture: Some(CaptureAccount {
                events_submitted: 9,
                events_lost: 5,
                events_lost_map_full: 2,
                user_reads_failed: 6,
                bytes_observed: 210,
                bytes_parsed: 100,
                bytes_skipped: 20,
                bytes_truncated: 10,
                bytes_lost: 5,
                bytes_dropped: 8,
                bytes_pending: 7,
                events_left_out: 6,
                bytes_left_out: 60,
            }),
            kernel: Some(RequestCounts {
                n_requests: 11,
                n_responses: [1, 8, 0, 0, 2],
            }),
            unseen_bytes: Some(4_096),
            ..ContainerTotals::default()
        }],
    }
}

#[test]
fn golden_lines_of_everything_a_container_can_have() {
    let text = rendered_totals(&full());
    parse(&text);
    let lines: HashSet<&str> = text.lines().collect();
    let of = "service_name=\"svc\",container_name=\"svc-1\"";
    let route = format!("{of},http_route=\"/p\"");
    let chat = format!("{of},gen_ai_operation_name=\"chat\",gen_ai_request_model=\"tiny\"");
    for line in [
        format!("modeltap_request_felt_seconds_bucket{{{route},le=\"0.005\"}} 1"),
        format!("modeltap_request_felt_seconds_sum{{{route}}} 0.001"),
        format!("modeltap_request_queue_seconds_bucket{{{route},le=\"0.001\"}} 0"),
        format!("modeltap_request_queue_seconds_bucket{{{route},le=\"0.0025\"}} 1"),
        format!("modeltap_request_read_seconds_sum{{{route}}} 0.003"),
        format!("modeltap_request_app_seconds_sum{{{route}}} 0.004"),
        format!("modeltap_response_stream_seconds_sum{{{route}}} 0.005"),
        format!("modeltap_response_drain_seconds_sum{{{route}}} 0.006"),
        format!("modeltap_response_time_to_first_chunk_seconds_sum{{{route}}} 0.007"),
        format!("modeltap_response_chunk_interval_seconds_count{{{route}}} 1"),
        format!("modeltap_response_streams_total{{{route}}} 4"),
        format!("modeltap_response_streams_aborted_total{{{route}}} 1"),
        format!("modeltap_response_chunks_total{{{route}}} 40"),
        format!("modeltap_response_stalls_total{{{route}}} 2"),
        format!("modeltap_response_after_abort_seconds_total{{{route}}} 1.5"),
        format!(
            "gen_ai_server_request_duration_seconds_bucket{{{chat},error_type=\"\",le=\"81.92\"}} 1"
        ),
        format!("gen_ai_server_request_duration_seconds_count{{{chat},error_type=\"\"}} 2"),
        format!("gen_ai_server_time_to_first_token_seconds_bucket{{{chat},le=\"0.005\"}} 1"),
        format!("modeltap_inference_tokens_total{{{chat},gen_ai_token_type=\"output\"}} 7"),
        format!("http_server_active_requests{{{of}}} 3"),
        format!("modeltap_inner_requests_total{{{of},status_class=\"2xx\"}} 5"),
        format!("modeltap_inner_requests_total{{{of},status_class=\"\"}} 2"),
        format!("modeltap_inner_request_duration_seconds_count{{{of}}} 1"),
        format!("modeltap_websocket_sessions_total{{{of}}} 2"),
        format!("modeltap_websocket_session_duration_seconds_sum{{{of}}} 94"),
        format!("modeltap_websocket_messages_total{{{of},direction=\"written\"}} 20"),
        format!("modeltap_service_capture_bytes_total{{{of},fate=\"parsed\"}} 100"),
        format!("modeltap_service_capture_bytes_total{{{of},fate=\"dropped\"}} 8"),
        format!("modeltap_service_capture_bytes_total{{{of},fate=\"left_out\"}} 60"),
        format!("modeltap_service_capture_events_total{{{of},fate=\"left_out\"}} 6"),
        format!("modeltap_service_capture_events_total{{{of},fate=\"submitted\"}} 9"),
        format!("modeltap_service_capture_events_total{{{of},fate=\"lost\"}} 5"),
        format!("modeltap_service_capture_events_lost_total{{{of},cause=\"ring_full\"}} 3"),
        format!("modeltap_service_capture_events_lost_total{{{of},cause=\"connections_full\"}} 2"),
        format!("modeltap_service_user_reads_failed_total{{{of}}} 6"),
        format!("modeltap_service_capture_pending_bytes{{{of}}} 7"),
        format!("modeltap_kernel_requests_total{{{of}}} 11"),
        format!("modeltap_kernel_responses_total{{{of},status_class=\"5xx\"}} 2"),
        format!("modeltap_unseen_bytes_total{{{of}}} 4096"),
        "modeltap_store_rollups_total{result=\"dropped\"} 0".to_owned(),
        "modeltap_store_rollups_total{result=\"written\"} 5".to_owned(),
        "modeltap_store_rows_total{kind=\"events\",result=\"dropped\"} 2".to_owned(),
        "modeltap_store_rows_total{kind=\"rollups\",result=\"written\"} 5".to_owned(),
        "modeltap_store_write_failures_total 6".to_owned(),
        "modeltap_store_reclaims_total 1".to_owned(),
        "modeltap_store_size_bytes 4096".to_owned(),
        "modeltap_store_used_bytes 1024".to_owned(),
        "modeltap_store_rows_waiting 70".to_owned(),
        "modeltap_store_waiting_seconds 2.5".to_owned(),
        "modeltap_store_rows_lost_by_disk_total 20".to_owned(),
        "modeltap_store_rows_written_again_total 50".to_owned(),
        "modeltap_store_given_up_before_timestamp_seconds 1.5".to_owned(),
        "modeltap_notifications_total{notifier=\"slack\",outcome=\"delivered\"} 4".to_owned(),
        "modeltap_notifications_total{notifier=\"slack\",outcome=\"silenced\"} 5".to_owned(),
        "modeltap_notifications_queued{notifier=\"slack\"} 6".to_owned(),
        "process_cpu_seconds_total 1.25".to_owned(),
    ] {
        assert!(
            lines.contains(line.as_str()),
            "{line} is missing in\n{text}"
        );
    }
    assert!(
        !text.contains("gen_ai_token_type=\"input\""),
        "none was told"
    );
}

#[test]
fn what_a_container_never_had_takes_no_line() {
    let text = rendered(vec![series("/p", Some(200), Outcome::Complete, &[1])]);
    for family in [
        "modeltap_request_felt_seconds",
        "modeltap_response_streams_total",
        "gen_ai_server_request_duration_seconds",
        "modeltap_inner_requests_total",
        "modeltap_websocket_sessions_total",
        "modeltap_service_capture_bytes_total",
        "modeltap_kernel_requests_total",
        "modeltap_unseen_bytes_total",
    ] {
        assert!(text.contains(&format!("# TYPE {family} ")), "{family}");
        assert!(!text.contains(&format!("\n{family}{{")), "{family}");
        assert!(!text.contains(&format!("\n{family}_bucket")), "{family}");
    }
}

#[test]
fn containers_and_routes_told_twice_are_added() {
    let mut totals = full();
    totals.containers.extend(totals.containers.clone());
    totals.routes.extend(totals.routes.clone());
    totals.inference.extend(totals.inference.clone());
    let samples = parse(&rendered_totals(&totals));
    for (name, label, expected) in [
        ("modeltap_request_app_seconds_count", "", 2.0),
        ("modeltap_inference_tokens_total", "output", 14.0),
        ("modeltap_inner_requests_total", "2xx", 10.0),
        ("modeltap_websocket_sessions_total", "", 4.0),
        ("modeltap_service_capture_bytes_total", "lost", 10.0),
        ("modeltap_kernel_requests_total", "", 22.0),
        ("modeltap_unseen_bytes_total", "", 8_192.0),
    ] {
        assert_eq!(value(&samples, name, &[label]), expected, "{name}");
    }
}
