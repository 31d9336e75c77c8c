//! What the probes watch, and what they counted.

use std::collections::HashSet;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};
use modeltap_abi::config::{Counter, TrackedConnection};
use modeltap_core::connection::{CgroupId, ConnectionId};

use crate::loader::LoadError;

/// A tracked connection as the map holds it.
type TrackedBytes = [u8; size_of::<TrackedConnection>()];

/// Steers the probes.
pub struct Control {
    cgroups: HashMap<MapData, u64, u32>,
    listeners: HashMap<MapData, [u32; 2], u32>,
    connections: HashMap<MapData, u64, TrackedBytes>,
    counters: PerCpuArray<MapData, u64>,
    known_listeners: HashSet<[u32; 2]>,
}

/// What the probes counted since they were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Events placed in the ring.
    pub events_submitted: u64,
    /// Events for which the ring had no room.
    pub events_lost: u64,
    /// Bytes moved by the events submitted.
    pub bytes_submitted: u64,
    /// Bytes moved by the events lost.
    pub bytes_lost: u64,
    /// Bytes captured of those submitted.
    pub bytes_captured: u64,
    /// User memory that could not be read.
    pub user_reads_failed: u64,
    /// Connections not tracked because the map was full.
    pub connections_untracked: u64,
}

impl Control {
    pub(crate) fn new(
        cgroups: Map,
        listeners: Map,
        connections: Map,
        counters: Map,
    ) -> Result<Self, LoadError> {
        let named = |name| move |source| LoadError::Map { name, source };
        Ok(Self {
            cgroups: cgroups.try_into().map_err(named("CGROUPS"))?,
            listeners: listeners.try_into().map_err(named("LISTENERS"))?,
            connections: connections.try_into().map_err(named("CONNECTIONS"))?,
            counters: counters.try_into().map_err(named("COUNTERS"))?,
            known_listeners: HashSet::new(),
        })
    }

    /// Watches a cgroup and everything below it. The root cgroup, which holds
    /// every process of the host, is refused.
    ///
    /// # Errors
    /// The map is full (4,096 containers), or the kernel refuses.
    pub fn watch(&mut self, cgroup: CgroupId) -> Result<(), MapError> {
        const ROOT: u64 = 1;
        if cgroup.0 <= ROOT {
            return Ok(());
        }
        self.cgroups.insert(cgroup.0, 1, 0)
    }

    /// Stops watching a cgroup; one that is not watched is no error.
    pub fn unwatch(&mut self, cgroup: CgroupId) {
        let _ = self.cgroups.remove(&cgroup.0);
    }

    /// Replaces the ports on which watched containers accept: (inode number
    /// of the network namespace, port). They make connections that are older
    /// than the probes known as the server's side.
    pub fn set_listeners(&mut self, listeners: &HashSet<(u32, u16)>) {
        let wanted: HashSet<[u32; 2]> = listeners
            .iter()
            .map(|&(netns, port)| [netns, u32::from(port)])
            .collect();
        for gone in self.known_listeners.difference(&wanted) {
            let _ = self.listeners.remove(gone);
        }
        for new in wanted.difference(&self.known_listeners) {
            if let Err(error) = self.listeners.insert(new, 1, 0) {
                tracing::warn!(%error, port = new[1], "a listening port could not be made known");
            }
        }
        self.known_listeners = wanted;
    }

    /// Forgets a connection that ended, unless its socket serves another one
    /// by now.
    pub fn forget(&mut self, id: ConnectionId) {
        let Ok(bytes) = self.connections.get(&id.socket, 0) else {
            return;
        };
        let tracked: TrackedConnection = zerocopy::transmute!(bytes);
        if tracked.opened_ns == id.opened.0 {
            let _ = self.connections.remove(&id.socket);
        }
    }

    /// Reads the probes' counters.
    #[must_use]
    pub fn counts(&self) -> KernelCounts {
        let sum = |counter: Counter| -> u64 {
            self.counters
                .get(&(counter as u32), 0)
                .map_or(0, |values| values.iter().sum())
        };
        KernelCounts {
            events_submitted: sum(Counter::EventsSubmitted),
            events_lost: sum(Counter::EventsLost),
            bytes_submitted: sum(Counter::BytesSubmitted),
            bytes_lost: sum(Counter::BytesLost),
            bytes_captured: sum(Counter::BytesCaptured),
            user_reads_failed: sum(Counter::UserReadsFailed),
            connections_untracked: sum(Counter::ConnectionsUntracked),
        }
    }
}
