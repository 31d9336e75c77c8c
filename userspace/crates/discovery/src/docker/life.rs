//! How containers' lives go, as Docker tells it.
//!
//! Docker sends events again when they are asked for from a time before: each
//! is told once, by its own time in nanoseconds. What happened before the
//! daemon watched is not told at all, for an earlier one may have told it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, EventMessage};
use jiff::Timestamp;
use modeltap_core::container::{Container, ContainerId, HealthCheck, Lifecycle, ServiceName};
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{MAX_DETAIL_BYTES, TimelineEvent, TimelineKind};

use crate::labels::Labels;

/// Events that are remembered, so that none is told twice: Docker itself
/// keeps 256 to send again.
const MAX_REMEMBERED: usize = 1_024;
/// Containers whose last image is remembered.
const MAX_IMAGES: usize = 8_192;
/// Digits of an image's id that are told, as Docker does.
const SHORT_ID_DIGITS: usize = 12;

/// What an inspected container's life was so far.
pub(super) fn lifecycle(inspected: &ContainerInspectResponse) -> Lifecycle {
    let state = inspected.state.as_ref();
    let started = state.and_then(|state| unix(state.started_at.as_deref()?));
    let health = state.and_then(|state| state.health.as_ref()?.status);
    Lifecycle {
        started,
        n_restarts: inspected
            .restart_count
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0),
        health: health.and_then(|status| HealthCheck::parse(status.as_ref())),
    }
}

/// A time as Docker writes it; `None` also for its zero, the year 1.
fn unix(time: &str) -> Option<UnixNs> {
    let ns = time.parse::<Timestamp>().ok()?.as_nanosecond();
    Some(UnixNs(u64::try_from(ns).ok()?))
}

/// An image as it was asked for, and what that was at the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    name: String,
    id: Option<String>,
}

impl Image {
    /// A tag may come to mean another image.
    fn is_other_than(&self, other: &Self) -> bool {
        let ids = self.id.as_ref().zip(other.id.as_ref());
        self.name != other.name || ids.is_some_and(|(own, other)| own != other)
    }

    fn with_id(&self) -> String {
        let id = self.id.as_deref().unwrap_or("unknown");
        let digits = id.rsplit(':').next().unwrap_or(id);
        let short = digits.get(..SHORT_ID_DIGITS).unwrap_or(digits);
        format!("{} ({short})", self.name)
    }
}

/// What was told, and what has to be known for it.
#[derive(Debug)]
pub(super) struct Chronicle {
    /// Nothing before is told.
    begun: UnixNs,
    newest: Option<UnixNs>,
    /// In the order in which they came.
    remembered: VecDeque<(u64, ContainerId, String)>,
    known: HashSet<(u64, ContainerId, String)>,
    /// Ids of the images of running containers.
    image_ids: HashMap<ContainerId, String>,
    /// The image that each container of a service ran last.
    of_container: HashMap<(ServiceName, String), Image>,
    /// The image of the service's container that started last.
    of_service: HashMap<ServiceName, Image>,
}

impl Chronicle {
    /// A chronicle that begins at `now`.
    pub(super) fn new(now: UnixNs) -> Self {
        Self {
            begun: now,
            newest: None,
            remembered: VecDeque::new(),
            known: HashSet::new(),
            image_ids: HashMap::new(),
            of_container: HashMap::new(),
            of_service: HashMap::new(),
        }
    }

    /// From when on events have to be asked for.
    pub(super) fn since(&self) -> UnixNs {
        self.newest.unwrap_or(self.begun)
    }

    /// Notes which image a container runs, or that it runs no more.
    pub(super) fn inspected(&mut self, id: &ContainerId, image_id: Option<&str>) {
        match image_id {
            Some(image_id) if self.image_ids.len() < MAX_IMAGES => {
                self.image_ids.insert(id.clone(), image_id.to_owned());
            }
            _ => {
                self.image_ids.remove(id);
            }
        }
    }

