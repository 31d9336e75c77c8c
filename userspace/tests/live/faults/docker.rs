//! A Docker that restarts, goes missing and hangs; containers that are paused,
//! restarted and renamed under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use modeltap_api_types::DockerState;
use modeltap_testbed::client::{Connection, Request};
use modeltap_testbed::clock::await_that;
use modeltap_testbed::daemon::Daemon;
use modeltap_testbed::docker::Container;
use modeltap_testbed::engine::Engine;
use modeltap_testbed::good::GoodClient;
use modeltap_testbed::load::Target;
use modeltap_testbed::relay::Relay;
use modeltap_testbed::{ground, images, namespace};

use super::{size, table};
use crate::start;

/// Longest time until a change of Docker's shows: its back-off and a listing.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);
/// Longest time of an answer meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Waits until the daemon tells that Docker is in a state; how long it took.
#[track_caller]
fn await_state(daemon: &Daemon, state: DockerState) -> Duration {
    let begun = Instant::now();
    await_that(&format!("Docker to be {state:?}"), SHOWS_WITHIN, || {
        let asked = Instant::now();
        let told = daemon.status().docker.state;
        assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
        told == state
    });
    begun.elapsed()
}

#[track_caller]
fn await_watched(daemon: &Daemon, container: &Container) -> Duration {
    let begun = Instant::now();
    await_that("a new container to be watched", SHOWS_WITHIN, || {
        let service = daemon.service(container.name());
        service.is_some_and(|service| !service.containers.is_empty())
    });
    begun.elapsed()
}

