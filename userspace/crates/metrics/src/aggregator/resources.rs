//! What containers use, and what happens to them.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::resource::{ResourceFigures, ResourceReading, ResourceRollup};
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};

use super::{Aggregator, CLOCK_SET_BACK_SECONDS, start_of};
use crate::resources::Meter;
use crate::service::{Service, ServiceContainer};

/// Seconds without a reading after which a kill gets a rollup of its own.
const KILL_WAITS_SECONDS: u64 = 2;

impl Aggregator {
    /// Takes what watched cgroups used, as read about once a second, and gives
    /// the kills for want of memory that nobody told of before. Readings of
    /// cgroups that are not watched are left out.
    pub fn set_resources(&mut self, readings: Vec<ResourceReading>) -> Vec<TimelineEvent> {
        let mut events = Vec::new();
        for reading in readings {
            let Some(&placement) = self.cgroups.get(&reading.cgroup) else {
                continue;
            };
            let Some(service) = self.services[placement.service as usize].as_mut() else {
                continue;
            };
            let name = Arc::clone(&service.name);
            let place = service.container(placement.container as usize);
            let at = reading.at;
            let n_kills = killed_between(place.meter.as_deref(), &reading);
            let n_news = n_kills.map_or(0, |n_kills| place.kills.counted(n_kills, at));
            if n_news > 0 {
                place.is_counted = true;
                events.push(TimelineEvent {
                    at,
                    kind: TimelineKind::OomKilled,
                    service: Some(Arc::clone(&name)),
                    container: Some(Arc::clone(&place.name)),
                    detail: match n_news {
                        1 => String::new(),
                        n_news => format!("{n_news} processes"),
                    },
                });
            }
            let closed = match &mut place.meter {
                Some(meter) if meter.cgroup() == reading.cgroup => meter.take(reading),
                meter => {
                    *meter = Some(Box::new(Meter::new(reading)));
                    Vec::new()
                }
            };
            for (second, mut figures) in closed {
                place.add_kills(&mut figures);
                if place.may_roll_up(second) {
                    let rollup = rollup(&name, place, second, figures);
                    self.resource_rollups.push(rollup);
                }
            }
        }
        events
    }

    /// Takes what happened to a container and gives whether it is news: a kill
    /// for want of memory may have been told of by [`Self::set_resources`].
    pub fn happened(&mut self, event: &TimelineEvent) -> bool {
        if event.kind != TimelineKind::OomKilled {
            return true;
        }
        let (Some(service), Some(container)) = (&event.service, &event.container) else {
            return true;
        };
        // It may have died of it and be gone already: its count is not.
        let now = self.open.map_or(event.at.seconds(), |open| open.second);
        let placement = self.place_named(service, container, now);
        let service = self.service_mut(placement);
        let place = service.container(placement.container as usize);
        let is_news = place.kills.told(event.at);
        place.is_counted = true;
        place.last_seen = place.last_seen.max(now);
        is_news
    }

    /// What containers used in the seconds that closed since the last call,
    /// each second of a container once.
    pub fn take_resources(&mut self, now: UnixNs) -> Vec<ResourceRollup> {
        let mut rollups = mem::take(&mut self.resource_rollups);
        for service in self.services.iter_mut().flatten() {
            let name = Arc::clone(&service.name);
            for place in service.containers_mut() {
                let is_read = (place.meter.as_deref())
                    .is_some_and(|meter| meter.second() + KILL_WAITS_SECONDS >= now.seconds());
                if is_read || !place.kills.has_pending() {
                    continue;
                }
                let second = now.seconds().max(place.last_rollup + 1);
                let mut figures = ResourceFigures::default();
                place.add_kills(&mut figures);
                if place.may_roll_up(second) {
                    rollups.push(rollup(&name, place, second, figures));
                }
            }
        }
        rollups
    }
}

impl Service {
    /// Kills in all of its containers since the daemon watches.
    pub(crate) fn n_oom_kills(&self) -> Option<u64> {
        self.containers()
            .iter()
            .filter_map(|place| place.kills.total())
            .reduce(u64::saturating_add)
    }
}

impl ServiceContainer {
    fn add_kills(&mut self, figures: &mut ResourceFigures) {
        let n_kills = self.kills.take_pending();
        if n_kills > 0 {
            figures.n_oom_kills = Some(figures.n_oom_kills.unwrap_or(0).saturating_add(n_kills));
        }
    }

    /// Whether no rollup of this second or a later one was made, as after a
    /// quick restart; a clock that was set back begins anew.
    fn may_roll_up(&mut self, second: u64) -> bool {
        let is_new =
            second > self.last_rollup || second + CLOCK_SET_BACK_SECONDS < self.last_rollup;
        if is_new {
            self.last_rollup = second;
        }
        is_new
    }
}

/// Kills that the counter of the reading's cgroup tells of since the reading
/// before; those before the first reading are nobody's news.
fn killed_between(meter: Option<&Meter>, reading: &ResourceReading) -> Option<u64> {
    let after = reading.memory.n_oom_kills?;
    let before = meter.filter(|meter| meter.cgroup() == reading.cgroup);
    let before = before.and_then(|meter| meter.latest().memory.n_oom_kills);
    Some(before.map_or(0, |before| after.saturating_sub(before)))
}

fn rollup(
    service: &Arc<str>,
    place: &ServiceContainer,
    second: u64,
    figures: ResourceFigures,
) -> ResourceRollup {
    ResourceRollup {
        service: Arc::clone(service),
        container: Arc::clone(&place.name),
        start: start_of(second),
        width: Duration::from_secs(1),
        figures,
    }
}
