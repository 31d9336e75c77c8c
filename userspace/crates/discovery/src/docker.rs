//! What Docker knows of the running containers, kept up to date.
//!
//! | state | on | then |
//! |---|---|---|
//! | connecting | version agreed, events asked for, all listed and inspected | connected |
//! | connected | event of a container | that container is inspected again |
//! | connected | [`RECONCILE_EVERY`] | all listed; new ones inspected, missing ones removed |
//! | any | error, end of the events, no answer in time | unreachable |
//! | unreachable | back-off over | connecting, under the name of unreachable |
//!
//! An event says only that something about a container may have changed: what
//! counts is what the inspection finds, so it does not matter in which order
//! events arrive, nor whether one arrives twice. What happened is another
//! matter: [`life`] tells each event once.

mod life;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage};
use bollard::query_parameters::{EventsOptions, EventsOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;
use modeltap_core::container::{Container, ContainerId, DockerState, Lifecycle, ServiceName};
use modeltap_core::time::UnixNs;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tracing::{debug, info, warn};

use self::life::Chronicle;
use crate::DiscoveryEvent;
use crate::cgroup::{CgroupError, ContainerCgroup, Hierarchy};
use crate::labels::Labels;

/// Where Docker listens if nothing else is said.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Longest wait for any one answer of Docker's.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often all containers are listed: finds what events did not tell, and
/// that Docker hangs.
const RECONCILE_EVERY: Duration = Duration::from_secs(10);
/// First and longest wait before Docker is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Events are asked for from this long before the list: Docker sends what lies
/// between again, so nothing is missed between the two calls.
const EVENTS_OVERLAP: Duration = Duration::from_secs(2);
/// Most containers that are watched at once, as many as the probes can hold.
const MAX_CONTAINERS: usize = 4_096;
/// Longest reason told, in bytes.
const MAX_REASON_BYTES: usize = 300;
/// Events after which a container may be another than before, or that tell of
/// its life. `health_status` makes Docker match them by their beginnings.
const EVENTS: [&str; 6] = ["start", "die", "destroy", "rename", "oom", "health_status"];

/// Where Docker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// As in `DOCKER_HOST`: `unix:///path` or `tcp://host:port`. It must be
    /// this machine's Docker: its process ids are looked up in `/proc`.
    pub host: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
        }
    }
}

