//! DuckDB's library, prebuilt: compiling it takes 40 minutes of processor time.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::npm::File;
use crate::paths::Paths;

pub const LIBRARY: &str = "libduckdb.so";
/// Must be the version that the crate `duckdb` in `Cargo.toml` binds.
const VERSION: &str = "1.5.6";
/// The project's own packages for Node carry the plain library (MIT licence).
const PACKAGE: &str = "@duckdb/node-bindings-linux-x64@1.5.6-r.1";
const LIBRARY_SHA256: &str = "3f4962cdd266eab2b479a5b5a4a6d063d279b2954ae814ed00385d553b747633";

/// Puts the library where cargo's configuration says it is.
///
/// `DUCKDB_LIB_DIR`, where the user set it, names a library of their own.
///
/// # Errors
/// When it can neither be found nor fetched; the error says how to provide it.
pub fn ensure(paths: &Paths) -> Result<()> {
    let wanted = paths.native().join(LIBRARY);
    if let Some(own) = own_library(paths) {
        println!(
            "using DuckDB's library of DUCKDB_LIB_DIR, {}",
            own.display()
        );
        return install(&own, &wanted);
    }
    let cached = paths.cache.join(format!("duckdb-{VERSION}")).join(LIBRARY);
    if !cached.is_file() {
        fetch(paths, &cached)?;
    }
    install(&cached, &wanted)
}

/// Copies the library beside a binary, which looks for it there.
///
/// # Errors
/// When it cannot be copied.
pub fn place_beside(paths: &Paths, binary: &Path) -> Result<()> {
    let folder = binary.parent().context("a binary has a folder")?;
    install(&paths.native().join(LIBRARY), &folder.join(LIBRARY))
}

fn own_library(paths: &Paths) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os("DUCKDB_LIB_DIR")?);
    // Cargo's configuration sets the variable too, to our own folder.
    let is_ours = folder == paths.native()
        || folder.canonicalize().ok() == paths.native().canonicalize().ok();
    let library = folder.join(LIBRARY);
    (!is_ours && library.is_file()).then_some(library)
}

fn fetch(paths: &Paths, cached: &Path) -> Result<()> {
    let advice = format!("put {LIBRARY} {VERSION} into a folder and set DUCKDB_LIB_DIR to it");
    if !cfg!(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    )) {
        bail!("DuckDB's library can only be fetched for x86-64 Linux with glibc; {advice}");
    }
    let file = File {
        package: PACKAGE,
        path: LIBRARY,
        sha256: LIBRARY_SHA256,
    };
    file.ensure(paths, cached, "DuckDB's library")
        .with_context(|| advice)
}

/// Copies unless the same file is there; size and time tell.
fn install(from: &Path, to: &Path) -> Result<()> {
    let source = fs::metadata(from).with_context(|| format!("read {from:?}"))?;
    if let Ok(there) = fs::metadata(to)
        && there.len() == source.len()
        && there.modified()? >= source.modified()?
    {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a library has a folder")?)?;
    // A running daemon has the old file mapped: replace it, never rewrite it.
    let staged = to.with_extension("new");
    fs::copy(from, &staged).with_context(|| format!("copy {from:?} to {staged:?}"))?;
    fs::rename(&staged, to)?;
    Ok(())
}

/// Returns the SHA-256 of a file in hexadecimal.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("open {path:?}"))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// Writes bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_the_standard_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&file).unwrap(), expected);
    }

    #[test]
    fn install_replaces_a_file_of_another_size() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("deep/to.so"));
        fs::write(&from, "one").unwrap();
        install(&from, &to).unwrap();
        fs::write(&from, "three").unwrap();
        install(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "three");
    }
}
