//! Probes of the test's own, to see what the kernel counts: loaded beside a
//! daemon's or without one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use modeltap_capture::control::{Control, KernelCounts, Network};
use modeltap_capture::loader::{Config, Probes};
use modeltap_capture::ring::{DrainCounts, drain};
use modeltap_core::accounting::CgroupCounts;
use modeltap_core::connection::{CaptureEvent, CgroupId};
use modeltap_testbed::docker::Container;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};

/// With the smallest ring there is: one page, full after a few requests.
pub fn tiny_ring() -> Config {
    Config {
        ring_bytes: 4096,
        ..Config::default()
    }
}

/// Batches that may wait for the test to look at them.
const BATCHES: usize = 65_536;

/// Probes that watch one container.
pub struct Tap {
    runtime: Runtime,
    probes: Probes,
    control: Arc<Mutex<Control>>,
    cgroup: CgroupId,
    batches: Option<mpsc::Receiver<Vec<CaptureEvent>>>,
}

impl Tap {
    /// Watches a container. Nobody takes what comes into the ring, as if the
    /// daemon were stopped, until [`drain`](Self::drain).
    #[track_caller]
    pub fn start(container: &Container, config: Config) -> Self {
        let runtime = Runtime::new().expect("threads can be started");
        let loaded = runtime.block_on(async { Probes::load(&config) });
        let mut probes = loaded.unwrap_or_else(|error| panic!("load the probes: {error:?}"));
        let mut control = probes.take_control().expect("not taken yet");
        let cgroup = cgroup_of(container);
        control.watch(cgroup).expect("there is room for one cgroup");
        control.set_networks(&BTreeMap::from([(network_of(container), Network::Own)]));
        Self {
            runtime,
            probes,
            control: Arc::new(Mutex::new(control)),
            cgroup,
            batches: None,
        }
    }

    /// Watches a container, and takes every event from the beginning on.
    #[track_caller]
    pub fn draining(container: &Container) -> Self {
        let mut tap = Self::start(container, Config::default());
        tap.drain();
        tap
    }

    /// Takes events from now on, as the daemon does.
    #[track_caller]
    pub fn drain(&mut self) {
        let ring = self.probes.take_ring().expect("not taken yet");
        let (sender, receiver) = mpsc::channel(BATCHES);
        let counts = Arc::new(DrainCounts::default());
        self.runtime
            .spawn(drain(ring, self.control.clone(), sender, counts));
        self.batches = Some(receiver);
    }

    /// Events that came since the last time.
    pub fn events(&mut self) -> Vec<CaptureEvent> {
        let batches = self.batches.as_mut().expect("events are taken");
        std::iter::from_fn(|| batches.try_recv().ok())
            .flatten()
            .collect()
    }

    /// What the probes counted in all.
    pub fn counts(&self) -> KernelCounts {
        self.control.blocking_lock().counts()
    }

    /// What the probes counted of the container.
    #[track_caller]
    pub fn of_container(&self) -> CgroupCounts {
        let all = self.control.blocking_lock().cgroup_counts();
        assert_eq!(all.len(), 1, "one cgroup is watched: {all:?}");
        assert_eq!(all[0].0, self.cgroup);
        all[0].1
    }

    /// Stops watching; the last counts.
    pub fn unwatch(&self) -> Option<CgroupCounts> {
        self.control.blocking_lock().unwatch(self.cgroup)
    }

    /// Connections that the probes keep track of.
    pub fn n_tracked(&self) -> usize {
        self.control.blocking_lock().n_tracked()
    }
}

/// Events of moments, not of bytes: two sets of probes look at the socket one
/// after the other, and one may find it waiting where the other does not.
pub fn n_moments(events: &[CaptureEvent]) -> u64 {
    let moments = events
        .iter()
        .filter(|event| matches!(event, CaptureEvent::Arrived(_) | CaptureEvent::Drained(_)));
    moments.count() as u64
}

/// The container's network namespace, by inode number.
fn network_of(container: &Container) -> u32 {
    let path = format!("/proc/{}/ns/net", container.pid());
    let inode = fs::metadata(&path)
        .unwrap_or_else(|error| panic!("look at {path:?}: {error}"))
        .ino();
    u32::try_from(inode).expect("namespaces have small numbers")
}

/// The container's directory in the v2 hierarchy.
#[track_caller]
pub fn cgroup_directory(container: &Container) -> PathBuf {
    let unified = PathBuf::from("/sys/fs/cgroup/unified");
    let mount = if unified.exists() {
        unified
    } else {
        PathBuf::from("/sys/fs/cgroup")
    };
    let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()))
        .expect("the container runs");
    let path = cgroups
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .expect("the kernel has the v2 hierarchy");
    mount.join(path)
}

#[track_caller]
fn cgroup_of(container: &Container) -> CgroupId {
    let directory = cgroup_directory(container);
    CgroupId(
        fs::metadata(directory)
            .expect("the container's cgroup is there")
            .ino(),
    )
}
