//! Calls that move several messages: on a stream, as if they were one of all
//! their segments.
//!
//! A connection older than the probes is not recognised by these calls, but by
//! the first other one.

use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE};

use crate::filter::watched_cgroup;
use crate::kernel::Task;
use crate::segments::length_of_messages;
use crate::socket::{Memory, known, received, report, return_value};

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
    let flags = if direction == DIRECTION_READ {
        arguments.fourth()
    } else {
        0
    };
    let (messages, n_messages) = (arguments.second(), n_messages as u64);
    let Some(memory) = received(flags, || Memory::Messages(messages, n_messages)) else {
        return;
    };
    let length = length_of_messages(messages, n_messages) as u32;
    if length > 0 {
        report(socket, connection, direction, length, &memory);
    }
}
