//! What the containers use of the host, straight from the kernel's files.
//!
//! A [`Sampler`] keeps each container's files open and reads them again every
//! second. It blocks, if only for microseconds a file, so it belongs on a
//! thread that may. What a container is given by its cgroup holds for the
//! cgroups nested in it.

mod file;
mod gauge;
mod gpu;
mod layout;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use modeltap_core::connection::CgroupId;
use modeltap_core::container::ContainerId;
use modeltap_core::resource::ResourceReading;
use modeltap_core::time::UnixNs;
use tracing::debug;

use self::file::{Budget, Buffer};
use self::gauge::Gauge;
use self::gpu::Gpus;
use self::layout::Hierarchies;
use crate::cgroup::CgroupError;
use crate::listeners::host_network;
use crate::look::Look;

/// Limits are read once in so many looks, another part of the containers at
/// each.
const LIMITS_EVERY: u64 = 5;

/// A container to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Docker's id.
    pub id: ContainerId,
    /// Its first process, in the daemon's view of `/proc`.
    pub pid: u32,
}

/// Reads what containers use.
#[derive(Debug)]
pub struct Sampler {
    procfs: PathBuf,
    look: Arc<dyn Look>,
    hierarchies: Hierarchies,
    containers: HashMap<CgroupId, Followed>,
    gpus: Gpus,
    buffer: Buffer,
    budget: Budget,
    n_looks: u64,
}

#[derive(Debug)]
struct Followed {
    target: Target,
    /// `None` once its files say that it is gone.
    gauge: Option<Gauge>,
    /// At which looks its limits are read.
    turn: u64,
}

impl Sampler {
    /// A sampler of this machine that follows nothing yet; `look` tells whose
    /// network is the host's.
    ///
    /// # Errors
    /// [`CgroupError::Read`] if `/proc` is not readable.
    pub fn find(look: Arc<dyn Look>) -> Result<Self, CgroupError> {
        Self::new(Path::new("/proc"), look, Gpus::find())
    }

    fn new(procfs: &Path, look: Arc<dyn Look>, gpus: Gpus) -> Result<Self, CgroupError> {
        Ok(Self {
            procfs: procfs.to_owned(),
            look,
            hierarchies: Hierarchies::below(procfs)?,
            containers: HashMap::new(),
            gpus,
            buffer: Buffer::new(),
            budget: Budget::of_this_process(procfs),
            n_looks: 0,
        })
    }

    /// Takes the containers that are to be read from now on, and lets go of
    /// all others.
    pub fn follow(&mut self, targets: &HashMap<CgroupId, Target>) {
        self.containers
            .retain(|cgroup, followed| targets.get(cgroup) == Some(&followed.target));
        let is_known = |cgroup| self.containers.contains_key(cgroup);
        if targets.keys().all(is_known) {
            return;
        }
        // A hierarchy may have been mounted since.
        if let Ok(newest) = Hierarchies::below(&self.procfs) {
            self.hierarchies = newest;
        }
        for (cgroup, target) in targets {
            if self.containers.contains_key(cgroup) {
                continue;
            }
            let followed = Followed {
                target: target.clone(),
                gauge: self.open(target),
                turn: cgroup.0 % LIMITS_EVERY,
            };
            self.containers.insert(*cgroup, followed);
        }
    }

    /// Reads every container; `clock` tells wall time. A container that is
    /// gone has no reading. To be called once a second.
    pub fn sample(&mut self, clock: impl Fn() -> UnixNs) -> Vec<ResourceReading> {
        self.n_looks += 1;
        let turn = self.n_looks % LIMITS_EVERY;
        self.open_missing(turn);
        let mut gpus = self.gpu_readings();
        let mut readings = Vec::with_capacity(self.containers.len());
        for (cgroup, followed) in &mut self.containers {
            let Some(gauge) = &mut followed.gauge else {
                continue;
            };
            if followed.turn == turn {
                gauge.read_limits(&mut self.buffer);
            }
            let at = clock();
            let Some(figures) = gauge.read(&mut self.buffer) else {
                debug!(
                    container.id = followed.target.id.short(),
                    "a container's files are gone"
                );
                // An open `net/dev` would keep its network alive.
                followed.gauge = None;
                continue;
            };
            readings.push(ResourceReading {
                cgroup: *cgroup,
                at,
                cpu: figures.cpu,
                memory: figures.memory,
                network: figures.network,
                block: figures.block,
                n_pids: figures.n_pids,
                pids_limit: figures.pids_limit,
                pressure: figures.pressure,
                gpus: gpus.remove(cgroup).unwrap_or_default(),
            });
        }
        readings
    }

    /// Tries again to open what could not be opened, or was gone.
    fn open_missing(&mut self, turn: u64) {
        let missing = self
            .containers
            .iter()
            .filter(|(_, followed)| followed.turn == turn && followed.gauge.is_none());
        let missing: Vec<_> = missing
            .map(|(cgroup, followed)| (*cgroup, followed.target.clone()))
            .collect();
        for (cgroup, target) in missing {
            let gauge = self.open(&target);
            if let Some(followed) = self.containers.get_mut(&cgroup) {
                followed.gauge = gauge;
            }
        }
    }

    fn open(&mut self, target: &Target) -> Option<Gauge> {
        let places = match self.hierarchies.places(target.pid, &target.id) {
            Ok(places) => places,
            Err(error) => {
                debug!(%error, container.id = target.id.short(), "a container cannot be read");
                return None;
            }
        };
        let process = self.procfs.join(target.pid.to_string());
        let has_own_network = self
            .host_network()
            .is_none_or(|host| self.look.network(target.pid) != Some(host));
        let process = has_own_network.then_some(process.as_path());
        let mut gauge = Gauge::open(&places, process, &self.budget)?;
        gauge.read_limits(&mut self.buffer);
        Some(gauge)
    }

    /// The host's network: that of its first process, else, where that may not
    /// be looked at, the daemon's own.
    fn host_network(&self) -> Option<u64> {
        host_network(&*self.look).or_else(|| self.look.network(std::process::id()))
    }

    fn gpu_readings(&mut self) -> HashMap<CgroupId, Vec<modeltap_core::resource::GpuReading>> {
        let gpus = self.gpus.read();
        if gpus.is_empty() {
            return HashMap::new();
        }
        let containers = self
            .containers
            .iter()
            .map(|(cgroup, followed)| (followed.target.id.clone(), *cgroup))
            .collect();
        gpu::by_container(&gpus, |pid| gpu::owner(&self.procfs, pid, &containers))
    }
}
