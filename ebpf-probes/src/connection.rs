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

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::{raw_tracepoint, tracepoint};
use aya_ebpf::programs::{RawTracePointContext, TracePointContext};
use aya_log_ebpf::warn;
use modeltap_abi::config::{Counter, ListenerKey, TrackedConnection};
use modeltap_abi::event::{
    CAUSE_LOCAL_FINISHED, CAUSE_PEER_FINISHED, CAUSE_RESET, ORIGIN_ACCEPTED, ORIGIN_INHERITED,
};

use crate::emit;
use crate::filter::watched_cgroup;
use crate::kernel::{Socket, Task, is_socket, tcp_state};
use crate::maps::{CONNECTIONS, LISTENERS};
use crate::socket::return_value;

/// `accept` returned.
#[tracepoint]
pub fn sys_exit_accept(ctx: TracePointContext) -> u32 {
    accepted(&ctx);
    0
}

/// `accept4` returned.
#[tracepoint]
pub fn sys_exit_accept4(ctx: TracePointContext) -> u32 {
    accepted(&ctx);
    0
}

/// A socket's TCP state changes. A raw tracepoint, because a software
/// interrupt may bring the change while another probe runs on this processor,
/// and the kernel would skip a second program of the ordinary kind.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    state_changed(Socket(ctx.arg::<u64>(0)), ctx.arg::<i32>(2) as u8);
    0
}

#[inline(always)]
fn accepted(ctx: &TracePointContext) {
    let fd = return_value(ctx);
    if fd < 0 {
        return;
    }
    let Some(cgroup_id) = watched_cgroup() else {
        return;
    };
    let Some(socket) = Task::current().file(fd as u32).and_then(Socket::of_file) else {
        return;
    };
    if !socket.is_tcp() {
        return;
    }
    let state = socket.state();
    let Some(connection) = track(ctx, socket, cgroup_id, ORIGIN_ACCEPTED) else {
        return;
    };
    // The peer may have finished while the connection waited to be accepted.
    if state == tcp_state::CLOSE_WAIT {
        emit::closed(socket, &connection, CAUSE_PEER_FINISHED);
    } else if state == tcp_state::CLOSE {
        emit::closed(socket, &connection, CAUSE_RESET);
    }
}

/// Tracks the socket of a call on an untracked descriptor, if it is the
/// server's side of a connection older than the probes.
#[inline(always)]
pub fn inherit<C: EbpfContext>(ctx: &C, file: u64, cgroup_id: u64) -> Option<Socket> {
    if !is_socket(file) {
        return None;
    }
    let socket = Socket::of_file(file)?;
    if !socket.is_tcp() {
        return None;
    }
    let key = ListenerKey {
        netns: socket.netns(),
        port: u32::from(socket.local_port()),
    };
    LISTENERS.get_ptr(key)?;
    track(ctx, socket, cgroup_id, ORIGIN_INHERITED)?;
    Some(socket)
}

#[inline(always)]
fn track<C: EbpfContext>(
    ctx: &C,
    socket: Socket,
    cgroup_id: u64,
    origin: u16,
) -> Option<TrackedConnection> {
    let connection = TrackedConnection {
        opened_ns: emit::now(),
        bytes_read: 0,
        bytes_written: 0,
        turn: 0,
        turn_captured: 0,
        closed: 0,
        reserved: 0,
    };
    if CONNECTIONS.insert(socket.0, connection, 0).is_err() {
        emit::count(Counter::ConnectionsUntracked, 1);
        warn!(ctx, "no room to track a connection");
        return None;
    }
    emit::opened(socket, connection.opened_ns, cgroup_id, origin);
    Some(connection)
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
    let Some(connection) = CONNECTIONS.get_ptr_mut(socket.0) else {
        return;
    };
    // SAFETY: a socket changes its state under its lock, so nothing else
    // writes `closed`; the positions may grow meanwhile and are hints.
    let connection = unsafe { &mut *connection };
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
