//! Clients that are a nuisance to the daemon's own interface.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::limits::allow_descriptors;
use modeltap_testbed::live::LiveClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::process::Holdings;
use modeltap_testbed::{ground, images};

use super::{size, table};
use crate::watch;

/// Longest time of an answer to somebody else meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Most connections and live clients, as the README says.
const MOST: (u64, u64) = (256, 128);

#[test]
fn slow_connections_and_stuck_live_clients_leave_the_capture_exact() {
    let Some(_ground) = ground::take("api-clients") else {
        return;
    };
    let (n_slow, n_stuck) = size((5_000, 1_000), (600, 200));
    let lasts = size(Duration::from_secs(60), Duration::from_secs(3));
    allow_descriptors((n_slow + n_stuck) as u64 + 1_000);
    let image = images::servers();
    let container =
        Container::start("api-clients", &Spec::new(&image, "/srv/go-server")).listening(8000);
    let target = Target::inside(&container, 8000);
    let watch = watch();
    let daemon = &watch.daemon;
    daemon.await_service(container.name());
    let before = Holdings::of(daemon.pid());
    let good = GoodClient::start(target, Duration::from_millis(50));

    let mut stuck = Vec::new();
    for _ in 0..n_stuck {
        // Those for whom there is no room are told so.
        stuck.extend(LiveClient::open(daemon.address()).ok());
    }
    let n_taken = stuck.len();
    assert!((100..=MOST.1 as usize).contains(&n_taken), "{n_taken}");
    let mut slow = Vec::new();
    for _ in 0..n_slow {
        let mut stream = TcpStream::connect(daemon.address()).expect("it listens");
        // It may be out again at once: others came behind it.
        let _ = stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nX-Slow: ");
        slow.push(stream);
    }
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < lasts {
        for stream in &mut slow {
            let _ = stream.write_all(b"a");
        }
        let asked = Instant::now();
        let api = daemon.status().api;
        longest = longest.max(asked.elapsed());
        assert!(
            api.n_connections <= MOST.0 && api.n_live_clients <= MOST.1,
            "{api:?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
    let during = Holdings::of(daemon.pid());
    let mut truth = good.finish();
    truth.round(target);
    truth.check(daemon, container.name());
    let status = daemon.status();
    let missed = (status.capture.events_lost, status.capture.events_dropped);
    assert_eq!(missed, (0, 0), "{:?}", status.capture);
    assert!(longest < ANSWERS_WITHIN, "{longest:?}");
    let grown = during
        .anonymous_bytes
        .saturating_sub(before.anonymous_bytes);
    assert!(grown < 64 << 20, "{before} -> {during}");
    table::note(
        "clients of the API",
        &format!(
            "{n_slow} connections with a head that never ends, {n_stuck} live clients that do not read"
        ),
        &format!(
            "{0} of {0} requests told; {n_taken} live clients taken, {1} refused, {2} cut off; \
             longest answer to others {3:.0} ms; before {before}; during {during}",
            truth.rows.len(),
            status.api.live_clients_refused,
            status.api.live_clients_dropped,
            longest.as_secs_f64() * 1e3
        ),
    );
    drop((slow, stuck));
    watch.daemon.stop();
}
