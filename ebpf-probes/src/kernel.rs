//! The kernel's own structures: a call's arguments, the socket behind a file
//! descriptor, what a socket says of itself.

use aya_ebpf::bindings::task_struct;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use modeltap_abi::event::{FAMILY_IPV4, FAMILY_IPV6, FAMILY_UNIX};

use crate::maps::field_of;

/// `enum` of `include/net/tcp_states.h`.
pub mod tcp_state {
    /// In use.
    pub const ESTABLISHED: u8 = 1;
    /// A client's connection being made.
    pub const SYN_SENT: u8 = 2;
    /// A server's connection being made.
    pub const SYN_RECV: u8 = 3;
    /// We sent a FIN first.
    pub const FIN_WAIT1: u8 = 4;
    /// The peer confirmed our FIN.
    pub const FIN_WAIT2: u8 = 5;
    /// Gone.
    pub const CLOSE: u8 = 7;
    /// The peer sent a FIN first.
    pub const CLOSE_WAIT: u8 = 8;
    /// We answered the peer's FIN with ours.
    pub const LAST_ACK: u8 = 9;
    /// Accepting.
    pub const LISTEN: u8 = 10;
    /// Both sent a FIN at the same time.
    pub const CLOSING: u8 = 11;
}

/// `IPPROTO_TCP`.
const PROTOCOL_TCP: u16 = 6;
/// `SOCK_STREAM`.
const TYPE_STREAM: u16 = 1;
/// `RCV_SHUTDOWN` of `include/net/sock.h`.
const RECEIVE_SHUTDOWN: u8 = 1;
/// The type bits of `inode.i_mode` and their value for a socket.
const MODE_TYPE_MASK: u16 = 0o170_000;
const MODE_SOCKET: u16 = 0o140_000;

/// Reads a field of the structure at an address.
macro_rules! member {
    ($structure:ident of $base:expr, $offsets:ident.$field:ident) => {
        member(
            field_of!(TYPES.$structure),
            $base,
            field_of!($offsets.$field),
        )
    };
}

/// The calling task, inside a system call that is about to return.
#[derive(Clone, Copy)]
pub struct Task(*mut task_struct);

impl Task {
    /// The task that runs now.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(unsafe { bpf_get_current_task_btf() })
    }

    /// Its own address.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// Arguments of its system call: the first four.
    #[inline(always)]
    pub fn arguments(self) -> Arguments {
        // SAFETY: the task is the current one, as the helper wants.
        Arguments(unsafe { bpf_task_pt_regs(self.0) } as *const u64)
    }

    /// The `struct file` behind one of its descriptors.
    #[inline(always)]
    pub fn file(self, fd: u32) -> Option<u64> {
        let files: u64 = member!(task of self.0 as u64, OFFSETS.task_files)?;
        let table: u64 = member!(files of files, OFFSETS.files_fdt)?;
        let descriptors: u64 = member!(fdtable of table, OFFSETS.fdtable_fd)?;
        member(field_of!(TYPES.pointer), descriptors + u64::from(fd) * 8, 0)
    }
}

/// Registers saved at the entry of the system call.
#[derive(Clone, Copy)]
pub struct Arguments(*const u64);

#[cfg(not(bpf_target_arch = "aarch64"))]
mod registers {
    // `struct pt_regs` of x86-64: r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx
    // dx si di. The fourth argument of a system call is in r10.
    pub const FIRST: usize = 14;
    pub const SECOND: usize = 13;
    pub const THIRD: usize = 12;
    pub const FOURTH: usize = 7;
}

#[cfg(bpf_target_arch = "aarch64")]
mod registers {
    // `struct pt_regs` of arm64: x0 holds the return value at exit, so the
    // first argument is `orig_x0`, behind 31 registers, sp, pc and pstate.
    pub const FIRST: usize = 34;
    pub const SECOND: usize = 1;
    pub const THIRD: usize = 2;
    pub const FOURTH: usize = 3;
}

impl Arguments {
    /// First argument.
    #[inline(always)]
    pub fn first(self) -> u64 {
        self.register(registers::FIRST)
    }

