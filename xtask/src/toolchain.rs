//! The compilers for the probes and the page, which are not for the host.
//!
//! An ordinary machine has rustup: a pinned nightly with its sources builds
//! the probes and the page.
//! Where rustup can fetch nothing, Debian's packages of rustc do both. What is
//! there already is used; only then is something installed.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::paths::Paths;
use crate::process;

/// The nightly that builds the probes: rustc 1.97 with LLVM 22, like the
/// linker below.
const NIGHTLY: &str = "nightly-2026-05-20";
const WASM_TARGET: &str = "wasm32-unknown-unknown";
/// The standard library of the page is compiled with it, for size.
const SMALL_STD: [&str; 2] = [
    "-Zbuild-std=std,panic_abort",
    "-Zbuild-std-features=optimize_for_size",
];
const BPF_LINKER_VERSION: &str = "0.13.0";
const DEBIAN_PACKAGES: [&str; 6] = [
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "lld-22",
    "llvm-22-dev",
    "rust-web-src",
    "rustc-web",
];
/// A machine that can fetch the small target answers well within this; it is
/// only asked for to find that out.
const FETCH_TARGET_LIMIT: Duration = Duration::from_secs(120);
const FETCH_NIGHTLY_LIMIT: Duration = Duration::from_secs(900);

/// Which compilers build for targets other than the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// rustup's pinned nightly and its default toolchain.
    Rustup,
    /// Debian's `rustc-web`, at `/usr/bin`.
    Debian,
}

/// The compilers, and the linker for the probes.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Which compilers.
    pub toolchain: Toolchain,
    /// The linker of the probes.
    pub bpf_linker: PathBuf,
}

impl Tools {
    /// Picks the compilers and installs what is missing.
    ///
    /// # Errors
    /// When neither way can be set up; the error says what to install.
    pub fn ensure(paths: &Paths) -> Result<Self> {
        let toolchain = Toolchain::ensure()?;
        let bpf_linker = ensure_bpf_linker(paths, toolchain)?;
        Ok(Self {
            toolchain,
            bpf_linker,
        })
    }

    /// Prepares a cargo that builds the probes.
    pub fn probes_cargo(&self) -> Command {
        match self.toolchain {
            Toolchain::Rustup => {
                let mut cargo = process::clean("rustup");
                cargo.args(["run", NIGHTLY, "cargo", "build", "-Zbuild-std=core"]);
                cargo
            }
            Toolchain::Debian => {
                let mut cargo = debian_cargo();
                // The library core for BPF is part of the package. Naming the
                // crates keeps the others on the stable language.
                cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,aya_log_ebpf,modeltap_probes");
                cargo.arg("build");
                cargo
            }
        }
    }

    /// Prepares a cargo that builds the page.
    pub fn wasm_cargo(&self) -> Command {
        match self.toolchain {
            Toolchain::Rustup => {
                let mut cargo = process::clean("rustup");
                cargo.args(["run", NIGHTLY, "cargo", "build"]);
                cargo.args(SMALL_STD);
                cargo
            }
            Toolchain::Debian => {
                let mut cargo = debian_cargo();
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-22");
                cargo.arg("build");
                cargo.args(SMALL_STD);
                cargo
            }
        }
    }

    /// Prepares a program that removes parts of a BPF object.
    ///
    /// # Errors
    /// When rustup does not know its own toolchain.
    pub fn objcopy(&self) -> Result<Command> {
        match self.toolchain {
            Toolchain::Rustup => {
                let nightly = nightly_folder()?;
                let host = format!("lib/rustlib/{}-unknown-linux-gnu", env::consts::ARCH);
                let mut objcopy = process::clean(nightly.join(host).join("bin/rust-objcopy"));
                // It looks for LLVM beside the compiler, where it no longer is.
                objcopy.env("LD_LIBRARY_PATH", nightly.join("lib"));
                Ok(objcopy)
            }
            Toolchain::Debian => Ok(process::clean("/usr/bin/llvm-objcopy-22")),
        }
    }

    /// Describes the compilers, so that another version builds anew.
    pub fn identity(&self) -> Result<String> {
        let version = match self.toolchain {
            Toolchain::Rustup => {
                let nightly = process::output(
                    process::clean("rustup").args(["run", NIGHTLY, "rustc", "-V"]),
                )?;
                nightly + &process::output(process::clean("rustc").arg("-V"))?
            }
            Toolchain::Debian => process::output(process::clean("/usr/bin/rustc").arg("-V"))?,
        };
        Ok(format!(
            "{:?} {version}bpf-linker {BPF_LINKER_VERSION}",
            self.toolchain
        ))
    }
}

impl Toolchain {
    fn ensure() -> Result<Self> {
        match env::var("MODELTAP_TOOLCHAIN").as_deref() {
            Ok("rustup") if rustup_is_ready() || install_rustup() => return Ok(Self::Rustup),
            Ok("rustup") => bail!("rustup could not install {NIGHTLY}"),
            Ok("debian") => {
                packages::ensure(&DEBIAN_PACKAGES, "the probes and the page")?;
                return Ok(Self::Debian);
            }
            Ok(other) => bail!("MODELTAP_TOOLCHAIN must be rustup or debian, not {other:?}"),
            Err(_) => {}
        }
        if rustup_is_ready() {
            return Ok(Self::Rustup);
        }
        if debian_is_ready() {
            return Ok(Self::Debian);
        }
        if install_rustup() {
            return Ok(Self::Rustup);
        }
        packages::ensure(&DEBIAN_PACKAGES, "the probes and the page").with_context(|| {
            format!(
                "found no compiler for the probes and the page; with rustup: \
                 `rustup toolchain install {NIGHTLY} --component rust-src`"
            )
        })?;
        Ok(Self::Debian)
    }
}

