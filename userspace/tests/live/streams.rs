//! Answers that take long: streams, and clients that do not wait.

use std::time::Duration;

use modeltap_api_types::Request as Record;
use modeltap_testbed::client::Request;
use modeltap_testbed::clock::await_some;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Leave, Planned, Reuse, Target};
use modeltap_testbed::truth;

use crate::{Watch, watch};

const UVICORN: &str =
    "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log --loop uvloop";
/// Most that a duration told may differ from the client's, in seconds.
const TOLERANCE: f64 = 0.05;

#[test]
fn stream_of_events_is_one_request_as_long_as_the_whole() {
    let Some(_ground) = ground::take("stream") else {
        return;
    };
    let image = images::demo();
    let spec = Spec::new(&image, "/chat --port 8080 --first-ms 120 --interval-ms 10");
    let container = Container::start("chat", &spec).listening(8080);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let body = "{\"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";
    let route = "/v1/chat/completions";
    let plan = vec![
        Planned {
            request: Request::post(route, body),
            route
        };
        4
    ];
    let plans = vec![(Reuse::KeepAlive, plan.clone()), (Reuse::Close, plan)];
    let rows = load::run(Target::inside(&container, 8080), plans);
    watch.daemon.await_requests(container.name(), rows.len());
    let records = watch.daemon.requests(container.name());
    let pairs = truth::join(&rows, &records);
    truth::check_times(&pairs);
    for (row, record) in pairs {
        let seconds = |from: u64, to: u64| (to - from) as f64 / 1e9;
        let whole = seconds(row.sent_ns, row.last_byte_ns);
        let first = seconds(row.sent_ns, row.first_byte_ns);
        assert!(whole > 0.2, "a stream takes its time: {row:?}");
        assert!(record.streamed, "{record:?}");
        assert_eq!(record.completeness, "whole", "{record:?}");
        assert!(
            (record.duration - whole).abs() < TOLERANCE,
            "{whole}: {record:?}"
        );
        let ttfb = record.ttfb.unwrap();
        assert!((ttfb - first).abs() < TOLERANCE, "{first}: {record:?}");
        let stream = record.stream.unwrap();
        assert!(
            (stream - (whole - first)).abs() < TOLERANCE,
            "{}: {record:?}",
            whole - first
        );
        assert_eq!(record.response_body_bytes, row.body_bytes, "{record:?}");
    }
    watch.daemon.stop();
}

fn await_records(watch: &Watch, service: &str, n: usize) -> Vec<Record> {
    await_some(
        "records of the abandoned requests",
        Duration::from_secs(15),
        || {
            let records = watch.daemon.requests(service);
            (records.len() >= n).then_some(records)
        },
    )
}

#[test]
fn client_that_leaves_before_the_answer_gets_no_invented_status() {
    let Some(_ground) = ground::take("abort") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("abort", &Spec::new(&image, UVICORN)).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let target = Target::inside(&container, 8000);
    for leave in Leave::BOTH {
        let mut connection = target.connect();
        connection.send(&Request::get("/slow?ms=600")).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        leave.leave(connection);
    }
    for record in await_records(&watch, container.name(), 2) {
        assert_eq!(
            (record.outcome.as_str(), record.status),
            ("client_aborted", None),
            "{record:?}"
        );
        assert_eq!(
            (record.method.as_deref(), record.route.as_str()),
            (Some("GET"), "/slow")
        );
    }
    watch.daemon.stop();
}

#[test]
fn client_that_leaves_inside_a_stream_keeps_the_status_that_was_written() {
    let Some(_ground) = ground::take("abort-stream") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("abort-stream", &Spec::new(&image, UVICORN)).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let target = Target::inside(&container, 8000);
    for leave in Leave::BOTH {
        let mut connection = target.connect();
        connection
            .send(&Request::get("/stream?n=50&ms=20"))
            .unwrap();
        connection.first_byte().unwrap();
        std::thread::sleep(Duration::from_millis(200));
        leave.leave(connection);
    }
    for record in await_records(&watch, container.name(), 2) {
        let told = (record.outcome.as_str(), record.status);
        assert_eq!(told, ("client_aborted", Some(200)), "{record:?}");
        assert!((0.15..0.9).contains(&record.duration), "{record:?}");
    }
    watch.daemon.stop();
}

#[test]
fn client_that_leaves_a_blocking_server_is_told_apart_from_an_answer() {
    let Some(_ground) = ground::take("abort-gunicorn") else {
        return;
    };
    let image = images::servers();
    let command = "gunicorn --bind 0.0.0.0:8000 wsgi_app:app";
    let container = Container::start("abort-gunicorn", &Spec::new(&image, command)).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let target = Target::inside(&container, 8000);
    let mut connection = target.connect();
    connection.send(&Request::get("/slow?ms=400")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    connection.reset();
    // A reset makes the server's first write fail: nothing was written.
    for record in await_records(&watch, container.name(), 1) {
        assert_eq!(
            (record.outcome.as_str(), record.status),
            ("client_aborted", None),
            "{record:?}"
        );
    }
    watch.daemon.stop();
}

/// Most that a median of the chunks' times may differ from the client's.
const CHUNK_TOLERANCE: f64 = 0.001;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn content_chunks_are_told_when_the_client_had_them() {
    let Some(_ground) = ground::take("chunks") else {
        return;
    };
    let image = images::demo();
    let spec = Spec::new(&image, "/chat --port 8080 --first-ms 60 --interval-ms 8");
    let container = Container::start("chunks", &spec).listening(8080);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let body = "{\"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";
    let request = Request::post("/v1/chat/completions", body);
    let target = Target::inside(&container, 8080);
    let mut connection = target.connect();
    let (mut first, mut intervals, mut n_chunks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..12 {
        let sent_ns = connection.send(&request).unwrap();
        let response = connection.receive().unwrap();
        // The role before them and the reason of the end and `[DONE]` behind
        // them carry no content.
        let content = &response.chunks_ns[1..response.chunks_ns.len() - 2];
        let seconds = |from: u64, to: u64| (to - from) as f64 / 1e9;
        first.push(seconds(sent_ns, content[0]));
        intervals.extend(content.windows(2).map(|pair| seconds(pair[0], pair[1])));
        n_chunks.push(content.len() as u64);
    }
    watch.daemon.await_requests(container.name(), 12);
    let mut records = watch.daemon.requests(container.name());
    records.reverse();
    let told: Vec<_> = records
        .iter()
        .map(|record| record.n_chunks.unwrap())
        .collect();
    assert_eq!(told, n_chunks);
    let told = median(
        records
            .iter()
            .map(|record| record.first_chunk.unwrap())
            .collect(),
    );
    let truth = median(first);
    println!("first content chunk: client {truth:.6}, told {told:.6}");
    assert!((told - truth).abs() < CHUNK_TOLERANCE, "{told}: {truth}");
    // Of all intervals, which the daemon merges as history does.
    let told = median(
        records
            .iter()
            .map(|record| record.chunk_interval.as_ref().unwrap().p50)
            .collect(),
    );
    let truth = median(intervals);
    println!("chunk interval: client {truth:.6}, told {told:.6}");
    assert!((told - truth).abs() < CHUNK_TOLERANCE, "{told}: {truth}");
    for record in &records {
        assert_eq!(record.operation.as_deref(), Some("chat"), "{record:?}");
        assert_eq!(record.n_stalls, Some(0), "{record:?}");
        assert!(record.felt.unwrap() >= record.duration, "{record:?}");
        // Nothing of a body is read without leave.
        assert_eq!((&record.model, record.output_tokens), (&None, None));
    }
    watch.daemon.stop();
}
