//! Finds connections that ended unseen, so that none is tracked for ever.
//!
//! A UNIX socket may be closed without a call of `unix`'s, and the kernel
//! skips a program that a software interrupt would run inside itself, so a
//! state of TCP may be missed too. The daemon runs this; it is attached to
//! nothing.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use modeltap_abi::config::{CONNECTION_UNIX, TrackedConnection};
use modeltap_abi::event::{CAUSE_LOCAL_FINISHED, CAUSE_RESET};

use crate::emit;
use crate::kernel::Socket;
use crate::maps::CONNECTIONS;

/// Looks at every tracked connection.
#[raw_tracepoint]
pub fn sweep(_ctx: RawTracePointContext) -> i32 {
    // SAFETY: the callback has the form that the helper wants.
    unsafe {
        bpf_for_each_map_elem(
            core::ptr::from_ref(&CONNECTIONS).cast_mut().cast(),
            look_at as *mut c_void,
            core::ptr::null_mut(),
            0,
        );
    }
    0
}

/// Reports and forgets a connection whose socket is gone: the memory at its
/// address serves no socket, or one of another number.
#[inline(never)]
extern "C" fn look_at(
    _map: *mut c_void,
    key: *const u64,
    connection: *mut TrackedConnection,
    _context: *mut c_void,
) -> i64 {
    // SAFETY: the kernel gives a key and a value of the map.
    let (socket, connection) = unsafe { (Socket(*key), &mut *connection) };
    // The daemon forgets those whose end it was told of.
    let is_kept =
        connection.closed != 0 || connection.inode == 0 || socket.inode() == connection.inode;
    if is_kept {
        return 0;
    }
    connection.closed = 1;
    let cause = if connection.flags & CONNECTION_UNIX != 0 {
        CAUSE_LOCAL_FINISHED
    } else {
        CAUSE_RESET
    };
    if !emit::closed(socket, connection, cause) {
        let _ = CONNECTIONS.remove(socket.0);
    }
    0
}
