//! `cargo xtask vm`: `modeltap verify` on other kernels, in emulation.
//!
//! Debian's kernels are unpacked in the cache and booted by QEMU without
//! hardware help. A guest sees this machine's files read-only under a layer of
//! its own, and one shared folder; it runs `modeltap verify`, which needs
//! neither Docker nor a network.

pub mod guest;
pub mod kernels;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use self::guest::{Answer, Guest};
use self::kernels::{Kernel, Line};
use crate::build::{self, Profile};
use crate::paths::{Paths, lock_cache};
use crate::{packages, setup};

/// Debian packages that guests need.
pub const PACKAGES: [&str; 6] = [
    "busybox-static",
    "cpio",
    "kmod",
    "qemu-system-x86",
    "xz-utils",
    "zstd",
];
/// Requests that a guest sends to itself.
const N_REQUESTS: u32 = 1_000;
/// Where the probes are too new for a kernel.
const KERNEL_CANNOT: i32 = 2;

#[derive(Args)]
pub struct Options {
    /// Kernels to boot
    #[arg(value_enum, default_values_t = [Line::V5_10, Line::V6_1, Line::V6_12, Line::V6_18, Line::Latest])]
    kernels: Vec<Line>,
}

/// Boots each kernel, prints what `verify` said there, and fails unless each
/// said what it must.
///
/// # Errors
/// When a kernel cannot be had or no guest can be started.
pub fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    packages::ensure(&PACKAGES, "emulated guests")?;
    let tools = setup::set_up(paths)?;
    let daemon = build::everything(paths, &tools, Profile::Release)?;
    let kernels = {
        let _lock = lock_cache(&paths.cache, "kernels")?;
        let kernels = options.kernels.iter().map(|line| Kernel::get(paths, *line));
        kernels.collect::<Result<Vec<_>>>()?
    };
    let share = tempfile::tempdir().context("make the guests' folder")?;
    fs::copy(&daemon, share.path().join("modeltap"))?;
    for entry in fs::read_dir(paths.native())? {
        let library = entry?.path();
        if let Some(name) = library.file_name() {
            fs::copy(&library, share.path().join(name))?;
        }
    }
    let mut all = true;
    for (line, kernel) in options.kernels.iter().zip(&kernels) {
        let begin = Instant::now();
        let command = format!("./modeltap verify --requests {N_REQUESTS}");
        let answer = Guest::new(kernel, share.path())?.run(&command)?;
        let is_right = is_right(*line, &answer);
        all &= is_right;
        println!(
            "{} {:<24} {:>3} s  {}",
            if is_right { "ok    " } else { "FAILED" },
            kernel.version,
            begin.elapsed().as_secs(),
            answer.last_line()
        );
    }
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// An exact run, or the name of what an older kernel lacks.
fn is_right(line: Line, answer: &Answer) -> bool {
    if line == Line::V5_10 {
        answer.code == Some(KERNEL_CANNOT) && answer.last_line().contains("this kernel has no")
    } else {
        answer.code == Some(0) && answer.last_line().starts_with("exact: ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernel_must_be_refused_and_others_exact() {
        let answer = |code, output: &str| Answer {
            code: Some(code),
            output: output.to_owned(),
        };
        let exact = answer(0, "a table\nexact: 1000 of 1000 requests\n");
        let refused = answer(2, "modeltap: this kernel has no BPF helper x\n");
        let wrong = answer(1, "NOT EXACT: 999 of 1000\nmodeltap: not exact\n");
        assert!(is_right(Line::V6_1, &exact));
        assert!(is_right(Line::V5_10, &refused));
        assert!(!is_right(Line::V6_1, &refused));
        assert!(!is_right(Line::V5_10, &exact));
        assert!(!is_right(Line::Latest, &wrong));
    }
}
