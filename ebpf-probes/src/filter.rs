//! Which tasks are watched.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
};
use modeltap_abi::config::MAX_CGROUP_LEVEL;

use crate::maps::{CGROUPS, SELF_TGID};

/// The watched cgroup the calling task runs in or below, unless the task is
/// the daemon's own.
#[inline(always)]
pub fn watched_cgroup() -> Option<u64> {
    let cgroup = watched_ancestor()?;
    (tgid() != SELF_TGID.load()).then_some(cgroup)
}

/// Process id of the calling task in the initial PID namespace.
#[inline(always)]
pub fn tgid() -> u32 {
    // SAFETY: the helper has no preconditions.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
}

#[inline(always)]
fn watched_ancestor() -> Option<u64> {
    // SAFETY: the helper has no preconditions.
    let own = unsafe { bpf_get_current_cgroup_id() };
    if is_watched(own) {
        return Some(own);
    }
    // A server may have been moved into a cgroup below its container's. Level
    // 0 is the root, which holds everything.
    for level in 1..=MAX_CGROUP_LEVEL {
        // SAFETY: the helper answers zero for a level that does not exist.
        let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if ancestor == 0 || ancestor == own {
            return None;
        }
        if is_watched(ancestor) {
            return Some(ancestor);
        }
    }
    None
}

#[inline(always)]
fn is_watched(cgroup: u64) -> bool {
    CGROUPS.get_ptr(cgroup).is_some()
}
