//! Which container's processes use which GPU.
//!
//! NVML is loaded at run time: where it is absent there are no GPUs, which is
//! said once. What it tells is by process; whose a process is tells its
//! cgroup. The mapping knows nothing of NVML, so that it can be tested without
//! a GPU.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use modeltap_core::connection::CgroupId;
use modeltap_core::container::ContainerId;
use modeltap_core::resource::GpuReading;
use nvml_wrapper::Nvml;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use tracing::{debug, info};

use crate::cgroup::{self, MAX_CGROUP_BYTES};

/// Most GPUs that are looked at.
const MAX_GPUS: u32 = 64;
/// Length of Docker's ids.
const ID_DIGITS: usize = 64;

/// What one GPU tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gpu {
    pub(super) index: u32,
    pub(super) memory_total_bytes: u64,
    pub(super) processes: Vec<GpuProcess>,
}

/// One process on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct GpuProcess {
    pub(super) pid: u32,
    /// Not told under some drivers.
    pub(super) memory_bytes: Option<u64>,
    /// Share of time, 0 to 1; not told by older GPUs.
    pub(super) utilization: Option<f64>,
}

/// Readings by container: sums over its processes on each GPU.
pub(super) fn by_container(
    gpus: &[Gpu],
    owner: impl Fn(u32) -> Option<CgroupId>,
) -> HashMap<CgroupId, Vec<GpuReading>> {
    let mut readings: HashMap<CgroupId, Vec<GpuReading>> = HashMap::new();
    for gpu in gpus {
        for process in &gpu.processes {
            let Some(cgroup) = owner(process.pid) else {
                continue;
            };
            let of_container = readings.entry(cgroup).or_default();
            if of_container
                .last()
                .is_none_or(|last| last.index != gpu.index)
            {
                of_container.push(GpuReading {
                    index: gpu.index,
                    utilization: None,
                    memory_bytes: None,
                    memory_total_bytes: gpu.memory_total_bytes,
                });
            }
            let Some(reading) = of_container.last_mut() else {
                continue;
            };
            if let Some(more) = process.memory_bytes {
                reading.memory_bytes = Some(reading.memory_bytes.unwrap_or(0).saturating_add(more));
            }
            if let Some(more) = process.utilization.filter(|share| share.is_finite()) {
                let sum = reading.utilization.unwrap_or(0.0) + more.max(0.0);
                reading.utilization = Some(sum.min(1.0));
            }
        }
    }
    readings
}

/// Joins a GPU's processes, told once by what they compute and once by what
/// they draw, with samples of their utilisation, of which the newest counts.
fn join(
    memory: impl IntoIterator<Item = (u32, Option<u64>)>,
    samples: impl IntoIterator<Item = (u32, u64, u32)>,
) -> Vec<GpuProcess> {
    let mut processes: BTreeMap<u32, GpuProcess> = BTreeMap::new();
    for (pid, memory_bytes) in memory {
        let process = processes.entry(pid).or_default();
        process.pid = pid;
        process.memory_bytes = process.memory_bytes.max(memory_bytes);
    }
    let mut newest: HashMap<u32, u64> = HashMap::new();
    for (pid, at, percent) in samples {
        // One that has ended holds nothing any more.
        let Some(process) = processes.get_mut(&pid) else {
            continue;
        };
        let seen = newest.entry(pid).or_default();
        if at >= *seen {
            *seen = at;
            process.utilization = Some(f64::from(percent.min(100)) / 100.0);
        }
    }
    processes.into_values().collect()
}

/// Whose the process `pid` is, by the ids in its cgroups' paths.
pub(super) fn owner(
    procfs: &Path,
    pid: u32,
    containers: &HashMap<ContainerId, CgroupId>,
) -> Option<CgroupId> {
    let file = procfs.join(pid.to_string()).join("cgroup");
    let cgroups = cgroup::read(&file, MAX_CGROUP_BYTES).ok()?;
    ids(&cgroups).find_map(|id| containers.get(&ContainerId(id.to_owned())).copied())
}

/// Every run of 64 hexadecimal digits.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_hexdigit())
        .filter(|run| run.len() == ID_DIGITS)
}

/// The GPUs of this host.
#[derive(Debug)]
pub(super) struct Gpus {
    nvml: Option<Nvml>,
    /// Newest sample seen, by GPU, in microseconds of NVML's clock.
    seen: HashMap<u32, u64>,
}

impl Gpus {
    /// Loads NVML, if it is there.
    pub(super) fn find() -> Self {
        let nvml = match Nvml::init() {
            Ok(nvml) => {
                let n_gpus = nvml.device_count().unwrap_or(0);
                info!(n_gpus, "GPUs are read by NVML");
                (n_gpus > 0).then_some(nvml)
            }
            Err(error) => {
                info!(%error, "no GPU is read: NVML is not there");
                None
            }
        };
        Self {
            nvml,
            seen: HashMap::new(),
        }
    }

