//! Logs that could not be cut.
//!
//! DuckDB takes back a commit that failed by cutting its log, and ends the
//! process where that fails. So the failure is hidden from it, and noted here:
//! what such a log holds behind the last commit is unknown, and nothing may be
//! written behind it until the database is opened again, which reads the log
//! as after a crash.

use std::fs;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of all databases of this process: a look too many does no harm.
static N_UNCUT: AtomicU64 = AtomicU64::new(0);

/// Notes that a file could not be cut, and tells whether the store takes care
/// of it. Where it does, the cut has to be told as done: whoever provides
/// `ftruncate(2)` asks this when it fails.
#[must_use]
pub fn takes_over_cut(fd: RawFd) -> bool {
    let path = fs::read_link(format!("/proc/self/fd/{fd}"));
    let is_log = path.is_ok_and(|path| path.extension().is_some_and(|end| end == "wal"));
    if is_log {
        N_UNCUT.fetch_add(1, Ordering::Relaxed);
    }
    is_log
}

/// Logs that could not be cut since the start.
pub(crate) fn n_uncut() -> u64 {
    N_UNCUT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_logs_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        for (name, expected) in [("a.duckdb.wal", true), ("a.duckdb", false), ("wal", false)] {
            let file = File::create(folder.path().join(name)).unwrap();
            let before = n_uncut();
            assert_eq!(takes_over_cut(file.as_raw_fd()), expected, "{name}");
            assert_eq!(n_uncut() > before, expected, "{name}");
        }
        assert!(!takes_over_cut(-1));
    }
}
