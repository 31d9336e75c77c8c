//! Programs that tests run against the daemon.

use std::path::PathBuf;

use crate::images;

/// A program in Python of `python-tools.txt`.
///
/// # Panics
/// If it is not installed.
#[must_use]
#[track_caller]
pub fn python(name: &str) -> PathBuf {
    let program = images::cache().join("python-tools/bin").join(name);
    assert!(
        program.is_file(),
        "{program:?} is not there; `cargo xtask test` installs it"
    );
    program
}
