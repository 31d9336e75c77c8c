//! Discovery with the real Docker, apart from the daemon.

use std::time::Duration;

use modeltap_core::container::{Container as Found, DockerState};
use modeltap_discovery::cgroup::Hierarchy;
use modeltap_discovery::docker::Config;
use modeltap_discovery::listeners::listeners;
use modeltap_discovery::look::Direct;
use modeltap_discovery::{Directory, DiscoveryEvent, watch};
use modeltap_testbed::docker::{Container, Spec};
use modeltap_testbed::ground;
use modeltap_testbed::images;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_secs(10);

/// A watcher of Docker, and the directory that its events make.
pub(crate) struct Watcher {
    runtime: Runtime,
    events: mpsc::Receiver<DiscoveryEvent>,
    directory: Directory,
}

impl Watcher {
    pub(crate) fn start() -> Self {
        Self::of(Config::default())
    }

    /// A watcher of the Docker that answers at another place.
    pub(crate) fn of(docker: Config) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let (sender, events) = mpsc::channel(64);
        runtime.spawn(watch(docker, sender));
        let mut watcher = Self {
            runtime,
            events,
            directory: Directory::new(),
        };
        watcher.until(|event| *event == DiscoveryEvent::State(DockerState::Connected));
        watcher
    }

    /// Applies events up to the first that is awaited, and returns that.
    #[track_caller]
    pub(crate) fn until(
        &mut self,
        mut awaited: impl FnMut(&DiscoveryEvent) -> bool,
    ) -> DiscoveryEvent {
        loop {
            let event = self
                .runtime
                .block_on(async { timeout(PATIENCE, self.events.recv()).await });
            let event = event
                .expect("the event comes in time")
                .expect("the watcher runs");
            self.directory.apply(&event);
            if awaited(&event) {
                return event;
            }
        }
    }

    /// What is told within a second.
    pub(crate) fn for_a_second(&mut self) -> Vec<DiscoveryEvent> {
        let mut told = Vec::new();
        let end = std::time::Instant::now() + Duration::from_secs(1);
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let event = self
                .runtime
                .block_on(async { timeout(left, self.events.recv()).await });
            let Ok(Some(event)) = event else { return told };
            self.directory.apply(&event);
            told.push(event);
        }
    }

    #[track_caller]
    pub(crate) fn until_known(&mut self, name: &str) -> Found {
        let known =
            |event: &DiscoveryEvent| matches!(event, DiscoveryEvent::Upsert(c) if c.name == name);
        match self.until(known) {
            DiscoveryEvent::Upsert(container) => *container,
            other => unreachable!("{other:?}"),
        }
    }

    fn running(&self, name: &str) -> Option<&Found> {
        self.directory
            .running()
            .find(|container| container.name == name)
            .map(AsRef::as_ref)
    }
}

#[test]
fn container_is_followed_through_restart_rename_and_removal() {
    let Some(_ground) = ground::take("followed") else {
        return;
    };
    let image = images::servers();
    let before = Container::start("before", &Spec::new(&image, "sleep 60"));
    let mut watcher = Watcher::start();
    let found = watcher
        .running(before.name())
        .expect("it is in the inventory")
        .clone();
    assert_eq!(
        (found.id.0.as_str(), found.pid),
        (before.id(), before.pid())
    );
    assert!(found.cgroup.0 > 1);

    let mut container = Container::start("followed", &Spec::new(&image, "/srv/go-server"));
    let first = watcher.until_known(container.name());
    container.restart();
    watcher.until(
        |event| matches!(event, DiscoveryEvent::Removed { cgroup, .. } if *cgroup == first.cgroup),
    );
    let second = watcher.until_known(container.name());
    assert_eq!(second.id, first.id);
    assert_ne!((second.pid, second.cgroup), (first.pid, first.cgroup));

    container.rename("renamed");
    let renamed = watcher.until_known(container.name());
    assert_eq!(renamed.cgroup, second.cgroup);
    drop(container);
    watcher.until(|event| matches!(event, DiscoveryEvent::Removed { id, .. } if *id == first.id));
    assert!(watcher.running(&renamed.name).is_none());
    assert!(
        watcher.directory.container(second.cgroup).is_some(),
        "late requests find it"
    );
}

#[test]
fn containers_that_live_for_a_moment_leave_nothing_behind() {
    let Some(_ground) = ground::take("moment") else {
        return;
    };
    let image = images::servers();
    let mut watcher = Watcher::start();
    let names: Vec<_> = (0..8)
        .map(|_| {
            Container::start("moment", &Spec::new(&image, "true"))
                .name()
                .to_owned()
        })
        .collect();
    let last = Container::start("last", &Spec::new(&image, "sleep 60"));
    watcher.until_known(last.name());
    let left: Vec<_> = names
        .iter()
        .filter(|name| watcher.running(name).is_some())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn listening_ports_are_those_of_the_containers_own_processes() {
    let Some(_ground) = ground::take("ports") else {
        return;
    };
    let image = images::servers();
    let mut watcher = Watcher::start();
    let hierarchy = Hierarchy::find().unwrap();
    let own = Container::start("ports", &Spec::new(&image, "/srv/go-server"));
    let found = watcher.until_known(own.name());
    let own = own.listening(8000);
    let ports = |found: &Found| -> Vec<u16> {
        listeners(&hierarchy, &Direct::default(), found)
            .unwrap()
            .into_iter()
            .map(|listener| listener.port)
            .collect()
    };
    assert_eq!(ports(&found), [8000]);

    // It shares the first one's network and listens on nothing itself.
    let network = format!("container:{}", own.id());
    let neighbour = Container::start("neighbour", &Spec::new(&image, "sleep 60").network(network));
    let found = watcher.until_known(neighbour.name());
    assert!(ports(&found).is_empty());

    // Of the host's ports only its own are a host-network container's.
    let _ours = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Container::start("host", &Spec::new(&image, "sleep 60").network("host"));
    let found = watcher.until_known(host.name());
    assert!(ports(&found).is_empty());
}