#[test]
fn docker_that_restarts_goes_missing_and_hangs_costs_no_request() {
    let Some(_ground) = ground::take("docker-faults") else {
        return;
    };
    let lasts = size(Duration::from_secs(60), Duration::from_secs(3));
    let mut engine = Engine::start(&images::servers());
    let container = Container::start("goes-on", &engine.server()).listening(8000);
    let target = Target::inside(&container, 8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = data.path().join("docker.sock");
    let relay = Relay::to(&engine.socket(), &socket);
    let daemon = start(&data.path().join("data"))
        .env("DOCKER_HOST", &format!("unix://{}", socket.display()))
        .ready();
    daemon.await_service(container.name());
    let good = GoodClient::start(target, Duration::from_millis(50));

    // Restarted: its containers run on.
    engine.stop();
    let seen_gone = await_state(&daemon, DockerState::Unreachable);
    engine.begin();
    let seen_back = await_state(&daemon, DockerState::Connected);

    // Its socket missing.
    drop(relay);
    await_state(&daemon, DockerState::Unreachable);
    thread::sleep(lasts);
    let relay = Relay::to(&engine.socket(), &socket);
    let found = await_state(&daemon, DockerState::Connected);

    // Hung, connections that are open too.
    relay.hold(true);
    let hung = Instant::now();
    let later = Container::start("later", &engine.server()).listening(8000);
    let seen_hung = if lasts > SHOWS_WITHIN {
        Some(await_state(&daemon, DockerState::Unreachable))
    } else {
        None
    };
    while hung.elapsed() < lasts {
        let asked = Instant::now();
        let _ = daemon.status();
        assert!(asked.elapsed() < ANSWERS_WITHIN, "{:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    relay.hold(false);
    let watched = await_watched(&daemon, &later);
    await_state(&daemon, DockerState::Connected);

    let mut truth = good.finish();
    truth.round(target);
    truth.check(&daemon, container.name());
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    table::note(
        "Docker",
        &format!(
            "restarted; its socket missing for {0} s; hung for {0} s, a container started meanwhile",
            lasts.as_secs()
        ),
        &format!(
            "{0} of {0} requests told; restart seen after {1}, over {2} after it was; the socket \
             found {3} after it was back; hanging seen after {4}, the new container watched {5} \
             after it",
            truth.rows.len(),
            seconds(seen_gone),
            seconds(seen_back),
            seconds(found),
            seen_hung.map_or_else(|| "-".to_owned(), seconds),
            seconds(watched)
        ),
    );
    drop(later);
    daemon.stop();
}

/// Asks a server that is restarted meanwhile; how many answers came and how
/// many requests had none.
fn ask_all_along(container: &Container, ends: &AtomicBool) -> (u64, u64) {
    let (mut n_answered, mut n_broken) = (0, 0);
    let mut pid = container.pid();
    while !ends.load(Ordering::Relaxed) {
        let address = ([127, 0, 0, 1], 8000).into();
        let open = namespace::try_run(pid, move || Connection::open(address).ok()).flatten();
        let Some(mut connection) = open else {
            // It is another process by now, or none yet.
            pid = container.try_pid().unwrap_or(pid);
            continue;
        };
        let request = Request {
            close: true,
            ..Request::get("/items/3")
        };
        let answer = connection.send(&request).and_then(|_| connection.receive());
        match answer {
            Ok(answer) if answer.status == 200 => n_answered += 1,
            _ => n_broken += 1,
        }
    }
    (n_answered, n_broken)
}

#[test]
fn containers_paused_restarted_and_renamed_under_load_keep_their_counts() {
    let Some(_ground) = ground::take("containers-under-load") else {
        return;
    };
    let n_rounds = size(20, 2);
    let engine = Engine::start(&images::servers());
    let own = |label: &str| engine.server().label(label);
    let mut held = Container::start("held", &own("modeltap.service=held")).listening(8000);
    let renewed = Container::start("renewed", &own("modeltap.service=renewed")).listening(8000);
    let target = Target::inside(&held, 8000);
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let daemon = start(data.path())
        .env("DOCKER_HOST", &engine.host())
        .ready();
    daemon.await_service("held");
    daemon.await_service("renewed");
    let good = GoodClient::start(target, Duration::from_millis(20));
    let ends = AtomicBool::new(false);
    let (n_answered, n_broken) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_all_along(&renewed, &ends));
        for round in 0..n_rounds {
            held.pause();
            thread::sleep(Duration::from_millis(500));
            held.unpause();
            held.rename(&format!("held-{round}"));
            renewed.restart();
            thread::sleep(Duration::from_millis(500));
        }
        ends.store(true, Ordering::Relaxed);
        asking.join().expect("the client goes on")
    });
    let mut truth = good.finish();
    await_that("the last name to be told", SHOWS_WITHIN, || {
        let service = daemon.service("held").expect("it is watched");
        let names = service.containers.iter().map(|c| c.name.as_str());
        names.collect::<Vec<_>>() == [held.name()]
    });
    truth.round(target);
    truth.check(&daemon, "held");
    // Of the one that was killed, a request that got no answer may have begun,
    // and one that came before Docker told of the new start has no status.
    let service = daemon.service("renewed").expect("it is watched");
    let n_told: u64 = service.totals.iter().map(|total| total.n_requests).sum();
    let sent = n_answered..=n_answered + n_broken;
    let of_answered = || {
        let told = daemon.service("renewed").expect("it is watched");
        let whole = told.totals.iter().filter(|total| total.status == Some(200));
        whole.map(|total| total.n_requests).sum::<u64>()
    };
    assert!(n_told <= *sent.end(), "{n_told} of {sent:?}");
    let n_whole = of_answered();
    let n_unwatched = n_answered.saturating_sub(n_whole);
    table::note(
        "containers under load",
        &format!("{n_rounds} times paused for 0.5 s and renamed; another restarted as often"),
        &format!(
            "{0} of {0} requests of the first told to the letter; of the second {n_whole} of \
             {n_answered} answered ones ({n_unwatched} came before Docker told of a start), {n_told} \
             of {1} in all",
            truth.rows.len(),
            sent.end()
        ),
    );
    // A new start is told by Docker within some tens of milliseconds.
    assert!(
        n_unwatched <= n_answered / 10 + 20,
        "{n_whole} of {n_answered}"
    );
    daemon.stop();
}