    /// Second argument.
    #[inline(always)]
    pub fn second(self) -> u64 {
        self.register(registers::SECOND)
    }

    /// Third argument.
    #[inline(always)]
    pub fn third(self) -> u64 {
        self.register(registers::THIRD)
    }

    /// Fourth argument.
    #[inline(always)]
    pub fn fourth(self) -> u64 {
        self.register(registers::FOURTH)
    }

    #[inline(always)]
    fn register(self, index: usize) -> u64 {
        // SAFETY: the helper returned the task's saved registers, which the
        // verifier knows by their type; the index lies inside them.
        unsafe { core::ptr::read_volatile(self.0.add(index)) }
    }
}

/// A `struct sock`, by its address.
#[derive(Clone, Copy)]
pub struct Socket(pub u64);

impl Socket {
    /// The socket of a `struct file` that is known to be one.
    ///
    /// For any other file the address is meaningless and found in no map.
    #[inline(always)]
    pub fn of_file(file: u64) -> Option<Self> {
        let socket: u64 = member!(file of file, OFFSETS.file_private_data)?;
        let sock: u64 = member!(socket of socket, OFFSETS.socket_sk)?;
        (sock != 0).then_some(Self(sock))
    }

    /// Whether it is TCP over IPv4 or IPv6.
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        let family = self.family();
        (family == FAMILY_IPV4 || family == FAMILY_IPV6)
            && member!(sock of self.0, OFFSETS.sock_protocol) == Some(PROTOCOL_TCP)
    }

    /// Whether it is a stream over a UNIX socket.
    #[inline(always)]
    pub fn is_unix_stream(self) -> bool {
        self.family() == FAMILY_UNIX
            && member!(sock of self.0, OFFSETS.sock_type) == Some(TYPE_STREAM)
    }

    /// Address family.
    #[inline(always)]
    pub fn family(self) -> u16 {
        member!(sock of self.0, OFFSETS.skc_family).unwrap_or(0)
    }

    /// One of [`tcp_state`].
    #[inline(always)]
    pub fn state(self) -> u8 {
        member!(sock of self.0, OFFSETS.skc_state).unwrap_or(0)
    }

    /// Local port, host order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        member!(sock of self.0, OFFSETS.skc_num).unwrap_or(0)
    }

    /// Peer's port, host order.
    #[inline(always)]
    pub fn peer_port(self) -> u16 {
        u16::from_be(member!(sock of self.0, OFFSETS.skc_dport).unwrap_or(0))
    }

    /// Local and peer's address; IPv4 in the first four bytes.
    #[inline(always)]
    pub fn addresses(self, family: u16) -> ([u8; 16], [u8; 16]) {
        if family == FAMILY_IPV6 {
            let local = read(self.0, field_of!(OFFSETS.skc_v6_rcv_saddr)).unwrap_or([0; 16]);
            let peer = read(self.0, field_of!(OFFSETS.skc_v6_daddr)).unwrap_or([0; 16]);
            return (local, peer);
        }
        let (mut local, mut peer) = ([0; 16], [0; 16]);
        let four: [u8; 4] = read(self.0, field_of!(OFFSETS.skc_rcv_saddr)).unwrap_or([0; 4]);
        local[..4].copy_from_slice(&four);
        let four: [u8; 4] = read(self.0, field_of!(OFFSETS.skc_daddr)).unwrap_or([0; 4]);
        peer[..4].copy_from_slice(&four);
        (local, peer)
    }

    /// Inode number of its network namespace.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        member!(sock of self.0, OFFSETS.skc_net)
            .and_then(|net| member!(net of net, OFFSETS.net_inum))
            .unwrap_or(0)
    }

    /// Inode number of the socket it serves now, or zero if it serves none.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        member!(sock of self.0, OFFSETS.sock_socket)
            .filter(|socket| *socket != 0)
            .and_then(|socket| member!(socket of socket, OFFSETS.socket_file))
            .filter(|file| *file != 0)
            .map_or(0, inode_number)
    }

    /// Whether its peer finished sending, of a UNIX socket.
    #[inline(always)]
    pub fn peer_finished(self) -> bool {
        member!(sock of self.0, OFFSETS.sock_shutdown)
            .is_some_and(|shutdown: u8| shutdown & RECEIVE_SHUTDOWN != 0)
    }

    /// Sequence number behind the last byte given to it to send, of TCP.
    #[inline(always)]
    pub fn write_seq(self) -> u32 {
        member!(tcp_sock of self.0, OFFSETS.tcp_write_seq).unwrap_or(0)
    }

    /// Sequence number behind the last byte received.
    #[inline(always)]
    pub fn received_end(self) -> Option<u32> {
        member!(tcp_sock of self.0, TCP.rcv_nxt)
    }

    /// Sequence number behind the last byte read.
    #[inline(always)]
    pub fn read_end(self) -> Option<u32> {
        member!(tcp_sock of self.0, TCP.copied_seq)
    }

    /// Buffers that wait to be sent.
    #[inline(always)]
    pub fn n_unsent(self) -> u32 {
        member!(sock of self.0, TCP.write_queue_length).unwrap_or(0)
    }

    /// When its last segment was sent, on the kernel's monotonic clock, if that
    /// is known.
    #[inline(always)]
    pub fn last_sent_ns(self) -> Option<u64> {
        let at = field_of!(TCP.last_sent_ns);
        if at == 0 {
            None
        } else {
            member(field_of!(TYPES.tcp_sock), self.0, at)
        }
    }

    /// Whether the peer has confirmed everything that was written.
    #[inline(always)]
    pub fn is_all_confirmed(self) -> bool {
        let confirmed: Option<u32> = member!(tcp_sock of self.0, TCP.snd_una);
        confirmed == member!(tcp_sock of self.0, TCP.write_seq)
    }

    /// `errno` waiting on it, or zero.
    #[inline(always)]
    pub fn error(self) -> u32 {
        member!(sock of self.0, OFFSETS.sock_err).unwrap_or(0)
    }
}

