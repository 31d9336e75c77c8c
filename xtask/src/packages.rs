//! The distribution's packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Says whether packages can be installed here: on Debian or a relative of
/// it, as root.
pub fn can_install() -> bool {
    process::is_root() && is_debian()
}

/// Installs `packages` after saying so; those already there cost nothing.
///
/// # Errors
/// Where packages cannot be installed: the error names them and `purpose`.
pub fn ensure(packages: &[&str], purpose: &str) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !can_install() {
        bail!(
            "{purpose} needs packages that are not here: {list} (Debian's names); \
             install them, or run this as root on Debian"
        );
    }
    println!("installing Debian packages for {purpose}: {list}");
    // A fresh machine has no package lists, or old ones that name versions
    // the mirrors no longer have.
    process::run(apt().args(["-qq", "update"])).context("update the package lists")?;
    process::run(
        apt()
            .args(["-qq", "install", "--yes", "--no-install-recommends"])
            .args(&missing),
    )
    .with_context(|| format!("install {list}"))
}

/// Unpacks a package, without what it depends on, into a new `folder`, after
/// saying so: nothing of it is installed or started.
///
/// # Errors
/// Where packages cannot be had: the error names it and `purpose`.
pub fn unpack(package: &str, folder: &Path, purpose: &str) -> Result<()> {
    if !can_install() {
        bail!(
            "{purpose} needs the program of the package {package} (Debian's name); \
             run this as root on Debian"
        );
    }
    println!("unpacking a Debian package for {purpose}: {package}");
    fs::create_dir_all(folder).with_context(|| format!("create {folder:?}"))?;
    process::run(apt().args(["-qq", "update"])).context("update the package lists")?;
    let mut download = apt();
    // As root: nobody else may write to the folder.
    download.args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]);
    process::run(download.current_dir(folder)).with_context(|| format!("download {package}"))?;
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        if file.extension().is_some_and(|kind| kind == "deb") {
            let mut unpack = process::clean("dpkg-deb");
            process::run(unpack.arg("--extract").arg(&file).arg(folder))
                .with_context(|| format!("unpack {file:?}"))?;
            fs::remove_file(&file)?;
        }
    }
    Ok(())
}

fn apt() -> Command {
    let mut apt = process::clean("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    // Progress of a dozen packages says nothing; errors go to stderr.
    apt.stdout(std::process::Stdio::null());
    apt
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    process::output(&mut query).is_ok_and(|status| status == "installed")
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|release| names_debian(&release))
}

fn names_debian(os_release: &str) -> bool {
    os_release.lines().any(|line| {
        let Some((key, value)) = line.split_once('=') else {
            return false;
        };
        matches!(key, "ID" | "ID_LIKE")
            && value
                .trim_matches('"')
                .split(' ')
                .any(|name| name == "debian")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_relatives_are_known() {
        for (release, expected) in [
            ("PRETTY_NAME=\"Debian\"\nID=debian\n", true),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=pop\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\nNAME=\"not debian\"\n", false),
            ("", false),
        ] {
            assert_eq!(names_debian(release), expected, "{release}");
        }
    }
}
