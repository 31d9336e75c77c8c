//! The host and the programs in its kernel.

use serde::{Deserialize, Serialize};

/// The host; what it does not tell is empty or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostStatus {
    /// Its Linux distribution, as `Debian GNU/Linux 13 (trixie)`.
    pub system: String,
    /// Architecture of its processors, as `x86_64`.
    pub architecture: String,
    /// Processors that the daemon may use.
    pub n_cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Control groups: `v2`, `v1`, or `v1 + v2` where both are mounted.
    pub cgroups: String,
}

/// A program in the kernel that ran while the kernel measured: for a moment
/// each minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProgramStatus {
    /// Its name.
    pub name: String,
    /// Runs that were measured.
    pub n_runs: u64,
    /// Seconds that these took.
    pub run_seconds: f64,
}
