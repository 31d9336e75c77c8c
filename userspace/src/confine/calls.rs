//! Seccomp: the system calls that are made.
//!
//! Any other fails with ENOSYS, as on a kernel that does not have it: libraries
//! know how to go on then.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use anyhow::Context;
use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter_all_threads,
};

/// Whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// The daemon's, with its children that try history files.
    Daemon,
    /// The clerk's.
    Clerk,
}

/// `bpf` commands on what the daemon has: elements of maps looked up, updated,
/// deleted and listed, a program run, its figures read. No program and no map
/// is made (`enum bpf_cmd`).
const BPF_OF_DAEMON: [u64; 6] = [1, 2, 3, 4, 10, 15];
/// `BPF_ENABLE_STATS`, and nothing else.
const BPF_OF_CLERK: u64 = 32;
/// Kinds of sockets: Docker's, the API's and the notifiers', and netlink, by
/// which the C library learns which addresses the host has.
const FAMILIES: [c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];
/// Flags of `clone` that make namespaces.
const NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// Flags of `openat` that change files.
const WRITES: c_int = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;

/// What the clerk does: it reads questions, folders and links, and answers.
#[rustfmt::skip]
const CLERK: &[c_long] = &[
    libc::SYS_read, libc::SYS_write, libc::SYS_writev, libc::SYS_close, libc::SYS_fcntl, libc::SYS_fstat,
    libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_readlinkat, libc::SYS_getdents64, libc::SYS_lseek,
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_mremap, libc::SYS_munmap, libc::SYS_madvise,
    libc::SYS_futex, libc::SYS_getrandom, libc::SYS_restart_syscall, libc::SYS_clock_gettime,
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_tgkill, libc::SYS_exit, libc::SYS_exit_group,
];

/// How the C library reads a link where the older call is there.
#[cfg(target_arch = "x86_64")]
const READLINK: &[c_long] = &[libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const READLINK: &[c_long] = &[];

/// What the daemon does beside that.
#[rustfmt::skip]
const DAEMON: &[c_long] = &[
    // Files.
    libc::SYS_openat, libc::SYS_close_range, libc::SYS_readv, libc::SYS_pread64, libc::SYS_pwrite64,
    libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_preadv2, libc::SYS_pwritev2, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat, libc::SYS_renameat2,
    libc::SYS_ftruncate, libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_readahead,
    libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range, libc::SYS_msync, libc::SYS_flock,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_utimensat, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_getcwd, libc::SYS_umask, libc::SYS_copy_file_range, libc::SYS_sendfile, libc::SYS_ioctl,
    libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2,
    // Waiting.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2, libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime, libc::SYS_signalfd4, libc::SYS_nanosleep, libc::SYS_clock_nanosleep,
    libc::SYS_clock_getres, libc::SYS_gettimeofday, libc::SYS_times,
    // Sockets.
    libc::SYS_socketpair, libc::SYS_bind, libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4,
    libc::SYS_getsockname, libc::SYS_getpeername, libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg,
    libc::SYS_recvmsg, libc::SYS_sendmmsg, libc::SYS_recvmmsg, libc::SYS_shutdown, libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    // Threads and memory.
    libc::SYS_set_tid_address, libc::SYS_set_robust_list, libc::SYS_get_robust_list, libc::SYS_rseq,
    libc::SYS_membarrier, libc::SYS_sched_yield, libc::SYS_sched_getaffinity, libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_sched_get_priority_min,
    libc::SYS_sched_get_priority_max, libc::SYS_getpriority, libc::SYS_setpriority, libc::SYS_getcpu,
    libc::SYS_mincore, libc::SYS_mlock, libc::SYS_munlock, libc::SYS_get_mempolicy, libc::SYS_prctl,
    libc::SYS_rt_sigpending, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_tkill,
    // The process and its children.
    libc::SYS_execve, libc::SYS_wait4, libc::SYS_waitid, libc::SYS_kill, libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal, libc::SYS_getppid, libc::SYS_getpgid, libc::SYS_setpgid, libc::SYS_getsid,
    libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid, libc::SYS_getgroups,
    libc::SYS_capget, libc::SYS_prlimit64, libc::SYS_getrlimit, libc::SYS_setrlimit, libc::SYS_getrusage,
    libc::SYS_sysinfo, libc::SYS_uname,
];

/// The older forms of the same calls, which only this architecture has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const LEGACY: &[c_long] = &[
    libc::SYS_open, libc::SYS_creat, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink,
    libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_chmod, libc::SYS_getdents,
    libc::SYS_dup2, libc::SYS_pipe, libc::SYS_poll, libc::SYS_select, libc::SYS_epoll_create,
    libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_time, libc::SYS_arch_prctl, libc::SYS_vfork,
    libc::SYS_getpgrp,
];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[c_long] = &[];

