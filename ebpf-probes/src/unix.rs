//! The end of a connection over a UNIX socket: the inner hop between a proxy
//! and a server beside it. No tracepoint tells it, so the calls do that see it.
//!
//! | what is seen | what is done |
//! |---|---|
//! | a read returns 0 or ECONNRESET, a write EPIPE | the peer finished, or reset: reported once |
//! | `shutdown` of the sending side returns 0 | the server finished: reported once |
//! | `close` of the last descriptor is called | the server finished: reported, forgotten |
//! | a call on another socket at the same address | it ended unseen: reported, forgotten |
//!
//! A process that ends, `dup2` over a descriptor and `close_range` close
//! without any of these: `sweep` finds them.

use modeltap_abi::config::{CONNECTION_PEER_FINISHED, CONNECTION_UNIX, TrackedConnection};
use modeltap_abi::event::{CAUSE_LOCAL_FINISHED, CAUSE_PEER_FINISHED, CAUSE_RESET};

use crate::call::{Call, programs};
use crate::emit;
use crate::kernel::{Socket, Task, inode_number, is_held_once};
use crate::maps::CONNECTIONS;

/// What a call returns on a connection that its peer ended.
const ENDS: [i64; 3] = [0, -ECONNRESET, -EPIPE];
const ECONNRESET: i64 = 104;
const EPIPE: i64 = 32;
/// `SHUT_RD`: the sending side stays open.
const SHUT_RD: u64 = 0;

programs! {
    /// `close(fd)` is called: what it closes is still there to be looked at.
    sys_enter_close, sys_enter_close_second: closing();
    /// `shutdown(fd, how)` returned.
    sys_exit_shutdown, sys_exit_shutdown_second: shut_down();
}

#[inline(always)]
fn closing(call: &Call<'_>) {
    let fd = call.value().cast_unsigned();
    if call.watched().is_some()
        && let Some((socket, file, connection)) = tracked(fd)
        // Else a duplicate, another process or a call in progress holds it.
        && is_held_once(file)
    {
        local_finished(socket, connection);
        let _ = CONNECTIONS.remove(socket.0);
    }
}

#[inline(always)]
fn shut_down(call: &Call<'_>) {
    if call.value() == 0 && call.watched().is_some() {
        let arguments = Task::current().arguments();
        if arguments.second() != SHUT_RD
            && let Some((socket, _, connection)) = tracked(arguments.first())
        {
            local_finished(socket, connection);
        }
    }
}

/// Whether what a call returned may tell that the peer is gone.
#[inline(always)]
pub fn is_end(returned: i64) -> bool {
    ENDS.contains(&returned)
}

/// A call on `fd` returned what [`is_end`] says.
#[inline(always)]
pub fn peer_ended(fd: u64, returned: i64) {
    let Some((socket, _, connection)) = tracked(fd) else {
        return;
    };
    if connection.closed != 0 {
        return;
    }
    if returned == -ECONNRESET {
        connection.closed = 1;
        if !emit::closed(socket, connection, CAUSE_RESET) {
            let _ = CONNECTIONS.remove(socket.0);
        }
        return;
    }
    peer_finished(socket, connection);
}

/// Whether a tracked connection still is what its descriptor refers to; if
/// not, it ended unseen and is forgotten.
#[inline(always)]
pub fn is_same(socket: Socket, file: u64, connection: &TrackedConnection) -> bool {
    if inode_number(file) == connection.inode {
        return true;
    }
    emit::closed(socket, connection, CAUSE_LOCAL_FINISHED);
    let _ = CONNECTIONS.remove(socket.0);
    false
}

/// The tracked UNIX connection behind a descriptor, with its socket and file.
#[inline(always)]
fn tracked(fd: u64) -> Option<(Socket, u64, &'static mut TrackedConnection)> {
    let file = Task::current().file(fd as u32)?;
    let socket = Socket::of_file(file)?;
    let connection = socket.connection()?;
    (connection.flags & CONNECTION_UNIX != 0 && is_same(socket, file, connection))
        .then_some((socket, file, connection))
}

#[inline(always)]
fn local_finished(socket: Socket, connection: &mut TrackedConnection) {
    if connection.closed != 0 {
        return;
    }
    peer_finished(socket, connection);
    connection.closed = 1;
    if !emit::closed(socket, connection, CAUSE_LOCAL_FINISHED) {
        let _ = CONNECTIONS.remove(socket.0);
    }
}

/// Reports once that the peer finished, if it did.
#[inline(always)]
fn peer_finished(socket: Socket, connection: &mut TrackedConnection) {
    if connection.flags & CONNECTION_PEER_FINISHED == 0 && socket.peer_finished() {
        connection.flags |= CONNECTION_PEER_FINISHED;
        emit::closed(socket, connection, CAUSE_PEER_FINISHED);
    }
}
