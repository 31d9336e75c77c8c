//! Bytes that io_uring moved: no system call of a socket's shows them.
//!
//! A request is known when it is submitted, when its file is looked up and
//! when it begins to wait for its socket. The bytes and their time are taken
//! where the socket moves them, in `sock_recv_length` and `sock_send_length`:
//! these run with the server's memory map in all of io_uring's threads, and
//! only there is known which of the provided buffers was filled.
//!
//! | whose request it is | known from |
//! |---|---|
//! | of the thread that submitted it, at once | `submit_req`, `file_get` |
//! | of one that waited for the socket, multishot ones too | `poll_arm` |
//! | of one whose socket was ready after all, when it was about to wait | its first try, that moved nothing |
//! | of a worker thread of io_uring | the worker's own record |
//! | none of these (fixed files in a chain) | `complete`, from the request's buffer |
//!
//! Connections are named by their socket: direct descriptors have no number.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::RawTracePointContext;
use modeltap_abi::config::CONNECTION_INHERITED;
use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE};

use crate::arrival::{self, SocketState, is_served};
use crate::connection::Found;
use crate::filter::watched_cgroup;
use crate::kernel::{Socket, Task, read};
use crate::maps::{CONNECTIONS, field_of};
use crate::socket::{Memory, message_segments, report};

/// `enum io_uring_op` of `include/uapi/linux/io_uring.h`.
mod opcode {
    pub const READV: u8 = 1;
    pub const WRITEV: u8 = 2;
    pub const READ_FIXED: u8 = 4;
    pub const WRITE_FIXED: u8 = 5;
    pub const SENDMSG: u8 = 9;
    pub const RECVMSG: u8 = 10;
    pub const READ: u8 = 22;
    pub const WRITE: u8 = 23;
    pub const SEND: u8 = 26;
    pub const RECV: u8 = 27;
    pub const SPLICE: u8 = 30;
    pub const SEND_ZC: u8 = 47;
    pub const SENDMSG_ZC: u8 = 48;
    pub const READ_MULTISHOT: u8 = 49;
    pub const READV_FIXED: u8 = 60;
    pub const WRITEV_FIXED: u8 = 61;
}

/// Nothing to read, or no room to write to.
pub const EAGAIN: i32 = 11;
/// `IORING_CQE_F_BUFFER`: the kernel chose the buffer.
const FLAG_BUFFER: u32 = 1;

/// The request that a thread submitted or took up last.
#[map]
static THREADS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(8192, 0);

/// Whether any watched task has submitted a request for a socket: until then
/// nothing more is looked at.
#[map]
static IN_USE: Array<u32> = Array::with_max_entries(1, 0);

/// `struct io_kiocb`, by its address.
#[derive(Clone, Copy)]
struct Request(u64);

/// Where the kernel notes where a request's bytes lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `io_sr_msg` with one buffer.
    Buffer,
    /// `io_sr_msg` with a `struct msghdr`.
    Message,
    /// `io_rw` with one buffer.
    File,
    /// `io_rw` with segments.
    FileSegments,
    /// In a pipe.
    Pipe,
}

/// A request was read from the submission queue; it runs next, if at once.
#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub fn io_uring_submit_req(ctx: RawTracePointContext) -> i32 {
    let request = Request(ctx.arg::<u64>(0));
    if request.direction().is_none() || watched_cgroup().is_none() {
        return 0;
    }
    if let Some(in_use) = IN_USE.get_ptr_mut(0) {
        // SAFETY: every writer writes the same.
        unsafe { *in_use = 1 };
    }
    if let Some(running) = THREADS.get_ptr_mut(thread()) {
        // SAFETY: the entry is the thread's own.
        unsafe { *running = request.0 };
    } else {
        let _ = THREADS.insert(thread(), request.0, 0);
    }
    0
}

