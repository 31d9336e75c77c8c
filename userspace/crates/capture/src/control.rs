//! What the probes watch, and what they counted.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun};
use aya::sys::{Stats, SyscallError, enable_stats};
use aya::util::nr_cpus;
use modeltap_abi::config::{
    COUNTS_ONLY, CaptureConfig, CgroupCounters, Counter, TrackedConnection, WORDS_OF_PORTS,
};
use modeltap_abi::feature::{NETWORK_OWN, NETWORK_SHARED};
use modeltap_core::accounting::{CgroupCounts, LeftOut, ProgramCost, RequestCounts};
use modeltap_core::connection::{CgroupId, ConnectionId};

use crate::left_out::Ledger;
use crate::loader::{LoadError, SWEEP};
use crate::skipped;

/// A tracked connection as the map holds it.
type TrackedBytes = [u8; size_of::<TrackedConnection>()];

/// The counts of one cgroup on one processor, as the map holds them.
type CounterBytes = [u8; size_of::<CgroupCounters>()];
/// `BPF_NOEXIST`: an entry that is there stays as it is.
const NO_REPLACE: u64 = 1;

/// Steers the probes.
pub struct Control {
    maps: Maps,
    /// Holds the program that sweeps.
    ebpf: Arc<Ebpf>,
    /// Cgroups that were added to those watched.
    generation: u64,
    known_listeners: HashSet<[u32; 2]>,
    known_networks: BTreeMap<u32, Network>,
    left_out: Ledger,
}

/// What it steers them by.
pub(crate) struct Maps {
    config: Array<MapData, [u8; size_of::<CaptureConfig>()]>,
    cgroups: HashMap<MapData, u64, u32>,
    cgroup_counts: PerCpuHashMap<MapData, u64, CounterBytes>,
    listeners: HashMap<MapData, [u32; 2], u32>,
    connections: HashMap<MapData, u64, TrackedBytes>,
    counters: PerCpuArray<MapData, u64>,
    generations: Array<MapData, u64>,
    ports: Array<MapData, u64>,
    networks: HashMap<MapData, u32, u32>,
    unseen: HashMap<MapData, u64, u64>,
}

/// How much the probes hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Events with so many bytes.
    Bytes {
        /// Bytes captured of each turn of reads.
        read_turn: u32,
        /// Bytes captured of each turn of writes.
        write_turn: u32,
        /// Bytes captured of each call beyond its turn's share.
        continued: u32,
    },
    /// No bytes: requests and responses are counted, events are left out.
    Counts,
}

/// Bytes by which the probes know a message's beginning, with room to spare.
const BEGINNING_BYTES: u32 = 64;

/// Whose a watched container's network namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Watched containers' alone.
    Own,
    /// The host's too: there a connection is a container's only if its local
    /// port is.
    Shared,
}

/// Has the kernel measure how long BPF programs run, all of them, for as long
/// as the descriptor is open. It makes each run dearer.
///
/// # Errors
/// Without CAP_SYS_ADMIN.
pub fn measure_run_time() -> Result<OwnedFd, SyscallError> {
    enable_stats(Stats::RunTime)
}

/// What the probes counted since they were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelCounts {
    /// Events placed in the ring.
    pub events_submitted: u64,
    /// Events that were not, for either cause: the ring had no room, or the
    /// map of connections.
    pub events_lost: u64,
    /// Of them: the map of connections had no room.
    pub events_lost_map_full: u64,
    /// Bytes moved by the events submitted.
    pub bytes_submitted: u64,
    /// Bytes moved by the events lost.
    pub bytes_lost: u64,
    /// Events left out on purpose, see [`Limits::Counts`].
    pub events_left_out: u64,
    /// Bytes moved by them.
    pub bytes_left_out: u64,
    /// Bytes captured of those submitted.
    pub bytes_captured: u64,
    /// User memory that could not be read.
    pub user_reads_failed: u64,
    /// Connections not tracked because the map was full.
    pub connections_untracked: u64,
    /// Runs of probes that the kernel left out, at most: each may be a call
    /// whose bytes were not seen.
    pub runs_skipped: u64,
}

