//! What the daemon tells the probes, and what the probes count.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The one entry of the `CONFIG` map.
///
/// A *turn* is a run of calls in one direction: it begins when the direction
/// changes, so a message's head is always at the beginning of one. Heads need
/// all their bytes, bodies only their framing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CaptureConfig {
    /// Bytes captured of each turn of reads.
    pub read_turn_bytes: u32,
    /// Bytes captured of each turn of writes.
    pub write_turn_bytes: u32,
    /// Bytes captured of each call once its turn's share is used up.
    pub continued_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

/// Value of the `CONNECTIONS` map, by the socket's kernel address: what the
/// probes know of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrackedConnection {
    /// When it was first seen, on the kernel's monotonic clock.
    pub opened_ns: u64,
    /// Bytes the server read.
    pub bytes_read: u64,
    /// Bytes the server wrote.
    pub bytes_written: u64,
    /// Direction of the current turn: one of the `DIRECTION_*` constants, or
    /// zero before the first bytes.
    pub turn: u32,
    /// Bytes captured in the current turn.
    pub turn_captured: u32,
    /// Whether the end of the server's side was reported: 0 or 1.
    pub closed: u32,
    /// Zero.
    pub reserved: u32,
}

/// Key of the `LISTENERS` map: a port on which a watched container accepts,
/// so that connections older than the probes are known as the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerKey {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Port in host order.
    pub port: u32,
}

/// Where kernel structures keep the fields the probes read, in bytes from the
/// structure's beginning; from the running kernel's BTF.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct KernelOffsets {
    /// `task_struct.files`.
    pub task_files: u32,
    /// `files_struct.fdt`.
    pub files_fdt: u32,
    /// `fdtable.fd`.
    pub fdtable_fd: u32,
    /// `file.private_data`.
    pub file_private_data: u32,
    /// `file.f_inode`.
    pub file_inode: u32,
    /// `inode.i_mode`.
    pub inode_mode: u32,
    /// `socket.sk`.
    pub socket_sk: u32,
    /// `sock.sk_err`.
    pub sock_err: u32,
    /// `sock.sk_protocol`.
    pub sock_protocol: u32,
    /// `sock_common.skc_family`.
    pub skc_family: u32,
    /// `sock_common.skc_state`.
    pub skc_state: u32,
    /// `sock_common.skc_num`: the local port, host order.
    pub skc_num: u32,
    /// `sock_common.skc_dport`: the peer's port, network order.
    pub skc_dport: u32,
    /// `sock_common.skc_daddr`.
    pub skc_daddr: u32,
    /// `sock_common.skc_rcv_saddr`.
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`.
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`.
    pub skc_v6_rcv_saddr: u32,
    /// `sock_common.skc_net`.
    pub skc_net: u32,
    /// `net.ns.inum`.
    pub net_inum: u32,
    /// Zero.
    pub reserved: u32,
}

/// Indices into the per-CPU `COUNTERS` map: what the probes handed over and
/// what they could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Events placed in the ring.
    EventsSubmitted = 0,
    /// Events for which the ring had no room.
    EventsLost = 1,
    /// Bytes moved by the data events submitted.
    BytesSubmitted = 2,
    /// Bytes moved by the data events lost.
    BytesLost = 3,
    /// Bytes captured of `BytesSubmitted`.
    BytesCaptured = 4,
    /// User memory that could not be read at a call's return.
    UserReadsFailed = 5,
    /// Connections that could not be tracked because the map was full.
    ConnectionsUntracked = 6,
}

impl Counter {
    /// Every counter, in the order of their indices.
    pub const ALL: [Self; 7] = [
        Self::EventsSubmitted,
        Self::EventsLost,
        Self::BytesSubmitted,
        Self::BytesLost,
        Self::BytesCaptured,
        Self::UserReadsFailed,
        Self::ConnectionsUntracked,
    ];
}

/// Entries of the `COUNTERS` map; a power of two, with room to grow.
pub const COUNTERS: u32 = 16;
/// Ancestors of the calling task's cgroup that are looked up, the deepest
/// level first excluded: containers nest a few levels at most.
pub const MAX_CGROUP_LEVEL: i32 = 8;
