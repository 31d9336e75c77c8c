//! Where things are: the clone, its build folder and the cache.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folders that the commands work in.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The workspace's top folder.
    pub root: PathBuf,
    /// What was built and installed once, shared by all clones.
    pub cache: PathBuf,
    /// Where cargo puts what it builds for the host.
    pub cargo_target: PathBuf,
}

impl Paths {
    /// Finds the folders; creates the cache.
    ///
    /// # Errors
    /// When the workspace cannot be found or the cache cannot be created.
    pub fn find() -> Result<Self> {
        // Cargo tells where the package is. The compile-time constant would
        // name the clone that built this binary, which may be another one.
        let root = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(package) => PathBuf::from(package).join(".."),
            None => env::current_dir()?,
        };
        let root = root.canonicalize()?;
        if !root.join("xtask/Cargo.toml").is_file() {
            bail!("run `cargo xtask` inside the workspace, not in {root:?}");
        }
        let cache = cache_folder()?;
        fs::create_dir_all(&cache).with_context(|| {
            format!("create the cache folder {cache:?} (MODELTAP_CACHE names another)")
        })?;
        let cargo_target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self {
            root,
            cache,
            cargo_target,
        })
    }

    /// The folder of DuckDB's library, as `.cargo/config.toml` names it.
    pub fn native(&self) -> PathBuf {
        self.root.join("target/native")
    }

    /// The folder of the compiled probes.
    pub fn probes(&self) -> PathBuf {
        self.root.join("target/probes")
    }

    /// The folder of the statically linked sample servers.
    pub fn demo(&self) -> PathBuf {
        self.root.join("target/demo")
    }

    /// The folder of the built page.
    pub fn ui(&self) -> PathBuf {
        self.root.join("web-ui/dist")
    }
}

/// Holds the lock on a part of the cache until it is dropped; waits for other
/// holders.
pub fn lock_cache(cache: &Path, part: &str) -> Result<File> {
    let path = cache.join(format!("{part}.lock"));
    let file = File::create(&path).with_context(|| format!("open {path:?}"))?;
    if file.try_lock().is_err() {
        println!("waiting for another `cargo xtask` that makes the {part}");
        file.lock().with_context(|| format!("lock {path:?}"))?;
    }
    Ok(file)
}

fn cache_folder() -> Result<PathBuf> {
    let named = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(cache) = named("MODELTAP_CACHE") {
        return Ok(std::path::absolute(cache)?);
    }
    if let Some(cache) = named("XDG_CACHE_HOME") {
        return Ok(cache.join("modeltap"));
    }
    let home = named("HOME").context("neither MODELTAP_CACHE nor HOME is set")?;
    Ok(home.join(".cache/modeltap"))
}