/// A request takes up its file and runs next: of a chain, not the one that
/// was submitted last.
#[raw_tracepoint(tracepoint = "io_uring_file_get")]
pub fn io_uring_file_get(ctx: RawTracePointContext) -> i32 {
    let request = Request(ctx.arg::<u64>(0));
    if !is_in_use() || request.direction().is_none() {
        return 0;
    }
    if let Some(running) = THREADS.get_ptr_mut(thread()) {
        // SAFETY: the entry is the thread's own.
        unsafe { *running = request.0 };
    }
    0
}

/// A request begins to wait for its socket.
#[raw_tracepoint(tracepoint = "io_uring_poll_arm")]
pub fn io_uring_poll_arm(ctx: RawTracePointContext) -> i32 {
    if let Some((request, direction, state)) = of_socket(ctx.arg::<u64>(0), arrival::state) {
        state.requests[slot(direction)] = request.0;
    }
    0
}

/// A request is done. A multishot one that goes on is not named here.
#[raw_tracepoint(tracepoint = "io_uring_complete")]
pub fn io_uring_complete(ctx: RawTracePointContext) -> i32 {
    let Some((request, direction, state)) = of_socket(ctx.arg::<u64>(1), arrival::known) else {
        return 0;
    };
    let slot = slot(direction);
    if state.requests[slot] == request.0 {
        state.requests[slot] = 0;
    }
    if let Some(running) = THREADS.get_ptr_mut(thread()) {
        // SAFETY: the entry is the thread's own.
        let running = unsafe { &mut *running };
        if *running == request.0 {
            *running = 0;
        }
    }
    let (result, flags) = if field_of!(URING.completes_with_entry) != 0 {
        // `struct io_uring_cqe`: eight bytes of the user's, result, flags.
        read::<[u32; 2]>(ctx.arg::<u64>(2), 8).map_or((0, 0), |[result, flags]| (result, flags))
    } else {
        (ctx.arg::<u32>(3), ctx.arg::<u32>(4))
    };
    explain(request, direction, state, result as i32, flags);
    0
}

/// A write to a socket put bytes into it, in the task that writes.
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn sock_send_length(ctx: RawTracePointContext) -> i32 {
    let socket = Socket(ctx.arg::<u64>(0));
    let length = ctx.arg::<i32>(1);
    if length == -EAGAIN {
        postponed(socket, DIRECTION_WRITE);
    }
    if length <= 0 || !is_in_use() {
        return 0;
    }
    let Some(state) = arrival::known(socket) else {
        return 0;
    };
    if arrival::cgroup(state).is_some() && !moved(socket, state, DIRECTION_WRITE, length as u32) {
        state.unexplained_write = length as u64;
    }
    0
}

/// A request could move nothing now. It tries again when its socket is ready,
/// or, if that came meanwhile, behind those that its thread submits next: then
/// no tracepoint names it again.
#[inline(always)]
pub fn postponed(socket: Socket, direction: u16) {
    if field_of!(URING.is_seen) == 0 || !is_in_use() {
        return;
    }
    let Some(request) = of_thread().filter(|request| request.moves(socket, direction)) else {
        return;
    };
    if let Some(state) = arrival::state(socket) {
        state.requests[slot(direction)] = request.0;
    }
}

/// Reports the bytes a socket just moved, if a request of io_uring moved them.
#[inline(always)]
pub fn moved(socket: Socket, state: &mut SocketState, direction: u16, length: u32) -> bool {
    if field_of!(URING.is_seen) == 0 || !is_in_use() {
        return false;
    }
    let Some(request) = running(socket, state, direction) else {
        return false;
    };
    let memory = request.memory(length);
    if direction == DIRECTION_WRITE {
        state.unexplained_write = 0;
    }
    tell(socket, state, direction, length, &memory)
}

