//! Programs in Python that the live tests run, in an environment of their own.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages;
use crate::paths::{Paths, lock_cache};
use crate::process;

/// What is installed, with exact versions.
const WANTED: &str = "userspace/tests/testbed/python-tools.txt";
/// Where, in the cache; the testbed looks there.
const FOLDER: &str = "python-tools";
/// A copy of what was wanted when it was installed.
const STAMP: &str = "installed.txt";

/// Installs the programs, unless just these are there.
///
/// # Errors
/// When they cannot be installed.
pub fn ensure(paths: &Paths) -> Result<()> {
    let _lock = lock_cache(&paths.cache, FOLDER)?;
    let wanted_file = paths.root.join(WANTED);
    let wanted = fs::read_to_string(&wanted_file).with_context(|| format!("read {WANTED}"))?;
    let folder = paths.cache.join(FOLDER);
    let stamp = folder.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut can_make = Command::new("python3");
    can_make.args(["-c", "import venv, ensurepip"]);
    if !process::succeeds(&mut can_make) {
        packages::ensure(&["python3", "python3-venv"], "tests of the API")?;
    }
    println!("installing Python programs for tests of the API: {WANTED}");
    let mut make = process::clean("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    process::run(&mut make)?;
    let mut install = process::clean(folder.join("bin/pip"));
    install
        .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&wanted_file);
    process::run(&mut install)?;
    fs::write(&stamp, wanted).with_context(|| format!("write {stamp:?}"))
}
