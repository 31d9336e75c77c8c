//! Programs in Python, each set in an environment of its own in the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages;
use crate::paths::{Paths, lock_cache};
use crate::process;

/// A copy of what was wanted when it was installed.
const STAMP: &str = "installed.txt";

/// A set of programs.
pub struct Programs {
    /// What is installed, with exact versions: a file in the workspace.
    pub wanted: &'static str,
    /// Where, in the cache.
    pub folder: &'static str,
    /// What they are for.
    pub purpose: &'static str,
}

/// Programs that the live tests run; the testbed looks for them there.
pub const TEST_TOOLS: Programs = Programs {
    wanted: "userspace/tests/testbed/python-tools.txt",
    folder: "python-tools",
    purpose: "tests of the API",
};

/// Installs the programs, unless just these are there; returns their folder.
///
/// # Errors
/// When they cannot be installed.
pub fn ensure(paths: &Paths, programs: &Programs) -> Result<PathBuf> {
    let Programs {
        wanted: wanted_file,
        folder,
        purpose,
    } = programs;
    let _lock = lock_cache(&paths.cache, folder)?;
    let wanted = fs::read_to_string(paths.root.join(wanted_file))
        .with_context(|| format!("read {wanted_file}"))?;
    let folder = paths.cache.join(folder);
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    let mut can_make = Command::new("python3");
    can_make.args(["-c", "import venv, ensurepip"]);
    if !process::succeeds(&mut can_make) {
        packages::ensure(&["python3", "python3-venv"], purpose)?;
    }
    println!("installing Python programs for {purpose}: {wanted_file}");
    let mut make = process::clean("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    process::run(&mut make)?;
    let mut install = process::clean(folder.join("bin/pip"));
    install
        .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(paths.root.join(wanted_file));
    process::run(&mut install)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {stamp:?}"))?;
    Ok(folder)
}