/// Why a session with Docker ended.
#[derive(Debug, Error)]
enum SessionError {
    #[error("cannot connect to Docker at {host:?}; start Docker or set DOCKER_HOST")]
    Connect { host: String, source: BollardError },
    #[error("Docker failed to {call}")]
    Call {
        call: &'static str,
        source: BollardError,
    },
    #[error("Docker did not answer within {ANSWER_WITHIN:?} when asked to {call}")]
    Hung { call: &'static str },
    #[error("Docker ended its stream of events")]
    EventsEnded,
    #[error("cannot tell which cgroup a container has")]
    Cgroups(#[source] CgroupError),
    /// Nobody listens to us any more.
    #[error("events are no longer wanted")]
    Unwanted,
}

impl<T> From<mpsc::error::SendError<T>> for SessionError {
    fn from(_: mpsc::error::SendError<T>) -> Self {
        Self::Unwanted
    }
}

/// Tells the running containers and every change of them, until the receiver
/// of `events` is dropped. While Docker cannot be reached it is tried again and
/// what was told stays true.
pub async fn watch(config: Config, events: mpsc::Sender<DiscoveryEvent>) {
    let mut watcher = Watcher {
        config,
        events,
        known: HashMap::new(),
        n_excluded: 0,
        engine: String::new(),
        state: None,
        chronicle: Chronicle::new(unix_now()),
    };
    let mut wait = BACK_OFF.0;
    loop {
        let Err(error) = watcher.session().await;
        if matches!(error, SessionError::Unwanted) {
            return;
        }
        if watcher.state == Some(DockerState::Connected) {
            wait = BACK_OFF.0;
        }
        let reason = one_line(&error);
        if watcher
            .set_state(DockerState::Unreachable { reason })
            .await
            .is_err()
        {
            return;
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = watcher.events.closed() => return,
        }
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// What was found out about a running container.
#[derive(Clone, Debug, PartialEq)]
enum Known {
    Watched(Box<Container>),
    /// A label leaves it out.
    Excluded,
    /// It holds this very process, or it cannot be told from others.
    Ignored,
}

struct Watcher {
    config: Config,
    events: mpsc::Sender<DiscoveryEvent>,
    known: HashMap<ContainerId, Known>,
    n_excluded: u32,
    /// Docker's version; empty before it was told.
    engine: String,
    state: Option<DockerState>,
    chronicle: Chronicle,
}

impl Watcher {
    /// One connection to Docker, from its beginning to its failure.
    async fn session(&mut self) -> Result<std::convert::Infallible, SessionError> {
        if self.state.is_none() {
            self.set_state(DockerState::Connecting).await?;
        }
        let hierarchy = Hierarchy::find().map_err(SessionError::Cgroups)?;
        let docker = connect(&self.config.host).await?;
        let mut events = pin!(docker.events(Some(events_since(self.chronicle.since()))));
        self.take_inventory(&docker, &hierarchy).await?;
        self.take_version(&docker).await?;
        info!(containers = self.known.len(), "connected to Docker");
        self.set_state(DockerState::Connected).await?;

        let mut reconcile = interval_at(Instant::now() + RECONCILE_EVERY, RECONCILE_EVERY);
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let receiver = self.events.clone();
        loop {
            tokio::select! {
                event = events.next() => {
                    let source = |source| SessionError::Call { call: "send events", source };
                    let event = event.ok_or(SessionError::EventsEnded)?.map_err(source)?;
                    self.happened(&docker, &hierarchy, event).await?;
                }
                _ = reconcile.tick() => self.reconcile(&docker, &hierarchy).await?,
                () = receiver.closed() => return Err(SessionError::Unwanted),
            }
        }
    }

    /// Finds out what an event changed, then tells what it says.
    async fn happened(
        &mut self,
        docker: &Docker,
        hierarchy: &Hierarchy,
        event: EventMessage,
    ) -> Result<(), SessionError> {
        let Some(id) = event.actor.as_ref().and_then(|actor| actor.id.clone()) else {
            return Ok(());
        };
        let id = ContainerId(id);
        let was_ignored = self.known.get(&id) == Some(&Known::Ignored);
        self.refresh(docker, hierarchy, id.clone()).await?;
        self.count_excluded().await?;
        let known = &self.known;
        let runs = |service: &ServiceName, id: &ContainerId, image: &str| {
            known.values().any(|known| {
                matches!(known, Known::Watched(other)
                    if other.service == *service && other.id != *id && other.image == image)
            })
        };
        let told = self.chronicle.tell(&event, runs);
        if was_ignored || known.get(&id) == Some(&Known::Ignored) {
            return Ok(());
        }
        for event in told {
            self.events.send(DiscoveryEvent::Happened(event)).await?;
        }
        Ok(())
    }

    /// Inspects every running container, and forgets those that run no more.
    async fn take_inventory(
        &mut self,
        docker: &Docker,
        hierarchy: &Hierarchy,
    ) -> Result<(), SessionError> {
        let listed = list(docker).await?;
        self.forget_missing(&listed).await?;
        for summary in listed {
            self.refresh(
                docker,
                hierarchy,
                ContainerId(summary.id.unwrap_or_default()),
            )
            .await?;
        }
        for known in self.known.values() {
            if let Known::Watched(container) = known {
                self.chronicle.found_running(container);
            }
        }
        self.count_excluded().await
    }

    /// Lists all containers and inspects those of which something is new.
    async fn reconcile(
        &mut self,
        docker: &Docker,
        hierarchy: &Hierarchy,
    ) -> Result<(), SessionError> {
        let listed = list(docker).await?;
        self.forget_missing(&listed).await?;
        for summary in listed {
            let id = ContainerId(summary.id.clone().unwrap_or_default());
            let unchanged = match self.known.get(&id) {
                None => false,
                Some(Known::Excluded | Known::Ignored) => true,
                Some(Known::Watched(container)) => {
                    listed_name(&summary).is_none_or(|name| name == container.name)
                        && hierarchy
                            .locate(container.pid, &id)
                            .is_ok_and(|cgroup| cgroup.id == container.cgroup)
                }
            };
            if !unchanged {
                self.refresh(docker, hierarchy, id).await?;
            }
        }
        self.count_excluded().await
    }

    async fn forget_missing(&mut self, listed: &[ContainerSummary]) -> Result<(), SessionError> {
        let running: HashSet<&str> = listed.iter().filter_map(|c| c.id.as_deref()).collect();
        let missing = |id: &&ContainerId| !running.contains(id.0.as_str());
        let gone: Vec<ContainerId> = self.known.keys().filter(missing).cloned().collect();
        for id in gone {
            self.set(id, None).await?;
        }
        Ok(())
    }

    /// Finds out what a container is now, and tells what is new of it.
    async fn refresh(
        &mut self,
        docker: &Docker,
        hierarchy: &Hierarchy,
        id: ContainerId,
    ) -> Result<(), SessionError> {
        let now = match call("inspect a container", docker.inspect_container(&id.0, None)).await {
            Ok(inspected) => {
                let known = classify(&id, &inspected, hierarchy)?;
                let image_id = inspected.image.as_deref().filter(|_| known.is_some());
                self.chronicle.inspected(&id, image_id);
                known
            }
            // Removed between the event and the call (404), or being removed (409).
            Err(SessionError::Call {
                source:
                    BollardError::DockerResponseServerError {
                        status_code: 404 | 409,
                        ..
                    },
                ..
            }) => None,
            // One answer that cannot be read must not hide the other containers.
            Err(SessionError::Call {
                source:
                    source @ (BollardError::JsonDataError { .. } | BollardError::JsonSerdeError { .. }),
                ..
            }) => {
                warn!(container.id = %id.short(), %source, "Docker's description is not readable");
                Some(Known::Ignored)
            }
            Err(error) => return Err(error),
        };
        self.set(id, now).await
    }

    /// Replaces what is known of a container and tells the difference.
    async fn set(&mut self, id: ContainerId, now: Option<Known>) -> Result<(), SessionError> {
        if self.known.get(&id) == now.as_ref() {
            return Ok(());
        }
        if self.known.len() >= MAX_CONTAINERS && !self.known.contains_key(&id) {
            warn!(container.id = %id.short(), limit = MAX_CONTAINERS, "too many containers to watch");
            return Ok(());
        }
        if let Some(Known::Watched(before)) = self.known.get(&id) {
            let stays = matches!(&now, Some(Known::Watched(c)) if c.cgroup == before.cgroup);
            if !stays {
                debug!(container.id = %id.short(), name = before.name, "container stopped");
                let cgroup = before.cgroup;
                self.events
                    .send(DiscoveryEvent::Removed {
                        cgroup,
                        id: id.clone(),
                    })
                    .await?;
            }
        }
        let Some(known) = now else {
            self.known.remove(&id);
            return Ok(());
        };
        if let Known::Watched(container) = &known {
            let is_new = !matches!(self.known.get(&id), Some(Known::Watched(before))
                if before.cgroup == container.cgroup && before.name == container.name);
            if is_new {
                info!(
                    container.id = %id.short(),
                    name = container.name,
                    service = container.service.0,
                    cgroup = container.cgroup.0,
                    "watching a container"
                );
            }
            self.events
                .send(DiscoveryEvent::Upsert(container.clone()))
                .await?;
        }
        self.known.insert(id, known);
        Ok(())
    }

    async fn count_excluded(&mut self) -> Result<(), SessionError> {
        let excluded = self
            .known
            .values()
            .filter(|known| **known == Known::Excluded)
            .count();
        let excluded = u32::try_from(excluded).unwrap_or(u32::MAX);
        if excluded != self.n_excluded {
            self.n_excluded = excluded;
            self.events.send(DiscoveryEvent::Excluded(excluded)).await?;
        }
        Ok(())
    }

    /// Tells Docker's version, which an update changes.
    async fn take_version(&mut self, docker: &Docker) -> Result<(), SessionError> {
        let told = call("tell its version", docker.version()).await?;
        let engine = told.version.unwrap_or_default();
        if engine != self.engine {
            self.engine.clone_from(&engine);
            self.events.send(DiscoveryEvent::Engine(engine)).await?;
        }
        Ok(())
    }

    async fn set_state(&mut self, state: DockerState) -> Result<(), SessionError> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        if let DockerState::Unreachable { reason } = &state {
            warn!(reason, "Docker is unreachable; trying again");
        }
        self.state = Some(state.clone());
        Ok(self.events.send(DiscoveryEvent::State(state)).await?)
    }
}

/// What an inspected container means; nothing if it does not run.
fn classify(
    id: &ContainerId,
    inspected: &ContainerInspectResponse,
    hierarchy: &Hierarchy,
) -> Result<Option<Known>, SessionError> {
    let state = inspected.state.as_ref();
    let pid = state
        .and_then(|state| state.pid)
        .and_then(|pid| u32::try_from(pid).ok());
    let Some(pid) = pid.filter(|pid| *pid > 0) else {
        return Ok(None);
    };
    let name = inspected
        .name
        .as_deref()
        .unwrap_or_default()
        .trim_start_matches('/');
    let config = inspected.config.as_ref();
    let no_labels = HashMap::new();
    let labels = config
        .and_then(|config| config.labels.as_ref())
        .unwrap_or(&no_labels);
    let labels = Labels::read(name, labels);
    if !labels.enabled {
        return Ok(Some(Known::Excluded));
    }
    for mistake in &labels.mistakes {
        warn!(container.id = %id.short(), name, "{mistake}; it is left out");
    }
    let cgroup = match hierarchy.locate(pid, id) {
        Ok(cgroup) => cgroup,
        Err(CgroupError::Gone(_)) => return Ok(None),
        // These say something of the host: no container could be watched.
        Err(error @ (CgroupError::NotMounted | CgroupError::Namespaced(_))) => {
            return Err(SessionError::Cgroups(error));
        }
        Err(error @ (CgroupError::Read { .. } | CgroupError::Shared(_))) => {
            warn!(container.id = %id.short(), name, %error, "container cannot be watched");
            return Ok(Some(Known::Ignored));
        }
    };
    if hierarchy.holds_this_process(&cgroup) {
        return Ok(Some(Known::Ignored));
    }
    let image = config
        .and_then(|config| config.image.clone())
        .unwrap_or_default();
    let mut container = container(id, name, image, pid, labels, &cgroup);
    container.lifecycle = life::lifecycle(inspected);
    Ok(Some(Known::Watched(Box::new(container))))
}

fn container(
    id: &ContainerId,
    name: &str,
    image: String,
    pid: u32,
    labels: Labels,
    cgroup: &ContainerCgroup,
) -> Container {
    Container {
        id: id.clone(),
        name: name.to_owned(),
        service: labels.service,
        project: labels.project,
        image,
        cgroup: cgroup.id,
        pid,
        routes: labels.routes,
        inspect: labels.inspect,
        lifecycle: Lifecycle::default(),
        slo: labels.slo,
    }
}

async fn connect(host: &str) -> Result<Docker, SessionError> {
    let refused = |source| SessionError::Connect {
        host: host.to_owned(),
        source,
    };
    let seconds = ANSWER_WITHIN.as_secs();
    let docker = match host.split_once("://") {
        Some(("tcp" | "http", _)) => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
        Some(("unix", _)) => Docker::connect_with_socket(host, seconds, API_DEFAULT_VERSION),
        _ => Err(BollardError::UnsupportedURISchemeError {
            uri: host.to_owned(),
        }),
    }
    .map_err(refused)?;
    match call("tell its version", docker.negotiate_version()).await {
        Err(SessionError::Call { source, .. }) => Err(refused(source)),
        other => other,
    }
}

async fn list(docker: &Docker) -> Result<Vec<ContainerSummary>, SessionError> {
    call("list the containers", docker.list_containers(None)).await
}

async fn call<T>(
    call: &'static str,
    answer: impl Future<Output = Result<T, BollardError>>,
) -> Result<T, SessionError> {
    match timeout(ANSWER_WITHIN, answer).await {
        Err(_) | Ok(Err(BollardError::RequestTimeoutError)) => Err(SessionError::Hung { call }),
        Ok(Err(source)) => Err(SessionError::Call { call, source }),
        Ok(Ok(value)) => Ok(value),
    }
}

/// Events from `since` on, and a little before: Docker sends again what lies
/// between.
fn events_since(since: UnixNs) -> EventsOptions {
    let since = Duration::from_nanos(since.0).saturating_sub(EVENTS_OVERLAP);
    let filters = HashMap::from([("type", vec!["container"]), ("event", EVENTS.to_vec())]);
    EventsOptionsBuilder::new()
        .since(&since.as_secs().to_string())
        .filters(&filters)
        .build()
}

fn unix_now() -> UnixNs {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixNs(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// The name in a list; links to other containers are longer paths.
fn listed_name(summary: &ContainerSummary) -> Option<&str> {
    let names = summary.names.as_ref()?;
    names
        .iter()
        .filter_map(|name| name.strip_prefix('/'))
        .find(|name| !name.contains('/'))
}

/// An error and its sources in one line, without saying a thing twice.
fn one_line(error: &SessionError) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line.retain(|c| !c.is_control());
    while line.len() > MAX_REASON_BYTES {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests;
