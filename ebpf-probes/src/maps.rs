//! Everything the probes share with the daemon and with each other.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use modeltap_abi::config::{
    COUNTERS as N_COUNTERS, CaptureConfig, CgroupCounters, KernelOffsets, KernelTypes, ListenerKey,
    MAX_CGROUPS, TrackedConnection,
};
use modeltap_abi::event::{Data, MAX_CAPTURE_BYTES};
use modeltap_abi::feature::{TcpOffsets, UringOffsets};

/// Events on their way to the daemon, in the order of their reservation. The
/// daemon sets its size at load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 * 1024 * 1024, 0);

/// One count a `modeltap_abi::config::Counter`.
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(N_COUNTERS, 0);

/// Ids of the watched cgroups.
#[map]
pub static CGROUPS: HashMap<u64, u32> = HashMap::with_max_entries(MAX_CGROUPS, 0);

/// What is counted of each watched cgroup. The daemon makes the entries, so
/// that the probes only look them up.
#[map]
pub static CGROUP_COUNTS: PerCpuHashMap<u64, CgroupCounters> =
    PerCpuHashMap::with_max_entries(MAX_CGROUPS, 0);

/// Accepted connections by the socket's kernel address. The daemon sets how
/// many at load.
#[map]
pub static CONNECTIONS: HashMap<u64, TrackedConnection> = HashMap::with_max_entries(65_536, 0);

/// Ports on which watched containers accept.
#[map]
pub static LISTENERS: HashMap<ListenerKey, u32> = HashMap::with_max_entries(16_384, 0);

/// How much is captured; one entry.
#[map]
pub static CONFIG: Array<CaptureConfig> = Array::with_max_entries(1, 0);

/// Room for one data event: BPF's stack holds 512 bytes. For tracepoints of
/// system calls alone: they run in the calling task, undisturbed (`call`),
/// so on one processor one follows the other, while a program that runs in a
/// software interrupt may come in the middle of one.
#[map]
pub static SCRATCH: PerCpuArray<DataEvent> = PerCpuArray::with_max_entries(1, 0);

/// A data event with room for the most it may carry.
#[repr(C)]
pub struct DataEvent {
    /// What the daemon reads first.
    pub data: Data,
    /// Captured bytes. One more than the most, so that a masked length needs
    /// no further check.
    pub bytes: [u8; MAX_CAPTURE_BYTES + 1],
}

/// Reads one field of a global: `Global::load` reads them all, each time.
macro_rules! field_of {
    ($global:ident.$field:ident) => {{
        let all = $crate::maps::address(&$crate::maps::$global);
        // SAFETY: a global is there as long as the programs are, and nobody
        // writes it.
        unsafe { (&raw const (*all).$field).read_volatile() }
    }};
}
pub(crate) use field_of;

#[inline(always)]
pub(crate) const fn address<T>(global: &Global<T>) -> *const T {
    core::ptr::from_ref(global).cast()
}

/// The daemon's process id in the initial PID namespace; zero if unknown.
#[unsafe(no_mangle)]
pub static SELF_TGID: Global<u32> = Global::new(0);

/// Where the running kernel keeps the fields read here.
#[unsafe(no_mangle)]
pub static OFFSETS: Global<KernelOffsets> = Global::new(KernelOffsets {
    task_files: 0,
    files_fdt: 0,
    fdtable_fd: 0,
    file_private_data: 0,
    file_inode: 0,
    inode_mode: 0,
    socket_sk: 0,
    sock_err: 0,
    sock_protocol: 0,
    skc_family: 0,
    skc_state: 0,
    skc_num: 0,
    skc_dport: 0,
    skc_daddr: 0,
    skc_rcv_saddr: 0,
    skc_v6_daddr: 0,
    skc_v6_rcv_saddr: 0,
    skc_net: 0,
    net_inum: 0,
    sock_type: 0,
    sock_shutdown: 0,
    sock_socket: 0,
    socket_file: 0,
    inode_number: 0,
    file_count: 0,
    file_count_of_one: 0,
    tcp_write_seq: 0,
    reserved: 0,
});

/// What they lie in.
#[unsafe(no_mangle)]
pub static TYPES: Global<KernelTypes> = Global::new(KernelTypes {
    task: 0,
    files: 0,
    fdtable: 0,
    pointer: 0,
    file: 0,
    inode: 0,
    socket: 0,
    sock: 0,
    tcp_sock: 0,
    net: 0,
});

/// Where a TCP socket keeps when bytes came and went.
#[unsafe(no_mangle)]
pub static TCP: Global<TcpOffsets> = Global::new(TcpOffsets {
    has_arrival: 0,
    has_drain: 0,
    rcv_nxt: 0,
    copied_seq: 0,
    write_seq: 0,
    snd_una: 0,
    write_queue_length: 0,
    last_sent_ns: 0,
});

/// Where io_uring keeps what its requests move.
#[unsafe(no_mangle)]
pub static URING: Global<UringOffsets> = Global::new(UringOffsets {
    is_seen: 0,
    completes_with_entry: 0,
    request_file: 0,
    request_opcode: 0,
    request_async_data: 0,
    request_work: 0,
    message_buffer: 0,
    file_address: 0,
    file_length: 0,
    message_iterator: 0,
    file_iterator: 0,
    iterator_type: 0,
    iterator_offset: 0,
    iterator_buffer: 0,
    type_user_buffer: 0,
    type_segments: 0,
    task_worker: 0,
    worker_work: 0,
});
