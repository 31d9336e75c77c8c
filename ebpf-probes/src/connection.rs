//! The life of a connection: accepted, met when older than the probes, ended.
//!
//! | event | what is done |
//! |---|---|
//! | `accept`, `accept4` return a descriptor | tracked and reported |
//! | first call on an untracked socket of a listening port | tracked and reported as inherited |
//! | TCP state becomes CLOSE_WAIT | the peer finished: reported |
//! | TCP state becomes FIN_WAIT1 or LAST_ACK | the server finished: reported once |
//! | TCP state becomes CLOSE before that | reset: reported once |
//! | TCP state becomes SYN_SENT | the memory of an ended socket serves a client: forgotten |
//!
//! Ends are read from the socket's state and not from `close` and `shutdown`:
//! a descriptor may be closed while a duplicate or a child process still holds
//! the connection, and a process may die without closing anything.
//!
//! An ended connection stays tracked until the daemon removes it, because a
//! write's return may be seen after the reset that its bytes provoked. If its
//! end could not be reported, the daemon cannot know, and it is removed here.
//!
//! A connection that the ring had no room to announce is announced at one of
//! its next reads: `socket::report` tries again.
//!
//! UNIX sockets have no such states: `unix` tells their ends. What either
//! misses, the daemon has `sweep` find.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::warn;
use modeltap_abi::config::{
    CONNECTION_INHERITED, CONNECTION_UNANNOUNCED, CONNECTION_UNIX, Counter, ListenerKey,
    TrackedConnection,
};
use modeltap_abi::event::{
    CAUSE_LOCAL_FINISHED, CAUSE_PEER_FINISHED, CAUSE_RESET, ORIGIN_ACCEPTED, ORIGIN_INHERITED,
};

use crate::call::{Call, is_due, programs};
use crate::kernel::{Socket, Task, inode_number, is_socket, tcp_state};
use crate::maps::{CONNECTIONS, LISTENERS};
use crate::{arrival, drain, emit};

programs! {
    /// `accept` returned.
    sys_exit_accept, sys_exit_accept_second: accepted();
    /// `accept4` returned.
    sys_exit_accept4, sys_exit_accept4_second: accepted();
}

/// A socket's TCP state changes. A raw tracepoint, because a software
/// interrupt may bring the change while another probe runs on this processor,
/// and the kernel would skip a second program of the ordinary kind.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    changes_state(&ctx, false);
    0
}

/// Runs after the first, for what that was not run for.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state_second(ctx: RawTracePointContext) -> i32 {
    changes_state(&ctx, true);
    0
}

#[inline(always)]
fn changes_state(ctx: &RawTracePointContext, is_second: bool) {
    let socket = Socket(ctx.arg::<u64>(0));
    let (old, new) = (ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    // A socket changes its state under its lock.
    if !is_due(socket.0, is_second) {
        return;
    }
    state_changed(socket, new);
    drain::state_changed(socket, old, new);
    arrival::state_changed(socket, old, new);
}

#[inline(always)]
fn accepted(call: &Call<'_>) {
    let fd = call.value();
    if fd < 0 {
        return;
    }
    let Some(cgroup_id) = call.watched() else {
        return;
    };
    let Some(file) = Task::current().file(fd as u32) else {
        return;
    };
    let Some(socket) = Socket::of_file(file) else {
        return;
    };
    let is_unix = socket.is_unix_stream();
    if !is_unix && !socket.is_tcp() {
        return;
    }
    let (flags, write_seq) = if is_unix {
        (CONNECTION_UNIX, 0)
    } else {
        (0, socket.write_seq())
    };
    let mut connection = untouched(inode_number(file), cgroup_id, flags, write_seq);
    let state = socket.state();
    if !track(socket, &mut connection) {
        emit::count(Counter::ConnectionsUntracked, 1);
        emit::untracked(cgroup_id, 0);
        warn!(call.ctx, "no room to track a connection");
        if !is_unix {
            // What it moves is then counted as lost, and it is picked up where
            // it is when there is room.
            arrival::serves(socket.local_port());
            let _ = LISTENERS.insert(listener(socket), 1, 0);
        }
        return;
    }
    if is_unix {
        return;
    }
    // The peer may have finished while the connection waited to be accepted.
    if state == tcp_state::CLOSE_WAIT {
        emit::closed(socket, &connection, CAUSE_PEER_FINISHED);
    } else if state == tcp_state::CLOSE {
        emit::closed(socket, &connection, CAUSE_RESET);
    }
}

/// Tracks the socket of a call on an untracked descriptor, if it is the
/// server's side of a TCP connection older than the probes. The call moved
/// `length` bytes, `n_written` of them to the peer.
#[inline(always)]
pub fn inherit(file: u64, cgroup_id: u64, length: u32, n_written: u32) -> Option<Socket> {
    if !is_socket(file) {
        return None;
    }
    let socket = Socket::of_file(file)?;
    if !socket.is_tcp() {
        return None;
    }
    LISTENERS.get_ptr(listener(socket))?;
    let found = Found {
        inode: inode_number(file),
        cgroup_id,
        flags: CONNECTION_INHERITED,
    };
    found.track(socket, length, n_written).then_some(socket)
}

/// A TCP connection of the server's that is met where bytes move.
pub struct Found {
    /// Inode number of the socket.
    pub inode: u64,
    /// The watched cgroup of who moves them.
    pub cgroup_id: u64,
    /// `CONNECTION_INHERITED`, or zero where its accept was seen.
    pub flags: u32,
}

impl Found {
    /// Begins to track it; whether there was room. `length` bytes just moved,
    /// `n_written` of them to the peer.
    #[inline(always)]
    pub fn track(&self, socket: Socket, length: u32, n_written: u32) -> bool {
        let write_seq = socket.write_seq().wrapping_sub(n_written);
        let mut connection = untouched(self.inode, self.cgroup_id, self.flags, write_seq);
        let is_tracked = track(socket, &mut connection);
        if !is_tracked {
            emit::untracked(self.cgroup_id, length);
        }
        is_tracked
    }
}

impl Socket {
    /// What is known of the connection that it is the server's side of. Two
    /// threads that move bytes the same way at the same time have no order
    /// that could be told.
    #[inline(always)]
    pub fn connection(self) -> Option<&'static mut TrackedConnection> {
        let connection = CONNECTIONS.get_ptr_mut(self.0)?;
        // SAFETY: the kernel keeps the value's memory for as long as this
        // program runs.
        Some(unsafe { &mut *connection })
    }
}

