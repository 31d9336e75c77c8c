//! Debian's kernels, unpacked in the cache: none of them is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::paths::Paths;
use crate::process;

/// A line of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Line {
    /// Too old: must be told so.
    #[value(name = "5.10")]
    V5_10,
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    #[value(name = "6.18")]
    V6_18,
    /// The newest that Debian has.
    Latest,
}

impl Line {
    /// How the names of its packages begin.
    fn prefix(self) -> &'static str {
        match self {
            Self::V5_10 => "linux-image-5.10.",
            Self::V6_1 => "linux-image-6.1.",
            Self::V6_12 => "linux-image-6.12.",
            Self::V6_18 => "linux-image-6.18.",
            Self::Latest => "linux-image-",
        }
    }
}

/// Releases that carry them, and whose archive they are in.
const SUITES: [(&str, &str); 5] = [
    ("Debian", "bullseye"),
    ("Debian-Security", "bullseye-security"),
    ("Debian", "bookworm"),
    ("Debian", "trixie"),
    ("Debian", "trixie-backports"),
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` tells it.
    pub version: String,
    /// What is booted.
    pub image: PathBuf,
    /// The folder that `lib/modules` is in.
    pub base: PathBuf,
}

impl Kernel {
    /// Finds the newest package of a line, and unpacks it if it is not there.
    ///
    /// # Errors
    /// When the archive cannot be reached or has none.
    pub fn get(paths: &Paths, line: Line) -> Result<Self> {
        let folder = paths.cache.join("kernels");
        let archive = Archive::open(&folder.join("archive"))?;
        let package = archive.newest(line)?;
        let unpacked = folder.join(&package);
        if !unpacked.is_dir() {
            let workshop = folder.join(format!("{package}.new"));
            let _ = fs::remove_dir_all(&workshop);
            archive.unpack(&package, &workshop)?;
            fs::rename(&workshop, &unpacked)?;
        }
        Self::of(&unpacked).with_context(|| format!("{unpacked:?} holds no kernel"))
    }

    fn of(unpacked: &Path) -> Option<Self> {
        // Newer packages have everything below `usr`.
        let bases = [unpacked.to_path_buf(), unpacked.join("usr")];
        let base = bases
            .into_iter()
            .find(|base| base.join("lib/modules").is_dir())?;
        let modules = fs::read_dir(base.join("lib/modules"))
            .ok()?
            .flatten()
            .next()?;
        let version = modules.file_name().into_string().ok()?;
        let images = [
            unpacked.join("boot").join(format!("vmlinuz-{version}")),
            modules.path().join("vmlinuz"),
        ];
        let image = images.into_iter().find(|image| image.is_file())?;
        Some(Self {
            version,
            image,
            base,
        })
    }
}

/// Debian's package lists of several releases, apart from the machine's own.
struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// Reads the lists anew if they are older than a day.
    fn open(state: &Path) -> Result<Self> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(folder))?;
        }
        let shown = |part: &str| state.join(part).display().to_string();
        let archive = Self {
            options: [
                ("Dir::State", shown("")),
                ("Dir::State::lists", shown("lists")),
                ("Dir::State::status", "/dev/null".to_owned()),
                ("Dir::Cache", shown("cache")),
                ("Dir::Etc::sourcelist", shown("sources.list")),
                ("Dir::Etc::sourceparts", "-".to_owned()),
                ("APT::Sandbox::User", "root".to_owned()),
            ]
            .into_iter()
            .flat_map(|(name, value)| ["-o".to_owned(), format!("{name}={value}")])
            .collect(),
        };
        let stamp = state.join("sources.list");
        let age = fs::metadata(&stamp).and_then(|metadata| metadata.modified());
        let is_fresh = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() < 86_400));
        if !is_fresh {
            println!("reading Debian's lists of kernels");
            fs::write(&stamp, sources()?)?;
            let read = process::run(archive.apt("apt-get").args(["-qq", "update"]));
            if read.is_err() {
                let _ = fs::remove_file(&stamp);
            }
            read.context("read the package lists")?;
        }
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = process::clean(program);
        apt.args(&self.options);
        apt
    }

    fn newest(&self, line: Line) -> Result<String> {
        let names = process::output(self.apt("apt-cache").args(["pkgnames", line.prefix()]))?;
        names
            .lines()
            .filter(|name| is_plain(name, line))
            .max_by_key(|name| numbers(name))
            .map(str::to_owned)
            .with_context(|| format!("Debian has no package {}*", line.prefix()))
    }

    /// Unpacks a kernel's package, and those that hold its parts.
    fn unpack(&self, package: &str, folder: &Path) -> Result<()> {
        println!("unpacking {package}");
        fs::create_dir_all(folder)?;
        let needed = process::output(self.apt("apt-cache").args(["depends", package]))?;
        let parts = needed.lines().filter_map(|line| {
            let (_, part) = line.split_once("Depends: ")?;
            let is_part = ["linux-base-", "linux-binary-", "linux-modules-"]
                .iter()
                .any(|prefix| part.starts_with(prefix));
            is_part.then_some(part)
        });
        let mut download = self.apt("apt-get");
        download.args(["-qq", "download", package]).args(parts);
        process::run(download.current_dir(folder)).context("download a kernel")?;
        for entry in fs::read_dir(folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|kind| kind == "deb") {
                let mut extract = process::clean("dpkg-deb");
                process::run(extract.arg("--extract").arg(&file).arg(folder))?;
                fs::remove_file(&file)?;
            }
        }
        Ok(())
    }
}

/// The releases, at the mirrors that this machine is set up with.
fn sources() -> Result<String> {
    let mut targets = process::clean("apt-get");
    targets.args(["indextargets", "--format", "$(LABEL) $(REPO_URI)"]);
    let targets = process::output(&mut targets)?;
    let mirror = |label: &str| {
        targets.lines().find_map(|line| {
            let (of, mirror) = line.split_once(' ')?;
            (of == label).then_some(mirror)
        })
    };
    let mut sources = String::new();
    for (label, suite) in SUITES {
        if let Some(mirror) = mirror(label) {
            sources += &format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
        }
    }
    if sources.is_empty() {
        bail!("kernels come from Debian's archive: this machine has no mirror of it");
    }
    Ok(sources)
}

/// Whether a package is the ordinary kernel of an ordinary machine.
fn is_plain(name: &str, line: Line) -> bool {
    let Some(rest) = name.strip_prefix("linux-image-") else {
        return false;
    };
    let Some(version) = rest.strip_suffix("-amd64") else {
        return false;
    };
    version.starts_with(|first: char| first.is_ascii_digit())
        && name.starts_with(line.prefix())
        && !["cloud", "rt", "unsigned", "dbg"]
            .iter()
            .any(|kind| version.split('-').any(|part| part == *kind))
}

/// The numbers in a name, for comparison.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|each: char| !each.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_kernels_of_a_line_are_told_from_others() {
        for (name, line, expected) in [
            ("linux-image-6.1.0-50-amd64", Line::V6_1, true),
            ("linux-image-6.12.117+deb13-amd64", Line::V6_1, false),
            ("linux-image-6.12.117+deb13-amd64", Line::V6_12, true),
            ("linux-image-6.12.117+deb13-cloud-amd64", Line::V6_12, false),
            ("linux-image-6.1.0-50-rt-amd64", Line::V6_1, false),
            ("linux-image-6.1.0-50-amd64-unsigned", Line::V6_1, false),
            ("linux-image-7.3.4+deb13-amd64", Line::Latest, true),
            ("linux-image-amd64", Line::Latest, false),
        ] {
            assert_eq!(is_plain(name, line), expected, "{name}");
        }
    }

    #[test]
    fn higher_numbers_are_newer() {
        assert!(numbers("linux-image-6.1.0-50-amd64") > numbers("linux-image-6.1.0-9-amd64"));
        assert!(numbers("linux-image-7.3.4+deb13-amd64") > numbers("linux-image-7.1.13-amd64"));
    }
}
