//! Dependencies compiled once for all clones.
//!
//! Compiling what others wrote is nine tenths of a build from nothing. After
//! a build, cargo's files of those packages are copied to the cache, under a
//! key of the lock file and the compiler; a clone that has not built yet gets
//! them back. The workspace's own packages are left out: cargo compares the
//! times of their sources, which say nothing across clones.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::duckdb::hex;
use crate::paths::{Paths, lock_cache};
use crate::process;

/// The parts of cargo's folder that describe compiled packages.
const PARTS: [&str; 3] = [".fingerprint", "build", "deps"];
/// Written last: a seed without it is incomplete.
const COMPLETE: &str = "complete";

/// The compiled dependencies of one profile.
pub struct Seed {
    cached: PathBuf,
    shelf: PathBuf,
    target: PathBuf,
    cache: PathBuf,
}

impl Seed {
    /// Names the seed for the present lock file and compiler.
    ///
    /// `folder` is cargo's folder of the profile, such as `release`.
    ///
    /// # Errors
    /// When the lock file or the compiler's version cannot be read.
    pub fn new(paths: &Paths, folder: &str) -> Result<Self> {
        let mut hasher = Sha256::new();
        for input in ["Cargo.lock", "Cargo.toml", ".cargo/config.toml"] {
            hasher
                .update(fs::read(paths.root.join(input)).with_context(|| format!("read {input}"))?);
        }
        hasher.update(process::output(
            process::cargo().args(["version", "--verbose"]),
        )?);
        hasher.update(std::env::var("RUSTFLAGS").unwrap_or_default());
        let key = hex(&hasher.finalize());
        let shelf = paths.cache.join("dependencies").join(folder);
        Ok(Self {
            cached: shelf.join(key),
            shelf,
            target: paths.cargo_target.join(folder),
            cache: paths.cache.clone(),
        })
    }

    /// Copies the seed into cargo's folder unless something was built there.
    ///
    /// # Errors
    /// When copying fails.
    pub fn plant(&self) -> Result<()> {
        let planted = self.target.join(".seed");
        if planted.is_file() || !self.cached.join(COMPLETE).is_file() {
            return Ok(());
        }
        let _lock = lock_cache(&self.cache, "dependencies")?;
        println!("taking compiled dependencies from the cache");
        for part in PARTS {
            copy_new(&self.cached.join(part), &self.target.join(part))?;
        }
        fs::write(planted, "")?;
        Ok(())
    }

    /// Copies compiled dependencies to the cache unless they are there.
    ///
    /// # Errors
    /// When copying fails.
    pub fn harvest(&self) -> Result<()> {
        let planted = self.target.join(".seed");
        if !self.cached.join(COMPLETE).is_file() {
            let _lock = lock_cache(&self.cache, "dependencies")?;
            println!("keeping compiled dependencies in the cache");
            // A lock file that changed makes the older seeds useless.
            let _ = fs::remove_dir_all(&self.shelf);
            for part in PARTS {
                copy_foreign(&self.target.join(part), &self.cached.join(part))?;
            }
            fs::write(self.cached.join(COMPLETE), "")?;
        }
        fs::write(planted, "")?;
        Ok(())
    }
}

/// Says whether a file or folder of cargo's belongs to the workspace.
fn is_ours(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let name = name.strip_prefix("lib").unwrap_or(&name);
    ["modeltap", "xtask", "predictor", "chat", "traffic"]
        .iter()
        .any(|ours| name.starts_with(ours))
}

/// `cp` keeps times to the nanosecond, which cargo compares, and shares the
/// blocks where the file system can.
fn copy(from: &[PathBuf], to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    // Far below the system's limit on a command line.
    for some in from.chunks(200) {
        let mut cp = process::clean("cp");
        cp.args(["-a", "--reflink=auto", "-t"]).arg(to).args(some);
        process::run(&mut cp)?;
    }
    Ok(())
}

fn copy_foreign(from: &Path, to: &Path) -> Result<()> {
    let mut foreign = Vec::new();
    for entry in fs::read_dir(from).with_context(|| format!("read {from:?}"))? {
        let entry = entry?;
        if !is_ours(&entry.file_name()) {
            foreign.push(entry.path());
        }
    }
    copy(&foreign, to)
}

fn copy_new(from: &Path, to: &Path) -> Result<()> {
    let mut new = Vec::new();
    for entry in fs::read_dir(from).with_context(|| format!("read {from:?}"))? {
        let entry = entry?;
        if !to.join(entry.file_name()).exists() {
            new.push(entry.path());
        }
    }
    copy(&new, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_others_are_kept() {
        for (name, expected) in [
            ("libserde-0a1b.rlib", false),
            ("serde-0a1b", false),
            ("libmodeltap_core-0a1b.rmeta", true),
            ("modeltap-api-0a1b", true),
            ("xtask-0a1b", true),
            ("libtracing-0a1b.rlib", false),
        ] {
            assert_eq!(is_ours(OsStr::new(name)), expected, "{name}");
        }
    }
}
