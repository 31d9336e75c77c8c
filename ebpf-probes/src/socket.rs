//! Bytes that system calls moved: where they lie in user memory and how many
//! of them are captured.

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::bpf_probe_read_user as probe_read_user;
use modeltap_abi::config::{
    CONNECTION_UNANNOUNCED, CONNECTION_UNIX, CaptureConfig, TrackedConnection,
};
use modeltap_abi::event::{DIRECTION_READ, DIRECTION_WRITE, Data, KIND_DATA, MAX_CAPTURE_BYTES};

use crate::call::{Call, programs};
use crate::connection::{announce_late, inherit};
use crate::filter::tgid;
use crate::kernel::{Arguments, Socket, Task};
use crate::maps::{CONFIG, DataEvent, SCRATCH};
use crate::{arrival, beginnings, drain, emit, segments, unix};

/// Flags of a receive that takes nothing from the stream: `MSG_OOB` (urgent
/// data is beside it), `MSG_PEEK` (it will be read again) and `MSG_ERRQUEUE`
/// (what was sent comes back with its time).
const MSG_TAKES_NOTHING: u64 = 0x1 | 0x2 | 0x2000;
/// `MSG_TRUNC`: TCP throws the bytes away that it tells of.
const MSG_TRUNC: u64 = 0x20;

/// Where a call's bytes lie.
pub(crate) enum Memory {
    /// One buffer.
    Buffer(u64),
    /// An array of `struct iovec`, and how many.
    Segments(u64, u64),
    /// An array of `struct mmsghdr`, and how many.
    Messages(u64, u64),
}

impl Memory {
    /// Not in user memory. No variant: what one leaves out, the compiler
    /// leaves undefined, and the verifier does not let that be passed on.
    pub(crate) const ELSEWHERE: Self = Self::Segments(0, 0);
}

programs! {
    /// `read(fd, buf, count)` returned.
    sys_exit_read, sys_exit_read_second: read(buffer);
    /// `readv(fd, iov, iovcnt)` returned.
    sys_exit_readv, sys_exit_readv_second: read(vector);
    /// `preadv2(fd, iov, iovcnt, pos_l, pos_h, flags)` returned: on a socket
    /// with the offset -1, which makes it a `readv` with flags.
    sys_exit_preadv2, sys_exit_preadv2_second: read(vector);
    /// `recvfrom(fd, buf, len, flags, ..)` returned.
    sys_exit_recvfrom, sys_exit_recvfrom_second: read(received_buffer);
    /// `recvmsg(fd, msg, flags)` returned.
    sys_exit_recvmsg, sys_exit_recvmsg_second: read(received_message);
    /// `write(fd, buf, count)` returned.
    sys_exit_write, sys_exit_write_second: written(buffer);
    /// `writev(fd, iov, iovcnt)` returned.
    sys_exit_writev, sys_exit_writev_second: written(vector);
    /// `pwritev2(fd, iov, iovcnt, pos_l, pos_h, flags)` returned, as `preadv2`.
    sys_exit_pwritev2, sys_exit_pwritev2_second: written(vector);
    /// `sendto(fd, buf, len, flags, ..)` returned.
    sys_exit_sendto, sys_exit_sendto_second: written(buffer);
    /// `sendmsg(fd, msg, flags)` returned.
    sys_exit_sendmsg, sys_exit_sendmsg_second: written(message);
    /// `sendfile(out_fd, in_fd, offset, count)` returned: the bytes are a
    /// file's and never were in user memory.
    sys_exit_sendfile64, sys_exit_sendfile64_second: written(elsewhere);
}

#[inline(always)]
fn buffer(arguments: Arguments) -> Option<Memory> {
    Some(Memory::Buffer(arguments.second()))
}

#[inline(always)]
fn vector(arguments: Arguments) -> Option<Memory> {
    Some(Memory::Segments(arguments.second(), arguments.third()))
}

#[inline(always)]
fn message(arguments: Arguments) -> Option<Memory> {
    Some(message_segments(arguments.second()))
}

#[inline(always)]
fn elsewhere(_: Arguments) -> Option<Memory> {
    Some(Memory::ELSEWHERE)
}

