//! Receivers of alerts that the tests send to: a mail server, an Alertmanager.

use std::fs;

use anyhow::{Context, Result};

use crate::packages;
use crate::paths::{Paths, lock_cache};

/// Folder in the cache; the tests look for it there.
const FOLDER: &str = "receivers";

/// Installs what is missing. The Alertmanager is only unpacked: installed, it
/// would be a service of this host from then on.
///
/// # Errors
/// When something is missing that cannot be installed here.
pub fn ensure(paths: &Paths) -> Result<()> {
    const PURPOSE: &str = "the notifiers' tests";
    packages::ensure(&["openssl", "python3-aiosmtpd"], PURPOSE)?;
    let _lock = lock_cache(&paths.cache, FOLDER)?;
    let folder = paths.cache.join(FOLDER);
    if folder.join("usr/bin/prometheus-alertmanager").is_file() {
        return Ok(());
    }
    // What an interrupted run left is no use.
    let fresh = paths.cache.join(format!("{FOLDER}.new"));
    for left in [&fresh, &folder] {
        if left.exists() {
            fs::remove_dir_all(left).with_context(|| format!("remove {left:?}"))?;
        }
    }
    packages::unpack("prometheus-alertmanager", &fresh, PURPOSE)?;
    fs::rename(&fresh, &folder).with_context(|| format!("move to {folder:?}"))
}
