//! Builds the page.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use brotli::enc::BrotliEncoderParams;
use brotli::enc::backward_references::BrotliEncoderMode;
use wasm_bindgen_cli_support::Bindgen;

use crate::artefact::{Artefact, copy_folder};
use crate::paths::Paths;
use crate::process;
use crate::toolchain::Tools;

const PACKAGE: &str = "modeltap-web";
const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "wasm-release";
/// What brotli makes smaller; pictures and fonts are compressed already.
const COMPRESSED: [&str; 7] = ["css", "html", "js", "json", "svg", "txt", "wasm"];
/// Views are boxed instead of spelled out in types of kilobytes, and a panic
/// stops at once instead of telling nobody why, or where: a tenth less to load
/// each.
const FLAGS: &str = "target.wasm32-unknown-unknown.rustflags=\
    ['--cfg=erase_components','-Zunstable-options','-Cpanic=immediate-abort',\
    '-Zlocation-detail=none','-Zfmt-debug=none']";
/// All that the page is made of, compressed, must fit: it is loaded over slow
/// tunnels too.
const MOST_BYTES: u64 = 350 * 1024;
const BROTLI_QUALITY: i32 = 11;
const BROTLI_WINDOW: i32 = 22;
/// Meant for fonts: it counts no letters, and makes a module a thousand bytes
/// smaller than the mode for anything.
const BROTLI_MODE: BrotliEncoderMode = BrotliEncoderMode::BROTLI_MODE_FONT;
const BROTLI_BUFFER: usize = 64 * 1024;
/// Digits of the hash at the end of a name that wasm-bindgen makes.
const HASH_LENGTH: usize = 16;

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
        without: &["web-ui/dist", "web-ui/docs"],
        tools: format!("{} {PROFILE} {FLAGS} without names", tools.identity()?),
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
            FLAGS,
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
    number_imports(folder)?;
    let sources = paths.root.join("web-ui");
    fs::copy(sources.join("index.html"), folder.join("index.html"))
        .context("copy web-ui/index.html")?;
    let assets = sources.join("static");
    if assets.is_dir() {
        copy_folder(&assets, &folder.join("static"))?;
    }
    // What others wrote comes as it is, with the licence on top of it.
    for own in [format!("{PACKAGE}.js"), "static/style.css".to_owned()] {
        let path = folder.join(own);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
        fs::write(&path, without_remarks(&text)).with_context(|| format!("write {path:?}"))?;
    }
    compress_folder(folder)?;
    let n_bytes = served_bytes(folder)?;
    println!("the page is {n_bytes} bytes compressed, of {MOST_BYTES} allowed");
    if n_bytes > MOST_BYTES {
        bail!("the page is {n_bytes} bytes compressed, more than {MOST_BYTES}");
    }
    Ok(())
}

/// A script or a style without remarks on lines of their own and without
/// what its lines are moved in by.
fn without_remarks(text: &str) -> String {
    let mut slim = String::with_capacity(text.len());
    let mut in_remark = false;
    for line in text.lines().map(str::trim) {
        let ends = line.ends_with("*/");
        let begins = line.starts_with("/*") && (ends || !line.contains("*/"));
        if !in_remark && !begins && !line.starts_with("//") && !line.is_empty() {
            slim.push_str(line);
            slim.push('\n');
        }
        in_remark = (in_remark || begins) && !ends;
    }
    slim
}

/// Gives what the module imports numbers for the hashes that end its names:
/// two hundred of them, in the module and in its script, are 2 KB that no
/// compression makes smaller. A number is as long as the hash was, so that
/// nothing moves in the module.
fn number_imports(folder: &Path) -> Result<()> {
    let script_path = folder.join(format!("{PACKAGE}.js"));
    let module_path = folder.join(format!("{PACKAGE}_bg.wasm"));
    let mut script = fs::read(&script_path).with_context(|| format!("read {script_path:?}"))?;
    let mut module = fs::read(&module_path).with_context(|| format!("read {module_path:?}"))?;
    let numbers = hash_numbers(&script);
    for bytes in [&mut script, &mut module] {
        replace_hashes(bytes, &numbers);
    }
    fs::write(&script_path, script).with_context(|| format!("write {script_path:?}"))?;
    fs::write(&module_path, module).with_context(|| format!("write {module_path:?}"))
}

