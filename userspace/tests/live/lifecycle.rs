//! Containers and Docker that come and go while the daemon runs.

use std::time::Duration;

use modeltap_api_types::DockerState;
use modeltap_testbed::client::Request;
use modeltap_testbed::clock::await_that;
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::load::{self, Planned, Reuse, Target};
use modeltap_testbed::relay::Relay;
use modeltap_testbed::truth;

use crate::{start, watch};

const GO: &str = "/srv/go-server";
/// Longest time until a change of Docker's shows: its back-off and a listing.
const SHOWS_WITHIN: Duration = Duration::from_secs(25);

fn send(container: &Container, n: usize) -> usize {
    load::run(
        Target::inside(container, 8000),
        vec![(Reuse::Close, load::mix(n))],
    )
    .len()
}

#[test]
fn connection_that_is_older_than_the_daemon_is_counted_from_then_on() {
    let Some(_ground) = ground::take("older-connection") else {
        return;
    };
    let image = images::servers();
    let commands = [
        (
            "uvicorn",
            "uvicorn fastapi_app:app --host 0.0.0.0 --port 8000 --timeout-keep-alive 60",
        ),
        ("go", GO),
        ("node", "node node_server.js"),
    ];
    for (name, command) in commands {
        let name = format!("older-{name}");
        let container = Container::start(&name, &Spec::new(&image, command)).listening(8000);
        let mut connection = Target::inside(&container, 8000).connect();
        let planned = Planned {
            request: Request::get("/items/5"),
            route: "/items/{id}",
        };
        load::exchange(&mut connection, &planned).unwrap();
        let watch = watch();
        watch.daemon.await_service(container.name());
        let rows: Vec<_> = (0..50)
            .map(|_| load::exchange(&mut connection, &planned).unwrap().0)
            .collect();
        watch.daemon.await_requests(container.name(), rows.len());
        let records = watch.daemon.requests(container.name());
        truth::check_times(&truth::join(&rows, &records));
        watch.daemon.stop();
    }
}

#[test]
fn container_that_starts_after_the_daemon_is_watched_from_its_first_request() {
    let Some(_ground) = ground::take("started-later") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let container = Container::start("later", &Spec::new(&image, GO)).listening(8000);
    watch.daemon.await_service(container.name());
    let sent = send(&container, 40);
    watch.daemon.await_requests(container.name(), sent);
    watch.daemon.stop();
}

#[test]
fn restarted_container_is_the_same_service_and_loses_no_count() {
    let Some(_ground) = ground::take("restarted") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let container = Container::start("restarted", &Spec::new(&image, GO)).listening(8000);
    watch.daemon.await_service(container.name());
    let mut sent = send(&container, 40);
    watch.daemon.await_requests(container.name(), sent);
    let before = container.pid();
    container.restart();
    let container = container.listening(8000);
    assert_ne!(container.pid(), before);
    watch.daemon.await_service(container.name());
    // The event of the new start is told within a moment.
    std::thread::sleep(Duration::from_secs(1));
    sent += send(&container, 40);
    watch.daemon.await_requests(container.name(), sent);
    watch.daemon.stop();
}

#[test]
fn renamed_container_goes_by_its_new_name() {
    let Some(_ground) = ground::take("renamed") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let mut container = Container::start("old-name", &Spec::new(&image, GO)).listening(8000);
    let old = container.name().to_owned();
    watch.daemon.await_service(&old);
    container.rename("new-name");
    watch.daemon.await_service(container.name());
    let sent = send(&container, 20);
    watch.daemon.await_requests(container.name(), sent);
    assert_eq!(watch.daemon.n_requests(&old), 0);
    watch.daemon.stop();
}

#[test]
fn removed_container_runs_no_more_but_its_requests_stay() {
    let Some(_ground) = ground::take("removed") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let container = Container::start("removed", &Spec::new(&image, GO)).listening(8000);
    let name = container.name().to_owned();
    watch.daemon.await_service(&name);
    let sent = send(&container, 20);
    drop(container);
    await_that("the container to be gone", SHOWS_WITHIN, || {
        watch
            .daemon
            .service(&name)
            .is_none_or(|service| service.containers.is_empty())
    });
    watch.daemon.await_requests(&name, sent);
    watch.daemon.stop();
}

#[test]
fn docker_that_is_missing_at_start_is_said_and_found_when_it_comes() {
    let Some(_ground) = ground::take("docker-missing") else {
        return;
    };
    let image = images::servers();
    let container = Container::start("found", &Spec::new(&image, GO)).listening(8000);
    let data = tempfile::tempdir().unwrap();
    let socket = data.path().join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let daemon = start(&data.path().join("data"))
        .env("DOCKER_HOST", &host)
        .ready();
    await_that("Docker to be unreachable", SHOWS_WITHIN, || {
        let docker = daemon.status().docker;
        docker.state == DockerState::Unreachable
            && docker
                .reason
                .is_some_and(|reason| reason.contains("docker.sock"))
    });
    let relay = Relay::open(&socket);
    daemon.await_service(container.name());
    assert_eq!(daemon.status().docker.state, DockerState::Connected);

    // Docker goes away: what is known stays watched.
    drop(relay);
    let unreachable = || daemon.status().docker.state == DockerState::Unreachable;
    await_that("Docker to be gone", SHOWS_WITHIN, unreachable);
    let sent = send(&container, 40);
    daemon.await_requests(container.name(), sent);

    // It comes back, but hangs.
    let relay = Relay::hung(&socket);
    std::thread::sleep(Duration::from_secs(1));
    assert!(unreachable());
    drop(relay);
    let later = Container::start("later", &Spec::new(&image, GO)).listening(8000);
    let _relay = Relay::open(&socket);
    await_that("the new container to be watched", SHOWS_WITHIN, || {
        daemon
            .service(later.name())
            .is_some_and(|service| !service.containers.is_empty())
    });
    daemon.stop();
}
