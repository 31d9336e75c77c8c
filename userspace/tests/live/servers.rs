//! Every request of every server, exactly: counts by route, method and status,
//! and times inside the client's own.

use modeltap_testbed::client::Request;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Planned, Reuse, Target};
use modeltap_testbed::truth;

use crate::watch;

const UVICORN: &str = "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --no-access-log";
/// Least share of requests whose end is told no later than the client had the
/// last byte. A write is stamped when its call returns, and the kernel may let
/// the waiting client run before that: 0.96 to 1 was measured on two busy
/// processors, 0.77 with two endless loops beside. How late the rest may be is
/// [`truth::LATEST_END_NS`].
const LEAST_STRICT: f64 = 0.5;

#[track_caller]
fn check(server: &str, spec: &Spec, port: u16, plans: Vec<(Reuse, Vec<Planned>)>) {
    let container = Container::start(server, spec).listening(port);
    let watch = watch();
    let daemon = &watch.daemon;
    daemon.await_service(container.name());
    let rows = load::run(Target::inside(&container, port), plans);
    daemon.await_requests(container.name(), rows.len());

    let sent = truth::sent(&rows);
    let service = daemon
        .service(container.name())
        .expect("a service with requests is listed");
    assert_eq!(
        truth::totals(&service),
        sent,
        "{server}: totals of the service"
    );
    let metrics = daemon.metrics();
    for metric in [
        "modeltap_requests_total",
        "http_server_request_duration_seconds_count",
    ] {
        let told = truth::measured(&metrics, metric, container.name());
        assert_eq!(told, sent, "{server}: {metric}");
    }
    let records = daemon.requests(container.name());
    let pairs = truth::join(&rows, &records);
    let strict = truth::check_times(&pairs);
    println!(
        "{server}: {} of {} requests exact, {strict:.4} strictly inside",
        pairs.len(),
        rows.len()
    );
    assert!(
        strict >= LEAST_STRICT,
        "{server}: only {strict:.4} of the ends are in time"
    );
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
    watch.daemon.stop();
}

#[track_caller]
fn check_command(server: &str, command: &str, n: usize) {
    if let Some(_ground) = ground::take(server) {
        let image = images::servers();
        check(
            server,
            &Spec::new(&image, command),
            8000,
            load::spread(load::mix(n)),
        );
    }
}

#[test]
fn thousand_requests_to_fastapi_on_uvloop_are_exact() {
    check_command(
        "uvicorn-uvloop",
        &format!("{UVICORN} --loop uvloop --http httptools"),
        1_000,
    );
}

#[test]
fn fastapi_on_asyncio_and_h11_is_exact() {
    check_command(
        "uvicorn-h11",
        &format!("{UVICORN} --loop asyncio --http h11"),
        300,
    );
}

#[test]
fn fastapi_in_several_workers_is_exact() {
    check_command("uvicorn-workers", &format!("{UVICORN} --workers 2"), 300);
}

#[test]
fn gunicorn_sync_is_exact() {
    check_command(
        "gunicorn-sync",
        "gunicorn --bind 0.0.0.0:8000 --workers 2 wsgi_app:app",
        300,
    );
}

#[test]
fn gunicorn_gthread_is_exact() {
    let command = "gunicorn --bind 0.0.0.0:8000 --worker-class gthread --threads 4 wsgi_app:app";
    check_command("gunicorn-gthread", command, 300);
}

#[test]
fn node_is_exact() {
    check_command("node", "node node_server.js", 300);
}

#[test]
fn go_is_exact() {
    check_command("go", "/srv/go-server", 300);
}

#[test]
fn demo_predictor_is_exact() {
    if let Some(_ground) = ground::take("demo-predictor") {
        let image = images::demo();
        let command = "/predictor --port 8080 --latency-ms 2 --error-rate 0.2";
        let plan = (0..300).map(|index| {
            let (request, route) = match index % 10 {
                0..=5 => (
                    Request::post("/predict", "{\"features\": [1.5, -2]}"),
                    "/predict",
                ),
                6 => (Request::post("/predict", "{\"features\": []}"), "/predict"),
                7 => (Request::get(format!("/items/{index}")), "/items/{id}"),
                8 => (
                    Request::get(format!("/items/{}", 1_000 + index)),
                    "/items/{id}",
                ),
                _ => (Request::get("/missing"), "/missing"),
            };
            Planned { request, route }
        });
        let plans = load::spread(plan.collect());
        check("predictor", &Spec::new(&image, command), 8080, plans);
    }
}
