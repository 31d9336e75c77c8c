//! axe-core, by which the browser tests measure how accessible the page is.

use anyhow::Result;

use crate::npm::File;
use crate::paths::{Paths, lock_cache};

/// Where the tests look for it in the cache.
const FILE: &str = "axe-core-4.14.1/axe.min.js";
/// Licence MPL-2.0; it is run by tests and part of nothing that is built.
const AXE: File = File {
    package: "axe-core@4.14.1",
    path: "axe.min.js",
    sha256: "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
};

/// Puts it into the cache.
///
/// # Errors
/// When it cannot be fetched.
pub fn ensure(paths: &Paths) -> Result<()> {
    let _lock = lock_cache(&paths.cache, "axe")?;
    AXE.ensure(paths, &paths.cache.join(FILE), "the browser tests")
}
