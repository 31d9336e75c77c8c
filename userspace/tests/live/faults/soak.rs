//! A daemon that runs for long under load, watched and asked.

use std::time::{Duration, Instant};

use modeltap_testbed::docker::Container;
use modeltap_testbed::engine::Engine;
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::live::LiveClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::process::Holdings;
use modeltap_testbed::{ground, images};

use super::{size, table};
use crate::start;

/// What the page asks for beside its live messages.
const ASKED: [&str; 5] = [
    "/metrics",
    "/api/v1/services",
    "/api/v1/requests?limit=200",
    "/api/v1/query?metric=requests&stat=rate",
    "/api/v1/query?metric=duration&stat=p95",
];

#[test]
fn soak_takes_no_more_memory_descriptors_or_threads_in_the_end() {
    let Some(_ground) = ground::take("soak") else {
        return;
    };
    let lasts = size(Duration::from_secs(1_800), Duration::from_secs(15));
    // Buffers, caches and the pools of DuckDB fill first.
    let warm = size(Duration::from_secs(300), Duration::from_secs(5));
    let allowed_bytes = size(16 << 20, 48 << 20);

    // Other containers of the machine would hold something too.
    let engine = Engine::start(&images::servers());
    let container = Container::start("soak", &engine.server()).listening(8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path())
        .env("DOCKER_HOST", &engine.host())
        .ready();
    daemon.await_service(container.name());
    let good = GoodClient::start(
        Target::inside(&container, 8000),
        size(Duration::from_millis(300), Duration::from_millis(50)),
    );
    let mut live = LiveClient::open(daemon.address()).expect("it takes live clients");
    let begun = Instant::now();
    let mut looks: Vec<(Duration, Holdings)> = Vec::new();
    let every = lasts / 30;
    while begun.elapsed() < lasts {
        live.next_state();
        if begun.elapsed() >= every * u32::try_from(looks.len()).expect("few") {
            for path in ASKED {
                let _ = daemon.get(path);
            }
            let look = Holdings::of(daemon.pid());
            eprintln!("{:?}: {look}", begun.elapsed());
            looks.push((begun.elapsed(), look));
        }
    }
    let truth = good.finish();
    truth.check(&daemon, container.name());
    let capture = daemon.status().capture;
    assert_eq!(
        (capture.events_lost, capture.events_dropped),
        (0, 0),
        "{capture:?}"
    );

    let (_, last) = &looks[looks.len() - 1];
    let base = looks.iter().find(|(at, _)| *at >= warm);
    let (_, base) = base.expect("it took longer than that");
    let grown = last.anonymous_bytes.saturating_sub(base.anonymous_bytes);
    assert!(grown < allowed_bytes, "{base} -> {last}");
    assert!(
        last.n_descriptors <= base.n_descriptors + 4,
        "{base} -> {last}"
    );
    // Those that wait for files come and go.
    assert!(last.n_threads <= base.n_threads + 8, "{base} -> {last}");
    table::note(
        "soak",
        &format!(
            "{} s at {:.0} requests/s, live and asked",
            lasts.as_secs(),
            truth.rows.len() as f64 / lasts.as_secs_f64()
        ),
        &format!(
            "{} of {} told, none lost; after {} s {base}; in the end {last}",
            truth.rows.len(),
            truth.rows.len(),
            warm.as_secs()
        ),
    );
    daemon.stop();
}
