//! What containers use of the host: processor, memory, network, disk, GPU.
//!
//! A [`ResourceReading`] is what the kernel told at one instant, with counters
//! that only grow; [`ResourceFigures`] is what lies between two readings, and
//! merges over time.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::CgroupId;
use crate::time::UnixNs;

/// One container's counters and levels at one instant. What the host does not
/// tell is `None`, never zero.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceReading {
    /// Whose they are.
    pub cgroup: CgroupId,
    /// When they were read, wall time.
    pub at: UnixNs,
    /// Processor.
    pub cpu: CpuReading,
    /// Memory.
    pub memory: MemoryReading,
    /// Network, of the container's own namespace; `None` on the host's network.
    pub network: Option<NetworkReading>,
    /// Block devices.
    pub block: Option<BlockReading>,
    /// Tasks (processes and threads).
    pub n_pids: Option<u64>,
    /// Most tasks it may have; `None` without a limit.
    pub pids_limit: Option<u64>,
    /// Pressure stall information.
    pub pressure: Option<PressureReading>,
    /// Its processes on GPUs, by GPU; empty where there are none.
    pub gpus: Vec<GpuReading>,
}

/// Processor time since the container's start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuReading {
    /// Time used, in nanoseconds.
    pub usage_ns: u64,
    /// Of it: in user mode, in nanoseconds.
    pub user_ns: Option<u64>,
    /// Of it: in the kernel, in nanoseconds.
    pub system_ns: Option<u64>,
    /// Enforcement periods that passed while it ran under a quota.
    pub n_periods: Option<u64>,
    /// Of them: in which it was throttled.
    pub n_throttled: Option<u64>,
    /// Time it was throttled, in nanoseconds.
    pub throttled_ns: Option<u64>,
    /// Cores it may use; `None` without a quota.
    pub limit_cores: Option<f64>,
}

/// Memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// Charged to the container, page cache included, in bytes.
    pub usage_bytes: u64,
    /// Usage without inactive page cache, as `docker stats` shows it, in bytes.
    pub working_set_bytes: u64,
    /// Most it may use, in bytes; `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// Processes the kernel killed for want of memory, since the start.
    pub n_oom_kills: Option<u64>,
}

/// Network since the namespace's start, over all interfaces but loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkReading {
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Packets dropped or broken, both ways.
    pub n_errors: u64,
}

/// Block devices since the container's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockReading {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// Time in which some task waited, since the container's start
/// (`some total` of the cgroup's `*.pressure`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureReading {
    /// For a processor, in microseconds.
    pub cpu_us: u64,
    /// For memory, in microseconds.
    pub memory_us: u64,
    /// For a disk, in microseconds.
    pub io_us: u64,
}

/// A container's processes on one GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GpuReading {
    /// The GPU's index.
    pub index: u32,
    /// Share of time its kernels ran, 0 to 1; `None` where not told by process.
    pub utilization: Option<f64>,
    /// Memory its processes hold, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory the GPU has, in bytes.
    pub memory_total_bytes: u64,
}

/// What one container used in one window of time.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRollup {
    /// The service.
    pub service: Arc<str>,
    /// The container's name.
    pub container: Arc<str>,
    /// Beginning of the window, wall time; a multiple of `width`.
    pub start: UnixNs,
    /// Length of the window.
    pub width: Duration,
    /// What it used.
    pub figures: ResourceFigures,
}

