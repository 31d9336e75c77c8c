//! The way into the ring, and the counts of what took it and what could not.

use core::mem::size_of;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use modeltap_abi::config::{COUNTS_ONLY, CgroupCounters, Counter, TrackedConnection};
use modeltap_abi::event::{
    ConnectionClosed, ConnectionOpened, Data, EventHeader, FAMILY_UNIX, KIND_CONNECTION_CLOSED,
    KIND_CONNECTION_OPENED, MAX_CAPTURE_BYTES, Moment,
};

use crate::filter::tgid;
use crate::kernel::Socket;
use crate::maps::{CGROUP_COUNTS, CONFIG, COUNTERS, DataEvent, EVENTS};

/// The daemon drains the ring on a timer: a wake-up an event would cost the
/// watched process three times as much.
const NO_WAKEUP: u64 = 1;

/// Now, on the kernel's monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Adds to one of the counters of this processor.
#[inline(always)]
pub fn count(counter: Counter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        add(value, n);
    }
}

/// Adds to a value of a map. A software interrupt may come between load and
/// store on the same processor, so the addition is atomic.
#[inline(always)]
pub fn add(value: *mut u64, n: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: map values are aligned to eight bytes and live as long as the
    // program runs.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) n);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (value, n);
}

/// Sets bits of a map's value, as [`add`] adds.
#[inline(always)]
pub fn set(value: *mut u64, bits: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: as in `add`.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) |= {1}", in(reg) value, in(reg) bits);
    }
    #[cfg(not(target_arch = "bpf"))]
    let _ = (value, bits);
}

/// Counts an event of `length` bytes on a connection that is not tracked,
/// because there was no room for it.
#[inline(always)]
pub fn untracked(cgroup_id: u64, length: u32) {
    count(Counter::EventsMapFull, 1);
    count(Counter::BytesMapFull, u64::from(length));
    if let Some(counts) = CGROUP_COUNTS.get_ptr_mut(cgroup_id) {
        // SAFETY: only addresses of fields of the map's value are made.
        unsafe {
            add(&raw mut (*counts).events_map_full, 1);
            add(&raw mut (*counts).bytes_lost, u64::from(length));
        }
    }
}

/// Counts user memory of an event that could not be read.
#[inline(always)]
pub fn unreadable(cgroup_id: u64) {
    count(Counter::UserReadsFailed, 1);
    if let Some(counts) = CGROUP_COUNTS.get_ptr_mut(cgroup_id) {
        // SAFETY: only the address of a field of the map's value is made.
        add(unsafe { &raw mut (*counts).user_reads_failed }, 1);
    }
}

/// Reports an accepted or inherited connection; whether it went into the ring.
#[inline(always)]
pub fn opened(socket: Socket, opened_ns: u64, cgroup_id: u64, origin: u16) -> bool {
    let event = opening(socket, opened_ns, cgroup_id, origin);
    output(
        &raw const event,
        size_of::<ConnectionOpened>() as u64,
        cgroup_id,
        None,
    )
}

/// As [`opened`], of a connection whose event was lost and counted so: it is
/// no further loss if this one is lost too.
#[inline(always)]
pub fn opened_late(socket: Socket, opened_ns: u64, cgroup_id: u64, origin: u16) -> bool {
    let event = opening(socket, opened_ns, cgroup_id, origin);
    let is_in = into_ring(&raw const event, size_of::<ConnectionOpened>() as u64);
    if is_in {
        account(cgroup_id, true, None);
    }
    is_in
}

#[inline(always)]
fn opening(socket: Socket, opened_ns: u64, cgroup_id: u64, origin: u16) -> ConnectionOpened {
    let family = socket.family();
    let is_unix = family == FAMILY_UNIX;
    let (local_address, peer_address) = if is_unix {
        ([0; 16], [0; 16])
    } else {
        socket.addresses(family)
    };
    ConnectionOpened {
        header: header(KIND_CONNECTION_OPENED, tgid(), opened_ns, socket, opened_ns),
        cgroup_id,
        peer_address,
        local_address,
        peer_port: if is_unix { 0 } else { socket.peer_port() },
        local_port: if is_unix { 0 } else { socket.local_port() },
        family,
        origin,
    }
}

