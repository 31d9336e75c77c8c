//! Every request of every server, exactly: counts by route, method and status,
//! outcomes, and times inside the client's own.
//!
//! Each server gets the same known load: connections that are kept and a
//! connection a request, bursts of pipelined requests, chunked bodies, streams,
//! and clients that leave before the answer and inside a stream, by a FIN and
//! by a reset.

use std::path::Path;

use modeltap_testbed::client::Request;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Ending, Planned, Reuse, Row, Target};
use modeltap_testbed::table::{self, Line};
use modeltap_testbed::truth;

use crate::{Watch, watch};

const UVICORN: &str = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
/// Most wrong requests that are told in full.
const MAX_TOLD: usize = 5;
/// Connections that drive a server as fast as it goes.
const N_FAST: usize = 4;

/// Compares what a container's service was told to do with what its client
/// saw, writes the line of the table, and asserts that nothing differs.
#[track_caller]
pub(crate) fn judge(server: &str, watch: &Watch, container: &Container, rows: &[Row]) {
    let daemon = &watch.daemon;
    daemon.await_settled(container.name(), rows.len());
    let records = daemon.requests(container.name());
    let (pairs, mut wrong) = truth::pair(rows, &records);
    // A port that does not fit makes all its requests wrong.
    let n_unpaired = rows.len().max(records.len()) - pairs.len();
    let differences: Vec<_> = pairs
        .iter()
        .filter_map(|(row, record)| truth::check(row, record).err())
        .collect();
    let n_wrong = n_unpaired + differences.len();
    wrong.extend(differences);
    let n_inside = pairs
        .iter()
        .filter(|(row, record)| truth::is_inside(row, record))
        .count();
    table::note(
        &table_file(),
        Line {
            server: server.to_owned(),
            load: "mix".to_owned(),
            n_sent: rows.len() as u64,
            n_seen: records.len() as u64,
            n_wrong: n_wrong as u64,
            n_inside: Some(n_inside as u64),
        },
    );
    wrong.truncate(MAX_TOLD);
    assert!(wrong.is_empty(), "{server}:\n{}", wrong.join("\n"));

    let sent = truth::sent_of_pairs(&pairs);
    check_counts(server, watch, container, &sent);
}

/// Asserts that the service's totals and its metrics are these counts, and
/// that nothing was missed.
#[track_caller]
fn check_counts(server: &str, watch: &Watch, container: &Container, sent: &truth::Counts) {
    let daemon = &watch.daemon;
    let service = daemon
        .service(container.name())
        .expect("a service with requests is listed");
    assert_eq!(
        &truth::totals(&service),
        sent,
        "{server}: totals of the service"
    );
    let metrics = daemon.metrics();
    let told = truth::measured(&metrics, "modeltap_requests_total", container.name());
    assert_eq!(&told, sent, "{server}: modeltap_requests_total");
    let capture = daemon.status().capture;
    let missed = (
        capture.events_lost,
        capture.events_dropped,
        capture.events_undecoded,
    );
    assert_eq!(
        (missed, capture.requests_incomplete),
        ((0, 0, 0), 0),
        "{server}: {capture:?}"
    );
}

fn table_file() -> std::path::PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    target
        .expect("cargo's folder lies in another")
        .join("testbed-table.md")
}

/// What a server does with the parts of the load that not all do alike.
#[derive(Clone, Copy, Debug)]
struct Habits {
    /// Bursts of pipelined requests: few where each ends the connection after
    /// seconds.
    n_bursts: usize,
    /// Requests whose client leaves before the answer, and as many inside a
    /// stream.
    n_left: usize,
    /// Requests of the plain mix; the rest of a thousand.
    n_mix: usize,
}

const USUAL: Habits = Habits {
    n_bursts: 15,
    n_left: 12,
    n_mix: 876,
};

#[track_caller]
fn check_with(server: &str, command: &str, habits: Habits) {
    let Some(_ground) = ground::take(server) else {
        return;
    };
    let image = images::servers();
    let container = Container::start(server, &Spec::new(&image, command)).listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let mut plans = load::spread(load::mix(habits.n_mix));
    plans.push((Reuse::Pipelined, load::bursts(habits.n_bursts)));
    plans.push((Reuse::KeepAlive, load::streams(40, 6)));
    let mut rows = load::run(Target::inside(&container, 8000), plans);
    rows.extend(load::abandon(&container, 8000, habits.n_left));
    let unanswered = rows.iter().filter(|row| row.ending == Ending::Unanswered);
    println!("{server}: {} unanswered", unanswered.count());
    judge(server, &watch, &container, &rows);
    watch.daemon.stop();
}

