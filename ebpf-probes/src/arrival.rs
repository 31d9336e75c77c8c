//! When bytes arrived at a socket, which may be long before the server reads
//! them: in the backlog of a listening socket too.
//!
//! | event | what is done |
//! |---|---|
//! | `sk_data_ready` | what was received up to is noted with the time |
//! | `sock_recv_length` | the times of the bytes just read are taken out |
//! | the read's system call returns | its `Data` tells the first of them |
//!
//! These tracepoints fire for every socket of the host. One that is in no
//! watched container's network namespace costs a look-up.
//!
//! Bytes that were received and that no system call's return and no request
//! of io_uring explained are counted as unseen.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{Array, HashMap, LruHashMap};
use aya_ebpf::programs::RawTracePointContext;
use modeltap_abi::config::{ListenerKey, WORDS_OF_PORTS};
use modeltap_abi::event::{DIRECTION_READ, KIND_ARRIVED, MAX_ARRIVALS};
use modeltap_abi::feature::NETWORK_OWN;

use crate::emit;
use crate::filter::watched_cgroup;
use crate::kernel::{Socket, tcp_state};
use crate::maps::{CONFIG, CONNECTIONS, LISTENERS, field_of};
use crate::uring;

/// `MSG_PEEK`: the bytes stay in the socket and will be read again.
const MSG_PEEK: i32 = 2;
/// Arrivals kept of one socket; a power of two. Of more, the last ones keep
/// the time of the first of them.
const KEPT: usize = MAX_ARRIVALS as usize + 1;
/// A read's system call returns sooner after its bytes were received.
const EXPLAINED_WITHIN_NS: u64 = 1_000_000_000;
/// A socket that was closed so soon after a read may have been closed before
/// the read's system call returned.
const CLOSED_WITHIN_NS: u64 = 10_000;
/// `SocketState::cgroup` of a socket whose reader is not watched.
const NOT_WATCHED: u64 = u64::MAX;

/// Network namespaces of watched containers by inode number: one of the
/// `NETWORK_*` constants.
#[map]
pub static NETWORKS: HashMap<u32, u32> = HashMap::with_max_entries(4096, 0);

/// Ports on which watched tasks began to listen.
#[map]
static SERVED: LruHashMap<ListenerKey, u32> = LruHashMap::with_max_entries(4096, 0);

/// A bit a port: those of `SERVED`, then those of `LISTENERS`, in whatever
/// network namespace. Bits are only set, so that one that is not says that
/// there is nothing to look for.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(2 * WORDS_OF_PORTS, 0);

/// Sockets in watched network namespaces, by their kernel address. An entry
/// takes memory only while its socket lives.
#[map]
static SOCKETS: HashMap<u64, SocketState> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// A new entry of `SOCKETS`: BPF's stack is too small for one.
#[map]
static NO_STATE: Array<SocketState> = Array::with_max_entries(1, 0);

/// Bytes that moved unseen, by cgroup.
#[map]
static UNSEEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// What is known of a socket beside its connection.
///
/// The kernel calls `sk_data_ready` under the socket's lock, so `tail` has one
/// writer. Reads of one connection have an order, so `head` has one too.
#[repr(C)]
pub struct SocketState {
    /// Arrivals taken out.
    head: u32,
    /// Arrivals noted.
    tail: u32,
    /// Sequence number behind the last arrival.
    last_end: u32,
    /// Zero.
    reserved: u32,
    /// When the connection was established, or zero if it is older than the
    /// probes or a client's.
    pub born_ns: u64,
    /// The watched cgroup of the first task that read, [`NOT_WATCHED`], or
    /// zero before any did.
    cgroup: u64,
    /// Arrival of the bytes received and not yet explained, or zero.
    arrived_ns: u64,
    /// Bytes received and not yet explained.
    pub unexplained_read: u64,
    /// Since when there are any.
    unexplained_ns: u64,
    /// Bytes io_uring sent last, as far as no request was found for them.
    pub unexplained_write: u64,
    /// Requests of io_uring that wait for the socket: to read, to write.
    pub requests: [u64; 2],
    arrivals: [Arrival; KEPT],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Arrival {
    /// Sequence number behind the last byte of it.
    end: u32,
    reserved: u32,
    at_ns: u64,
}

/// A socket has bytes to read, or a listening one connections to accept.
#[raw_tracepoint(tracepoint = "sk_data_ready")]
pub fn sk_data_ready(ctx: RawTracePointContext) -> i32 {
    arrived(Socket(ctx.arg::<u64>(0)));
    0
}

/// A read of a socket took bytes out of it, in the task that reads.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn sock_recv_length(ctx: RawTracePointContext) -> i32 {
    let socket = Socket(ctx.arg::<u64>(0));
    let length = ctx.arg::<i32>(1);
    if length == -uring::EAGAIN {
        uring::postponed(socket, DIRECTION_READ);
    } else if length > 0 && ctx.arg::<i32>(2) & MSG_PEEK == 0 {
        received(socket, length as u32);
    }
    0
}

