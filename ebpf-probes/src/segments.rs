//! The segments of a vectored call (`struct iovec`), and of the messages of
//! `recvmmsg` and `sendmmsg` (`struct mmsghdr`), captured one behind the other.
//!
//! A walk is a callback that the kernel calls once a segment: the verifier
//! goes through it once, and through a plain loop as often as there are paths.
//! Where the walk stands is kept in a map and not on the stack. The verifier
//! takes what a map holds for unknown, so that one round stands for all of
//! them; before Linux 6.8 it takes the stack for what it was at the first.
//! The callbacks are small, because in them it forgets less of what it saw.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_for_each_map_elem, bpf_probe_read_user as probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use modeltap_abi::event::{MAX_MESSAGES, MAX_SEGMENTS, MAX_VECTORED_CAPTURE_BYTES};

use crate::emit;
use crate::maps::{DataEvent, SCRATCH};
use crate::socket::bounded;

/// Size of a `struct mmsghdr`.
const MESSAGE_SIZE: u64 = 64;
/// Where it keeps how many bytes were moved: behind its `struct msghdr`.
const MESSAGE_LENGTH_AT: u64 = 56;
/// Where a `struct msghdr` keeps its segments, and how many behind it.
const MESSAGE_SEGMENTS_AT: u64 = 16;

const CONTINUE: i64 = 0;
const STOP: i64 = 1;

/// As many entries as a walk has rounds.
#[map]
static SEGMENTS: Array<u32> = Array::with_max_entries(MAX_SEGMENTS as u32, 0);

/// The same of a walk through messages.
#[map]
static MESSAGES: Array<u32> = Array::with_max_entries(MAX_MESSAGES as u32, 0);

/// The walk of this processor; like [`SCRATCH`], which it fills.
#[map]
static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// Where a walk stands.
#[repr(C)]
struct Walk {
    /// Address of the array of messages that were not begun.
    messages: u64,
    /// How many.
    n_messages: u64,
    /// Address of the array of segments of the message begun.
    segments: u64,
    /// How many.
    n_segments: u64,
    /// Bytes left of it, or of all messages that are counted.
    left: u64,
    /// Bytes to capture.
    wanted: u32,
    /// Bytes captured.
    filled: u32,
    /// Not zero if memory could not be read.
    unreadable: u32,
    /// Zero.
    reserved: u32,
}

/// Captures the first `wanted` bytes of segments into this processor's
/// [`SCRATCH`], which is `event`; returns how many.
#[inline(always)]
pub fn copy(
    event: &mut DataEvent,
    segments: u64,
    n_segments: u64,
    wanted: u32,
    cgroup_id: u64,
) -> u32 {
    // A head and a body, or either: no walk is needed, which takes longer than
    // the copies.
    if n_segments == 2 {
        return copy_two(event, segments, wanted, cgroup_id);
    }
    walk(
        Walk {
            segments,
            n_segments,
            left: u64::from(wanted),
            ..Walk::through(wanted)
        },
        cgroup_id,
    )
}

/// [`copy`] of two segments.
#[inline(always)]
fn copy_two(event: &mut DataEvent, segments: u64, wanted: u32, cgroup_id: u64) -> u32 {
    const MAX: u32 = MAX_VECTORED_CAPTURE_BYTES as u32;
    let wanted = wanted.min(MAX);
    // SAFETY: the helper checks the address and fails where it cannot read.
    let Ok([first, n_first, second, n_second]) =
        (unsafe { bpf_probe_read_user(segments as *const [u64; 4]) })
    else {
        emit::unreadable(cgroup_id);
        return 0;
    };
    let n_first = bounded::<MAX>(n_first.min(u64::from(wanted)) as u32);
    let bytes = event.bytes.as_mut_ptr();
    // SAFETY: offset and length are each below half the size of `bytes`; the
    // helper checks the user's address.
    if unsafe { probe_read_user(bytes.cast(), n_first, first as *const _) } != 0 {
        emit::unreadable(cgroup_id);
        return 0;
    }
    if n_first >= wanted {
        return n_first;
    }
    let n_second = bounded::<MAX>(n_second.min(u64::from(wanted - n_first)) as u32);
    // SAFETY: as above.
    let result = unsafe {
        probe_read_user(
            bytes.add(n_first as usize).cast(),
            n_second,
            second as *const _,
        )
    };
    if result != 0 {
        emit::unreadable(cgroup_id);
        return n_first;
    }
    bounded::<MAX>(n_first + n_second)
}

/// The same of messages, which moved as many bytes as they tell.
#[inline(always)]
pub fn copy_messages(messages: u64, n_messages: u64, wanted: u32, cgroup_id: u64) -> u32 {
    walk(
        Walk {
            messages,
            n_messages,
            ..Walk::through(wanted)
        },
        cgroup_id,
    )
}

/// Bytes that messages moved together. The kernel wrote each number there a
/// moment ago.
#[inline(always)]
pub fn length_of_messages(messages: u64, n_messages: u64) -> u64 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as in `walk`.
    unsafe {
        walk.write_volatile(Walk {
            messages,
            n_messages,
            ..Walk::through(0)
        });
        each(&MESSAGES, message_counted);
        (&raw const (*walk).left).read_volatile()
    }
}