/// Reports what a completed request moved, if nothing explained it before.
#[inline(always)]
fn explain(request: Request, direction: u16, state: &mut SocketState, result: i32, flags: u32) {
    if result <= 0 {
        return;
    }
    let unexplained = if direction == DIRECTION_READ {
        state.unexplained_read
    } else {
        core::mem::replace(&mut state.unexplained_write, 0)
    };
    if unexplained != result as u64 {
        return;
    }
    let Some(socket) = request.socket() else {
        return;
    };
    if arrival::cgroup(state).is_none() {
        return;
    }
    let memory = if flags & FLAG_BUFFER != 0 {
        Memory::ELSEWHERE
    } else {
        request.own_memory()
    };
    tell(socket, state, direction, result as u32, &memory);
}

#[inline(always)]
fn tell(
    socket: Socket,
    state: &mut SocketState,
    direction: u16,
    length: u32,
    memory: &Memory,
) -> bool {
    // The socket's memory may have served a connection that ended just now.
    // SAFETY: the field is written once.
    let is_tracked = CONNECTIONS
        .get_ptr(socket.0)
        .is_some_and(|connection| unsafe { (*connection).opened_ns } >= state.born_ns);
    if !is_tracked {
        let flags = if state.born_ns != 0 {
            0
        } else if is_served(socket.netns(), socket.local_port()) {
            CONNECTION_INHERITED
        } else {
            return false;
        };
        let Some(cgroup_id) = arrival::cgroup(state) else {
            return false;
        };
        let found = Found {
            inode: socket.inode(),
            cgroup_id,
            flags,
        };
        let n_written = if direction == DIRECTION_WRITE {
            length
        } else {
            0
        };
        if !found.track(socket, length, n_written) {
            return false;
        }
    }
    // Requests that move bytes the same way have no order that could be told.
    let Some(connection) = socket.connection() else {
        return false;
    };
    report(socket, connection, direction, length, memory);
    true
}

/// The request that moves bytes of a socket now.
#[inline(always)]
fn running(socket: Socket, state: &SocketState, direction: u16) -> Option<Request> {
    let is_it = |request: &Request| request.moves(socket, direction);
    of_thread()
        .filter(is_it)
        .or_else(|| Some(Request(state.requests[slot(direction)])).filter(is_it))
        .or_else(|| of_worker().filter(is_it))
}

/// The request that the calling thread submitted or took up last.
#[inline(always)]
fn of_thread() -> Option<Request> {
    // SAFETY: the entry is the thread's own.
    THREADS
        .get_ptr(thread())
        .map(|request| Request(unsafe { *request }))
}

/// The request that the calling task works on, if it is a worker of io_uring.
#[inline(always)]
fn of_worker() -> Option<Request> {
    let worker: u64 = read(Task::current().address(), field_of!(URING.task_worker))?;
    if worker == 0 {
        return None;
    }
    let work: u64 = read(worker, field_of!(URING.worker_work))?;
    (work != 0).then(|| Request(work - u64::from(field_of!(URING.request_work))))
}

#[inline(always)]
fn of_socket<'a>(
    request: u64,
    state: impl FnOnce(Socket) -> Option<&'a mut SocketState>,
) -> Option<(Request, u16, &'a mut SocketState)> {
    if request == 0 || !is_in_use() {
        return None;
    }
    let request = Request(request);
    let direction = request.direction()?;
    Some((request, direction, state(request.socket()?)?))
}

impl Request {
    #[inline(always)]
    fn opcode(self) -> u8 {
        read(self.0, field_of!(URING.request_opcode)).unwrap_or(0)
    }

    /// Which way it moves bytes, if it may move a socket's.
    #[inline(always)]
    fn direction(self) -> Option<u16> {
        Some(match self.opcode() {
            opcode::READV
            | opcode::READ_FIXED
            | opcode::RECVMSG
            | opcode::READ
            | opcode::RECV
            | opcode::READ_MULTISHOT
            | opcode::READV_FIXED => DIRECTION_READ,
            opcode::WRITEV
            | opcode::WRITE_FIXED
            | opcode::SENDMSG
            | opcode::WRITE
            | opcode::SEND
            | opcode::SPLICE
            | opcode::SEND_ZC
            | opcode::SENDMSG_ZC
            | opcode::WRITEV_FIXED => DIRECTION_WRITE,
            _ => return None,
        })
    }