    /// As on a host without any.
    #[cfg(test)]
    pub(super) fn absent() -> Self {
        Self {
            nvml: None,
            seen: HashMap::new(),
        }
    }

    /// What every GPU tells now.
    pub(super) fn read(&mut self) -> Vec<Gpu> {
        let Some(nvml) = &self.nvml else {
            return Vec::new();
        };
        let n_gpus = nvml.device_count().unwrap_or(0).min(MAX_GPUS);
        let mut gpus = Vec::new();
        for index in 0..n_gpus {
            match read_gpu(nvml, index, self.seen.entry(index).or_default()) {
                Ok(gpu) => gpus.push(gpu),
                Err(error) => debug!(%error, index, "a GPU cannot be read"),
            }
        }
        gpus
    }
}

fn read_gpu(nvml: &Nvml, index: u32, seen: &mut u64) -> Result<Gpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory_total_bytes = device.memory_info()?.total;
    let mut memory = Vec::new();
    let lists = [
        device.running_compute_processes(),
        device.running_graphics_processes(),
    ];
    for process in lists.into_iter().flatten().flatten() {
        let bytes = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        memory.push((process.pid, bytes));
    }
    // Not there on older GPUs, and `NotFound` where nothing ran since.
    let samples = device.process_utilization_stats(*seen).unwrap_or_default();
    *seen = samples
        .iter()
        .map(|sample| sample.timestamp)
        .fold(*seen, u64::max);
    let samples = samples
        .iter()
        .map(|sample| (sample.pid, sample.timestamp, sample.sm_util));
    Ok(Gpu {
        index,
        memory_total_bytes,
        processes: join(memory, samples),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "4f1d8a1c9be94ae0a7b3f2f6d5c4b3a291807f6e5d4c3b2a19080706050403ff";

    fn process(pid: u32, memory_bytes: Option<u64>, utilization: Option<f64>) -> GpuProcess {
        GpuProcess {
            pid,
            memory_bytes,
            utilization,
        }
    }

    #[test]
    fn processes_of_a_container_are_summed_by_gpu_and_strangers_left_out() {
        let gpu = |index, processes| Gpu {
            index,
            memory_total_bytes: 100,
            processes,
        };
        let gpus = [
            gpu(
                0,
                vec![
                    process(1, Some(10), Some(0.7)),
                    process(2, Some(5), None),
                    process(3, Some(1), Some(0.1)),
                    process(9, Some(50), Some(1.0)),
                ],
            ),
            gpu(
                2,
                vec![process(2, None, Some(0.8)), process(1, None, Some(0.9))],
            ),
        ];
        let owner = |pid| match pid {
            1 | 2 => Some(CgroupId(7)),
            3 => Some(CgroupId(8)),
            _ => None,
        };
        let found = by_container(&gpus, owner);
        let reading = |index, utilization, memory_bytes| GpuReading {
            index,
            utilization,
            memory_bytes,
            memory_total_bytes: 100,
        };
        assert_eq!(found.len(), 2);
        let of_first = vec![reading(0, Some(0.7), Some(15)), reading(2, Some(1.0), None)];
        assert_eq!(found[&CgroupId(7)], of_first);
        assert_eq!(found[&CgroupId(8)], vec![reading(0, Some(0.1), Some(1))]);
    }

    #[test]
    fn newest_sample_of_a_process_counts_and_both_lists_are_one() {
        let memory = [(1, Some(10)), (2, None), (1, Some(10))];
        let samples = [
            (1, 100, 90),
            (1, 200, 40),
            (1, 150, 70),
            (2, 1, 250),
            (5, 1, 1),
        ];
        let expected = [process(1, Some(10), Some(0.4)), process(2, None, Some(1.0))];
        assert_eq!(join(memory, samples), expected);
        assert_eq!(join([], [(1, 1, 1)]), []);
    }

    #[test]
    fn owner_is_the_container_whose_id_is_in_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = |pid: u32, text: &str| {
            let process = dir.path().join(pid.to_string());
            fs::create_dir_all(&process).unwrap();
            fs::write(process.join("cgroup"), text).unwrap();
        };
        cgroup(
            1,
            &format!("4:memory:/docker/{ID}\n0::/docker/{ID}/nested\n"),
        );
        cgroup(
            2,
            &format!("0::/system.slice/docker-{ID}.scope/init.scope\n"),
        );
        cgroup(3, &format!("0::/docker/{ID}0\n"));
        cgroup(4, "0::/\n");
        let known = HashMap::from([(ContainerId(ID.to_owned()), CgroupId(7))]);
        let owner = |pid| owner(dir.path(), pid, &known);
        assert_eq!([owner(1), owner(2)], [Some(CgroupId(7)); 2]);
        assert_eq!([owner(3), owner(4), owner(5)], [None; 3]);
    }

    #[test]
    fn host_without_a_gpu_tells_of_none() {
        assert!(Gpus::absent().read().is_empty());
    }
}
