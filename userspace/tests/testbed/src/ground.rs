//! Whether this machine can run the live tests.

use std::io::Write;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, io};

/// What a live test stands on; while it is held no other live test of this
/// process runs, because each measures time.
#[derive(Debug)]
pub struct Ground {
    _turn: MutexGuard<'static, ()>,
}

/// Takes a turn, if this machine can run the tests. If not, says plainly what
/// is skipped and why; under `CI=true` that is a failure.
///
/// # Panics
/// Under `CI=true`, where a live test cannot run.
#[must_use]
pub fn take(test: &str) -> Option<Ground> {
    static TURN: Mutex<()> = Mutex::new(());
    if let Some(lack) = lack() {
        assert!(
            env::var("CI").is_ok_and(|ci| ci == "true").eq(&false),
            "{test}: {lack}"
        );
        // Not by `eprintln!`: the harness swallows that of a test that passes.
        let _ = writeln!(io::stderr(), "skipped {test}: {lack}");
        return None;
    }
    // A test that failed in its turn must not fail the next.
    Some(Ground {
        _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner),
    })
}

fn lack() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root: probes and network namespaces");
    }
    let docker = Command::new("docker").arg("version").output();
    if !docker.is_ok_and(|output| output.status.success()) {
        return Some("needs a Docker engine that answers `docker version`");
    }
    None
}