/// What is known of a socket that is in no watched network namespace, or that
/// was never looked at: nothing.
#[inline(always)]
pub fn known<'a>(socket: Socket) -> Option<&'a mut SocketState> {
    // SAFETY: the kernel keeps the value's memory for as long as a program
    // runs; who writes which field is said at the structure.
    SOCKETS
        .get_ptr_mut(socket.0)
        .map(|state| unsafe { &mut *state })
}

/// The same, from now on for any TCP connection in a watched network
/// namespace.
#[inline(always)]
pub fn state<'a>(socket: Socket) -> Option<&'a mut SocketState> {
    let netns = socket.netns();
    let network = NETWORKS.get_ptr(netns)?;
    // SAFETY: the daemon alone writes the value.
    let is_shared = unsafe { *network } != NETWORK_OWN;
    if is_shared && !may_be_served(socket.local_port()) {
        return None;
    }
    if let Some(state) = known(socket) {
        return Some(state);
    }
    // A socket that was shut down, and not closed, wakes its reader once more
    // after its end: an entry made then would be the next connection's.
    if matches!(socket.state(), tcp_state::LISTEN | tcp_state::CLOSE) || !socket.is_tcp() {
        return None;
    }
    if is_shared && !is_served(netns, socket.local_port()) {
        return None;
    }
    // SAFETY: nothing writes the entry.
    let nothing = unsafe { &*NO_STATE.get_ptr(0)? };
    let _ = SOCKETS.insert(socket.0, nothing, 0);
    known(socket)
}

/// A socket of a watched network namespace changes its TCP state.
#[inline(always)]
pub fn state_changed(socket: Socket, old: u8, new: u8) {
    if field_of!(TCP.has_arrival) == 0 {
        return;
    }
    match (old, new) {
        (tcp_state::SYN_RECV, tcp_state::ESTABLISHED) => {
            if let Some(state) = state(socket) {
                // Whatever was noted of the memory's last connection.
                state.head = 0;
                state.tail = 0;
                state.cgroup = 0;
                state.arrived_ns = 0;
                state.unexplained_read = 0;
                state.unexplained_write = 0;
                state.requests = [0; 2];
                state.born_ns = emit::now();
            }
        }
        (_, tcp_state::LISTEN) if watched_cgroup().is_some() => {
            serves(socket.local_port());
            let _ = SERVED.insert(key(socket.netns(), socket.local_port()), 1, 0);
        }
        (_, tcp_state::CLOSE) => gone(socket),
        _ => {}
    }
}

/// The bytes received on a socket are explained: returns when the first of
/// them arrived, or zero.
#[inline(always)]
pub fn explained(socket: Socket) -> u64 {
    if field_of!(TCP.has_arrival) == 0 {
        return 0;
    }
    let Some(state) = known(socket) else {
        return 0;
    };
    state.unexplained_read = 0;
    core::mem::replace(&mut state.arrived_ns, 0)
}

/// The cgroup of a socket's readers, if it is watched.
#[inline(always)]
pub fn cgroup(state: &mut SocketState) -> Option<u64> {
    if state.cgroup == 0 {
        state.cgroup = watched_cgroup().unwrap_or(NOT_WATCHED);
    }
    (state.cgroup != NOT_WATCHED).then_some(state.cgroup)
}

#[inline(always)]
fn arrived(socket: Socket) {
    let Some(state) = state(socket) else { return };
    let Some(end) = socket.received_end() else {
        return;
    };
    let known_end = if state.tail == 0 {
        socket.read_end()
    } else {
        Some(state.last_end)
    };
    if known_end == Some(end) {
        return;
    }
    state.last_end = end;
    if state.tail.wrapping_sub(state.head) < KEPT as u32 {
        state.arrivals[state.tail as usize % KEPT] = Arrival {
            end,
            reserved: 0,
            at_ns: emit::now(),
        };
        state.tail = state.tail.wrapping_add(1);
    } else {
        state.arrivals[state.tail.wrapping_sub(1) as usize % KEPT].end = end;
    }
}

