//! Builds the BPF object.

use std::path::Path;

use anyhow::{Context, Result};

use crate::artefact::Artefact;
use crate::paths::Paths;
use crate::process;
use crate::toolchain::Tools;

const PACKAGE: &str = "modeltap-probes";
const TARGET: &str = if cfg!(target_endian = "little") {
    "bpfel-unknown-none"
} else {
    "bpfeb-unknown-none"
};

/// Brings `target/probes/modeltap-probes` up to date.
///
/// # Errors
/// When the compiler or the linker fails.
pub fn ensure(paths: &Paths, tools: &Tools) -> Result<()> {
    let artefact = Artefact {
        name: "probes",
        inputs: &["ebpf-probes", "Cargo.toml", "Cargo.lock"],
        without: &[],
        tools: format!(
            "{} {TARGET} {} stripped",
            tools.identity()?,
            std::env::consts::ARCH
        ),
        folder: paths.probes(),
    };
    artefact.ensure(paths, |folder, workshop| {
        build(paths, tools, folder, workshop)
    })?;
    Ok(())
}

fn build(paths: &Paths, tools: &Tools, folder: &Path, workshop: &Path) -> Result<()> {
    let mut cargo = tools.probes_cargo();
    cargo
        .args([
            "--locked",
            "--quiet",
            "--release",
            "--package",
            PACKAGE,
            "--bins",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(workshop)
        .current_dir(&paths.root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(paths, tools).join("\x1f"))
        // The linker optimises the whole program by itself.
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    process::run(&mut cargo).context("build the probes")?;
    let object = workshop.join(TARGET).join("release").join(PACKAGE);
    // The kernel and the loader read the BTF; the rest of the debug
    // information is three quarters of the file, which the daemon embeds.
    let mut strip = tools.objcopy()?;
    strip
        .arg("--strip-debug")
        .args([&object, &folder.join(PACKAGE)]);
    process::run(&mut strip)
}

fn flags(paths: &Paths, tools: &Tools) -> Vec<String> {
    let mut flags = vec![
        // Where aya-ebpf finds a system call's arguments.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        // The types of maps and programs come from the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", tools.bpf_linker.display()),
        // The object is the same wherever the clone is.
        format!("--remap-path-prefix={}=.", paths.root.display()),
    ];
    let cargo_home =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    if let Ok(cargo_home) = cargo_home {
        flags.push(format!("--remap-path-prefix={cargo_home}=cargo"));
    }
    flags
}
