//! What the wire tells of known figures.

use modeltap_core::accounting::{CgroupCounts, ParserCounts, ProgramCost};
use modeltap_core::connection::{CgroupId, ConnectionId};
use modeltap_core::container::{Container, ContainerId, Inspect, Lifecycle, ServiceName, Slo};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::record::{Inference, Operation, Outcome, SessionRecord, StreamFormat, Timings};
use modeltap_core::time::{MonotonicNs, TimeAnchor, UnixNs};
use modeltap_metrics::{Aggregator, Config, reports};
use serde_json::{Value, json};

use super::*;
use crate::state::Host;

const MS: u64 = 1_000_000;
pub const ANCHOR: TimeAnchor = TimeAnchor {
    monotonic: MonotonicNs(0),
    unix: UnixNs(1_700_000_000_000 * MS),
};

pub fn container() -> Container {
    Container {
        id: ContainerId("ab".repeat(32)),
        name: "api-1".to_owned(),
        service: ServiceName("api".to_owned()),
        project: None,
        image: "api:1".to_owned(),
        cgroup: CgroupId(7),
        pid: 1,
        routes: Vec::new(),
        inspect: Inspect {
            model: true,
            usage: false,
        },
        lifecycle: Lifecycle::default(),
        slo: Slo::default(),
    }
}

/// A chat that arrived at 10 ms, was read at 30 to 32, answered from 132 to
/// 332 in three chunks, and had left the socket at 340.
pub fn chat() -> RequestRecord {
    let at = |ms: u64| MonotonicNs(ms * MS);
    let mut intervals = DurationHistogram::default();
    intervals.record(Duration::from_millis(50));
    intervals.record(Duration::from_millis(150));
    RequestRecord {
        connection: ConnectionId {
            socket: 1,
            opened: at(0),
        },
        sequence: 0,
        cgroup: CgroupId(7),
        transport: Transport::Tcp,
        peer: "10.0.0.2:50000".parse().unwrap(),
        local: "10.0.0.1:8000".parse().unwrap(),
        method: Some(Method::Post),
        path: "/v1/chat/completions".to_owned(),
        http_minor: 1,
        status: Some(200),
        timings: Timings {
            arrived: Some(at(10)),
            accepted: None,
            request_start: at(30),
            request_end: Some(at(32)),
            response_start: Some(at(40)),
            body_start: Some(at(132)),
            response_end: Some(at(332)),
            drained: Some(at(340)),
            finished: at(332),
        },
        request_body_bytes: 10,
        response_body_bytes: 300,
        streamed: true,
        stream: Some(Box::new(StreamFigures {
            format: StreamFormat::ServerSentEvents,
            n_chunks: 3,
            first_chunk: Some(at(132)),
            last_chunk: Some(at(332)),
            intervals,
            longest_interval: Duration::from_millis(150),
            n_stalls: 0,
            after_abort: None,
            completeness: Completeness::Whole,
        })),
        inference: Some(Box::new(Inference {
            operation: Operation::Chat,
            model: Some("tiny".to_owned()),
            input_tokens: None,
            output_tokens: Some(3),
        })),
        outcome: Outcome::Complete,
        completeness: Completeness::Whole,
    }
}

fn counted() -> Aggregator {
    let mut aggregator = Aggregator::new(Config::default());
    let api = container();
    aggregator.upsert_container(&api);
    aggregator.tick(ANCHOR.unix);
    aggregator.record(chat(), &api, ANCHOR);
    aggregator
}

fn service_of(aggregator: &mut Aggregator) -> Value {
    aggregator.tick(UnixNs(ANCHOR.unix.0 + 1_000 * MS));
    let snapshot = aggregator.snapshot();
    let found = snapshot.service("api").unwrap();
    serde_json::to_value(service(found, Totals::Included)).unwrap()
}

#[track_caller]
fn check(found: &Value, expected: &[(&str, Value)]) {
    for (name, value) in expected {
        let found = found.pointer(&format!("/{name}"));
        match (found, value.as_f64()) {
            (Some(found), Some(value)) if found.is_f64() => {
                let found = found.as_f64().unwrap();
                assert!((found - value).abs() <= value / 128.0, "{name}: {found}");
            }
            (found, _) => assert_eq!(found, Some(value), "{name}"),
        }
    }
}

