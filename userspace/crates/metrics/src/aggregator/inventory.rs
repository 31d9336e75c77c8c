//! Containers come, change, go, and are forgotten.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use modeltap_core::accounting::InProgress;
use modeltap_core::container::{Container, ContainerId};

use super::{Aggregator, Placement};
use crate::series::Budget;
use crate::service::{Service, ServiceContainer};

impl Aggregator {
    /// Takes the whole inventory: containers that are not in it have ended.
    pub fn set_containers(&mut self, containers: &[Container]) {
        let ids: HashSet<&ContainerId> = containers.iter().map(|container| &container.id).collect();
        let places = self.services.iter().flatten().flat_map(Service::containers);
        let running = places.filter_map(|place| place.running.as_ref());
        let gone: Vec<ContainerId> = running
            .filter(|running| !ids.contains(&running.id))
            .map(|running| running.id.clone())
            .collect();
        for id in &gone {
            self.remove_container(id);
        }
        for container in containers {
            self.upsert_container(container);
        }
    }

    /// A container runs, or its name, service or labels changed.
    pub fn upsert_container(&mut self, container: &Container) {
        let now = self.open.map_or(0, |open| open.second);
        if self
            .placements
            .get(&container.id)
            .is_some_and(|known| !self.is_at(*known, container))
        {
            self.remove_container(&container.id);
        }
        let placement = self.placement(container, now);
        self.cgroups.retain(|_, known| *known != placement);
        self.cgroups.insert(container.cgroup, placement);
        self.accounts.open(container.cgroup, placement.place());
        let service = self.service_mut(placement);
        service.container(placement.container as usize).running = Some(Arc::new(container.clone()));
        service.refresh();
    }

    /// A container ended. Its counts stay for [`Config::forget_after`] from
    /// its last request, so that no exported counter loses what it counted
    /// last, unless [`Config::max_ended`] others ended after it; a name that
    /// comes back meanwhile goes on counting.
    pub fn remove_container(&mut self, id: &ContainerId) {
        let Some(placement) = self.placements.remove(id) else {
            return;
        };
        let now = self.open.map_or(0, |open| open.second);
        let service = self.service_mut(placement);
        let place = service.container(placement.container as usize);
        // The name may belong to a new container already.
        if place
            .running
            .as_ref()
            .is_some_and(|running| running.id == *id)
        {
            place.running = None;
            place.in_progress = InProgress::default();
            place.meter = None;
            place.last_seen = place.last_seen.max(now);
            service.refresh();
            self.cgroups.retain(|_, known| *known != placement);
        }
        self.forget(now);
    }

    /// Forgets containers that ended long ago or before many others, and
    /// services without any.
    pub(super) fn forget(&mut self, now: u64) {
        let after = self.forgotten_after(now);
        let services = &mut self.services;
        let mut n_forgotten = 0;
        for place in services
            .iter_mut()
            .flatten()
            .flat_map(Service::containers_mut)
        {
            if place.is_forgettable(now, after) {
                place.vacate();
                n_forgotten += 1;
            }
        }
        if n_forgotten == 0 {
            return;
        }
        let place = |services: &[Option<Service>], service: u32, container: u32| {
            let service = services[service as usize]
                .as_ref()
                .expect("it was not forgotten yet");
            service.containers()[container as usize].is_vacant()
        };
        for (at, slot) in self.series.iter_mut().enumerate() {
            let Some(series) = slot else { continue };
            let index = series.index;
            if !place(services, index.service, index.container) {
                continue;
            }
            debug_assert_eq!(
                series.window.n_requests, 0,
                "its window closed two seconds ago"
            );
            let service = services[index.service as usize].as_mut();
            service
                .expect("it was not forgotten yet")
                .release(series.budget);
            self.n_own_series -= usize::from(series.budget == Budget::Own);
            self.series_index.remove(&index);
            *slot = None;
            self.free_series
                .push(u32::try_from(at).expect("series are bounded"));
        }
        self.accounts
            .forget(|(service, container)| place(services, service, container));
        for service in services.iter_mut().flatten() {
            self.n_measured_routes -= service.forget_vacant();
        }
        let is_kept = |known: &mut Placement| !place(services, known.service, known.container);
        self.placements.retain(|_, known| is_kept(known));
        self.cgroups.retain(|_, known| is_kept(known));
        for slot in services.iter_mut() {
            let is_over = slot.as_ref().is_some_and(|service| {
                service.containers().iter().all(ServiceContainer::is_vacant)
            });
            if is_over && let Some(service) = slot.take() {
                self.service_names.remove(&service.name);
            }
        }
    }

    /// How long the counts of a container outlive it at the second `now`.
    fn forgotten_after(&self, now: u64) -> Duration {
        let places = self.services.iter().flatten().flat_map(Service::containers);
        let ended = places.filter(|place| place.is_forgettable(now, Duration::ZERO));
        let mut last_seen: Vec<u64> = ended.map(|place| place.last_seen).collect();
        let n_over = last_seen.len().saturating_sub(self.config.max_ended);
        if n_over == 0 {
            return self.config.forget_after;
        }
        let (_, newest_over, _) = last_seen.select_nth_unstable(n_over - 1);
        Duration::from_secs(now.saturating_sub(*newest_over)).min(self.config.forget_after)
    }

    /// Late requests place a container again after its end; its id does not
    /// come back.
    pub(super) fn forget_old_ids(&mut self) {
        let services = &self.services;
        self.placements.retain(|id, known| {
            let service = services[known.service as usize].as_ref();
            let place = service.map(|service| &service.containers()[known.container as usize]);
            place.is_some_and(|place| place.running.as_ref().is_some_and(|now| now.id == *id))
        });
    }

    fn is_at(&self, placement: Placement, container: &Container) -> bool {
        self.services[placement.service as usize]
            .as_ref()
            .is_some_and(|service| {
                let place = &service.containers()[placement.container as usize];
                *service.name == *container.service.0 && *place.name == *container.name
            })
    }

    pub(super) fn placement(&mut self, container: &Container, now: u64) -> Placement {
        if let Some(&known) = self.placements.get(&container.id)
            && self.is_at(known, container)
        {
            return known;
        }
        let placement = self.place_named(&container.service.0, &container.name, now);
        self.placements.insert(container.id.clone(), placement);
        placement
    }

    /// The place of a container's name within its service; both are made where
    /// there are none.
    pub(super) fn place_named(&mut self, service: &str, container: &str, now: u64) -> Placement {
        let service = match self.service_names.get(service) {
            Some(&known) => known,
            None => {
                let fresh = Service::new(service, &self.config);
                let free = self.services.iter().position(Option::is_none);
                let at = free.unwrap_or(self.services.len());
                let index = u32::try_from(at).expect("services are as many as containers");
                self.service_names.insert(Arc::clone(&fresh.name), index);
                if free.is_none() {
                    self.services.push(None);
                }
                self.services[at] = Some(fresh);
                index
            }
        };
        let place = self.services[service as usize]
            .as_mut()
            .expect("the index of names is current")
            .place(container, now);
        let container = u32::try_from(place).expect("containers are fewer");
        Placement { service, container }
    }
}
