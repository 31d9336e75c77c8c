//! Finds the built page that the library embeds.
//!
//! `cargo xtask build` leaves it in `web-ui/dist`; `UI_DIST` names another
//! folder. A bare `cargo check` works without: it embeds a page that says how
//! to build the real one.

use std::path::PathBuf;
use std::{env, fs};

const STUB: &str = "<!doctype html><title>modeltap</title><p>This binary was built without its \
                    page: build it with <code>cargo xtask build</code>. The API is at \
                    <a href=/api/v1/status>/api/v1/status</a>.";

fn main() {
    println!("cargo::rerun-if-env-changed=UI_DIST");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let sources = manifest.join("../../../web-ui");
    let built = env::var_os("UI_DIST").map_or_else(|| sources.join("dist"), PathBuf::from);
    let folder = if built.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", built.display());
        built
    } else {
        println!("cargo::rerun-if-changed={}", sources.display());
        let stub = out.join("stub");
        fs::create_dir_all(&stub).expect("the build's own folder is writable");
        fs::write(stub.join("index.html"), STUB).expect("the build's own folder is writable");
        stub
    };
    println!("cargo::rustc-env=MODELTAP_UI_DIST={}", folder.display());
}
