//! The way into the ring, and the counts of what took it and what could not.

use core::mem::size_of;

use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_ringbuf_output};
use modeltap_abi::config::{Counter, TrackedConnection};
use modeltap_abi::event::{
    ConnectionClosed, ConnectionOpened, Data, EventHeader, KIND_CONNECTION_CLOSED,
    KIND_CONNECTION_OPENED, MAX_CAPTURE_BYTES,
};

use crate::filter::tgid;
use crate::kernel::Socket;
use crate::maps::{COUNTERS, DataEvent, EVENTS};

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
        // A software interrupt may come between load and store on the same
        // processor, so the addition is atomic.
        #[cfg(target_arch = "bpf")]
        // SAFETY: array values are aligned to eight bytes and live as long as
        // the map.
        unsafe {
            core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) n);
        }
        #[cfg(not(target_arch = "bpf"))]
        let _ = (value, n);
    }
}

/// Reports an accepted or inherited connection; whether it went into the ring.
#[inline(always)]
pub fn opened(socket: Socket, opened_ns: u64, cgroup_id: u64, origin: u16) -> bool {
    let family = socket.family();
    let (local_address, peer_address) = socket.addresses(family);
    let event = ConnectionOpened {
        header: header(KIND_CONNECTION_OPENED, tgid(), opened_ns, socket, opened_ns),
        cgroup_id,
        peer_address,
        local_address,
        peer_port: socket.peer_port(),
        local_port: socket.local_port(),
        family,
        origin,
    };
    output(&raw const event, size_of::<ConnectionOpened>() as u64)
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
    output(&raw const event, size_of::<ConnectionClosed>() as u64)
}

/// Reports moved bytes: the event must be filled in.
#[inline(always)]
pub fn data(event: *const DataEvent, length: u32, captured: u32) {
    let size = size_of::<Data>() as u64 + u64::from(captured & MAX_CAPTURE_BYTES as u32);
    if output(event, size) {
        count(Counter::BytesSubmitted, u64::from(length));
        count(Counter::BytesCaptured, u64::from(captured));
    } else {
        count(Counter::BytesLost, u64::from(length));
    }
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

#[inline(always)]
fn output<T>(event: *const T, size: u64) -> bool {
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
    count(
        if result == 0 {
            Counter::EventsSubmitted
        } else {
            Counter::EventsLost
        },
        1,
    );
    result == 0
}