#[track_caller]
fn check(server: &str, command: &str) {
    check_with(server, command, USUAL);
}

/// Ten thousand requests as fast as the server and its clients go.
#[track_caller]
fn check_fast(server: &str, image: &str, command: &str, port: u16, plan: Vec<Planned>) {
    let container = Container::start(server, &Spec::new(image, command)).listening(port);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let mut plans = vec![(Reuse::KeepAlive, Vec::new()); N_FAST];
    for (index, planned) in plan.into_iter().enumerate() {
        plans[index % N_FAST].1.push(planned);
    }
    let began = std::time::Instant::now();
    let rows = load::run(Target::inside(&container, port), plans);
    let rate = rows.len() as f64 / began.elapsed().as_secs_f64();
    watch.daemon.await_settled(container.name(), rows.len());
    let n_seen = watch.daemon.n_requests(container.name());
    let sent = truth::sent(&rows);
    let service = watch.daemon.service(container.name());
    let told = service
        .map(|service| truth::totals(&service))
        .unwrap_or_default();
    let keys: std::collections::BTreeSet<_> = sent.keys().chain(told.keys()).collect();
    let count = |counts: &truth::Counts, key| counts.get(key).copied().unwrap_or_default();
    let n_wrong = keys
        .into_iter()
        .map(|key| count(&sent, key).abs_diff(count(&told, key)))
        .sum();
    table::note(
        &table_file(),
        Line {
            server: server.to_owned(),
            load: format!("{rate:.0}/s"),
            n_sent: rows.len() as u64,
            n_seen,
            n_wrong,
            n_inside: None,
        },
    );
    check_counts(server, &watch, &container, &sent);
    watch.daemon.stop();
}

#[track_caller]
fn check_fast_command(server: &str, command: &str) {
    if let Some(_ground) = ground::take(server) {
        check_fast(server, &images::servers(), command, 8000, load::mix(10_000));
    }
}

#[test]
fn fastapi_on_uvloop_is_exact() {
    check(
        "uvicorn-uvloop",
        &format!("{UVICORN} --loop uvloop --http httptools"),
    );
}

#[test]
fn fastapi_on_asyncio_and_h11_is_exact() {
    check(
        "uvicorn-h11",
        &format!("{UVICORN} --loop asyncio --http h11"),
    );
}

#[test]
fn fastapi_in_several_workers_is_exact() {
    check("uvicorn-workers", &format!("{UVICORN} --workers 2"));
}

#[test]
fn fastapi_on_gunicorns_uvicorn_workers_is_exact() {
    check(
        "gunicorn-uvicorn",
        "gunicorn --bind 0.0.0.0:8000 --workers 2 -k uvicorn_worker.UvicornWorker fastapi_app:app",
    );
}

#[test]
fn fastapi_on_hypercorn_is_exact() {
    check("hypercorn", "hypercorn --bind 0.0.0.0:8000 fastapi_app:app");
}

#[test]
fn gunicorn_sync_is_exact() {
    check(
        "gunicorn-sync",
        "gunicorn --bind 0.0.0.0:8000 --workers 2 wsgi_app:app",
    );
}

#[test]
fn gunicorn_gthread_is_exact() {
    let command = "gunicorn --bind 0.0.0.0:8000 --worker-class gthread --threads 4 wsgi_app:app";
    check("gunicorn-gthread", command);
}

#[test]
fn waitress_is_exact() {
    check(
        "waitress",
        "waitress-serve --host 0.0.0.0 --port 8000 wsgi_app:app",
    );
}

#[test]
fn flasks_development_server_is_exact() {
    check(
        "flask",
        "flask --app flask_app run --host 0.0.0.0 --port 8000",
    );
}

#[test]
fn pythons_http_server_is_exact() {
    check("http-server", "python http_server.py");
}

#[test]
fn node_is_exact() {
    check("node", "node node_server.js");
}

#[test]
fn go_is_exact() {
    check("go", "/srv/go-server");
}

/// The inner hop runs over a UNIX socket and is no request of the service.
#[test]
fn nginx_before_uvicorn_on_a_unix_socket_counts_each_request_once() {
    check("nginx-unix", "sh proxied.sh unix");
}

