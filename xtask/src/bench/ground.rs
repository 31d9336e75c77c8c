//! What the bench needs beside the daemon: servers and a sender.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::paths::{Paths, lock_cache};
use crate::python::{self, Programs};
use crate::{demo, packages, process, setup};

const PURPOSE: &str = "the bench";
const FASTAPI: Programs = Programs {
    wanted: "xtask/src/bench/requirements.txt",
    folder: "bench-python",
    purpose: PURPOSE,
};
/// nginx's folder in the cache.
const NGINX: &str = "bench-nginx";

/// What is measured, and with what.
pub struct Ground {
    /// The daemon.
    pub daemon: PathBuf,
    /// The folder of `load` and `predictor`, linked statically.
    pub binaries: PathBuf,
    /// The program.
    pub nginx: PathBuf,
    /// The interpreter that has FastAPI and what is compared with modeltap.
    pub python: PathBuf,
}

impl Ground {
    /// Builds or installs what is missing.
    ///
    /// # Errors
    /// When something cannot be had.
    pub fn prepare(paths: &Paths, daemon: Option<&Path>) -> Result<Self> {
        let tools = setup::set_up(paths)?;
        let daemon = match daemon {
            Some(daemon) => daemon.canonicalize().context("find the daemon")?,
            None => build::everything(paths, &tools, Profile::Release)?,
        };
        Ok(Self {
            daemon,
            binaries: demo::ensure_binaries(paths)?,
            nginx: nginx(paths)?,
            python: python::ensure(paths, &FASTAPI)?.join("bin/python"),
        })
    }
}

/// nginx, only unpacked: installed, it would be a service of this host.
fn nginx(paths: &Paths) -> Result<PathBuf> {
    let _lock = lock_cache(&paths.cache, NGINX)?;
    let folder = paths.cache.join(NGINX);
    let program = folder.join("usr/sbin/nginx");
    if !program.is_file() {
        let fresh = paths.cache.join(format!("{NGINX}.new"));
        for left in [&fresh, &folder] {
            if left.exists() {
                fs::remove_dir_all(left).with_context(|| format!("remove {left:?}"))?;
            }
        }
        packages::unpack("nginx", &fresh, PURPOSE)?;
        fs::rename(&fresh, &folder).with_context(|| format!("move to {folder:?}"))?;
    }
    if !process::succeeds(Command::new(&program).arg("-v")) {
        bail!("nginx misses a library: see `ldd {}`", program.display());
    }
    Ok(program)
}