    /// Notes the image of a container that ran before its start could be told.
    pub(super) fn found_running(&mut self, container: &Container) {
        let image = self.image(&container.id, &container.image);
        self.make_room();
        let key = (container.service.clone(), container.name.clone());
        self.of_container
            .entry(key)
            .or_insert_with(|| image.clone());
        self.of_service
            .entry(container.service.clone())
            .or_insert(image);
    }

    /// What an event says that was not said before. `runs` tells whether
    /// another container of the service runs that image.
    pub(super) fn tell(
        &mut self,
        event: &EventMessage,
        runs: impl Fn(&ServiceName, &ContainerId, &str) -> bool,
    ) -> Vec<TimelineEvent> {
        let Some((at, id, action)) = self.news(event) else {
            return Vec::new();
        };
        let attributes = event
            .actor
            .as_ref()
            .and_then(|actor| actor.attributes.clone());
        let attributes = attributes.unwrap_or_default();
        let text = |name: &str| attributes.get(name).map_or("", String::as_str);
        let name = text("name");
        let labels = Labels::read(name, &attributes);
        if !labels.enabled {
            return Vec::new();
        }
        let told = |kind, detail: String| TimelineEvent {
            at,
            kind,
            service: Some(Arc::from(labels.service.0.as_str())),
            container: Some(Arc::from(name)),
            detail: cut(detail),
        };
        let (action, rest) = action.split_once(':').unwrap_or((&action, ""));
        match action {
            "start" => {
                let image = self.image(&id, text("image"));
                let before = self.replace_image(&labels.service, name, &image);
                let changed = before
                    .filter(|before| image.is_other_than(before))
                    .filter(|_| !runs(&labels.service, &id, &image.name))
                    .map(|before| told(TimelineKind::ImageChanged, change(&before, &image)));
                let started = told(TimelineKind::ContainerStarted, image.name);
                changed.into_iter().chain([started]).collect()
            }
            "die" => vec![told(
                TimelineKind::ContainerStopped,
                text("exitCode").to_owned(),
            )],
            "oom" => vec![told(TimelineKind::OomKilled, String::new())],
            "health_status" => vec![told(TimelineKind::HealthChanged, rest.trim().to_owned())],
            _ => Vec::new(),
        }
    }

    /// Time, container and action of an event that was not seen before.
    fn news(&mut self, event: &EventMessage) -> Option<(UnixNs, ContainerId, String)> {
        let at = u64::try_from(event.time_nano?).ok()?;
        let id = ContainerId(event.actor.as_ref()?.id.clone()?);
        let action = event.action.clone()?;
        if UnixNs(at) < self.begun {
            return None;
        }
        let key = (at, id.clone(), action.clone());
        if !self.known.insert(key.clone()) {
            return None;
        }
        if self.remembered.len() == MAX_REMEMBERED
            && let Some(oldest) = self.remembered.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.remembered.push_back(key);
        self.newest = self.newest.max(Some(UnixNs(at)));
        Some((UnixNs(at), id, action))
    }

    fn image(&self, id: &ContainerId, name: &str) -> Image {
        Image {
            name: name.to_owned(),
            id: self.image_ids.get(id).cloned(),
        }
    }

    /// The image before: of the container of that name, else of the service.
    fn replace_image(&mut self, service: &ServiceName, name: &str, image: &Image) -> Option<Image> {
        self.make_room();
        let key = (service.clone(), name.to_owned());
        let of_container = self.of_container.insert(key, image.clone());
        let of_service = self.of_service.insert(service.clone(), image.clone());
        of_container.or(of_service)
    }

    fn make_room(&mut self) {
        if self.of_container.len() >= MAX_IMAGES || self.of_service.len() >= MAX_IMAGES {
            self.of_container.clear();
            self.of_service.clear();
        }
    }
}

fn change(before: &Image, after: &Image) -> String {
    if before.name == after.name {
        format!("{} -> {}", before.with_id(), after.with_id())
    } else {
        format!("{} -> {}", before.name, after.name)
    }
}

