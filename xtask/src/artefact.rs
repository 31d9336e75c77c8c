//! Things built from known inputs, found again by the inputs' content.
//!
//! An artefact is a folder made from input files and a description of the
//! tools. Its key is the hash of both. The folder in the clone is up to date
//! when it carries the key; otherwise it comes from the cache, where any clone
//! may have left it, and only then is it built. Times of files play no part: a
//! clone that is older than the cache must not get another clone's build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::duckdb::hex;
use crate::paths::{Paths, lock_cache};

/// Holds the key of the folder it lies in.
const STAMP: &str = ".key";
/// Builds kept of each artefact, the newest first.
const KEPT: usize = 4;

/// One thing to build.
pub struct Artefact<'a> {
    /// Its name, also of its folder in the cache.
    pub name: &'a str,
    /// Files and folders that it is made from, relative to the workspace.
    pub inputs: &'a [&'a str],
    /// Parts of the inputs that do not matter, relative to the workspace.
    pub without: &'a [&'a str],
    /// The tools and their options.
    pub tools: String,
    /// Where it belongs in the clone.
    pub folder: PathBuf,
}

impl Artefact<'_> {
    /// Brings the artefact up to date; `build` gets an empty folder to fill
    /// and a folder for cargo that is kept between builds.
    ///
    /// Returns whether the folder in the clone changed.
    ///
    /// # Errors
    /// When it cannot be built; the folder in the clone is then as before.
    pub fn ensure(
        &self,
        paths: &Paths,
        build: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<bool> {
        let key = self.key(&paths.root)?;
        if fs::read_to_string(self.folder.join(STAMP)).is_ok_and(|stamp| stamp == key) {
            return Ok(false);
        }
        let _lock = lock_cache(&paths.cache, self.name)?;
        let shelf = paths.cache.join("artefacts").join(self.name);
        let cached = shelf.join(&key);
        if !cached.join(STAMP).is_file() {
            println!("building the {}", self.name);
            let workshop = paths.cache.join("build").join(self.name);
            enter_workshop(&workshop, &paths.root)?;
            let staged = shelf.join("staged");
            let _ = fs::remove_dir_all(&staged);
            fs::create_dir_all(&staged)?;
            build(&staged, &workshop)?;
            fs::write(staged.join(STAMP), &key)?;
            let _ = fs::remove_dir_all(&cached);
            fs::rename(&staged, &cached)?;
        }
        prune(&shelf, &cached)?;
        let _ = fs::remove_dir_all(&self.folder);
        copy_folder(&cached, &self.folder)?;
        Ok(true)
    }

    fn key(&self, root: &Path) -> Result<String> {
        let mut hasher = Sha256::new();
        hasher.update(&self.tools);
        for input in self.inputs {
            let mut files = Vec::new();
            list_files(&root.join(input), &mut files)?;
            files.sort();
            for file in files {
                let name = file.strip_prefix(root).unwrap_or(&file);
                if self.without.iter().any(|part| name.starts_with(part)) {
                    continue;
                }
                let content = fs::read(&file).with_context(|| format!("read {file:?}"))?;
                hasher.update(name.as_os_str().as_encoded_bytes());
                hasher.update([0]);
                hasher.update(content.len().to_le_bytes());
                hasher.update(content);
            }
        }
        Ok(hex(&hasher.finalize()))
    }
}

/// Prepares cargo's folder for this clone.
///
/// Cargo tells by times whether a package of the workspace changed, and takes
/// the same package of two clones for one. What another clone left of ours is
/// therefore forgotten; the dependencies, nearly all of the work, stay.
fn enter_workshop(workshop: &Path, root: &Path) -> Result<()> {
    fs::create_dir_all(workshop)?;
    let owner = workshop.join("clone");
    let ours = root.to_string_lossy();
    if fs::read_to_string(&owner).is_ok_and(|owner| owner == ours) {
        return Ok(());
    }
    forget_members(workshop)?;
    fs::write(&owner, ours.as_bytes())?;
    Ok(())
}