/// Confines this process to `calls`.
///
/// # Errors
/// The kernel has no seccomp filters.
pub(super) fn confine(calls: Calls) -> anyhow::Result<()> {
    let filter = program(calls).context("cannot make the filter")?;
    apply_filter_all_threads(&filter).context("the kernel refuses the filter")
}

fn program(calls: Calls) -> anyhow::Result<BpfProgram> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = BTreeMap::new();
    let mut allow = |numbers: &[c_long]| {
        // No condition at all allows every use.
        rules.extend(numbers.iter().map(|number| (*number, Vec::new())));
    };
    allow(CLERK);
    match calls {
        Calls::Clerk => {
            allow(READLINK);
            let is_reading = where_bits(2, WRITES, libc::O_RDONLY)?;
            rules.insert(libc::SYS_openat, vec![is_reading]);
            rules.insert(libc::SYS_bpf, vec![equal(0, BPF_OF_CLERK)?]);
        }
        Calls::Daemon => {
            allow(DAEMON);
            allow(LEGACY);
            let commands = BPF_OF_DAEMON.map(|command| equal(0, command));
            rules.insert(
                libc::SYS_bpf,
                commands.into_iter().collect::<Result<_, _>>()?,
            );
            let families = FAMILIES.map(|family| equal(0, u64::from(family.unsigned_abs())));
            rules.insert(
                libc::SYS_socket,
                families.into_iter().collect::<Result<_, _>>()?,
            );
            // Flags of clone3 are in memory, where no filter sees them: the C
            // library goes on with this one.
            rules.insert(libc::SYS_clone, vec![where_bits(0, NAMESPACES, 0)?]);
        }
    }
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, missing, SeccompAction::Allow, ARCH.try_into()?)?;
    Ok(filter.try_into()?)
}

/// The call whose argument is this value.
fn equal(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    rule(argument, SeccompCmpOp::Eq, value)
}

/// The call of whose argument the bits in `mask` are these.
fn where_bits(
    argument: u8,
    mask: c_int,
    bits: c_int,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let mask = u64::from(mask.cast_unsigned());
    rule(
        argument,
        SeccompCmpOp::MaskedEq(mask),
        u64::from(bits.cast_unsigned()),
    )
}

fn rule(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    // All of these are `int` or a command's number.
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::net::{TcpListener, ToSocketAddrs};
    use std::process::Command;
    use std::thread;

    use modeltap_discovery::look::{Direct, Look as _};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    use rustix::thread::set_no_new_privs;
    use seccompiler::apply_filter;

    use super::*;

    /// Runs `work` on a thread that makes no other calls.
    fn confined(calls: Calls, work: impl FnOnce() + Send) {
        let filter = program(calls).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                set_no_new_privs(true).unwrap();
                apply_filter(&filter).unwrap();
                work();
            });
            thread.join().unwrap();
        });
    }

    #[test]
    fn daemons_calls_are_made_and_others_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        confined(Calls::Daemon, || {
            let file = folder.path().join("a");
            fs::write(&file, "x").unwrap();
            fs::copy(&file, folder.path().join("b")).unwrap();
            assert!(Command::new("true").status().unwrap().success());
            thread::spawn(|| ()).join().unwrap();
            let names = ("localhost", 80).to_socket_addrs();
            assert!(names.unwrap().count() > 0);
            // It listens already.
            let listener = TcpListener::bind("127.0.0.1:0").err();
            assert_eq!(listener.unwrap().raw_os_error(), Some(libc::ENOSYS));
            let raw = socket(AddressFamily::PACKET, SocketType::DGRAM, None);
            assert_eq!(raw.err(), Some(Errno::NOSYS));
            let left = rustix::process::chroot(folder.path());
            assert_eq!(left.err(), Some(Errno::NOSYS));
        });
    }

    #[test]
    fn clerk_reads_and_can_neither_write_nor_connect_nor_start_anything() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        confined(Calls::Clerk, || {
            let sockets = Direct::default().sockets(std::process::id(), 10_000);
            assert!(!sockets.inodes.is_empty(), "{sockets:?}");
            fs::read_to_string("/proc/self/cgroup").unwrap();
            fs::read_dir("/proc/self/fd").unwrap();
            fs::metadata("/proc/self/ns/net").unwrap();
            let missing = Some(libc::ENOSYS);
            let written = File::create(folder.path().join("a")).err();
            assert_eq!(written.unwrap().raw_os_error(), missing);
            let started = Command::new("true").status().err();
            assert_eq!(started.unwrap().raw_os_error(), missing);
            let family = AddressFamily::INET;
            let connected = socket(family, SocketType::STREAM, None);
            assert_eq!(connected.err(), Some(Errno::NOSYS));
        });
    }

    #[test]
    fn filters_can_be_made() {
        let daemon = program(Calls::Daemon).unwrap();
        let clerk = program(Calls::Clerk).unwrap();
        assert!(clerk.len() < daemon.len());
        // The kernel takes 4,096 instructions.
        assert!(daemon.len() < 1_000, "{}", daemon.len());
    }
}
