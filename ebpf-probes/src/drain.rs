//! When what was written has left the socket, where it had to wait there: for
//! a slow peer, or for a slow network.
//!
//! | event | what is done |
//! |---|---|
//! | a write returns and the socket's send queue is not empty | it waits |
//! | a segment of the peer's comes in and the queue is not empty | the time is noted |
//! | the same and it is empty | it was emptied in answer to the segment before: reported |
//! | the peer confirmed a FIN that was sent behind the last byte | reported |
//! | TCP state becomes CLOSE before that | forgotten |
//!
//! A socket that never waits costs one read of kernel memory a write.

use aya_ebpf::bindings::{BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::RawTracePointContext;
use modeltap_abi::config::TrackedConnection;
use modeltap_abi::event::KIND_DRAINED;

use crate::emit;
use crate::kernel::{Socket, tcp_state};
use crate::maps::{CONNECTIONS, field_of};

/// Sockets whose send queue was not empty when a write returned.
#[map]
static WAITING: HashMap<u64, Waiting> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// How many there are, or more: most of the time none waits, and segments come
/// in all the time.
#[map]
static N_WAITING: Array<u64> = Array::with_max_entries(1, 0);

#[repr(C)]
struct Waiting {
    opened_ns: u64,
    cgroup_id: u64,
    /// Bytes written when it was last looked at.
    position: u64,
    /// When the queue was last seen not to be empty.
    at_ns: u64,
}

/// A segment comes in on an established connection, before it is looked at.
#[raw_tracepoint(tracepoint = "tcp_probe")]
pub fn tcp_probe(ctx: RawTracePointContext) -> i32 {
    let socket = Socket(ctx.arg::<u64>(0));
    // SAFETY: the entry is always there.
    if N_WAITING
        .get_ptr(0)
        .is_none_or(|n| unsafe { n.read_volatile() } == 0)
    {
        return 0;
    }
    if let Some(waiting) = WAITING.get_ptr_mut(socket.0) {
        // SAFETY: the kernel keeps the value's memory for as long as this
        // program runs, and calls it under the socket's lock.
        let waiting = unsafe { &mut *waiting };
        if socket.n_unsent() != 0 {
            waiting.at_ns = emit::now();
        } else {
            drained(socket, waiting, waiting.at_ns);
        }
    }
    0
}

/// Whether something that was written waits in the socket.
#[inline(always)]
pub fn waits(socket: Socket) -> bool {
    field_of!(TCP.has_drain) != 0 && socket.n_unsent() != 0
}

/// A write returned that left something waiting, and was reported so.
#[inline(always)]
pub fn written(socket: Socket, connection: &TrackedConnection) {
    let waiting = Waiting {
        opened_ns: connection.opened_ns,
        cgroup_id: connection.cgroup_id,
        position: connection.bytes_written,
        at_ns: emit::now(),
    };
    if !begin(socket, &waiting) || !waits(socket) {
        // It left meanwhile, and no segment may come that would tell.
        drained(socket, &waiting, emit::now());
    }
}

/// A socket changes its TCP state: `tcp_probe` tells nothing once one side has
/// finished.
#[inline(always)]
pub fn state_changed(socket: Socket, old: u8, new: u8) {
    let is_confirmed = matches!(
        (old, new),
        (tcp_state::FIN_WAIT1, tcp_state::FIN_WAIT2)
            | (tcp_state::CLOSING | tcp_state::LAST_ACK, _)
    );
    if field_of!(TCP.has_drain) == 0 || !(is_confirmed || new == tcp_state::CLOSE) {
        return;
    }
    let Some(waiting) = WAITING.get_ptr_mut(socket.0) else {
        return;
    };
    // A reset empties the queue too, but confirms nothing.
    if is_confirmed && socket.is_all_confirmed() {
        // SAFETY: as in `tcp_probe`.
        drained(socket, unsafe { &*waiting }, emit::now());
    } else if new == tcp_state::CLOSE {
        end(socket);
    }
}

/// Has a socket wait; whether there is room for it.
#[inline(always)]
fn begin(socket: Socket, waiting: &Waiting) -> bool {
    // Counted before it can be found, and once an entry.
    count(1);
    if WAITING
        .insert(socket.0, waiting, BPF_NOEXIST.into())
        .is_ok()
    {
        return true;
    }
    count(-1);
    WAITING.insert(socket.0, waiting, BPF_EXIST.into()).is_ok()
}

#[inline(always)]
fn end(socket: Socket) {
    if WAITING.remove(socket.0).is_ok() {
        count(-1);
    }
}

#[inline(always)]
fn count(n: i64) {
    if let Some(n_waiting) = N_WAITING.get_ptr_mut(0) {
        emit::add(n_waiting, n.cast_unsigned());
    }
}

#[inline(always)]
fn drained(socket: Socket, waiting: &Waiting, at_ns: u64) {
    let mut position = waiting.position;
    if let Some(connection) = CONNECTIONS.get_ptr(socket.0) {
        // SAFETY: the kernel keeps the value's memory for as long as this
        // program runs; the position may grow meanwhile.
        let written = unsafe { (*connection).bytes_written };
        position = position.max(written);
    }
    let connection = (waiting.opened_ns, waiting.cgroup_id);
    // Two processors may both come here: the daemon keeps the first it is told.
    end(socket);
    emit::moment(KIND_DRAINED, socket, connection, at_ns, position);
}