    #[inline(always)]
    fn shape(self) -> Shape {
        match self.opcode() {
            opcode::RECV | opcode::SEND | opcode::SEND_ZC => Shape::Buffer,
            opcode::RECVMSG | opcode::SENDMSG | opcode::SENDMSG_ZC => Shape::Message,
            opcode::READV | opcode::WRITEV | opcode::READV_FIXED | opcode::WRITEV_FIXED => {
                Shape::FileSegments
            }
            opcode::SPLICE => Shape::Pipe,
            _ => Shape::File,
        }
    }

    /// The socket it is for. Of another file the address is meaningless.
    #[inline(always)]
    fn socket(self) -> Option<Socket> {
        Socket::of_file(read(self.0, field_of!(URING.request_file))?)
    }

    /// Whether it is one for a socket, and moves bytes that way.
    #[inline(always)]
    fn moves(self, socket: Socket, direction: u16) -> bool {
        self.0 != 0
            && self.direction() == Some(direction)
            && self.socket().is_some_and(|of| of.0 == socket.0)
    }

    /// Where the `length` bytes lie that it just moved.
    #[inline(always)]
    fn memory(self, length: u32) -> Memory {
        let shape = self.shape();
        let of_request: u64 = read(self.0, field_of!(URING.request_async_data)).unwrap_or(0);
        // Before Linux 6.10 only a request that waits has one.
        if of_request == 0 || shape == Shape::Pipe {
            return self.own_memory();
        }
        let iterator = of_request
            + u64::from(match shape {
                Shape::Buffer | Shape::Message => field_of!(URING.message_iterator),
                _ => field_of!(URING.file_iterator),
            });
        let is_file = matches!(shape, Shape::File | Shape::FileSegments);
        let kind = read::<u8>(iterator, field_of!(URING.iterator_type)).map(u32::from);
        if kind == Some(field_of!(URING.type_user_buffer)) {
            let base: Option<u64> = read(iterator, field_of!(URING.iterator_buffer));
            let moved: Option<u64> = read(iterator, field_of!(URING.iterator_offset));
            return match (base, moved) {
                // A file's iterator is copied, and moves on later.
                (Some(base), Some(moved)) if is_file => Memory::Buffer(base + moved),
                (Some(base), Some(moved)) if moved >= u64::from(length) => {
                    Memory::Buffer(base + moved - u64::from(length))
                }
                _ => Memory::ELSEWHERE,
            };
        }
        // Several buffers of the kernel's choice in one request.
        if kind == Some(field_of!(URING.type_segments)) && shape == Shape::Buffer {
            return Memory::ELSEWHERE;
        }
        self.own_memory()
    }

    /// Where the bytes lie that it was submitted for.
    #[inline(always)]
    fn own_memory(self) -> Memory {
        match self.shape() {
            Shape::Buffer => read(self.0, field_of!(URING.message_buffer)).map(Memory::Buffer),
            Shape::Message => read(self.0, field_of!(URING.message_buffer)).map(message_segments),
            Shape::File => read(self.0, field_of!(URING.file_address)).map(Memory::Buffer),
            Shape::FileSegments => {
                read(self.0, field_of!(URING.file_address)).and_then(|segments| {
                    let n: u32 = read(self.0, field_of!(URING.file_length))?;
                    Some(Memory::Segments(segments, u64::from(n)))
                })
            }
            Shape::Pipe => None,
        }
        .unwrap_or(Memory::ELSEWHERE)
    }
}

#[inline(always)]
fn is_in_use() -> bool {
    // SAFETY: every writer writes the same.
    IN_USE
        .get_ptr(0)
        .is_some_and(|in_use| unsafe { core::ptr::read_volatile(in_use) } != 0)
}

#[inline(always)]
fn thread() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

#[inline(always)]
fn slot(direction: u16) -> usize {
    usize::from(direction != DIRECTION_READ)
}