#[inline(always)]
fn listener(socket: Socket) -> ListenerKey {
    ListenerKey {
        netns: socket.netns(),
        port: u32::from(socket.local_port()),
    }
}

/// A connection that moved nothing yet; no response is awaited on it.
#[inline(always)]
fn untouched(inode: u64, cgroup_id: u64, flags: u32, write_seq: u32) -> TrackedConnection {
    TrackedConnection {
        opened_ns: emit::now(),
        cgroup_id,
        inode,
        bytes_read: 0,
        bytes_written: 0,
        request_prefix: 0,
        request_matched: 0,
        response_matched: 0,
        response_status: 0,
        unused: 0,
        write_seq,
        request_seq: write_seq.wrapping_sub(1),
        response_seq: write_seq,
        turn: 0,
        turn_captured: 0,
        closed: 0,
        flags,
        reserved: 0,
    }
}

/// Announces a connection and tracks it; whether there was room for it.
#[inline(always)]
fn track(socket: Socket, connection: &mut TrackedConnection) -> bool {
    // Tracked first: the end of one that is announced must be seen.
    if CONNECTIONS.insert(socket.0, *connection, 0).is_err() {
        return false;
    }
    let origin = origin_of(connection);
    if !emit::opened(socket, connection.opened_ns, connection.cgroup_id, origin) {
        connection.flags |= CONNECTION_UNANNOUNCED;
        if let Some(tracked) = socket.connection() {
            tracked.flags |= CONNECTION_UNANNOUNCED;
        }
    }
    true
}

/// Tells the daemon of a connection that the ring had no room for before.
#[inline(always)]
pub fn announce_late(socket: Socket, connection: &mut TrackedConnection) {
    let origin = origin_of(connection);
    if emit::opened_late(socket, connection.opened_ns, connection.cgroup_id, origin) {
        connection.flags &= !CONNECTION_UNANNOUNCED;
    }
}

/// What moved before a connection is announced is not known to the daemon, as
/// if it were older than the probes.
#[inline(always)]
fn origin_of(connection: &TrackedConnection) -> u16 {
    if connection.flags & CONNECTION_INHERITED != 0
        || connection.bytes_read != 0
        || connection.bytes_written != 0
    {
        ORIGIN_INHERITED
    } else {
        ORIGIN_ACCEPTED
    }
}

#[inline(always)]
fn state_changed(socket: Socket, state: u8) {
    let cause = match state {
        tcp_state::CLOSE_WAIT => CAUSE_PEER_FINISHED,
        tcp_state::FIN_WAIT1 | tcp_state::LAST_ACK => CAUSE_LOCAL_FINISHED,
        tcp_state::CLOSE => CAUSE_RESET,
        tcp_state::SYN_SENT => {
            let _ = CONNECTIONS.remove(socket.0);
            return;
        }
        _ => return,
    };
    // A socket changes its state under its lock, so nothing else writes
    // `closed`; the positions may grow meanwhile and are hints.
    let Some(connection) = socket.connection() else {
        return;
    };
    if connection.closed != 0 {
        return;
    }
    if cause != CAUSE_PEER_FINISHED {
        connection.closed = 1;
    }
    if !emit::closed(socket, connection, cause) && cause != CAUSE_PEER_FINISHED {
        let _ = CONNECTIONS.remove(socket.0);
    }
}