impl Maps {
    /// Takes the maps, by their names.
    pub(crate) fn take(
        mut map: impl FnMut(&'static str) -> Result<Map, LoadError>,
    ) -> Result<Self, LoadError> {
        let named = |name| move |source| LoadError::Map { name, source };
        macro_rules! take {
            ($name:literal) => {
                map($name)?.try_into().map_err(named($name))?
            };
        }
        Ok(Self {
            config: take!("CONFIG"),
            cgroups: take!("CGROUPS"),
            cgroup_counts: take!("CGROUP_COUNTS"),
            listeners: take!("LISTENERS"),
            connections: take!("CONNECTIONS"),
            counters: take!("COUNTERS"),
            generations: take!("GENERATIONS"),
            ports: take!("PORTS"),
            networks: take!("NETWORKS"),
            unseen: take!("UNSEEN"),
        })
    }
}

impl Control {
    pub(crate) fn new(maps: Maps, ebpf: Arc<Ebpf>) -> Self {
        Self {
            maps,
            ebpf,
            generation: 0,
            known_listeners: HashSet::new(),
            known_networks: BTreeMap::new(),
            left_out: Ledger::default(),
        }
    }

    /// Sets how much the probes hand over from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn limit(&mut self, limits: Limits) -> Result<(), MapError> {
        let config = match limits {
            Limits::Bytes {
                read_turn,
                write_turn,
                continued,
            } => CaptureConfig {
                read_turn_bytes: read_turn,
                write_turn_bytes: write_turn,
                continued_bytes: continued,
                mode: 0,
            },
            Limits::Counts => CaptureConfig {
                read_turn_bytes: BEGINNING_BYTES,
                write_turn_bytes: BEGINNING_BYTES,
                continued_bytes: BEGINNING_BYTES,
                mode: COUNTS_ONLY,
            },
        };
        let value: [u8; size_of::<CaptureConfig>()] = zerocopy::transmute!(config);
        // The other way round, what is left out meanwhile would be told as lost.
        if limits == Limits::Counts {
            self.left_out.begin(self.not_in_ring());
        }
        self.maps.config.set(0, value, 0)?;
        if limits != Limits::Counts {
            let counts = self.not_in_ring();
            self.left_out.end(counts);
        }
        Ok(())
    }

    /// Time that the probes ran while the kernel measured it, since they were
    /// loaded; see [`measure_run_time`].
    #[must_use]
    pub fn run_time(&self) -> Duration {
        let programs = self.ebpf.programs();
        let infos = programs.filter_map(|(_, program)| program.info().ok());
        infos.map(|info| info.run_time()).sum()
    }

    /// The same of each program that ran, the dearest first.
    #[must_use]
    pub fn program_costs(&self) -> Vec<ProgramCost> {
        let programs = self.ebpf.programs();
        let costs = programs.filter_map(|(name, program)| {
            let info = program.info().ok()?;
            Some(ProgramCost {
                name: name.to_owned(),
                n_runs: info.run_count(),
                run_time: info.run_time(),
            })
        });
        let mut costs: Vec<_> = costs.filter(|cost| cost.n_runs > 0).collect();
        costs.sort_by(|a, b| (b.run_time, &a.name).cmp(&(a.run_time, &b.name)));
        costs
    }

    /// Watches a cgroup and everything below it. The root cgroup, which holds
    /// every process of the host, is refused. One that is watched already
    /// keeps its counts.
    ///
    /// # Errors
    /// The map is full (4,096 containers), or the kernel refuses.
    pub fn watch(&mut self, cgroup: CgroupId) -> Result<(), MapError> {
        const ROOT: u64 = 1;
        if cgroup.0 <= ROOT {
            return Ok(());
        }
        if self.maps.cgroup_counts.get(&cgroup.0, 0).is_err() {
            let n_cpus = nr_cpus().map_err(|(_, source)| MapError::IoError(source))?;
            let zero = PerCpuValues::try_from(vec![[0; size_of::<CgroupCounters>()]; n_cpus])?;
            self.maps.cgroup_counts.insert(cgroup.0, zero, NO_REPLACE)?;
        }
        self.maps.cgroups.insert(cgroup.0, 1, 0)?;
        // What the processors remember not to be watched is no longer sure.
        self.generation += 1;
        self.maps.generations.set(0, self.generation, 0)
    }