/// The hashes that end names in a script, `_e9da9dae6ee59350`, each with its
/// number.
fn hash_numbers(script: &[u8]) -> HashMap<Vec<u8>, String> {
    let mut numbers = HashMap::new();
    for (start, hash) in hashes(script) {
        if script[..start].ends_with(b"_") {
            let n = numbers.len();
            let number = || format!("{n:0width$x}", width = HASH_LENGTH);
            numbers.entry(hash.to_vec()).or_insert_with(number);
        }
    }
    numbers
}

fn replace_hashes(bytes: &mut [u8], numbers: &HashMap<Vec<u8>, String>) {
    let places: Vec<usize> = hashes(bytes).map(|(start, _)| start).collect();
    for start in places {
        let place = &mut bytes[start..start + HASH_LENGTH];
        if let Some(number) = numbers.get(&*place) {
            place.copy_from_slice(number.as_bytes());
        }
    }
}

/// Runs of exactly as many hexadecimal digits as a hash has.
fn hashes(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut start = 0;
    let runs = bytes.split(move |byte| !is_digit(byte)).map(move |run| {
        let at = start;
        start += run.len() + 1;
        (at, run)
    });
    runs.filter(|(_, run)| run.len() == HASH_LENGTH)
}

/// Bytes of all files that the page loads as they are sent: compressed where
/// they can be. A licence is there to be read.
fn served_bytes(folder: &Path) -> Result<u64> {
    let mut n_bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            n_bytes += served_bytes(&path)?;
        } else if !compressed_path(&path).exists() && !is_licence(&path) {
            n_bytes += fs::metadata(&path)?.len();
        }
    }
    Ok(n_bytes)
}

fn is_licence(path: &Path) -> bool {
    path.to_string_lossy().contains("LICENSE")
}

/// Where the compressed form of a file lies.
fn compressed_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".br");
    name.into()
}

fn compress_folder(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            compress_folder(&path)?;
        } else if let Some(extension) = path.extension().and_then(|extension| extension.to_str())
            && COMPRESSED.contains(&extension)
        {
            let content = fs::read(&path)?;
            fs::write(compressed_path(&path), compress(&content)?)?;
        }
    }
    Ok(())
}

fn compress(content: &[u8]) -> Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let parameters = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        mode: BROTLI_MODE,
        lgwin: BROTLI_WINDOW,
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut writer =
        brotli::CompressorWriter::with_params(&mut compressed, BROTLI_BUFFER, &parameters);
    writer.write_all(content)?;
    writer.flush()?;
    drop(writer);
    Ok(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_numbered_the_same_in_script_and_module() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("modeltap-web.js");
        let module = folder.path().join("modeltap-web_bg.wasm");
        let names = "__wbg_new_e9da9dae6ee59350: 1, __wbg_new_0123456789abcdef: 2, \
                     __wbg_new_e9da9dae6ee59350: 3, __wbg_new_e9da9dae6ee593501, \
                     0xfedcba9876543210";
        fs::write(&script, names).unwrap();
        fs::write(&module, b"\0\xff\x19__wbg_new_0123456789abcdef\xfe").unwrap();
        number_imports(folder.path()).unwrap();
        assert_eq!(
            fs::read_to_string(&script).unwrap(),
            "__wbg_new_0000000000000000: 1, __wbg_new_0000000000000001: 2, \
             __wbg_new_0000000000000000: 3, __wbg_new_e9da9dae6ee593501, \
             0xfedcba9876543210"
        );
        assert_eq!(
            fs::read(&module).unwrap(),
            b"\0\xff\x19__wbg_new_0000000000000001\xfe"
        );
    }

    #[test]
    fn remarks_go_and_every_line_of_code_stays() {
        let text = "/**\n * What it is: *\n */\nlet a = 1; /* kept */\n\n  /* one */\n\
                    \tb /* c\n/* d */ .e {\nf\n";
        assert_eq!(
            without_remarks(text),
            "let a = 1; /* kept */\nb /* c\n/* d */ .e {\nf\n"
        );
    }

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
        // What is sent: the compressed text and the picture.
        let sent = served_bytes(folder.path()).unwrap();
        assert_eq!(sent, compressed.len() as u64 + 3);
    }
}
