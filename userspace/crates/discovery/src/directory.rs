//! The map from cgroup to container.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, ContainerId};

use crate::DiscoveryEvent;

/// How many stopped containers are remembered. A request is told of after its
/// container has stopped, when its connection is found closed or times out;
/// the kernel does not soon give the same id to another cgroup.
const MAX_DEPARTED: usize = 1_024;

/// Which container a cgroup belongs to.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    running: HashMap<CgroupId, Arc<Container>>,
    /// Oldest first.
    departed: VecDeque<Arc<Container>>,
}

impl Directory {
    /// A directory without containers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of an event; those that say nothing of a container change
    /// nothing.
    pub fn apply(&mut self, event: &DiscoveryEvent) {
        match event {
            DiscoveryEvent::Upsert(container) => self.upsert((**container).clone()),
            DiscoveryEvent::Removed { cgroup, id } => self.remove(*cgroup, id),
            DiscoveryEvent::Excluded(_)
            | DiscoveryEvent::Engine(_)
            | DiscoveryEvent::State(_)
            | DiscoveryEvent::Happened(_) => {}
        }
    }

    /// Adds a running container, or replaces what was known of its cgroup.
    pub fn upsert(&mut self, container: Container) {
        self.departed
            .retain(|departed| departed.cgroup != container.cgroup);
        self.running.insert(container.cgroup, Arc::new(container));
    }

    /// Marks a container as stopped. A cgroup that has gone to another
    /// container meanwhile stays that one's.
    pub fn remove(&mut self, cgroup: CgroupId, id: &ContainerId) {
        if self
            .running
            .get(&cgroup)
            .is_none_or(|container| container.id != *id)
        {
            return;
        }
        if let Some(container) = self.running.remove(&cgroup) {
            if self.departed.len() == MAX_DEPARTED {
                self.departed.pop_front();
            }
            self.departed.push_back(container);
        }
    }

    /// The container of a cgroup, running or lately stopped.
    #[must_use]
    pub fn container(&self, cgroup: CgroupId) -> Option<&Arc<Container>> {
        self.running.get(&cgroup).or_else(|| {
            self.departed
                .iter()
                .rev()
                .find(|container| container.cgroup == cgroup)
        })
    }

    /// The running containers, in no order.
    pub fn running(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.running.values()
    }

    /// How many containers run.
    #[must_use]
    pub fn n_running(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::container::{Inspect, Lifecycle, ServiceName, Slo};

    use super::*;

    fn container(id: &str, cgroup: u64) -> Container {
        Container {
            id: ContainerId(id.to_owned()),
            name: id.to_owned(),
            service: ServiceName(id.to_owned()),
            project: None,
            image: String::new(),
            cgroup: CgroupId(cgroup),
            pid: 1,
            routes: Vec::new(),
            inspect: Inspect::default(),
            lifecycle: Lifecycle::default(),
            slo: Slo::default(),
        }
    }

    fn name(directory: &Directory, cgroup: u64) -> Option<&str> {
        directory
            .container(CgroupId(cgroup))
            .map(|container| container.name.as_str())
    }

    #[test]
    fn container_is_known_after_it_stopped_but_does_not_run() {
        let mut directory = Directory::new();
        directory.upsert(container("a", 10));
        directory.apply(&DiscoveryEvent::Removed {
            cgroup: CgroupId(10),
            id: ContainerId("a".to_owned()),
        });
        assert_eq!(name(&directory, 10), Some("a"));
        assert_eq!(directory.n_running(), 0);
        assert_eq!(name(&directory, 11), None);
    }

    #[test]
    fn removal_of_a_former_owner_leaves_the_new_one() {
        let mut directory = Directory::new();
        directory.upsert(container("a", 10));
        directory.upsert(container("b", 10));
        directory.remove(CgroupId(10), &ContainerId("a".to_owned()));
        assert_eq!(name(&directory, 10), Some("b"));
        assert_eq!(directory.n_running(), 1);
    }

    #[test]
    fn rename_replaces_the_entry() {
        let mut directory = Directory::new();
        directory.upsert(container("a", 10));
        directory.apply(&DiscoveryEvent::Upsert(Box::new(Container {
            name: "renamed".to_owned(),
            ..container("a", 10)
        })));
        assert_eq!(name(&directory, 10), Some("renamed"));
        assert_eq!(directory.running().count(), 1);
    }

    #[test]
    fn churn_keeps_a_bounded_number_of_stopped_containers() {
        let mut directory = Directory::new();
        for cgroup in 2..5_000 {
            directory.upsert(container("a", cgroup));
            directory.remove(CgroupId(cgroup), &ContainerId("a".to_owned()));
        }
        assert_eq!(directory.departed.len(), MAX_DEPARTED);
        assert_eq!(name(&directory, 2), None);
        assert_eq!(name(&directory, 4_999), Some("a"));
    }
}