/// Sums of what was used and the levels reached; merges over time within one
/// container. Levels are the highest of the window, for means the sum of the
/// seconds is kept beside their number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceFigures {
    /// Seconds that were read.
    pub n_seconds: u64,
    /// Processor time used, in nanoseconds.
    pub cpu_ns: u64,
    /// Cores it may use at the end of the window; `None` without a quota.
    pub cpu_limit_cores: Option<f64>,
    /// Enforcement periods; `None` where not told.
    pub n_periods: Option<u64>,
    /// Of them: throttled.
    pub n_throttled: Option<u64>,
    /// Time throttled, in nanoseconds.
    pub throttled_ns: Option<u64>,
    /// Working set summed over the seconds, in bytes: divide by `n_seconds`.
    pub memory_sum_bytes: u64,
    /// Highest working set, in bytes.
    pub memory_max_bytes: u64,
    /// Limit at the end of the window, in bytes; `None` without one.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed for want of memory; `None` where not told.
    pub n_oom_kills: Option<u64>,
    /// Bytes received; `None` on the host's network.
    pub received_bytes: Option<u64>,
    /// Bytes sent; `None` on the host's network.
    pub sent_bytes: Option<u64>,
    /// Bytes read from block devices; `None` where not told.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices; `None` where not told.
    pub written_bytes: Option<u64>,
    /// Most tasks; `None` where not told.
    pub n_pids_max: Option<u64>,
    /// Time some task waited for a processor, in microseconds.
    pub pressure_cpu_us: Option<u64>,
    /// Time some task waited for memory, in microseconds.
    pub pressure_memory_us: Option<u64>,
    /// Time some task waited for a disk, in microseconds.
    pub pressure_io_us: Option<u64>,
    /// GPU utilisation summed over the seconds and its GPUs; `None` without one.
    pub gpu_utilization_sum: Option<f64>,
    /// Highest GPU memory over its GPUs, in bytes; `None` without one.
    pub gpu_memory_max_bytes: Option<u64>,
    /// Memory its GPUs have, in bytes; `None` without one.
    pub gpu_memory_total_bytes: Option<u64>,
}

impl ResourceFigures {
    /// Adds a later window of the same container.
    pub fn merge(&mut self, later: &Self) {
        self.n_seconds = self.n_seconds.saturating_add(later.n_seconds);
        self.cpu_ns = self.cpu_ns.saturating_add(later.cpu_ns);
        self.cpu_limit_cores = later.cpu_limit_cores;
        add(&mut self.n_periods, later.n_periods);
        add(&mut self.n_throttled, later.n_throttled);
        add(&mut self.throttled_ns, later.throttled_ns);
        self.memory_sum_bytes = self.memory_sum_bytes.saturating_add(later.memory_sum_bytes);
        self.memory_max_bytes = self.memory_max_bytes.max(later.memory_max_bytes);
        self.memory_limit_bytes = later.memory_limit_bytes;
        add(&mut self.n_oom_kills, later.n_oom_kills);
        add(&mut self.received_bytes, later.received_bytes);
        add(&mut self.sent_bytes, later.sent_bytes);
        add(&mut self.read_bytes, later.read_bytes);
        add(&mut self.written_bytes, later.written_bytes);
        self.n_pids_max = self.n_pids_max.max(later.n_pids_max);
        add(&mut self.pressure_cpu_us, later.pressure_cpu_us);
        add(&mut self.pressure_memory_us, later.pressure_memory_us);
        add(&mut self.pressure_io_us, later.pressure_io_us);
        self.gpu_utilization_sum = match (self.gpu_utilization_sum, later.gpu_utilization_sum) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        self.gpu_memory_max_bytes = self.gpu_memory_max_bytes.max(later.gpu_memory_max_bytes);
        self.gpu_memory_total_bytes = later.gpu_memory_total_bytes.or(self.gpu_memory_total_bytes);
    }
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    *sum = match (*sum, more) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_two_windows_add_up_and_keep_the_highest_level() {
        let mut first = ResourceFigures {
            n_seconds: 1,
            cpu_ns: 5,
            cpu_limit_cores: Some(2.0),
            memory_sum_bytes: 10,
            memory_max_bytes: 10,
            n_oom_kills: Some(1),
            ..ResourceFigures::default()
        };
        let later = ResourceFigures {
            n_seconds: 2,
            cpu_ns: 7,
            memory_sum_bytes: 8,
            memory_max_bytes: 5,
            received_bytes: Some(3),
            ..ResourceFigures::default()
        };
        first.merge(&later);
        assert_eq!((first.n_seconds, first.cpu_ns), (3, 12));
        // A quota that was taken away is gone.
        assert_eq!(first.cpu_limit_cores, None);
        assert_eq!((first.memory_sum_bytes, first.memory_max_bytes), (18, 10));
        assert_eq!(
            (first.n_oom_kills, first.received_bytes),
            (Some(1), Some(3))
        );
        assert_eq!(first.n_throttled, None);
    }
}