#[inline(always)]
fn received_buffer(arguments: Arguments) -> Option<Memory> {
    let buffer = arguments.second();
    received(arguments.fourth(), || Memory::Buffer(buffer))
}

#[inline(always)]
fn received_message(arguments: Arguments) -> Option<Memory> {
    let message = arguments.second();
    received(arguments.third(), || message_segments(message))
}

/// Where the bytes of a receive with these flags lie; nothing if it took none.
#[inline(always)]
pub(crate) fn received(flags: u64, memory: impl FnOnce() -> Memory) -> Option<Memory> {
    if flags & MSG_TAKES_NOTHING != 0 {
        None
    } else if flags & MSG_TRUNC != 0 {
        Some(Memory::ELSEWHERE)
    } else {
        Some(memory())
    }
}

/// The segments of a `struct msghdr`: `msg_iov` and `msg_iovlen` are its third
/// and fourth words.
#[inline(always)]
pub(crate) fn message_segments(message: u64) -> Memory {
    // SAFETY: the helper checks the address and fails where it cannot read.
    let words = unsafe { bpf_probe_read_user((message + 16) as *const [u64; 2]) };
    words.map_or(Memory::ELSEWHERE, |[segments, n]| {
        Memory::Segments(segments, n)
    })
}

#[inline(always)]
fn read(call: &Call<'_>, memory: impl FnOnce(Arguments) -> Option<Memory>) {
    moved(call, DIRECTION_READ, memory);
}

#[inline(always)]
fn written(call: &Call<'_>, memory: impl FnOnce(Arguments) -> Option<Memory>) {
    moved(call, DIRECTION_WRITE, memory);
}

#[inline(always)]
fn moved(call: &Call<'_>, direction: u16, memory: impl FnOnce(Arguments) -> Option<Memory>) {
    let length = call.value();
    if length <= 0 && !unix::is_end(length) {
        return;
    }
    let Some(cgroup_id) = call.watched() else {
        return;
    };
    let task = Task::current();
    let arguments = task.arguments();
    let fd = arguments.first();
    let memory = memory(arguments);
    if length <= 0 {
        unix::peer_ended(fd, length);
        return;
    }
    let Some(memory) = memory else { return };
    let length = length as u32;
    if let Some((socket, connection)) = tracked(task, fd, cgroup_id, direction, length) {
        report(socket, connection, direction, length, &memory);
    }
}

/// The connection that a call of the task's moved `length` bytes on, if it is
/// the server's side of one.
#[inline(always)]
pub(crate) fn tracked(
    task: Task,
    fd: u64,
    cgroup_id: u64,
    direction: u16,
    length: u32,
) -> Option<(Socket, &'static mut TrackedConnection)> {
    if let Some(found) = known(task, fd) {
        return Some(found);
    }
    let n_written = if direction == DIRECTION_WRITE {
        length
    } else {
        0
    };
    let socket = inherit(task.file(fd as u32)?, cgroup_id, length, n_written)?;
    Some((socket, socket.connection()?))
}

/// The connection behind a descriptor of the task's, if it is tracked.
#[inline(always)]
pub(crate) fn known(task: Task, fd: u64) -> Option<(Socket, &'static mut TrackedConnection)> {
    let file = task.file(fd as u32)?;
    let socket = Socket::of_file(file)?;
    let connection = socket.connection()?;
    if connection.flags & CONNECTION_UNIX != 0 && !unix::is_same(socket, file, connection) {
        return None;
    }
    Some((socket, connection))
}

