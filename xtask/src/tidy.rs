//! The rules of the architecture that a program can check.
//!
//! Which crate may depend on which, what pure crates may not touch, where
//! `unsafe` and serde may stand, how long a file may be and what lies at the
//! top level. Each rule is a function of text, tested on text.

mod code;
mod graph;
mod layout;
mod source;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process;

/// Folders that hold no sources of ours.
const SKIPPED: [&str; 7] = [
    ".git",
    "target",
    "userspace/crates/protocol/fuzz/artifacts",
    "userspace/crates/protocol/fuzz/target",
    "web-ui/dist",
    "node_modules",
    "web-ui/static/vendor",
];

/// A rule that is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    path: String,
    line: usize,
    rule: String,
}

impl Violation {
    fn new(path: impl Into<String>, line: usize, rule: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

/// Checks every rule in the workspace at `root`.
///
/// # Errors
/// When the sources cannot be read; broken rules are no errors.
pub fn check(root: &Path) -> Result<Vec<Violation>> {
    let mut metadata = process::cargo();
    metadata
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--locked",
            "--offline",
        ])
        .current_dir(root);
    let metadata = serde_json::from_str(&process::output(&mut metadata)?)?;
    let packages = graph::packages(&metadata, root)?;

    let mut files = Vec::new();
    list(root, root, &mut files)?;
    files.sort();
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"));

    let mut violations = graph::check(&packages, |manifest| read(manifest).unwrap_or_default());
    let private = [
        root.to_string_lossy().into_owned(),
        std::env::var("HOME").unwrap_or_default(),
    ];
    for path in &files {
        let Ok(text) = fs::read(root.join(path)).map(String::from_utf8) else {
            continue;
        };
        // Pictures and the like.
        let Ok(text) = text else { continue };
        violations.extend(source::check_text(path, &text, &private));
        if path.ends_with(".rs") {
            violations.extend(source::check_rust(path, &text));
        }
    }
    for root_file in packages.iter().flat_map(|package| &package.roots) {
        violations.extend(source::check_crate_root(root_file, &read(root_file)?));
    }
    let entries = fs::read_dir(root)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    violations.extend(layout::check_top_level(&entries));
    let folders: Vec<_> = packages
        .iter()
        .map(|package| package.folder.as_str())
        .collect();
    let readme = fs::read_to_string(root.join("README.md")).unwrap_or_default();
    violations.extend(layout::check_code_map(&readme, &folders, &files));
    violations.sort();
    violations.dedup();
    Ok(violations)
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {folder:?}"))? {
        let entry = entry?;
        let path = entry.path();
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        if SKIPPED.contains(&name.as_str()) || name.ends_with("node_modules") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violation_names_file_line_and_rule() {
        let violation = Violation::new("userspace/src/main.rs", 7, "no such thing");
        assert_eq!(
            violation.to_string(),
            "userspace/src/main.rs:7: no such thing"
        );
    }
}