fn rustup_is_ready() -> bool {
    // A nightly without its sources cannot build the libraries core and std.
    nightly_folder().is_ok_and(|nightly| {
        nightly
            .join("lib/rustlib/src/rust/library/Cargo.lock")
            .is_file()
    })
}

fn install_rustup() -> bool {
    if process::which("rustup").is_none() {
        return false;
    }
    println!("installing the Rust target {WASM_TARGET} with rustup");
    let mut target = process::clean("rustup");
    target.args(["target", "add", WASM_TARGET]);
    if !process::succeeds_within(&mut target, FETCH_TARGET_LIMIT) {
        println!("rustup could not fetch it");
        return false;
    }
    println!("installing the Rust toolchain {NIGHTLY} with its sources");
    let mut nightly = process::clean("rustup");
    nightly.args([
        "toolchain",
        "install",
        NIGHTLY,
        "--profile",
        "minimal",
        "--component",
        "rust-src",
    ]);
    // Without this rustup may replace itself, which nobody asked for.
    nightly.arg("--no-self-update");
    let installed = process::succeeds_within(&mut nightly, FETCH_NIGHTLY_LIMIT);
    if !installed {
        println!("rustup could not fetch it");
    }
    installed
}

fn nightly_folder() -> Result<PathBuf> {
    let mut sysroot = process::clean("rustup");
    // Without this rustup would fetch a toolchain that is merely asked about.
    sysroot.env("RUSTUP_AUTO_INSTALL", "0");
    sysroot.args(["run", NIGHTLY, "rustc", "--print", "sysroot"]);
    Ok(PathBuf::from(process::output(&mut sysroot)?.trim()))
}

fn debian_is_ready() -> bool {
    [
        "/usr/bin/cargo",
        "/usr/bin/rustc",
        "/usr/bin/wasm-ld-22",
        "/usr/lib/rustlib/bpfel-unknown-none",
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "/usr/lib/llvm-22/lib/libLLVM.so",
    ]
    .iter()
    .all(|path| Path::new(path).exists())
}

fn debian_cargo() -> Command {
    let mut cargo = process::clean("/usr/bin/cargo");
    cargo.env("RUSTC", "/usr/bin/rustc");
    cargo
}

/// Builds bpf-linker into the cache, against the LLVM that the compiler uses:
/// it reads the compiler's bitcode, which another LLVM need not understand.
fn ensure_bpf_linker(paths: &Paths, toolchain: Toolchain) -> Result<PathBuf> {
    let name = match toolchain {
        Toolchain::Rustup => format!("bpf-linker-{BPF_LINKER_VERSION}-{NIGHTLY}"),
        Toolchain::Debian => format!("bpf-linker-{BPF_LINKER_VERSION}-debian"),
    };
    let folder = paths.cache.join(name);
    let linker = folder.join("bin/bpf-linker");
    // It must also run: the LLVM it was linked with may have been removed.
    if process::succeeds(Command::new(&linker).arg("--version")) {
        return Ok(linker);
    }
    println!("building bpf-linker {BPF_LINKER_VERSION} (about a minute, once)");
    let target_dir = folder.join("target");
    let mut install = process::cargo();
    install
        .args(["install", "bpf-linker", "--locked", "--quiet", "--force"])
        .args([
            "--version",
            BPF_LINKER_VERSION,
            "--no-default-features",
            "--features",
            "llvm-22",
        ])
        .arg("--root")
        .arg(&folder)
        .arg("--target-dir")
        .arg(&target_dir);
    match toolchain {
        Toolchain::Rustup => {
            let nightly = nightly_folder()?;
            let llvm = llvm_of_nightly(&folder, &nightly)?;
            install.env("LLVM_PREFIX", llvm);
            install.env(
                "RUSTFLAGS",
                format!("-Clink-arg=-Wl,-rpath,{}/lib", nightly.display()),
            );
        }
        Toolchain::Debian => {
            install.env("LLVM_PREFIX", "/usr/lib/llvm-22");
        }
    }
    process::run(&mut install).context("build bpf-linker")?;
    let _ = fs::remove_dir_all(&target_dir);
    if !process::succeeds(Command::new(&linker).arg("--version")) {
        bail!("the bpf-linker just built does not run: {linker:?}");
    }
    Ok(linker)
}

/// Makes a folder in which bpf-linker's build finds the nightly's own LLVM,
/// whose file carries a name of its own.
fn llvm_of_nightly(folder: &Path, nightly: &Path) -> Result<PathBuf> {
    let library = fs::read_dir(nightly.join("lib"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("libLLVM.so."))
        })
        .with_context(|| format!("found no libLLVM in {nightly:?}"))?;
    let prefix = folder.join("llvm");
    let link = prefix.join("lib/libLLVM.so");
    fs::create_dir_all(prefix.join("lib"))?;
    let _ = fs::remove_file(&link);
    symlink(library, &link)?;
    Ok(prefix)
}
