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
    /// Zero, or [`COUNTS_ONLY`].
    pub mode: u32,
}

/// `CaptureConfig::mode`: what moves is counted, and as lost; only beginnings
/// and ends of connections go into the ring.
pub const COUNTS_ONLY: u32 = 1;

/// Value of the `CONNECTIONS` map, by the socket's kernel address: what the
/// probes know of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TrackedConnection {
    /// When it was first seen, on the kernel's monotonic clock.
    pub opened_ns: u64,
    /// The watched cgroup that its server runs in or below.
    pub cgroup_id: u64,
    /// Inode number of the socket, which no other socket bears at the same
    /// time or soon after, while its address may serve another at once; zero
    /// if it is not known, and then an end that was missed is not found.
    pub inode: u64,
    /// Bytes the server read.
    pub bytes_read: u64,
    /// Bytes the server wrote.
    pub bytes_written: u64,
    /// The first bytes of a request line that is read in pieces, the first in
    /// the lowest byte.
    pub request_prefix: u64,
    /// How many bytes of `request_prefix` there are.
    pub request_matched: u16,
    /// Bytes of `HTTP/1.x NNN` that were written in pieces so far.
    pub response_matched: u16,
    /// The status they told so far.
    pub response_status: u16,
    /// Zero.
    pub unused: u16,
    /// `tcp_sock.write_seq` before the first byte counted in `bytes_written`.
    pub write_seq: u32,
    /// `tcp_sock.write_seq` when the last request was counted. Only calls that
    /// read write it.
    pub request_seq: u32,
    /// Behind the first byte of the last final response counted, on the same
    /// scale. Only calls that write write it.
    pub response_seq: u32,
    /// Direction of the current turn: one of the `DIRECTION_*` constants, or
    /// zero before the first bytes.
    pub turn: u32,
    /// Bytes captured in the current turn.
    pub turn_captured: u32,
    /// Whether the end of the server's side was reported: 0 or 1. Written in
    /// other contexts than `flags`.
    pub closed: u32,
    /// Any of the `CONNECTION_*` constants.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// `TrackedConnection::flags`: a UNIX socket.
pub const CONNECTION_UNIX: u32 = 1;
/// `TrackedConnection::flags`: older than the probes.
pub const CONNECTION_INHERITED: u32 = 2;
/// `TrackedConnection::flags`: the daemon does not know of it, because the
/// ring had no room.
pub const CONNECTION_UNANNOUNCED: u32 = 4;
/// `TrackedConnection::flags`: a UNIX socket whose peer finished sending.
pub const CONNECTION_PEER_FINISHED: u32 = 8;
/// `TrackedConnection::flags`: it was upgraded; what follows is no HTTP.
pub const CONNECTION_UPGRADED: u32 = 16;

/// Value of the per-CPU `CGROUP_COUNTS` map, by the watched cgroup's id: what
/// the probes count of it, whatever becomes of the events.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CgroupCounters {
    /// Events placed in the ring.
    pub events_submitted: u64,
    /// Events for which the ring had no room.
    pub events_ring_full: u64,
    /// Events of connections for which `CONNECTIONS` had no room.
    pub events_map_full: u64,
    /// Bytes moved by the data events submitted.
    pub bytes_submitted: u64,
    /// Bytes moved by the data events that neither had room for.
    pub bytes_lost: u64,
    /// Events whose bytes in user memory could not be read.
    pub user_reads_failed: u64,
    /// Reads over TCP that began a request.
    pub requests: u64,
    /// Writes over TCP that began a final response, by status class: 1xx (101
    /// alone) to 5xx.
    pub responses: [u64; 5],
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
    /// `sock.sk_type`.
    pub sock_type: u32,
    /// `sock.sk_shutdown`.
    pub sock_shutdown: u32,
    /// `sock.sk_socket`.
    pub sock_socket: u32,
    /// `socket.file`.
    pub socket_file: u32,
    /// `inode.i_ino`.
    pub inode_number: u32,
    /// `file.f_ref`, or `file.f_count` before Linux 6.13.
    pub file_count: u32,
    /// What `file_count` holds when one descriptor refers to the file.
    pub file_count_of_one: u32,
    /// `tcp_sock.write_seq`.
    pub tcp_write_seq: u32,
    /// Zero.
    pub reserved: u32,
}

/// BTF ids of the structures whose fields the probes read, in the running
/// kernel; all zero where it lets no program say what lies at an address.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct KernelTypes {
    /// `task_struct`.
    pub task: u32,
    /// `files_struct`.
    pub files: u32,
    /// `fdtable`.
    pub fdtable: u32,
    /// `list_head`: its first field stands for any pointer in memory.
    pub pointer: u32,
    /// `file`.
    pub file: u32,
    /// `inode`.
    pub inode: u32,
    /// `socket`.
    pub socket: u32,
    /// `sock`.
    pub sock: u32,
    /// `tcp_sock`.
    pub tcp_sock: u32,
    /// `net`.
    pub net: u32,
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
    /// Accepted connections that could not be tracked because the map was full.
    ConnectionsUntracked = 6,
    /// Events of such connections.
    EventsMapFull = 7,
    /// Bytes moved by those events.
    BytesMapFull = 8,
}

impl Counter {
    /// Every counter, in the order of their indices.
    pub const ALL: [Self; 9] = [
        Self::EventsSubmitted,
        Self::EventsLost,
        Self::BytesSubmitted,
        Self::BytesLost,
        Self::BytesCaptured,
        Self::UserReadsFailed,
        Self::ConnectionsUntracked,
        Self::EventsMapFull,
        Self::BytesMapFull,
    ];
}

/// Entries of the `CGROUPS` and `CGROUP_COUNTS` maps: cgroups watched at once.
/// The counts take 0.4 MB a processor.
pub const MAX_CGROUPS: u32 = 4096;
/// Half of the entries of the `PORTS` map, of 64 ports each: the second half is
/// the daemon's.
pub const WORDS_OF_PORTS: u32 = 65_536 / 64;
/// Entries of the `COUNTERS` map; a power of two, with room to grow.
pub const COUNTERS: u32 = 16;
/// Ancestors of the calling task's cgroup that are looked up, the deepest
/// level first excluded: containers nest a few levels at most.
pub const MAX_CGROUP_LEVEL: i32 = 8;

/// Stands for the kernel's `bpf_preempt_disable` in a call of the compiled
/// probes, until the daemon that loads them knows its number; no helper has it.
pub const PREEMPT_DISABLE: i32 = 0x6d74_0001;
/// Stands for `bpf_preempt_enable` likewise.
pub const PREEMPT_ENABLE: i32 = 0x6d74_0002;
/// Stands for `bpf_rdonly_cast` likewise.
pub const CAST: i32 = 0x6d74_0003;
