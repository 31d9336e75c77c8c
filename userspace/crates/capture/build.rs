//! Finds the compiled probes that the library embeds.
//!
//! `cargo xtask build` compiles them first. A bare `cargo check` works without:
//! it embeds nothing, and the daemon then says so when it is asked to attach.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=MODELTAP_PROBES");
    let object = env::var_os("MODELTAP_PROBES").map_or_else(
        || {
            let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
            PathBuf::from(manifest).join("../../../target/probes/modeltap-probes")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("probes.o");
    let bytes = fs::read(&object).unwrap_or_default();
    fs::write(&out, bytes).expect("the build's own folder is writable");
}
