//! A system call as its tracepoint's program sees it: once, and undisturbed.
//!
//! Until Linux 7.2 the kernel runs such programs with preemption off. Since
//! 7.3 it runs them with preemption on, and does not run a program that
//! another task is in the middle of on the same processor. Two things make up
//! for it there:
//!
//! - A program turns preemption off, first of all, so that no other is in its
//!   `SCRATCH`. The kernel has functions for this and no helpers: the daemon
//!   writes their numbers over the stand-ins', or nothing where preemption is
//!   off already.
//! - Every program has a second that runs right after it and does what it must
//!   if the first was not run. The first leaves a mark of its task's; the
//!   second takes it away. `inet_sock_set_state` has one too.
//!
//! A call is missed only where two tasks are preempted, one in the first and
//! one in the second. The kernel counts what it did not run
//! (`recursion_misses`), and the daemon tells how many calls that may be.

use aya_ebpf::EbpfContext;
use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_get_current_pid_tgid;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::TracePointContext;

use crate::filter::watched_cgroup;

/// One where programs come in pairs.
#[unsafe(no_mangle)]
static PAIRED: Global<u32> = Global::new(0);

/// Tasks and sockets between the first and the second program of a pair: ids
/// and addresses, which have no value in common.
#[map]
static MARKS: HashMap<u64, u32> = HashMap::with_max_entries(16_384, 0);

/// Defines a tracepoint's programs, the first and the second, and the function
/// that tells the call, with what follows the [`Call`].
macro_rules! programs {
    ($($(#[$doc:meta])* $first:ident, $second:ident: $told:ident($($argument:expr),*);)*) => {$(
        $(#[$doc])*
        #[aya_ebpf::macros::tracepoint]
        pub fn $first(ctx: aya_ebpf::programs::TracePointContext) -> u32 {
            $told(&$crate::call::Call::begin(&ctx, false), $($argument),*);
            0
        }

        /// Runs after the first, for what that was not run for.
        #[aya_ebpf::macros::tracepoint]
        pub fn $second(ctx: aya_ebpf::programs::TracePointContext) -> u32 {
            $told(&$crate::call::Call::begin(&ctx, true), $($argument),*);
            0
        }
    )*};
}
pub(crate) use programs;

/// A system call that is entered or returned. Preemption is off for as long as
/// this lives.
pub struct Call<'a> {
    /// The tracepoint's.
    pub ctx: &'a TracePointContext,
    is_second: bool,
}

impl<'a> Call<'a> {
    /// To be had once a program, before anything else.
    #[inline(always)]
    pub fn begin(ctx: &'a TracePointContext, is_second: bool) -> Self {
        #[cfg(target_arch = "bpf")]
        stand_in::<{ modeltap_abi::config::PREEMPT_DISABLE }>();
        Self { ctx, is_second }
    }

    /// What the call returned: at offset 16 of every exit tracepoint; at its
    /// entry, the first argument.
    #[inline(always)]
    pub fn value(&self) -> i64 {
        // SAFETY: the context of `syscalls:*` is at least 24 bytes long.
        unsafe { core::ptr::read_volatile(self.ctx.as_ptr().cast::<i64>().add(2)) }
    }

    /// The watched cgroup that the call is of, if this program is to tell it;
    /// to be asked once.
    #[inline(always)]
    pub fn watched(&self) -> Option<u64> {
        let cgroup = watched_cgroup()?;
        // SAFETY: the helper has no preconditions.
        let task = unsafe { bpf_get_current_pid_tgid() };
        is_due(task, self.is_second).then_some(cgroup)
    }
}

/// Whether the first or the second program of a pair is to tell what happens
/// to a task or a socket, to which one thing happens at a time. To be asked
/// once.
#[inline(always)]
pub fn is_due(what: u64, is_second: bool) -> bool {
    if PAIRED.load() == 0 {
        true
    } else if is_second {
        MARKS.remove(what).is_err()
    } else {
        // Without room for a mark it is the second's.
        MARKS.insert(what, 1, 0).is_ok()
    }
}

impl Drop for Call<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(target_arch = "bpf")]
        stand_in::<{ modeltap_abi::config::PREEMPT_ENABLE }>();
    }
}

/// A call of a function of the kernel's that takes and returns nothing.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn stand_in<const NUMBER: i32>() {
    // SAFETY: a call may change the first six registers and no other.
    unsafe {
        core::arch::asm!(
            "call {number}",
            number = const NUMBER,
            out("r0") _,
            out("r1") _,
            out("r2") _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
}