#[inline(always)]
fn walk(begin: Walk, cgroup_id: u64) -> u32 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this processor's walk is used by this program alone, and read
    // anew behind the helper, in which the callback writes it.
    let (filled, unreadable) = unsafe {
        walk.write_volatile(begin);
        each(&SEGMENTS, segment_copied);
        (
            (&raw const (*walk).filled).read_volatile(),
            (&raw const (*walk).unreadable).read_volatile(),
        )
    };
    if unreadable != 0 {
        emit::unreadable(cgroup_id);
    }
    bounded::<{ MAX_VECTORED_CAPTURE_BYTES as u32 }>(filled)
}

type Callback = extern "C" fn(*mut c_void, *const u32, *mut u32, *mut c_void) -> i64;

/// Calls a function once an entry of a map, until it returns [`STOP`].
#[inline(always)]
fn each(rounds: &'static Array<u32>, callback: Callback) {
    // SAFETY: the callback has the form that the helper wants.
    unsafe {
        bpf_for_each_map_elem(
            core::ptr::from_ref(rounds).cast_mut().cast(),
            callback as *mut c_void,
            core::ptr::null_mut(),
            0,
        );
    }
}

/// Adds what the next message moved.
#[inline(never)]
extern "C" fn message_counted(
    _map: *mut c_void,
    _index: *const u32,
    _value: *mut u32,
    _context: *mut c_void,
) -> i64 {
    let Some(walk) = WALK.get_ptr_mut(0) else {
        return STOP;
    };
    // SAFETY: this processor's walk is used by this program alone.
    let walk = unsafe { &mut *walk };
    let Some(message) = walk.next_message() else {
        return STOP;
    };
    walk.left += u64::from(moved_by(message));
    CONTINUE
}

/// Captures the next segment, or begins the next message.
#[inline(never)]
extern "C" fn segment_copied(
    _map: *mut c_void,
    _index: *const u32,
    _value: *mut u32,
    _context: *mut c_void,
) -> i64 {
    let (Some(walk), Some(event)) = (WALK.get_ptr_mut(0), SCRATCH.get_ptr_mut(0)) else {
        return STOP;
    };
    // SAFETY: this processor's walk and scratch are used by this program alone.
    let (walk, event) = unsafe { (&mut *walk, &mut *event) };
    if walk.step(event).is_some() {
        CONTINUE
    } else {
        STOP
    }
}

impl Walk {
    /// A walk through nothing.
    #[inline(always)]
    const fn through(wanted: u32) -> Self {
        Self {
            messages: 0,
            n_messages: 0,
            segments: 0,
            n_segments: 0,
            left: 0,
            wanted,
            filled: 0,
            unreadable: 0,
            reserved: 0,
        }
    }

    /// Takes the next message's address.
    #[inline(always)]
    fn next_message(&mut self) -> Option<u64> {
        if self.n_messages == 0 {
            return None;
        }
        let message = self.messages;
        self.n_messages -= 1;
        self.messages = message + MESSAGE_SIZE;
        Some(message)
    }

    /// One round; nothing when the walk is at its end.
    #[inline(always)]
    fn step(&mut self, event: &mut DataEvent) -> Option<()> {
        if self.filled >= self.wanted {
            return None;
        }
        if self.left == 0 || self.n_segments == 0 {
            return self.begin_message();
        }
        // SAFETY: the helper checks the address and fails where it cannot read.
        let segment = unsafe { bpf_probe_read_user(self.segments as *const [u64; 2]) };
        let Ok([base, length]) = segment else {
            return self.stop_unreadable();
        };
        let missing = u64::from(self.wanted - self.filled);
        let take = length.min(self.left).min(missing) as u32;
        let take = bounded::<{ MAX_VECTORED_CAPTURE_BYTES as u32 }>(take);
        let at = bounded::<{ MAX_VECTORED_CAPTURE_BYTES as u32 }>(self.filled);
        // SAFETY: offset and length are each below half the size of `bytes`;
        // the helper checks the user's address.
        let result = unsafe {
            probe_read_user(
                event.bytes.as_mut_ptr().add(at as usize).cast(),
                take,
                base as *const _,
            )
        };
        if result != 0 {
            return self.stop_unreadable();
        }
        self.filled += take;
        self.left -= u64::from(take);
        self.segments += size_of::<[u64; 2]>() as u64;
        self.n_segments -= 1;
        Some(())
    }

    #[inline(always)]
    fn begin_message(&mut self) -> Option<()> {
        let message = self.next_message()?;
        self.left = u64::from(moved_by(message));
        // SAFETY: the helper checks the address and fails where it cannot read.
        let words =
            unsafe { bpf_probe_read_user((message + MESSAGE_SEGMENTS_AT) as *const [u64; 2]) };
        let Ok([segments, n_segments]) = words else {
            return self.stop_unreadable();
        };
        self.segments = segments;
        self.n_segments = n_segments;
        Some(())
    }

    #[inline(always)]
    fn stop_unreadable(&mut self) -> Option<()> {
        self.unreadable = 1;
        None
    }
}

/// Bytes that a message moved.
#[inline(always)]
fn moved_by(message: u64) -> u32 {
    // SAFETY: the helper checks the address and fails where it cannot read.
    unsafe { bpf_probe_read_user((message + MESSAGE_LENGTH_AT) as *const u32) }.unwrap_or(0)
}