fn forget_members(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == ".fingerprint") {
            for fingerprint in fs::read_dir(&path)? {
                let fingerprint = fingerprint?;
                if fingerprint
                    .file_name()
                    .to_string_lossy()
                    .starts_with("modeltap")
                {
                    fs::remove_dir_all(fingerprint.path())?;
                }
            }
        } else if path
            .file_name()
            .is_none_or(|name| name != "deps" && name != "build")
        {
            forget_members(&path)?;
        }
    }
    Ok(())
}

fn prune(shelf: &Path, keep: &Path) -> Result<()> {
    let mut builds = Vec::new();
    for entry in fs::read_dir(shelf)? {
        let path = entry?.path();
        if path != keep && path.join(STAMP).is_file() {
            builds.push((fs::metadata(path.join(STAMP))?.modified()?, path));
        }
    }
    builds.sort();
    builds.reverse();
    for (_, path) in builds.iter().skip(KEPT - 1) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {to:?}"))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {from:?}"))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("write {target:?}"))?;
        }
    }
    Ok(())
}

fn list_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            list_files(&entry?.path(), files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn clone_at(root: &Path, cache: &Path, text: &str) -> Paths {
        fs::create_dir_all(root.join("src/out")).unwrap();
        fs::create_dir_all(cache).unwrap();
        fs::write(root.join("src/input"), text).unwrap();
        fs::write(root.join("src/out/ignored"), root.to_str().unwrap()).unwrap();
        Paths {
            root: root.to_owned(),
            cache: cache.to_owned(),
            cargo_target: root.join("target"),
        }
    }

    fn ensure(paths: &Paths, n_builds: &Cell<u32>) -> (bool, String) {
        let artefact = Artefact {
            name: "thing",
            inputs: &["src"],
            without: &["src/out"],
            tools: "tool 1".to_owned(),
            folder: paths.root.join("target/thing"),
        };
        let changed = artefact
            .ensure(paths, |folder, _| {
                n_builds.set(n_builds.get() + 1);
                fs::copy(paths.root.join("src/input"), folder.join("output"))?;
                Ok(())
            })
            .unwrap();
        let built = fs::read_to_string(paths.root.join("target/thing/output")).unwrap();
        (changed, built)
    }

    #[test]
    fn same_content_is_built_once_for_all_clones() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let n_builds = Cell::new(0);
        let first = clone_at(&folder.path().join("one"), &cache, "a");
        assert_eq!(ensure(&first, &n_builds), (true, "a".to_owned()));
        assert_eq!(ensure(&first, &n_builds), (false, "a".to_owned()));
        let second = clone_at(&folder.path().join("two"), &cache, "a");
        assert_eq!(ensure(&second, &n_builds), (true, "a".to_owned()));
        assert_eq!(n_builds.get(), 1);
    }

    #[test]
    fn changed_content_is_built_anew_and_the_old_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let n_builds = Cell::new(0);
        let root = folder.path().join("one");
        for (text, expected_builds) in [("a", 1), ("b", 2), ("a", 2)] {
            let paths = clone_at(&root, &cache, text);
            assert_eq!(ensure(&paths, &n_builds), (true, text.to_owned()));
            assert_eq!(n_builds.get(), expected_builds, "{text}");
        }
    }

    #[test]
    fn another_clone_forgets_the_members_but_not_the_dependencies() {
        let folder = tempfile::tempdir().unwrap();
        let workshop = folder.path();
        let fingerprints = workshop.join("wasm32/release/.fingerprint");
        for name in ["modeltap-web-12", "serde-34"] {
            fs::create_dir_all(fingerprints.join(name)).unwrap();
        }
        fs::write(workshop.join("clone"), "one").unwrap();
        enter_workshop(workshop, Path::new("one")).unwrap();
        assert!(fingerprints.join("modeltap-web-12").exists());
        enter_workshop(workshop, Path::new("two")).unwrap();
        assert!(!fingerprints.join("modeltap-web-12").exists());
        assert!(fingerprints.join("serde-34").exists());
    }
}
