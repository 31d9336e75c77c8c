//! What containers use of the host.

use serde::{Deserialize, Serialize};

/// What a container, or all containers of a service, used in the newest whole
/// second, and how its life went; `null` where the host does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resources {
    /// Cores used.
    pub cpu_cores: f64,
    /// Cores it may use; `null` without a quota (of a service: if any
    /// container has none).
    pub cpu_limit_cores: Option<f64>,
    /// Share of the enforcement periods of the last minute that were
    /// throttled, 0 to 1.
    pub throttled_share: Option<f64>,
    /// Working set, as `docker stats` shows it.
    pub memory_bytes: u64,
    /// Most it may use; `null` without a limit.
    pub memory_limit_bytes: Option<u64>,
    /// Processes killed for want of memory since the daemon watches.
    pub n_oom_kills: Option<u64>,
    /// Bytes received a second.
    pub receive_bytes_per_second: Option<f64>,
    /// Bytes sent a second.
    pub send_bytes_per_second: Option<f64>,
    /// Bytes read from disks a second.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written to disks a second.
    pub write_bytes_per_second: Option<f64>,
    /// Tasks.
    pub n_pids: Option<u64>,
    /// Most tasks it may have.
    pub pids_limit: Option<u64>,
    /// Share of the last second some task waited for a processor, 0 to 1.
    pub pressure_cpu: Option<f64>,
    /// The same for memory.
    pub pressure_memory: Option<f64>,
    /// The same for a disk.
    pub pressure_io: Option<f64>,
    /// GPU utilisation, 0 to 1, over the GPUs it uses.
    pub gpu_utilization: Option<f64>,
    /// GPU memory held.
    pub gpu_memory_bytes: Option<u64>,
    /// Memory of the GPUs it uses.
    pub gpu_memory_total_bytes: Option<u64>,
}

/// What Docker tells of a container's life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lifecycle {
    /// When it started.
    pub started_unix_ms: Option<u64>,
    /// How often Docker restarted it.
    pub n_restarts: u64,
    /// `healthy`, `unhealthy` or `starting`; `null` without a health check.
    pub health: Option<String>,
}