#[inline(always)]
fn received(socket: Socket, length: u32) {
    let Some(state) = known(socket) else { return };
    let now = emit::now();
    if state.unexplained_read != 0 && now - state.unexplained_ns > EXPLAINED_WITHIN_NS {
        unseen(socket, state);
    }
    if state.unexplained_read == 0 {
        state.arrived_ns = 0;
        state.unexplained_ns = now;
    }
    take_arrivals(socket, state, length);
    state.unexplained_read += u64::from(length);
    if cgroup(state).is_none() {
        return;
    }
    uring::moved(socket, state, DIRECTION_READ, length);
}

/// Takes out the arrivals of the `length` bytes read last.
#[inline(always)]
fn take_arrivals(socket: Socket, state: &mut SocketState, length: u32) {
    let Some(end) = socket.read_end() else { return };
    let begin = end.wrapping_sub(length);
    let connection = reported_connection(socket, state.born_ns);
    let mut next = begin;
    for _ in 0..KEPT {
        if state.head == state.tail {
            break;
        }
        let arrival = state.arrivals[state.head as usize % KEPT];
        if is_behind(arrival.end, begin) {
            if state.arrived_ns == 0 {
                state.arrived_ns = arrival.at_ns;
            } else if let Some((connection, position)) = connection {
                let position =
                    position + state.unexplained_read + u64::from(next.wrapping_sub(begin));
                emit::moment(KIND_ARRIVED, socket, connection, arrival.at_ns, position);
            }
            next = arrival.end;
            if is_behind(arrival.end, end) {
                break;
            }
        }
        state.head = state.head.wrapping_add(1);
    }
}

/// Name and position of a connection whose later arrivals are worth telling:
/// none where the turn's head is captured, for what follows is a body.
#[inline(always)]
fn reported_connection(socket: Socket, born_ns: u64) -> Option<((u64, u64), u64)> {
    let connection = CONNECTIONS.get_ptr(socket.0)?;
    // SAFETY: the kernel keeps the value's memory for as long as this program
    // runs; the fields written meanwhile are read once each.
    let connection = unsafe { &*connection };
    let share = CONFIG.get(0)?.read_turn_bytes;
    let is_body = connection.turn == u32::from(DIRECTION_READ) && connection.turn_captured >= share;
    // The socket's memory may have served another connection just before.
    let is_this = connection.opened_ns >= born_ns;
    let name = (connection.opened_ns, connection.cgroup_id);
    (is_this && !is_body).then_some((name, connection.bytes_read))
}

#[inline(always)]
fn gone(socket: Socket) {
    let Some(state) = known(socket) else { return };
    if state.unexplained_read != 0 && emit::now() - state.unexplained_ns > CLOSED_WITHIN_NS {
        unseen(socket, state);
    }
    let _ = SOCKETS.remove(socket.0);
}

/// Counts what was received as moved unseen, if it was a server's.
#[inline(always)]
fn unseen(socket: Socket, state: &mut SocketState) {
    let n_bytes = core::mem::replace(&mut state.unexplained_read, 0);
    let is_server = state.born_ns != 0
        || CONNECTIONS.get_ptr(socket.0).is_some()
        || is_served(socket.netns(), socket.local_port());
    if !is_server || state.cgroup == 0 || state.cgroup == NOT_WATCHED {
        return;
    }
    if let Some(sum) = UNSEEN.get_ptr_mut(state.cgroup) {
        emit::add(sum, n_bytes);
    } else {
        let _ = UNSEEN.insert(state.cgroup, n_bytes, 0);
    }
}

/// Whether a watched container serves a port of a network that it shares.
#[inline(always)]
pub fn is_served(netns: u32, port: u16) -> bool {
    if !may_be_served(port) {
        return false;
    }
    let key = key(netns, port);
    LISTENERS.get_ptr(key).is_some() || SERVED.get_ptr(key).is_some()
}

/// Whether a port is one of those that are served in some network.
#[inline(always)]
fn may_be_served(port: u16) -> bool {
    let word = u32::from(port / 64);
    let bits = |at: u32| {
        // SAFETY: the entry is always there.
        PORTS
            .get_ptr(at)
            .map_or(0, |bits| unsafe { bits.read_volatile() })
    };
    (bits(word) | bits(WORDS_OF_PORTS + word)) >> (port % 64) & 1 != 0
}

/// A port of `SERVED` or `LISTENERS` that the daemon did not name.
#[inline(always)]
pub fn serves(port: u16) {
    if let Some(bits) = PORTS.get_ptr_mut(u32::from(port / 64)) {
        emit::set(bits, 1 << (port % 64));
    }
}

#[inline(always)]
fn key(netns: u32, port: u16) -> ListenerKey {
    ListenerKey {
        netns,
        port: u32::from(port),
    }
}

/// Whether a sequence number lies behind another: they wrap.
#[inline(always)]
fn is_behind(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) as i32 > 0
}
