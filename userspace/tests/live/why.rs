//! Three services with a client each, at a few requests a second: one is made
//! slow, one fails, one runs out of memory. Within a minute the service's
//! health and its why line tell which, since when and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use modeltap_api_types::{Health, QueryResult, Why, WhyFinding};
use modeltap_testbed::client::Request;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::Target;

use crate::resources::shell;
use crate::watch;

/// Steps with requests that a change is compared with, and more than enough
/// time for them.
const PAST_STEPS: usize = 13;
const PAST_WITHIN: Duration = Duration::from_secs(90);
/// Longest time until all three are told.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// A client's pause between two requests: 2.35 a second.
const PAUSE: Duration = Duration::from_millis(425);

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}

/// Asks for `good`, and once it is ruined for `bad`, until the container ends.
fn client(container: &Container, is_ruined: &Arc<AtomicBool>, good: &str, bad: &str) {
    let (target, is_ruined) = (Target::inside(container, 8000), Arc::clone(is_ruined));
    let paths = [good.to_owned(), bad.to_owned()];
    let mut connection = target.connect();
    thread::spawn(move || {
        loop {
            let path = &paths[usize::from(is_ruined.load(Ordering::Relaxed))];
            let sent = connection.send(&Request::get(path.clone()));
            if sent.and_then(|_| connection.receive()).is_err() {
                return;
            }
            thread::sleep(PAUSE);
        }
    });
}

/// Steps of five seconds that history has requests of a service in.
fn steps_kept(daemon: &Daemon, service: &str) -> usize {
    let to = now_ms();
    let from = to - 300_000;
    let path = format!("/api/v1/query?stat=count&service={service}&from={from}&to={to}&step=5");
    let told: QueryResult = daemon.json(&path);
    let values = told.series.iter().flat_map(|series| &series.values);
    values.flatten().filter(|n| **n >= 4.0).count()
}

/// What is told of a service, as its page asks.
fn why(daemon: &Daemon, service: &str) -> Vec<WhyFinding> {
    let to = now_ms();
    let from = to - 900_000;
    let told: Why = daemon.json(&format!(
        "/api/v1/services/{service}/why?from={from}&to={to}"
    ));
    told.findings
}

fn health(daemon: &Daemon, service: &str) -> Health {
    daemon.service(service).expect("it is watched").health
}

#[test]
fn slow_failing_and_starved_services_are_told_within_a_minute() {
    let Some(_ground) = ground::take("why") else {
        return;
    };
    let image = images::servers();
    let server = Spec::new(&image, "/srv/go-server");
    let script = "/srv/go-server & while :; do [ -e /tmp/go ] && rm /tmp/go && tail /dev/zero; \
                  sleep 0.1; done";
    let starved = shell(&image, script).more("--memory 64m --memory-swap 64m");
    let slow = Container::start("why-slow", &server).listening(8000);
    let failing = Container::start("why-failing", &server).listening(8000);
    let starved = Container::start("why-starved", &starved).listening(8000);
    let all = [&slow, &failing, &starved];
    let watch = watch();
    let daemon = &watch.daemon;
    for container in all {
        daemon.await_service(container.name());
    }
    let is_ruined = Arc::new(AtomicBool::new(false));
    client(&slow, &is_ruined, "/slow?ms=40", "/slow?ms=800");
    client(&failing, &is_ruined, "/items/7", "/fail");
    client(&starved, &is_ruined, "/items/7", "/items/7");
    await_that("a past to compare with", PAST_WITHIN, || {
        let has_past = |of: &&Container| steps_kept(daemon, of.name()) >= PAST_STEPS;
        all.iter().all(has_past)
    });
    for container in all {
        assert_eq!(why(daemon, container.name()), [], "nothing changed");
        assert_eq!(health(daemon, container.name()), Health::Ok);
    }

    let (ruined, ruined_ms) = (Instant::now(), now_ms());
    is_ruined.store(true, Ordering::Relaxed);
    starved.execute(&["sh", "-c", "echo > /tmp/go"]);
    let mut untold = vec![
        (&slow, "slow", Health::Warning),
        (&failing, "failing", Health::Critical),
        (&starved, "starved", Health::Critical),
    ];
    await_that("each to be told", TOLD_WITHIN, || {
        untold.retain(|(container, kind, worst)| {
            let found = why(daemon, container.name());
            let found = found.iter().find(|found| found.kind == *kind);
            // More severe where an alert fires as well.
            let is_told = health(daemon, container.name()) <= *worst;
            let Some(found) = found.filter(|_| is_told) else {
                return true;
            };
            println!(
                "{kind} after {} s: {}",
                ruined.elapsed().as_secs(),
                found.summary
            );
            // Right to a step or two.
            let since = found.since_unix_ms.abs_diff(ruined_ms);
            assert!(since <= 10_000, "{ruined_ms}: {found:#?}");
            let phase = found.phase.as_ref().map(|phase| &*phase.name);
            assert_eq!(phase, (*kind == "slow").then_some("app"), "{found:#?}");
            false
        });
        untold.is_empty()
    });
    watch.daemon.stop();
}
