//! Builds the daemon and what it embeds.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::duckdb;
use crate::paths::Paths;
use crate::probes;
use crate::process;
use crate::seed::Seed;
use crate::toolchain::Tools;
use crate::ui;

const DAEMON: &str = "modeltap";

/// How the daemon is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Without optimisation, quickly.
    Debug,
    /// As it is shipped.
    Release,
}

impl Profile {
    /// Takes the command line's flag.
    pub fn from_debug(debug: bool) -> Self {
        if debug { Self::Debug } else { Self::Release }
    }

    /// The folder that cargo names after it.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the probes, the page and the daemon; returns the daemon's path.
///
/// # Errors
/// When a part does not build.
pub fn everything(paths: &Paths, tools: &Tools, profile: Profile) -> Result<PathBuf> {
    probes::ensure(paths, tools)?;
    let page_changed = ui::ensure(paths, tools)?;
    daemon(paths, profile, page_changed)
}

fn daemon(paths: &Paths, profile: Profile, page_changed: bool) -> Result<PathBuf> {
    if page_changed {
        // The macro that embeds the page tells cargo of the files it saw, not
        // of those that came later.
        forget(paths, "modeltap-api-")?;
    }
    let seed = Seed::new(paths, profile.folder())?;
    seed.plant()?;
    println!("building the daemon ({})", profile.folder());
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--locked", "--package", DAEMON, "--bin", DAEMON])
        .current_dir(&paths.root);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    process::run(&mut cargo).context("build the daemon")?;
    seed.harvest()?;
    let daemon = paths.cargo_target.join(profile.folder()).join(DAEMON);
    duckdb::place_beside(paths, &daemon)?;
    Ok(daemon)
}

fn forget(paths: &Paths, prefix: &str) -> Result<()> {
    for profile in [Profile::Debug, Profile::Release] {
        let fingerprints = paths
            .cargo_target
            .join(profile.folder())
            .join(".fingerprint");
        let Ok(entries) = fs::read_dir(fingerprints) else {
            continue;
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Prepares the daemon; as root, by `sudo` where this is not root already.
pub fn as_root(daemon: &Path) -> Command {
    if process::is_root() {
        return process::clean(daemon);
    }
    println!("the daemon needs root: starting it with sudo");
    let mut sudo = process::clean("sudo");
    sudo.arg(daemon);
    sudo
}

/// Replaces this process with the daemon.
///
/// # Errors
/// When it cannot be started.
pub fn become_daemon(daemon: &Path, arguments: &[OsString]) -> Result<()> {
    let mut command = as_root(daemon);
    let error = command.arg("run").args(arguments).exec();
    Err(error).with_context(|| format!("start {}", process::shown(&command)))
}
