//! What only a privileged process may see of others: their network namespace
//! and their sockets.
//!
//! The kernel asks for the right to trace a process before it tells either
//! (`ptrace_may_access`), and never tells one that Landlock confines. So the
//! daemon may have another process look; who looks is the caller's choice.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Looks at processes.
pub trait Look: fmt::Debug + Send + Sync {
    /// Inode number of the network namespace of `pid`; `None` if the process
    /// ended or may not be looked at.
    fn network(&self, pid: u32) -> Option<u64>;

    /// The sockets that `pid` holds among its first `limit` descriptors.
    fn sockets(&self, pid: u32, limit: usize) -> Sockets;
}

/// The sockets of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Their inode numbers.
    pub inodes: Vec<u64>,
    /// Descriptors that were looked at, sockets or not.
    pub n_descriptors: usize,
}

/// Looks by `/proc`, in this process.
#[derive(Clone, Debug)]
pub struct Direct {
    procfs: PathBuf,
}

impl Default for Direct {
    fn default() -> Self {
        Self::below(Path::new("/proc"))
    }
}

impl Direct {
    /// With another place for `/proc`.
    #[must_use]
    pub fn below(procfs: &Path) -> Self {
        Self {
            procfs: procfs.to_owned(),
        }
    }
}

impl Look for Direct {
    fn network(&self, pid: u32) -> Option<u64> {
        let namespace = self.procfs.join(pid.to_string()).join("ns/net");
        Some(fs::metadata(namespace).ok()?.ino())
    }

    fn sockets(&self, pid: u32, limit: usize) -> Sockets {
        let mut sockets = Sockets::default();
        let Ok(entries) = fs::read_dir(self.procfs.join(pid.to_string()).join("fd")) else {
            return sockets;
        };
        for entry in entries.flatten().take(limit) {
            sockets.n_descriptors += 1;
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            sockets.inodes.extend(target.to_str().and_then(inode));
        }
        sockets
    }
}

/// `socket:[123]` is 123.
fn inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn descriptors_beyond_the_limit_are_not_read() {
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let look = Direct::default();
        let own = std::process::id();
        assert_eq!(look.sockets(own, 0), Sockets::default());
        assert_eq!(look.sockets(own, 1).n_descriptors, 1);
        assert!(!look.sockets(own, 10_000).inodes.is_empty());
        assert!(look.network(own).is_some());
    }

    #[test]
    fn only_sockets_have_an_inode_number_here() {
        assert_eq!(inode("socket:[77]"), Some(77));
        for other in ["pipe:[77]", "socket:[]", "/tmp/socket:[7]", "socket:[7"] {
            assert_eq!(inode(other), None, "{other}");
        }
    }
}
