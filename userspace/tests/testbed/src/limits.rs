//! What this process may hold.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Allows this process, and what it starts from now on, as many open
/// descriptors as it may have; gives how many.
///
/// # Panics
/// If they are fewer than `n`.
#[track_caller]
pub fn allow_descriptors(n: u64) -> u64 {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("every process has this limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("up to the hard limit it may");
    assert!(most >= n, "{most} descriptors are allowed; {n} are needed");
    most
}