fn cut(mut detail: String) -> String {
    detail.retain(|c| !c.is_control());
    while detail.len() > MAX_DETAIL_BYTES {
        detail.pop();
    }
    detail
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerState, EventActor, Health, HealthStatusEnum};

    use super::*;

    const BEGUN: u64 = 1_000;

    fn event(at: u64, id: &str, action: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let named = [("name", "shop-ranker-1"), ("image", "ranker:1")];
        let attributes = named.iter().chain(attributes);
        EventMessage {
            action: Some(action.to_owned()),
            actor: Some(EventActor {
                id: Some(id.to_owned()),
                attributes: Some(
                    attributes
                        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                ),
            }),
            time_nano: i64::try_from(at).ok(),
            ..EventMessage::default()
        }
    }

    fn chronicle() -> Chronicle {
        Chronicle::new(UnixNs(BEGUN))
    }

    fn tell(chronicle: &mut Chronicle, event: &EventMessage) -> Vec<(TimelineKind, String)> {
        let told = chronicle.tell(event, |_, _, _| false);
        told.into_iter()
            .map(|event| (event.kind, event.detail))
            .collect()
    }

    #[test]
    fn each_event_says_what_docker_says() {
        let mut chronicle = chronicle();
        let service = ("com.docker.compose.service", "ranker");
        let told = chronicle.tell(&event(2_000, "a", "start", &[service]), |_, _, _| false);
        let expected = TimelineEvent {
            at: UnixNs(2_000),
            kind: TimelineKind::ContainerStarted,
            service: Some(Arc::from("ranker")),
            container: Some(Arc::from("shop-ranker-1")),
            detail: "ranker:1".to_owned(),
        };
        assert_eq!(told, [expected]);
        let rows = [
            (
                "die",
                ("exitCode", "137"),
                TimelineKind::ContainerStopped,
                "137",
            ),
            ("oom", ("x", "y"), TimelineKind::OomKilled, ""),
            (
                "health_status: unhealthy",
                ("x", "y"),
                TimelineKind::HealthChanged,
                "unhealthy",
            ),
        ];
        for (at, (action, attribute, kind, detail)) in rows.into_iter().enumerate() {
            let event = event(3_000 + at as u64, "a", action, &[attribute]);
            assert_eq!(tell(&mut chronicle, &event), [(kind, detail.to_owned())]);
        }
        for silent in ["rename", "destroy", "exec_start: sh", ""] {
            assert_eq!(tell(&mut chronicle, &event(4_000, "a", silent, &[])), []);
        }
    }

    #[test]
    fn event_is_told_once_and_none_from_before_the_daemon() {
        let mut chronicle = chronicle();
        assert_eq!(chronicle.since(), UnixNs(BEGUN));
        assert_eq!(tell(&mut chronicle, &event(999, "a", "start", &[])), []);
        assert_eq!(
            tell(&mut chronicle, &event(1_000, "a", "start", &[])).len(),
            1
        );
        for _ in 0..2 {
            assert_eq!(tell(&mut chronicle, &event(1_000, "a", "start", &[])), []);
        }
        // At the same nanosecond, but another container, and another action.
        assert_eq!(
            tell(&mut chronicle, &event(1_000, "b", "start", &[])).len(),
            1
        );
        assert_eq!(
            tell(&mut chronicle, &event(1_000, "a", "die", &[])).len(),
            1
        );
        assert_eq!(
            tell(&mut chronicle, &event(5_000, "a", "start", &[])).len(),
            1
        );
        assert_eq!(chronicle.since(), UnixNs(5_000));
    }

    #[test]
    fn remembered_events_are_bounded() {
        let mut chronicle = chronicle();
        for at in 0..3 * MAX_REMEMBERED as u64 {
            tell(&mut chronicle, &event(BEGUN + at, "a", "die", &[]));
        }
        assert_eq!(chronicle.remembered.len(), MAX_REMEMBERED);
        assert_eq!(chronicle.known.len(), MAX_REMEMBERED);
    }

    #[test]
    fn container_that_a_label_leaves_out_is_not_told_of() {
        let off = [("modeltap.enable", "false")];
        assert_eq!(tell(&mut chronicle(), &event(2_000, "a", "die", &off)), []);
    }

    fn changes(chronicle: &mut Chronicle, event: &EventMessage) -> Vec<String> {
        tell(chronicle, event)
            .into_iter()
            .filter(|(kind, _)| *kind == TimelineKind::ImageChanged)
            .map(|(_, detail)| detail)
            .collect()
    }

    #[test]
    fn another_image_is_told_with_the_one_before() {
        let mut chronicle = chronicle();
        let start = |at, id, image| event(at, id, "start", &[("image", image)]);
        let none: [String; 0] = [];
        assert_eq!(changes(&mut chronicle, &start(2_000, "a", "r:1")), none);
        assert_eq!(changes(&mut chronicle, &start(3_000, "a", "r:1")), none);
        assert_eq!(
            changes(&mut chronicle, &start(4_000, "b", "r:2")),
            ["r:1 -> r:2"]
        );
        assert_eq!(
            changes(&mut chronicle, &start(5_000, "c", "r:1")),
            ["r:2 -> r:1"]
        );

        // The tag means another image now.
        chronicle.inspected(
            &ContainerId("c".to_owned()),
            Some("sha256:0123456789abcdef"),
        );
        assert_eq!(changes(&mut chronicle, &start(6_000, "c", "r:1")), none);
        chronicle.inspected(
            &ContainerId("d".to_owned()),
            Some("sha256:fedcba9876543210"),
        );
        assert_eq!(
            changes(&mut chronicle, &start(7_000, "d", "r:1")),
            ["r:1 (0123456789ab) -> r:1 (fedcba987654)"]
        );
    }

    #[test]
    fn image_that_a_sibling_runs_is_no_change() {
        let mut chronicle = chronicle();
        tell(
            &mut chronicle,
            &event(2_000, "a", "start", &[("image", "r:1")]),
        );
        let other = [("image", "r:2"), ("name", "shop-ranker-2")];
        let service = [("modeltap.service", "shop-ranker-1")];
        let second = event(3_000, "b", "start", &[other[0], other[1], service[0]]);
        let told = chronicle.tell(&second, |service, id, image| {
            assert_eq!((service.0.as_str(), id.0.as_str()), ("shop-ranker-1", "b"));
            image == "r:2"
        });
        assert_eq!(told.len(), 1);
        // Each keeps its own from then on.
        let again = event(4_000, "c", "start", &[("image", "r:1")]);
        assert_eq!(changes(&mut chronicle, &again), [""; 0]);
    }

    #[test]
    fn hostile_event_is_bounded() {
        let long = "\u{6a21}".repeat(1_000);
        let told = tell(
            &mut chronicle(),
            &event(2_000, "a", "start", &[("image", &long)]),
        );
        assert!(told[0].1.len() <= MAX_DETAIL_BYTES);
        for broken in [
            EventMessage::default(),
            EventMessage {
                time_nano: Some(-1),
                ..event(2_000, "a", "start", &[])
            },
            EventMessage {
                actor: None,
                ..event(2_000, "a", "start", &[])
            },
        ] {
            assert_eq!(tell(&mut chronicle(), &broken), []);
        }
    }

    #[test]
    fn life_is_what_the_description_says() {
        let inspected = |started: &str, health| ContainerInspectResponse {
            restart_count: Some(3),
            state: Some(ContainerState {
                started_at: Some(started.to_owned()),
                health: Some(Health {
                    status: Some(health),
                    ..Health::default()
                }),
                ..ContainerState::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let life = lifecycle(&inspected(
            "2026-11-24T09:06:06.910986218Z",
            HealthStatusEnum::UNHEALTHY,
        ));
        let expected = Lifecycle {
            started: Some(UnixNs(1_795_511_166_910_986_218)),
            n_restarts: 3,
            health: Some(HealthCheck::Unhealthy),
        };
        assert_eq!(life, expected);
        let life = lifecycle(&inspected("0001-01-01T00:00:00Z", HealthStatusEnum::NONE));
        assert_eq!((life.started, life.health), (None, None));
        assert_eq!(
            lifecycle(&ContainerInspectResponse::default()),
            Lifecycle::default()
        );
    }
}
