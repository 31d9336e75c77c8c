//! Everything that a batch may hold, in the file as it was given.

mod support;

use std::time::Duration;

use duckdb::Connection;
use modeltap_core::exemplar::{Exemplar, ExemplarReason};
use modeltap_core::history::Batch;
use modeltap_core::record::{Completeness, Method, Outcome};
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_store::Counts;
use support::{at, n_requests, open, rollup};

const MS: Duration = Duration::from_millis(1);

fn figures() -> ResourceFigures {
    ResourceFigures {
        n_seconds: 1,
        cpu_ns: 2,
        cpu_limit_cores: Some(0.5),
        n_periods: Some(4),
        n_throttled: Some(5),
        throttled_ns: Some(6),
        memory_sum_bytes: 7,
        memory_max_bytes: 8,
        memory_limit_bytes: Some(9),
        n_oom_kills: Some(10),
        received_bytes: Some(11),
        sent_bytes: Some(12),
        read_bytes: Some(13),
        written_bytes: Some(14),
        n_pids_max: Some(15),
        pressure_cpu_us: Some(16),
        pressure_memory_us: Some(17),
        pressure_io_us: Some(18),
        gpu_utilization_sum: Some(1.5),
        gpu_memory_max_bytes: Some(20),
        gpu_memory_total_bytes: None,
    }
}

fn exemplar() -> Exemplar {
    let ms = |n| Some(Duration::from_millis(n));
    Exemplar {
        reason: ExemplarReason::Failed,
        service: "api".into(),
        container: "api-1".into(),
        route: "/a/{id}".into(),
        method: Some(Method::Post),
        status: Some(503),
        outcome: Outcome::ServerAborted,
        completeness: Completeness::Truncated,
        streamed: true,
        started: at(3),
        finished: at(4),
        duration: ms(1),
        time_to_first_byte: ms(2),
        felt: ms(3),
        queue: ms(4),
        read: ms(5),
        app: ms(6),
        stream: ms(7),
        drain: ms(8),
        first_chunk: ms(9),
        n_chunks: Some(10),
        request_body_bytes: 11,
        response_body_bytes: 12,
        peer: "[fd00::1]:4711".parse().expect("an address"),
        local_port: 8_000,
    }
}

/// The only row of a query, as JSON.
#[track_caller]
fn check(connection: &Connection, query: &str, expected: &str) {
    let sql = format!("SELECT to_json(found)::VARCHAR FROM ({query}) AS found");
    let row: String = connection
        .query_row(&sql, [], |row| row.get(0))
        .expect("one row");
    assert_eq!(row, expected, "{query}");
}

#[test]
fn every_kind_comes_back_as_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("modeltap.duckdb");
    let (writer, reader) = open(&path);
    writer.append(Batch {
        rollups: vec![rollup("api", "/a/{id}", 200, 4, &[MS])],
        resources: vec![ResourceRollup {
            service: "api".into(),
            container: "api-1".into(),
            start: at(4),
            width: Duration::from_secs(1),
            figures: figures(),
        }],
        exemplars: vec![exemplar()],
        events: vec![TimelineEvent {
            at: at(5),
            kind: TimelineKind::OomKilled,
            service: Some("api".into()),
            container: Some("api-1".into()),
            detail: "1 process".into(),
        }],
        ..Batch::default()
    });
    writer.flush();
    let one_each = Counts {
        rollups: 1,
        resources: 1,
        exemplars: 1,
        events: 1,
        ..Counts::default()
    };
    assert_eq!(reader.stats().written, one_each);
    assert_eq!(reader.stats().dropped, Counts::default());
    assert_eq!(n_requests(&reader), 1);
    drop((writer, reader));

    let connection = Connection::open(&path).unwrap();
    check(
        &connection,
        "SELECT * FROM resources",
        "{\"width_s\":1,\"start\":\"2023-11-14 22:13:04\",\"service\":\"api\",\
         \"container\":\"api-1\",\"n_seconds\":1,\"cpu_ns\":2,\"cpu_limit_cores\":0.5,\
         \"n_periods\":4,\"n_throttled\":5,\"throttled_ns\":6,\"memory_sum_bytes\":7,\
         \"memory_max_bytes\":8,\"memory_limit_bytes\":9,\"n_oom_kills\":10,\
         \"received_bytes\":11,\"sent_bytes\":12,\"read_bytes\":13,\"written_bytes\":14,\
         \"n_pids_max\":15,\"pressure_cpu_us\":16,\"pressure_memory_us\":17,\
         \"pressure_io_us\":18,\"gpu_utilization_sum\":1.5,\"gpu_memory_max_bytes\":20,\
         \"gpu_memory_total_bytes\":null}",
    );
    check(
        &connection,
        "SELECT * FROM exemplars",
        "{\"finished\":\"2023-11-14 22:13:04\",\"started\":\"2023-11-14 22:13:03\",\
         \"reason\":\"failed\",\"service\":\"api\",\"container\":\"api-1\",\
         \"route\":\"/a/{id}\",\"method\":\"POST\",\"status\":503,\
         \"outcome\":\"server_aborted\",\"completeness\":\"truncated\",\"streamed\":true,\
         \"duration_ns\":1000000,\"ttfb_ns\":2000000,\"felt_ns\":3000000,\
         \"queue_ns\":4000000,\"read_ns\":5000000,\"app_ns\":6000000,\"stream_ns\":7000000,\
         \"drain_ns\":8000000,\"first_chunk_ns\":9000000,\"n_chunks\":10,\
         \"request_body_bytes\":11,\"response_body_bytes\":12,\"peer\":\"[fd00::1]:4711\",\
         \"local_port\":8000}",
    );
    check(
        &connection,
        "SELECT * FROM events",
        "{\"happened\":\"2023-11-14 22:13:05\",\"kind\":\"oom_killed\",\"service\":\"api\",\
         \"container\":\"api-1\",\"detail\":\"1 process\"}",
    );
    check(
        &connection,
        "SELECT service, n_requests, duration_max_s FROM requests",
        "{\"service\":\"api\",\"n_requests\":1,\"duration_max_s\":0.001}",
    );
    check(
        &connection,
        "SELECT last_batch FROM runs",
        "{\"last_batch\":1}",
    );
}
