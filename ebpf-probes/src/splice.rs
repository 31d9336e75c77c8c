//! Bytes between a socket and a pipe: they never are in user memory.

use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE};

use crate::call::{Call, programs};
use crate::kernel::Task;
use crate::socket::{Memory, report, tracked};
use crate::unix;

programs! {
    /// `splice(fd_in, off_in, fd_out, off_out, len, flags)` returned. One end
    /// is a pipe, so at most one is a socket.
    sys_exit_splice, sys_exit_splice_second: spliced();
}

#[inline(always)]
fn spliced(call: &Call<'_>) {
    let length = call.value();
    if length <= 0 && !unix::is_end(length) {
        return;
    }
    let Some(cgroup_id) = call.watched() else {
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
