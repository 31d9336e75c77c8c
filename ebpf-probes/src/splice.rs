//! Bytes between a socket and a pipe: they never are in user memory.

use aya_ebpf::macros::tracepoint;
use aya_ebpf::programs::TracePointContext;
use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE};

use crate::filter::watched_cgroup;
use crate::kernel::Task;
use crate::socket::{Memory, report, return_value, tracked};
use crate::unix;

/// `splice(fd_in, off_in, fd_out, off_out, len, flags)` returned. One end is a
/// pipe, so at most one is a socket.
#[tracepoint]
pub fn sys_exit_splice(ctx: TracePointContext) -> u32 {
    let length = return_value(&ctx);
    if length > 0 || unix::is_end(length) {
        spliced(length);
    }
    0
}

#[inline(always)]
fn spliced(length: i64) {
    let Some(cgroup_id) = watched_cgroup() else {
        return;
    };
    let task = Task::current();
    let arguments = task.arguments();
    let (input, output) = (arguments.first(), arguments.third());
    if length <= 0 {
        unix::peer_ended(input, length);
        return;
    }
    let length = length as u32;
    let (direction, found) = match tracked(task, input, cgroup_id, DIRECTION_READ, length) {
        Some(found) => (DIRECTION_READ, Some(found)),
        None => (
            DIRECTION_WRITE,
            tracked(task, output, cgroup_id, DIRECTION_WRITE, length),
        ),
    };
    if let Some((socket, connection)) = found {
        report(socket, connection, direction, length, &Memory::ELSEWHERE);
    }
}
