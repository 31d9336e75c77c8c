//! The items of the `EVENTS` ring buffer: a header, a body by its kind and,
//! for data, the captured bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `EventHeader::kind` of a [`ConnectionOpened`].
pub const KIND_CONNECTION_OPENED: u32 = 1;
/// `EventHeader::kind` of a [`Data`].
pub const KIND_DATA: u32 = 2;
/// `EventHeader::kind` of a [`ConnectionClosed`].
pub const KIND_CONNECTION_CLOSED: u32 = 3;
/// `EventHeader::kind` of a [`Moment`]: later bytes of the read whose [`Data`]
/// follows arrived at the socket.
pub const KIND_ARRIVED: u32 = 4;
/// `EventHeader::kind` of a [`Moment`]: everything written so far has left the
/// socket, after some of it had to wait there.
pub const KIND_DRAINED: u32 = 5;

/// `ConnectionOpened::origin`: seen at `accept` or `accept4`.
pub const ORIGIN_ACCEPTED: u16 = 1;
/// `ConnectionOpened::origin`: older than the probes, met at its first system
/// call afterwards; what it carried before is unknown.
pub const ORIGIN_INHERITED: u16 = 2;

/// `Data::direction`: bytes the server read.
pub const DIRECTION_READ: u16 = 1;
/// `Data::direction`: bytes the server wrote.
pub const DIRECTION_WRITE: u16 = 2;

/// `ConnectionClosed::cause`: the peer finished sending (FIN received).
pub const CAUSE_PEER_FINISHED: u32 = 1;
/// `ConnectionClosed::cause`: the server finished sending (FIN sent).
pub const CAUSE_LOCAL_FINISHED: u32 = 2;
/// `ConnectionClosed::cause`: the socket is gone without a FIN of the server's:
/// reset by either side, or timed out.
pub const CAUSE_RESET: u32 = 3;

/// Address family of UNIX sockets, as in `ConnectionOpened::family`; their
/// addresses and ports are zero.
pub const FAMILY_UNIX: u16 = 1;
/// Address family of IPv4, as in `ConnectionOpened::family`.
pub const FAMILY_IPV4: u16 = 2;
/// Address family of IPv6, as in `ConnectionOpened::family`.
pub const FAMILY_IPV6: u16 = 10;

/// The most [`KIND_ARRIVED`] events before one [`Data`].
pub const MAX_ARRIVALS: u32 = 15;
/// The most bytes one event carries of a plain buffer.
pub const MAX_CAPTURE_BYTES: usize = 16 * 1024 - 1;
/// The most bytes one event carries of a vectored call (`readv`, `sendmsg`).
pub const MAX_VECTORED_CAPTURE_BYTES: usize = 8 * 1024 - 1;
/// The most segments of a vectored call that are read; of `recvmmsg` and
/// `sendmmsg` each message counts as one more.
pub const MAX_SEGMENTS: usize = 64;
/// The most messages that one call may move (`UIO_MAXIOV`).
pub const MAX_MESSAGES: usize = 1024;

/// Begins every event.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventHeader {
    /// Which body follows: one of the `KIND_*` constants.
    pub kind: u32,
    /// Process (thread group) that made the call, in the initial PID
    /// namespace; zero where the event comes from the network stack.
    pub tgid: u32,
    /// Time of the event: `bpf_ktime_get_ns`, the kernel's monotonic clock.
    pub timestamp_ns: u64,
    /// Kernel address of the socket: with `opened_ns`, the connection's name.
    pub socket: u64,
    /// When the probes first saw the connection, on the same clock.
    pub opened_ns: u64,
}

/// A connection the server accepted.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionOpened {
    /// Kind [`KIND_CONNECTION_OPENED`].
    pub header: EventHeader,
    /// The watched cgroup that the server runs in or below.
    pub cgroup_id: u64,
    /// Peer's address in network order; IPv4 uses the first four bytes.
    pub peer_address: [u8; 16],
    /// Server's address, as `peer_address`.
    pub local_address: [u8; 16],
    /// Peer's port in host order.
    pub peer_port: u16,
    /// Server's port in host order.
    pub local_port: u16,
    /// One of the `FAMILY_*` constants.
    pub family: u16,
    /// One of the `ORIGIN_*` constants.
    pub origin: u16,
}

/// Bytes that one system call moved; `captured` of them follow the struct.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Data {
    /// Kind [`KIND_DATA`].
    pub header: EventHeader,
    /// Bytes moved in this direction before this call, since the connection
    /// was first seen.
    pub position: u64,
    /// When the first of them arrived at the socket, on the header's clock;
    /// zero where it is not known, and for bytes the server wrote.
    pub arrived_ns: u64,
    /// Bytes this call moved.
    pub length: u32,
    /// Bytes of them that follow, from the first on; at most `length`.
    pub captured: u32,
    /// One of the `DIRECTION_*` constants.
    pub direction: u16,
    /// Whether written bytes wait in the socket, so that a [`KIND_DRAINED`]
    /// follows: 0 or 1.
    pub waits: u16,
    /// Zero.
    pub reserved: [u16; 2],
}

/// The time at which a position of a stream was reached.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Moment {
    /// Kind [`KIND_ARRIVED`] or [`KIND_DRAINED`]; its time is the moment's.
    pub header: EventHeader,
    /// Of the first byte that arrived, or behind the last that left, counted
    /// as `Data::position`.
    pub position: u64,
}

/// One side finished sending, or the connection is gone.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnectionClosed {
    /// Kind [`KIND_CONNECTION_CLOSED`].
    pub header: EventHeader,
    /// Bytes the server read in all, as far as the probes saw.
    pub bytes_read: u64,
    /// Bytes the server wrote in all, as far as the probes saw.
    pub bytes_written: u64,
    /// One of the `CAUSE_*` constants.
    pub cause: u32,
    /// `errno` on the socket (104 is a reset by the peer), or zero.
    pub socket_error: u32,
}

const _: () = assert!(size_of::<EventHeader>() == 32);
const _: () = assert!(size_of::<ConnectionOpened>() == 80);
const _: () = assert!(size_of::<Data>() == 64);
const _: () = assert!(size_of::<Moment>() == 40);
const _: () = assert!(size_of::<ConnectionClosed>() == 56);
