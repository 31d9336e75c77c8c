//! Calls that move several messages: on a stream each is a read or a write of
//! its own.
//!
//! A connection older than the probes is not recognised by these calls, but by
//! the first other one.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE, MAX_BATCH_SEGMENTS, MAX_MESSAGES};

use crate::filter::watched_cgroup;
use crate::kernel::{Socket, Task};
use crate::maps::MESSAGES;
use crate::socket::{Memory, known, message_segments, received, report, return_value};

/// Size of a `struct mmsghdr`.
const MESSAGE_SIZE: u64 = 64;
/// Where it keeps how many bytes were moved: behind its `struct msghdr`.
const MESSAGE_LENGTH_AT: u64 = 56;

/// A call that moved messages.
struct Batch {
    messages: u64,
    n_messages: u64,
    flags: u64,
    socket: Socket,
    direction: u16,
    /// Bytes moved by the messages that are not reported one by one.
    rest: u64,
}

/// `recvmmsg(fd, messages, n, flags, timeout)` returned how many it filled.
#[tracepoint]
pub fn sys_exit_recvmmsg(ctx: TracePointContext) -> u32 {
    moved(&ctx, DIRECTION_READ);
    0
}

/// `sendmmsg(fd, messages, n, flags)` returned how many it sent.
#[tracepoint]
pub fn sys_exit_sendmmsg(ctx: TracePointContext) -> u32 {
    moved(&ctx, DIRECTION_WRITE);
    0
}

#[inline(always)]
fn moved(ctx: &TracePointContext, direction: u16) {
    let n_messages = return_value(ctx);
    if n_messages <= 0 || watched_cgroup().is_none() {
        return;
    }
    let task = Task::current();
    let arguments = task.arguments();
    let Some((socket, connection)) = known(task, arguments.first()) else {
        return;
    };
    let mut batch = Batch {
        messages: arguments.second(),
        n_messages: n_messages as u64,
        flags: if direction == DIRECTION_READ {
            arguments.fourth()
        } else {
            0
        },
        socket,
        direction,
        rest: 0,
    };
    // The verifier would walk through each round of a plain loop anew, and
    // `bpf_loop` needs Linux 5.17.
    // SAFETY: the callback has the form that the helper wants.
    unsafe {
        bpf_for_each_map_elem(
            core::ptr::from_ref(&MESSAGES).cast_mut().cast(),
            message_moved as *mut c_void,
            (&raw mut batch).cast(),
            0,
        );
    }
    if batch.rest > 0 {
        let length = batch.rest as u32;
        report::<MAX_BATCH_SEGMENTS>(socket, connection, direction, length, &Memory::Elsewhere);
    }
}

/// Reports the message of one number.
#[inline(never)]
extern "C" fn message_moved(
    _map: *mut c_void,
    index: *const u32,
    _value: *mut u32,
    batch: *mut Batch,
) -> i64 {
    const CONTINUE: i64 = 0;
    const STOP: i64 = 1;
    // SAFETY: the kernel gives a key of the map and what the call was made
    // with.
    let (index, batch) = unsafe { (u64::from(*index), &mut *batch) };
    if index >= batch.n_messages {
        return STOP;
    }
    let message = batch.messages + index * MESSAGE_SIZE;
    let Some(memory) = received(batch.flags, || message_segments(message)) else {
        return STOP;
    };
    let length = length_of(message);
    if index >= MAX_MESSAGES as u64 {
        batch.rest += u64::from(length);
    } else if length > 0
        && let Some(connection) = batch.socket.connection()
    {
        report::<MAX_BATCH_SEGMENTS>(batch.socket, connection, batch.direction, length, &memory);
    }
    CONTINUE
}

/// Bytes that a message moved. The kernel wrote the number there a moment ago.
#[inline(always)]
fn length_of(message: u64) -> u32 {
    // SAFETY: the helper checks the address and fails where it cannot read.
    unsafe { bpf_probe_read_user((message + MESSAGE_LENGTH_AT) as *const u32) }.unwrap_or(0)
}
