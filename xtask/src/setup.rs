//! Everything a build needs, installed where it is missing.

use anyhow::Result;

use crate::duckdb;
use crate::packages;
use crate::paths::{Paths, lock_cache};
use crate::process;
use crate::toolchain::Tools;

/// Installs what is missing and returns the compilers to use.
///
/// Says each thing before it installs it; does nothing the second time.
///
/// # Errors
/// When something is missing that cannot be installed here.
pub fn set_up(paths: &Paths) -> Result<Tools> {
    let _lock = lock_cache(&paths.cache, "set-up")?;
    // Crates with parts in C, and the linking itself.
    if process::which("cc").is_none() {
        packages::ensure(&["gcc", "libc6-dev"], "linking")?;
    }
    duckdb::ensure(paths)?;
    Tools::ensure(paths)
}
