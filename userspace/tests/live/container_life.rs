//! What happens to containers, as Docker tells it and as the daemon shows it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modeltap_core::container::{DockerState, HealthCheck};
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::TimelineEvent;
use modeltap_core::timeline::TimelineKind::{
    self, ContainerStarted, ContainerStopped, HealthChanged, OomKilled,
};
use modeltap_discovery::DiscoveryEvent;
use modeltap_discovery::docker::Config;
use modeltap_testbed::clock::await_some;
use modeltap_testbed::docker::{Container, Spec, docker};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use modeltap_testbed::relay::Relay;

use crate::discovery::Watcher;
use crate::resources::{metric, shell, shown};
use crate::watch;

/// What is told of a container, up to the first event that is awaited and for
/// a second after it.
#[track_caller]
fn told(
    watcher: &mut Watcher,
    container: &Container,
    last: (TimelineKind, &str),
) -> Vec<TimelineEvent> {
    let mut told = Vec::new();
    let of_container = |event: &DiscoveryEvent| match event {
        DiscoveryEvent::Happened(event) if event.container.as_deref() == Some(container.name()) => {
            Some(event.clone())
        }
        _ => None,
    };
    let is_last = |event: &TimelineEvent| (event.kind, event.detail.as_str()) == last;
    loop {
        let next = watcher.until(|event| of_container(event).is_some());
        told.extend(of_container(&next));
        if told.last().is_some_and(is_last) {
            break;
        }
    }
    told.extend(watcher.for_a_second().iter().filter_map(of_container));
    told
}

fn kinds(events: &[TimelineEvent]) -> Vec<(TimelineKind, &str)> {
    events
        .iter()
        .map(|event| (event.kind, event.detail.as_str()))
        .collect()
}

#[test]
fn every_step_of_a_life_is_told_once_with_dockers_time() {
    let Some(_ground) = ground::take("life") else {
        return;
    };
    let image = images::servers();
    let before = Container::start("before", &Spec::new(&image, "sleep 60"));
    let mut watcher = Watcher::start();
    // Health turns once the file is there; then it is killed, twice.
    let health = "--health-cmd ls\t/tmp/ok --health-interval 1s --health-retries 1";
    let script = "sleep 2; touch /tmp/ok; sleep 3; tail /dev/zero";
    let mut spec =
        shell(&image, script).more("--restart on-failure:1 --memory 24m --memory-swap 24m");
    spec.more
        .extend(health.split(' ').map(|word| word.replace('\t', " ")));
    let begun = unix_now();
    let container = Container::start("life", &spec);
    let mut events = told(&mut watcher, &container, (ContainerStopped, "137"));
    events.extend(told(&mut watcher, &container, (ContainerStopped, "137")));
    let started = (ContainerStarted, image.as_str());
    let end = [(OomKilled, ""), (ContainerStopped, "137")];
    let told = kinds(&events);
    assert_eq!(
        told[..3],
        [
            started,
            (HealthChanged, "unhealthy"),
            (HealthChanged, "healthy"),
        ]
    );
    assert_eq!(told[3..5], end);
    assert_eq!(told[5], started);
    assert_eq!(told[told.len() - 2..], end);
    let times: Vec<_> = events.iter().map(|event| event.at).collect();
    assert!(times.is_sorted() && begun <= times[0] && times[times.len() - 1] <= unix_now());
    let restarts = docker(&["inspect", "--format", "{{.RestartCount}}", container.id()]);
    assert_eq!(restarts, "1");
    // It ran before anybody watched.
    drop(before);
}

#[test]
fn restarts_and_health_show_on_the_container() {
    let Some(_ground) = ground::take("restarts") else {
        return;
    };
    let image = images::servers();
    let watch = watch();
    let script = "test $(cat /data/n 2>/dev/null | wc -l) -lt 2 && { sleep 1; echo x >> /data/n; exit 3; }\n\
                  sleep 3; touch /data/ok; sleep 60";
    let mut spec = shell(&image, script).more(
        "--volume /data --restart on-failure:5 --health-interval 1s --health-retries 1 --health-cmd",
    );
    spec.more.push("test -e /data/ok".to_owned());
    let container = Container::start("restarts", &spec);
    let life = |n_restarts, health: HealthCheck| {
        let what = format!("{n_restarts} restarts and {health:?}");
        let found = await_some(&what, Duration::from_secs(20), || {
            let life = shown(&watch.daemon, &container)?.lifecycle;
            let is_awaited =
                life.n_restarts == n_restarts && life.health.as_deref() == Some(health.as_str());
            is_awaited.then_some(life)
        });
        found.started_unix_ms.expect("it started")
    };
    let started = life(2, HealthCheck::Unhealthy);
    assert_eq!(life(2, HealthCheck::Healthy), started);
    let now = unix_now().millis();
    assert!((now - 30_000..=now).contains(&started), "{started} {now}");
    let value = |name| metric(&watch.daemon, name, &container);
    assert_eq!(value("modeltap_container_restarts_total"), Some(2.0));
    watch.daemon.stop();
}

#[test]
fn lost_connection_to_docker_loses_no_event_and_doubles_none() {
    let Some(_ground) = ground::take("reconnected") else {
        return;
    };
    let image = images::servers();
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let socket = folder.path().join("docker.sock");
    let relay = Relay::open(&socket);
    let mut watcher = Watcher::of(Config {
        host: format!("unix://{}", socket.display()),
    });
    let seen = Container::start("seen", &Spec::new(&image, "sleep 60"));
    let events = told(&mut watcher, &seen, (ContainerStarted, &image));
    assert_eq!(events.len(), 1);
    drop(relay);
    watcher.until(|event| {
        matches!(
            event,
            DiscoveryEvent::State(DockerState::Unreachable { .. })
        )
    });
    let missed = Container::start("missed", &Spec::new(&image, "sleep 60"));
    docker(&["stop", "--time", "0", seen.id()]);
    let _relay = Relay::open(&socket);
    let mut both = Vec::new();
    watcher.until(|event| {
        if let DiscoveryEvent::Happened(event) = event {
            both.push(event.clone());
        }
        both.len() == 2
    });
    for event in watcher.for_a_second() {
        if let DiscoveryEvent::Happened(event) = event {
            both.push(event);
        }
    }
    let names: Vec<_> = both
        .iter()
        .map(|event| (event.container.as_deref(), event.kind))
        .collect();
    let expected = [
        (Some(missed.name()), ContainerStarted),
        (Some(seen.name()), ContainerStopped),
    ];
    assert_eq!(names, expected);
}

pub(crate) fn unix_now() -> UnixNs {
    let now = SystemTime::now();
    let now = now.duration_since(UNIX_EPOCH).expect("it is past 1970");
    UnixNs(u64::try_from(now.as_nanos()).expect("584 years fit"))
}