    /// Stops watching a cgroup and forgets its counts; gives the last of them.
    /// One that is not watched is no error.
    pub fn unwatch(&mut self, cgroup: CgroupId) -> Option<CgroupCounts> {
        let _ = self.maps.cgroups.remove(&cgroup.0);
        let counts = self.counts_of(cgroup.0);
        let _ = self.maps.cgroup_counts.remove(&cgroup.0);
        self.left_out.forget(cgroup.0);
        counts
    }

    /// What the probes counted of each watched cgroup since it is watched.
    /// They grow until [`unwatch`](Self::unwatch) gives the last of them.
    #[must_use]
    pub fn cgroup_counts(&self) -> Vec<(CgroupId, CgroupCounts)> {
        let known = self.maps.cgroup_counts.keys().filter_map(Result::ok);
        known
            .filter_map(|cgroup| Some((CgroupId(cgroup), self.counts_of(cgroup)?)))
            .collect()
    }

    fn counts_of(&self, cgroup: u64) -> Option<CgroupCounts> {
        let mut sum = self.counted(cgroup)?;
        let not_in_ring = not_in_ring(&sum);
        sum.left_out = self.left_out.left_out(Some(cgroup), &not_in_ring);
        sum.events_lost -= sum.left_out.n_events.min(sum.events_lost);
        sum.bytes_lost -= sum.left_out.n_bytes.min(sum.bytes_lost);
        Some(sum)
    }

    /// The same, with what was left out among what was lost.
    fn counted(&self, cgroup: u64) -> Option<CgroupCounts> {
        let values = self.maps.cgroup_counts.get(&cgroup, 0).ok()?;
        let mut sum = CgroupCounts::default();
        for bytes in values.iter() {
            let counters: CgroupCounters = zerocopy::transmute!(*bytes);
            sum.events_submitted += counters.events_submitted;
            sum.events_lost += counters.events_ring_full + counters.events_map_full;
            sum.events_lost_map_full += counters.events_map_full;
            sum.bytes_submitted += counters.bytes_submitted;
            sum.bytes_lost += counters.bytes_lost;
            sum.user_reads_failed += counters.user_reads_failed;
            sum.n_requests += counters.requests;
            for (sum, n) in sum.n_responses.iter_mut().zip(counters.responses) {
                *sum += n;
            }
        }
        Some(sum)
    }

    /// What did not go into the ring for want of room, or because it was not
    /// wanted: of all, and by cgroup.
    fn not_in_ring(&self) -> Vec<(Option<u64>, LeftOut)> {
        let known = self.maps.cgroup_counts.keys().filter_map(Result::ok);
        let by_cgroup = known.filter_map(|of| Some((Some(of), not_in_ring(&self.counted(of)?))));
        [(None, self.all_not_in_ring())]
            .into_iter()
            .chain(by_cgroup)
            .collect()
    }

    fn all_not_in_ring(&self) -> LeftOut {
        LeftOut {
            n_events: self.sum(Counter::EventsLost),
            n_bytes: self.sum(Counter::BytesLost),
            ..LeftOut::default()
        }
    }

    /// Has the probes look for connections that ended unseen; their ends come
    /// by the ring. Takes about a millisecond, for the map's buckets more than
    /// for the connections in it.
    ///
    /// # Errors
    /// The kernel refuses to run the program.
    pub fn sweep(&self) -> Result<(), ProgramError> {
        let program = self.ebpf.program(SWEEP);
        let program: &RawTracePoint = program.expect("the object holds every probe").try_into()?;
        program.test_run(RawTracePointRunOptions::new()).map(drop)
    }

