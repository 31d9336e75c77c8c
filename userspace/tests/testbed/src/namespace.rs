//! Work done inside a container's network.

use std::fs::File;
use std::thread;

use nix::sched::{CloneFlags, setns};

/// Moves the calling thread into the network namespace of process `pid`, for
/// the rest of its life; sockets it opens belong there.
///
/// # Panics
/// When the process has ended, or without CAP_SYS_ADMIN.
pub fn enter(pid: u32) {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).unwrap_or_else(|error| panic!("open {path:?}: {error}"));
    setns(namespace, CloneFlags::CLONE_NEWNET)
        .unwrap_or_else(|error| panic!("enter {path:?}: {error}"));
}

/// Runs `work` on a thread inside the network namespace of process `pid`;
/// nothing if that process has ended.
pub fn try_run<T: Send>(pid: u32, work: impl FnOnce() -> T + Send) -> Option<T> {
    let namespace = File::open(format!("/proc/{pid}/ns/net")).ok()?;
    let worker = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).ok()?;
        Some(work())
    };
    thread::scope(|scope| match scope.spawn(worker).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs `work` on a thread inside the network namespace of process `pid`, or
/// in our own without one.
pub fn run<T: Send>(pid: Option<u32>, work: impl FnOnce() -> T + Send) -> T {
    let worker = || {
        pid.into_iter().for_each(enter);
        work()
    };
    thread::scope(|scope| match scope.spawn(worker).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