#[test]
fn request_tells_where_its_time_went_in_seconds() {
    let aggregator = counted();
    let found = serde_json::to_value(request(aggregator.recent().next().unwrap())).unwrap();
    check(
        &found,
        &[
            ("arrived_unix_ms", json!(1_700_000_000_010_u64)),
            ("arrived_monotonic_ns", json!(10 * MS)),
            ("queue", json!(0.02)),
            ("read", json!(0.002)),
            ("app", json!(0.1)),
            ("stream", json!(0.2)),
            ("drain", json!(0.008)),
            ("duration", json!(0.302)),
            ("felt", json!(0.322)),
            ("transport", json!("tcp")),
            ("stream_format", json!("server_sent_events")),
            ("n_chunks", json!(3)),
            ("n_stalls", json!(0)),
            ("first_chunk", json!(0.1)),
            ("chunk_interval/p50", json!(0.05)),
            ("chunk_interval/p99", json!(0.15)),
            ("chunk_interval/max", json!(0.15)),
            ("chunk_pace", json!(10.0)),
            ("after_abort", Value::Null),
            ("operation", json!("chat")),
            ("model", json!("tiny")),
            ("input_tokens", Value::Null),
            ("output_tokens", json!(3)),
        ],
    );
}

#[test]
fn what_a_plain_request_has_not_is_null() {
    let mut plain = chat();
    (plain.stream, plain.inference, plain.timings.arrived) = (None, None, None);
    let mut aggregator = Aggregator::new(Config::default());
    aggregator.record(plain, &container(), ANCHOR);
    let found = serde_json::to_value(request(aggregator.recent().next().unwrap())).unwrap();
    for name in [
        "arrived_unix_ms",
        "arrived_monotonic_ns",
        "queue",
        "felt",
        "stream_format",
        "n_chunks",
        "first_chunk",
        "chunk_interval",
        "n_stalls",
        "operation",
        "model",
        "output_tokens",
    ] {
        check(&found, &[(name, Value::Null)]);
    }
}

#[test]
fn service_tells_its_parts_and_its_streams() {
    let mut aggregator = counted();
    let found = service_of(&mut aggregator);
    check(
        &found,
        &[
            ("window/felt_p50", json!(0.322)),
            ("window/felt_p95", json!(0.322)),
            ("window/queue_p95", json!(0.02)),
            ("window/parts/n_requests", json!(1)),
            ("window/parts/n_queue", json!(1)),
            ("window/parts/queue", json!(0.02)),
            ("window/parts/read", json!(0.002)),
            ("window/parts/app", json!(0.1)),
            ("window/parts/stream", json!(0.2)),
            ("window/parts/drain", json!(0.008)),
            ("window/streams/n_streams", json!(1)),
            ("window/streams/n_chunks", json!(3)),
            ("window/streams/chunk_rate", json!(3.0)),
            ("window/streams/chunk_pace", json!(10.0)),
            ("window/streams/first_chunk_p95", json!(0.1)),
            ("window/streams/output_tokens", json!(3)),
            ("window/streams/input_tokens", Value::Null),
            ("containers/0/inspect", json!(["model"])),
            ("containers/0/unseen_bytes", Value::Null),
            ("inner", Value::Null),
            ("sessions", Value::Null),
            ("capture", Value::Null),
            ("kernel", Value::Null),
            ("difference", Value::Null),
            ("seen/requests", json!(1)),
        ],
    );
    assert_eq!(found["containers"][0]["window"], found["window"]);
}

#[test]
fn inner_hops_and_sessions_stand_apart() {
    let mut aggregator = counted();
    let mut hop = chat();
    hop.transport = Transport::Unix;
    aggregator.record(hop, &container(), ANCHOR);
    let session = SessionRecord {
        connection: chat().connection,
        cgroup: CgroupId(7),
        path: "/ws".to_owned(),
        started: MonotonicNs(0),
        ended: MonotonicNs(2_000 * MS),
        n_messages_read: Some(4),
        n_messages_written: Some(6),
        bytes_read: 40,
        bytes_written: 60,
        completeness: Completeness::Whole,
    };
    aggregator.record_session(&session, &container(), ANCHOR);
    let found = service_of(&mut aggregator);
    check(
        &found,
        &[
            ("window/n_requests", json!(1)),
            ("totals/0/n_requests", json!(1)),
            ("inner/n_requests", json!(1)),
            ("inner/by_status_class", json!([0, 1, 0, 0, 0, 0])),
            ("inner/window/n_requests", json!(1)),
            ("sessions/n_active", json!(0)),
            ("sessions/n_sessions", json!(1)),
            ("sessions/duration_max", json!(2.0)),
            ("sessions/messages_written", json!(6)),
            ("sessions/message_rate", json!(5.0)),
            ("sessions/bytes_read", json!(40)),
        ],
    );
    let inner = aggregator.recent_inner().next().unwrap();
    assert_eq!(request(inner).transport, "unix");
}

