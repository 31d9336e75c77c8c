//! What only newer kernels tell: where their structures keep it, and whether
//! it is looked for at all.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Value of the `NETWORKS` map: the network namespace belongs to watched
/// containers alone.
pub const NETWORK_OWN: u32 = 1;
/// Value of the `NETWORKS` map: a watched container shares it with the host,
/// so the local port decides.
pub const NETWORK_SHARED: u32 = 2;

/// Where a TCP socket keeps what tells when bytes came and went, in bytes from
/// its beginning.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TcpOffsets {
    /// Whether arrivals are told: 0 or 1.
    pub has_arrival: u32,
    /// Whether drained sockets are told: 0 or 1.
    pub has_drain: u32,
    /// `tcp_sock.rcv_nxt`: behind the last byte received.
    pub rcv_nxt: u32,
    /// `tcp_sock.copied_seq`: the next byte that a read gives.
    pub copied_seq: u32,
    /// `tcp_sock.write_seq`: behind the last byte written.
    pub write_seq: u32,
    /// `tcp_sock.snd_una`: the first byte that the peer has not confirmed.
    pub snd_una: u32,
    /// `sock.sk_write_queue.qlen`: buffers that wait to be sent.
    pub write_queue_length: u32,
    /// `tcp_sock.tcp_wstamp_ns`: when the last segment was sent, on the
    /// kernel's monotonic clock. Zero where there is no such field.
    pub last_sent_ns: u32,
}

/// Where io_uring keeps what its requests move.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UringOffsets {
    /// Whether io_uring is looked at: 0 or 1.
    pub is_seen: u32,
    /// Whether `io_uring_complete` hands over the entry of the completion
    /// queue (Linux 6.13 and later) and not its fields: 0 or 1.
    pub completes_with_entry: u32,
    /// `io_kiocb.file`.
    pub request_file: u32,
    /// `io_kiocb.opcode`.
    pub request_opcode: u32,
    /// `io_kiocb.async_data`.
    pub request_async_data: u32,
    /// `io_kiocb.work`.
    pub request_work: u32,
    /// `io_sr_msg.buf`, in the request.
    pub message_buffer: u32,
    /// `io_rw.addr`, in the request.
    pub file_address: u32,
    /// `io_rw.len`, in the request.
    pub file_length: u32,
    /// `io_async_msghdr.msg.msg_iter`.
    pub message_iterator: u32,
    /// `io_async_rw.iter`.
    pub file_iterator: u32,
    /// `iov_iter.iter_type`.
    pub iterator_type: u32,
    /// `iov_iter.iov_offset`.
    pub iterator_offset: u32,
    /// `iov_iter.ubuf`.
    pub iterator_buffer: u32,
    /// The value of `ITER_UBUF`.
    pub type_user_buffer: u32,
    /// The value of `ITER_IOVEC`.
    pub type_segments: u32,
    /// `task_struct.worker_private`.
    pub task_worker: u32,
    /// `io_worker.cur_work`.
    pub worker_work: u32,
}
