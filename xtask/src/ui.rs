//! Builds the page.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::artefact::{Artefact, copy_folder};
use crate::paths::Paths;
use crate::process;
use crate::toolchain::Tools;

const PACKAGE: &str = "modeltap-web";
const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "wasm-release";
/// What brotli makes smaller; pictures and fonts are compressed already.
const COMPRESSED: [&str; 6] = ["css", "html", "js", "json", "svg", "wasm"];
/// Views are boxed instead of spelled out in types of kilobytes: a tenth less
/// to load.
const ERASED: &str = "target.wasm32-unknown-unknown.rustflags=['--cfg=erase_components']";
const BROTLI_QUALITY: u32 = 11;
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 64 * 1024;

/// Brings `web-ui/dist` up to date; returns whether it changed.
///
/// # Errors
/// When the compiler or wasm-bindgen fails.
pub fn ensure(paths: &Paths, tools: &Tools) -> Result<bool> {
    let artefact = Artefact {
        name: "page",
        inputs: &[
            "web-ui",
            "userspace/crates/api-types",
            "Cargo.toml",
            "Cargo.lock",
        ],
        without: &["web-ui/dist"],
        tools: format!("{} {PROFILE} {ERASED} without names", tools.identity()?),
        folder: paths.ui(),
    };
    artefact.ensure(paths, |folder, workshop| {
        build(paths, tools, folder, workshop)
    })
}

fn build(paths: &Paths, tools: &Tools, folder: &Path, workshop: &Path) -> Result<()> {
    let mut cargo = tools.wasm_cargo();
    cargo
        .args([
            "--locked",
            "--quiet",
            "--package",
            PACKAGE,
            "--profile",
            PROFILE,
            "--target",
            TARGET,
            "--config",
            ERASED,
        ])
        .arg("--target-dir")
        .arg(workshop)
        .current_dir(&paths.root);
    process::run(&mut cargo).context("build the page")?;
    let wasm = workshop
        .join(TARGET)
        .join(PROFILE)
        .join(format!("{PACKAGE}.wasm"));
    // Leptos' types have names of kilobytes: without them the module is a
    // fraction of its size.
    Bindgen::new()
        .input_path(&wasm)
        .remove_name_section(true)
        .remove_producers_section(true)
        .web(true)
        .and_then(|bindgen| bindgen.typescript(false).out_name(PACKAGE).generate(folder))
        .with_context(|| format!("bind {wasm:?}"))?;
    let sources = paths.root.join("web-ui");
    fs::copy(sources.join("index.html"), folder.join("index.html"))
        .context("copy web-ui/index.html")?;
    let assets = sources.join("static");
    if assets.is_dir() {
        copy_folder(&assets, &folder.join("static"))?;
    }
    compress_folder(folder)
}

fn compress_folder(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            compress_folder(&path)?;
        } else if let Some(extension) = path.extension().and_then(|extension| extension.to_str())
            && COMPRESSED.contains(&extension)
        {
            let compressed = path.with_extension(format!("{extension}.br"));
            let content = fs::read(&path)?;
            fs::write(&compressed, compress(&content)?)?;
        }
    }
    Ok(())
}

fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let mut writer = brotli::CompressorWriter::new(
        &mut compressed,
        BROTLI_BUFFER,
        BROTLI_QUALITY,
        BROTLI_WINDOW,
    );
    writer.write_all(content)?;
    writer.flush()?;
    drop(writer);
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_sibling_holds_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let text = "the same line again\n".repeat(500);
        fs::create_dir(folder.path().join("static")).unwrap();
        fs::write(folder.path().join("static/app.css"), &text).unwrap();
        fs::write(folder.path().join("picture.png"), "png").unwrap();
        compress_folder(folder.path()).unwrap();
        let compressed = fs::read(folder.path().join("static/app.css.br")).unwrap();
        assert!(compressed.len() < text.len() / 10, "{}", compressed.len());
        let mut restored = Vec::new();
        brotli::BrotliDecompress(&mut compressed.as_slice(), &mut restored).unwrap();
        assert_eq!(restored, text.as_bytes());
        assert!(!folder.path().join("picture.png.br").exists());
    }
}