/// Whether a `struct file` is a socket's.
#[inline(always)]
pub fn is_socket(file: u64) -> bool {
    member!(file of file, OFFSETS.file_inode)
        .and_then(|inode| member!(inode of inode, OFFSETS.inode_mode))
        .is_some_and(|mode: u16| mode & MODE_TYPE_MASK == MODE_SOCKET)
}

/// Inode number of a `struct file`.
#[inline(always)]
pub fn inode_number(file: u64) -> u64 {
    member!(file of file, OFFSETS.file_inode)
        .and_then(|inode| member!(inode of inode, OFFSETS.inode_number))
        .unwrap_or(0)
}

/// Whether one descriptor, and no call in progress, refers to a `struct file`.
#[inline(always)]
pub fn is_held_once(file: u64) -> bool {
    member!(file of file, OFFSETS.file_count)
        == Some(u64::from(field_of!(OFFSETS.file_count_of_one)))
}

/// Reads a field of no more than eight bytes of the structure at `base`, whose
/// BTF id is `structure`. Where that is known it is a load, else a call, which
/// takes ten times as long. A load from where nothing lies gives zero.
#[inline(always)]
fn member<T>(structure: u32, base: u64, offset: u32) -> Option<T> {
    #[cfg(target_arch = "bpf")]
    if structure != 0 {
        let address = cast(base, structure) + u64::from(offset);
        // SAFETY: the verifier checks that it is a field's place, and the
        // kernel that memory is there.
        return Some(unsafe { core::ptr::read_volatile(address as *const T) });
    }
    let _ = structure;
    read(base, offset)
}

/// Tells the verifier what lies at an address: the kernel's `bpf_rdonly_cast`,
/// for which there is no helper (`call`).
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn cast(address: u64, structure: u32) -> u64 {
    let typed: u64;
    // SAFETY: a call may change the first six registers and no other.
    unsafe {
        core::arch::asm!(
            "call {number}",
            number = const modeltap_abi::config::CAST,
            out("r0") typed,
            inout("r1") address => _,
            inout("r2") u64::from(structure) => _,
            out("r3") _,
            out("r4") _,
            out("r5") _,
        );
    }
    typed
}

/// Reads kernel memory.
#[inline(always)]
pub fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and fails where it cannot read.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}
