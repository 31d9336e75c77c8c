//! Which tasks are watched.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
    bpf_get_smp_processor_id,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use modeltap_abi::config::MAX_CGROUP_LEVEL;

use crate::maps::{CGROUPS, SELF_TGID};

/// Cgroups that a processor remembers, a power of two: tasks that talk to each
/// other take turns.
const REMEMBERED: u32 = 16;
/// Processors that remember; more of them share.
const REMEMBERING: u32 = 256;
/// Odd and large, so that two cgroups of two generations do not meet, and ids,
/// which differ by the number of a cgroup's files, spread.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// How often the daemon added to `CGROUPS`; it counts behind the entry.
#[map]
static GENERATIONS: Array<u64> = Array::with_max_entries(1, 0);

/// Cgroups that a processor last found not to be watched, each with the
/// generation before it looked: tasks that are not watched come here most.
#[map]
static UNWATCHED: Array<u64> = Array::with_max_entries(REMEMBERING * REMEMBERED, 0);

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
    // SAFETY: the helpers have no preconditions.
    let (own, processor) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_smp_processor_id()) };
    let generation = GENERATIONS.get_ptr(0)?;
    // SAFETY: the entries are always there, and written as a whole.
    let now = own.wrapping_add(unsafe { generation.read_volatile() }.wrapping_mul(SPREAD));
    let spread = own.wrapping_mul(SPREAD) >> (64 - REMEMBERED.ilog2());
    let slot = processor % REMEMBERING * REMEMBERED + spread as u32;
    let unwatched = UNWATCHED.get_ptr_mut(slot)?;
    if unsafe { unwatched.read_volatile() } == now {
        return None;
    }
    let watched = watched_of(own);
    if watched.is_none() {
        unsafe { unwatched.write_volatile(now) };
    }
    watched
}

#[inline(always)]
fn watched_of(own: u64) -> Option<u64> {
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