#[test]
fn probes_counts_stand_beside_the_parsers_with_their_difference() {
    let mut aggregator = counted();
    let kernel = CgroupCounts {
        events_lost: 2,
        bytes_submitted: 900,
        bytes_lost: 100,
        n_requests: 3,
        n_responses: [0, 0, 0, 0, 2],
        ..CgroupCounts::default()
    };
    let parser = ParserCounts {
        bytes_observed: 900,
        bytes_parsed: 700,
        bytes_skipped: 100,
        bytes_truncated: 60,
        bytes_buffered: 40,
    };
    let cgroup = CgroupId(7);
    let told = reports([(cgroup, kernel)], [(cgroup, parser)], [(cgroup, 5)]);
    aggregator.set_accounts(&told, 0);
    let found = service_of(&mut aggregator);
    let expected = [
        ("capture/events_lost", json!(2)),
        ("capture/bytes_observed", json!(1_000)),
        ("capture/bytes_parsed", json!(740)),
        ("capture/bytes_lost", json!(100)),
        ("capture/bytes_pending", json!(0)),
        ("kernel/requests", json!(3)),
        ("kernel/responses", json!([0, 0, 0, 0, 2])),
        ("seen/responses", json!([0, 1, 0, 0, 0])),
        ("difference/requests", json!(2)),
        ("difference/responses", json!([0, -1, 0, 0, 2])),
        ("unseen_bytes", json!(5)),
    ];
    check(&found, &expected);
    let snapshot = aggregator.snapshot();
    let account = accounting(&snapshot.services[0]);
    check(&serde_json::to_value(account).unwrap(), &expected);
}

#[test]
fn status_tells_what_room_history_takes_and_what_it_lacks() {
    let counts = modeltap_store::Counts {
        rollups: 1,
        resources: 2,
        exemplars: 3,
        events: 4,
        alerts: 5,
        deliveries: 6,
    };
    let state = DaemonState {
        store: modeltap_store::Stats {
            used_bytes: 70,
            n_reclaimed: 2,
            given_up_before: Some(UnixNs(9_000 * MS)),
            dropped: counts,
            n_waiting: 21,
            waiting_for: Duration::from_millis(2_500),
            n_lost_by_disk: 3,
            n_written_again: 4,
            ..modeltap_store::Stats::default()
        },
        ..DaemonState::default()
    };
    let store = serde_json::to_value(status(&state, &[]).store).unwrap();
    assert_eq!(store["used_bytes"], 70);
    assert_eq!(store["n_reclaimed"], 2);
    assert_eq!(store["given_up_before_unix_ms"], 9_000);
    assert_eq!(store["rows_written"]["rollups"], 0);
    let dropped = json!({"rollups": 1, "resources": 2, "exemplars": 3, "events": 4, "alerts": 5, "deliveries": 6});
    assert_eq!(store["rows_dropped"], dropped);
    assert_eq!(store["rows_waiting"], 21);
    assert_eq!(store["waiting_seconds"], 2.5);
    assert_eq!(store["rows_lost_by_disk"], 3);
    assert_eq!(store["rows_written_again"], 4);
}

#[test]
fn status_tells_host_docker_and_what_each_program_cost() {
    let state = DaemonState {
        kernel: "6.18".into(),
        host: Host {
            system: "Debian".into(),
            architecture: "x86_64".into(),
            n_cpus: 4,
            memory_bytes: 5,
            cgroups: "v2".into(),
        },
        engine: "28.2".into(),
        programs: [ProgramCost {
            name: "exit_write".into(),
            n_runs: 3,
            run_time: Duration::from_micros(6),
        }]
        .into(),
        ..DaemonState::default()
    };
    let told = serde_json::to_value(status(&state, &[])).unwrap();
    let host = json!({"system": "Debian", "architecture": "x86_64", "n_cpus": 4, "memory_bytes": 5, "cgroups": "v2"});
    assert_eq!(told["host"], host);
    assert_eq!(told["docker"]["version"], "28.2");
    // Every second's message is spared the programs.
    assert_eq!(told["probes"].get("programs"), None);
    let programs = serde_json::to_value(programs(&state)).unwrap();
    assert_eq!(
        programs,
        json!([{"name": "exit_write", "n_runs": 3, "run_seconds": 6e-6}])
    );
    let unknown = serde_json::to_value(status(&DaemonState::default(), &[])).unwrap();
    assert_eq!(unknown["docker"].get("version"), None);
}