    /// Connections that the probes keep track of.
    #[must_use]
    pub fn n_tracked(&self) -> usize {
        self.maps.connections.keys().filter_map(Result::ok).count()
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
            let _ = self.maps.listeners.remove(gone);
        }
        for new in wanted.difference(&self.known_listeners) {
            let known = know_port(&mut self.maps.ports, new[1])
                .and_then(|()| self.maps.listeners.insert(new, 1, 0));
            if let Err(error) = known {
                tracing::warn!(%error, port = new[1], "a listening port could not be made known");
            }
        }
        self.known_listeners = wanted;
    }

    /// Replaces the network namespaces of watched containers, by inode number:
    /// in them, arrivals are noted and io_uring is looked at.
    pub fn set_networks(&mut self, networks: &BTreeMap<u32, Network>) {
        for gone in self.known_networks.keys() {
            if !networks.contains_key(gone) {
                let _ = self.maps.networks.remove(gone);
            }
        }
        for (netns, network) in networks {
            if self.known_networks.get(netns) == Some(network) {
                continue;
            }
            let value = match network {
                Network::Own => NETWORK_OWN,
                Network::Shared => NETWORK_SHARED,
            };
            if let Err(error) = self.maps.networks.insert(netns, value, 0) {
                tracing::warn!(%error, netns, "a network namespace could not be made known");
            }
        }
        self.known_networks.clone_from(networks);
    }

    /// Bytes that servers received and that no probe saw them read, by cgroup;
    /// they only grow.
    #[must_use]
    pub fn unseen(&self) -> Vec<(CgroupId, u64)> {
        self.maps
            .unseen
            .iter()
            .filter_map(Result::ok)
            .map(|(cgroup, n_bytes)| (CgroupId(cgroup), n_bytes))
            .collect()
    }

    /// Forgets a connection that ended, unless its socket serves another one
    /// by now.
    pub fn forget(&mut self, id: ConnectionId) {
        let Ok(bytes) = self.maps.connections.get(&id.socket, 0) else {
            return;
        };
        let tracked: TrackedConnection = zerocopy::transmute!(bytes);
        if tracked.opened_ns == id.opened.0 {
            let _ = self.maps.connections.remove(&id.socket);
        }
    }

    fn sum(&self, counter: Counter) -> u64 {
        let values = self.maps.counters.get(&(counter as u32), 0);
        values.map_or(0, |values| values.iter().sum())
    }

    /// Reads the probes' counters.
    #[must_use]
    pub fn counts(&self) -> KernelCounts {
        let sum = |counter| self.sum(counter);
        let left_out = self.left_out.left_out(None, &self.all_not_in_ring());
        let map_full = sum(Counter::EventsMapFull);
        KernelCounts {
            events_submitted: sum(Counter::EventsSubmitted),
            events_lost: sum(Counter::EventsLost).saturating_sub(left_out.n_events) + map_full,
            events_lost_map_full: map_full,
            bytes_submitted: sum(Counter::BytesSubmitted),
            bytes_lost: sum(Counter::BytesLost).saturating_sub(left_out.n_bytes)
                + sum(Counter::BytesMapFull),
            events_left_out: left_out.n_events,
            bytes_left_out: left_out.n_bytes,
            bytes_captured: sum(Counter::BytesCaptured),
            user_reads_failed: sum(Counter::UserReadsFailed),
            connections_untracked: sum(Counter::ConnectionsUntracked),
            runs_skipped: skipped::count(&self.ebpf),
        }
    }
}

/// Sets the bit of a port that the probes may find served.
fn know_port(ports: &mut Array<MapData, u64>, port: u32) -> Result<(), MapError> {
    let word = WORDS_OF_PORTS + port / 64;
    let bits = ports.get(&word, 0)?;
    ports.set(word, bits | 1 << (port % 64), 0)
}

fn not_in_ring(counts: &CgroupCounts) -> LeftOut {
    LeftOut {
        n_events: counts.events_lost - counts.events_lost_map_full,
        n_bytes: counts.bytes_lost,
        requests: RequestCounts {
            n_requests: counts.n_requests,
            n_responses: counts.n_responses,
        },
    }
}