/// Reports `length` bytes that a call moved, and counts them. For programs
/// that may use this processor's [`SCRATCH`].
#[inline(always)]
pub(crate) fn report(
    socket: Socket,
    connection: &mut TrackedConnection,
    direction: u16,
    length: u32,
    memory: &Memory,
) {
    if connection.flags & CONNECTION_UNANNOUNCED != 0 && direction == DIRECTION_READ {
        announce_late(socket, connection);
    }
    let Some(event) = SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this processor's scratch is used by this program alone.
    let event = unsafe { &mut *event };
    let (at_ns, waits) = time_of(socket, connection, direction);
    let (position, arrived_ns) = if direction == DIRECTION_READ {
        (&mut connection.bytes_read, arrival::explained(socket))
    } else {
        (&mut connection.bytes_written, 0)
    };
    let header = emit::header(KIND_DATA, tgid(), at_ns, socket, connection.opened_ns);
    event.data = Data {
        header,
        position: *position,
        arrived_ns,
        length,
        captured: 0,
        direction,
        waits: u16::from(waits),
        reserved: [0; 2],
    };
    *position += u64::from(length);

    let wanted = capture_length(connection, direction, length);
    let cgroup_id = connection.cgroup_id;
    let captured = match *memory {
        Memory::Buffer(address) => copy_buffer(event, address, wanted, cgroup_id),
        Memory::Messages(messages, n) => segments::copy_messages(messages, n, wanted, cgroup_id),
        Memory::Segments(segments, n) => segments::copy(event, segments, n, wanted, cgroup_id),
    };
    connection.turn_captured = connection.turn_captured.saturating_add(captured);
    event.data.captured = captured;
    let counts = emit::counts_of(cgroup_id);
    beginnings::count(socket, connection, event, direction, captured, counts);
    emit::data(event, counts, length, captured);
    if waits {
        drain::written(socket, connection);
    }
}

/// When the bytes of a call that returns now were moved, and whether some of
/// those written wait in the socket.
///
/// A write's bytes may be on their way, and its reader may have run, long
/// before the call returns: what has left was written when its last segment
/// was sent.
#[inline(always)]
fn time_of(socket: Socket, connection: &TrackedConnection, direction: u16) -> (u64, bool) {
    // Before the queue is looked at: bytes that wait then had not left by now.
    let now = emit::now();
    if direction != DIRECTION_WRITE || connection.flags & CONNECTION_UNIX != 0 {
        return (now, false);
    }
    if drain::waits(socket) {
        return (now, true);
    }
    // A paced segment's time may lie ahead.
    let sent = socket
        .last_sent_ns()
        .filter(|sent| *sent != 0 && *sent < now);
    (sent.unwrap_or(now), false)
}

/// How much of a call is captured: its turn's share first, then a little of
/// every call.
#[inline(always)]
fn capture_length(connection: &mut TrackedConnection, direction: u16, length: u32) -> u32 {
    let config = CONFIG.get(0).copied().unwrap_or(CaptureConfig {
        read_turn_bytes: 0,
        write_turn_bytes: 0,
        continued_bytes: 0,
        mode: 0,
    });
    if connection.turn != u32::from(direction) {
        connection.turn = u32::from(direction);
        connection.turn_captured = 0;
    }
    let share = if direction == DIRECTION_READ {
        config.read_turn_bytes
    } else {
        config.write_turn_bytes
    };
    let left = share.saturating_sub(connection.turn_captured);
    length.min(left.max(config.continued_bytes))
}

#[inline(always)]
fn copy_buffer(event: &mut DataEvent, address: u64, wanted: u32, cgroup_id: u64) -> u32 {
    let length = bounded::<{ MAX_CAPTURE_BYTES as u32 }>(wanted);
    // SAFETY: `length` is below the size of `bytes`; the helper checks the
    // user's address.
    let result =
        unsafe { probe_read_user(event.bytes.as_mut_ptr().cast(), length, address as *const _) };
    if result != 0 {
        emit::unreadable(cgroup_id);
        return 0;
    }
    length
}

/// At most `MAX`, which is one less than a power of two, in a way the verifier
/// follows: the compiler would otherwise check one register and use its copy.
#[inline(always)]
pub(crate) fn bounded<const MAX: u32>(value: u32) -> u32 {
    let value = if value > MAX { MAX } else { value };
    #[cfg(target_arch = "bpf")]
    let value = {
        let mut value = u64::from(value);
        // SAFETY: only a register changes.
        unsafe {
            core::arch::asm!("{0} &= {1}", inout(reg) value, const MAX, options(nomem, nostack));
        }
        value as u32
    };
    value
}
