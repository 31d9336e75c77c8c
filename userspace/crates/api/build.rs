//! Finds the built page that the library embeds.
//!
//! `cargo xtask build` sets `UI_DIST`. A bare `cargo check` works without: it
//! embeds a page that says how to build the real one.

use std::path::PathBuf;
use std::{env, fs};

const STUB: &str = "<!doctype html><title>modeltap</title><p>This binary was built without its \
                    page: build it with <code>cargo xtask build</code>. The API is at \
                    <a href=/api/v1/status>/api/v1/status</a>.";

fn main() {
    println!("cargo::rerun-if-env-changed=UI_DIST");
    let folder = env::var_os("UI_DIST")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("stub");
            fs::create_dir_all(&folder).expect("the build's own folder is writable");
            fs::write(folder.join("index.html"), STUB).expect("the build's own folder is writable");
            folder
        });
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rustc-env=MODELTAP_UI_DIST={}", folder.display());
}
