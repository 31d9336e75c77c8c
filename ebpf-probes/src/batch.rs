//! Calls that move several messages: on a stream, as if they were one of all
//! their segments.
//!
//! A connection older than the probes is not recognised by these calls, but by
//! the first other one.

use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE};

use crate::call::{Call, programs};
use crate::kernel::Task;
use crate::segments::length_of_messages;
use crate::socket::{Memory, known, received, report};

programs! {
    /// `recvmmsg(fd, messages, n, flags, timeout)` returned how many it filled.
    sys_exit_recvmmsg, sys_exit_recvmmsg_second: moved(DIRECTION_READ);
    /// `sendmmsg(fd, messages, n, flags)` returned how many it sent.
    sys_exit_sendmmsg, sys_exit_sendmmsg_second: moved(DIRECTION_WRITE);
}

#[inline(always)]
fn moved(call: &Call<'_>, direction: u16) {
    let n_messages = call.value();
    if n_messages <= 0 || call.watched().is_none() {
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