/// The inner hop runs over TCP, and the container accepts it as it accepts
/// those from outside: both are told, each under its own port.
#[test]
fn nginx_before_uvicorn_on_loopback_is_two_hops_told_apart_by_port() {
    let server = "nginx-tcp";
    let Some(_ground) = ground::take(server) else {
        return;
    };
    let image = images::servers();
    let container = Container::start(server, &Spec::new(&image, "sh proxied.sh tcp"));
    let container = container.listening(8000);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let mut plans = load::spread(load::mix(700));
    plans.push((Reuse::Pipelined, load::bursts(15)));
    plans.push((Reuse::KeepAlive, load::streams(40, 6)));
    let rows = load::run(Target::inside(&container, 8000), plans);
    // nginx may pick a connection that uvicorn is closing after an exception,
    // and answers 502 to what it must not send again.
    let n_inner = rows.iter().filter(|row| row.status != Some(502)).count();
    let n_told = watch
        .daemon
        .await_settled(container.name(), rows.len() + n_inner);
    assert_eq!(n_told, (rows.len() + n_inner) as u64, "{server}: both hops");
    let records = watch.daemon.requests(container.name());
    let (outer, inner): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|record| record.local_port == 8000);
    assert_eq!(outer.len(), rows.len(), "{server}: the hop from outside");
    let pairs = truth::join(&rows, &outer);
    truth::check_times(&pairs);
    table::note(
        &table_file(),
        Line {
            server: format!("{server} (from outside)"),
            load: "mix".to_owned(),
            n_sent: rows.len() as u64,
            n_seen: outer.len() as u64,
            n_wrong: 0,
            n_inside: Some(pairs.len() as u64),
        },
    );
    assert_eq!(inner.len(), n_inner, "{server}: the inner hop");
    assert!(
        inner.iter().all(|record| record.local_port == 8001),
        "{server}: the inner hop"
    );
    watch.daemon.stop();
}

#[test]
fn ten_thousand_requests_to_uvicorn_at_full_rate_are_exact() {
    check_fast_command("fast-uvicorn", &format!("{UVICORN} --loop uvloop"));
}

#[test]
fn ten_thousand_requests_to_go_at_full_rate_are_exact() {
    check_fast_command("fast-go", "/srv/go-server");
}

#[test]
fn ten_thousand_requests_to_node_at_full_rate_are_exact() {
    check_fast_command("fast-node", "node node_server.js");
}

/// What the demo's Rust server (axum on hyper) answers.
fn predictor_plan(n: usize) -> Vec<Planned> {
    let planned = |index| {
        let (request, route) = match index % 10 {
            0..=5 => (
                Request::post("/predict", "{\"features\": [1.5, -2]}"),
                "/predict",
            ),
            6 => (Request::post("/predict", "{\"features\": []}"), "/predict"),
            7 => (
                Request::get(format!("/items/{}", index % 1_000)),
                "/items/{id}",
            ),
            8 => (
                Request::get(format!("/items/{}", 1_000 + index)),
                "/items/{id}",
            ),
            _ => (Request::get("/missing"), "/missing"),
        };
        let chunked = index % 10 == 3;
        let request = Request { chunked, ..request };
        Planned { request, route }
    };
    (0..n).map(planned).collect()
}

#[test]
fn rust_server_is_exact() {
    let Some(_ground) = ground::take("rust") else {
        return;
    };
    let image = images::demo();
    let command = "/predictor --port 8080 --latency-ms 2 --error-rate 0.2";
    let container = Container::start("rust", &Spec::new(&image, command)).listening(8080);
    let watch = watch();
    watch.daemon.await_service(container.name());
    let mut plans = load::spread(predictor_plan(940));
    plans.push((Reuse::Pipelined, predictor_plan(60)));
    let rows = load::run(Target::inside(&container, 8080), plans);
    judge("rust", &watch, &container, &rows);
    watch.daemon.stop();
}

#[test]
fn ten_thousand_requests_to_a_rust_server_at_full_rate_are_exact() {
    if let Some(_ground) = ground::take("fast-rust") {
        let command = "/predictor --port 8080 --latency-ms 0";
        let plan = predictor_plan(10_000);
        check_fast("fast-rust", &images::demo(), command, 8080, plan);
    }
}