/// Reports an end; whether it went into the ring.
#[inline(always)]
pub fn closed(socket: Socket, connection: &TrackedConnection, cause: u32) -> bool {
    let event = ConnectionClosed {
        header: header(
            KIND_CONNECTION_CLOSED,
            0,
            now(),
            socket,
            connection.opened_ns,
        ),
        bytes_read: connection.bytes_read,
        bytes_written: connection.bytes_written,
        cause,
        socket_error: socket.error(),
    };
    output(
        &raw const event,
        size_of::<ConnectionClosed>() as u64,
        connection.cgroup_id,
        None,
    )
}

/// Reports when a position of a stream was reached, of a connection that was
/// opened then and belongs to that cgroup.
#[inline(always)]
pub fn moment(kind: u32, socket: Socket, connection: (u64, u64), at_ns: u64, position: u64) {
    let (opened_ns, cgroup_id) = connection;
    if counts_only() {
        account(cgroup_id, false, None);
        return;
    }
    let event = Moment {
        header: header(kind, 0, at_ns, socket, opened_ns),
        position,
    };
    output(
        &raw const event,
        size_of::<Moment>() as u64,
        cgroup_id,
        None,
    );
}

/// Reports moved bytes: the event must be filled in.
#[inline(always)]
pub fn data(event: *const DataEvent, counts: Counts, length: u32, captured: u32) {
    if counts_only() {
        account_in(counts, false, Some(length));
        return;
    }
    let size = size_of::<Data>() as u64 + u64::from(captured & MAX_CAPTURE_BYTES as u32);
    let is_in = into_ring(event, size);
    account_in(counts, is_in, Some(length));
    if is_in {
        count(Counter::BytesCaptured, u64::from(captured));
    }
}

/// Whether the daemon has no use for more than counts.
#[inline(always)]
fn counts_only() -> bool {
    CONFIG
        .get(0)
        .is_some_and(|config| config.mode == COUNTS_ONLY)
}

/// The header of an event.
#[inline(always)]
pub fn header(
    kind: u32,
    tgid: u32,
    timestamp_ns: u64,
    socket: Socket,
    opened_ns: u64,
) -> EventHeader {
    EventHeader {
        kind,
        tgid,
        timestamp_ns,
        socket: socket.0,
        opened_ns,
    }
}

/// Puts an event into the ring and counts it, with the bytes that it tells of.
#[inline(always)]
fn output<T>(event: *const T, size: u64, cgroup_id: u64, moved: Option<u32>) -> bool {
    let is_in = into_ring(event, size);
    account(cgroup_id, is_in, moved);
    is_in
}

#[inline(always)]
fn into_ring<T>(event: *const T, size: u64) -> bool {
    // SAFETY: `event` points at `size` readable bytes, which the verifier
    // checks.
    let result = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(&EVENTS).cast_mut().cast(),
            event.cast_mut().cast(),
            size,
            NO_WAKEUP,
        )
    };
    result == 0
}

#[inline(always)]
fn account(cgroup_id: u64, is_in: bool, moved: Option<u32>) {
    account_in(counts_of(cgroup_id), is_in, moved);
}

/// What is counted of a cgroup, if it is watched still.
pub type Counts = Option<*mut CgroupCounters>;

/// To be looked up once an event.
#[inline(always)]
pub fn counts_of(cgroup_id: u64) -> Counts {
    CGROUP_COUNTS.get_ptr_mut(cgroup_id)
}

#[inline(always)]
fn account_in(counts: Counts, is_in: bool, moved: Option<u32>) {
    let (events, bytes) = if is_in {
        (Counter::EventsSubmitted, Counter::BytesSubmitted)
    } else {
        (Counter::EventsLost, Counter::BytesLost)
    };
    count(events, 1);
    if let Some(length) = moved {
        count(bytes, u64::from(length));
    }
    let Some(counts) = counts else { return };
    // SAFETY: only addresses of fields of the map's value are made.
    let (events, bytes) = unsafe {
        if is_in {
            (
                &raw mut (*counts).events_submitted,
                &raw mut (*counts).bytes_submitted,
            )
        } else {
            (
                &raw mut (*counts).events_ring_full,
                &raw mut (*counts).bytes_lost,
            )
        }
    };
    add(events, 1);
    if let Some(length) = moved {
        add(bytes, u64::from(length));
    }
}
