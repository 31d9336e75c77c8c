//! Packs the daemon for another machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::duckdb::{self, LIBRARY};
use crate::paths::Paths;
use crate::process;

/// Makes `target/dist/modeltap-VERSION-ARCH.tar.gz` and its checksum.
///
/// # Errors
/// When a file is missing or cannot be written.
pub fn pack(paths: &Paths, daemon: &Path) -> Result<()> {
    let name = format!(
        "modeltap-{}-{}-linux",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let dist = paths.root.join("target/dist");
    let folder = dist.join(&name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let files = [
        (daemon.to_owned(), "modeltap"),
        (paths.native().join(LIBRARY), LIBRARY),
        (paths.root.join("LICENSE"), "LICENSE"),
        (paths.root.join("README.md"), "README.md"),
    ];
    for (from, to) in files {
        fs::copy(&from, folder.join(to)).with_context(|| format!("copy {from:?}"))?;
    }
    let archive = dist.join(format!("{name}.tar.gz"));
    let mut tar = process::clean("tar");
    // The same content gives the same archive.
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
    ])
    .args(["--use-compress-program=gzip -n", "-cf"])
    .arg(&archive)
    .arg("-C")
    .arg(&dist)
    .arg(&name);
    process::run(&mut tar)?;
    let sum = duckdb::sha256(&archive)?;
    fs::write(
        dist.join(format!("{name}.tar.gz.sha256")),
        format!("{sum}  {name}.tar.gz\n"),
    )?;
    println!("packed {}", archive.display());
    println!("SHA-256 {sum}");
    Ok(())
}
