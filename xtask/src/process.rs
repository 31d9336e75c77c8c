//! Starting other programs.

use std::env;
use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `command` in the foreground.
///
/// # Errors
/// When it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed with {status}", shown(command));
    }
    Ok(())
}

/// Runs `command` and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; the error carries what it complained.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!(
            "{} failed with {}: {complaint}",
            shown(command),
            output.status
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says whether `command` succeeds; its output goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says whether `command` succeeds within `limit`; kills it otherwise.
pub fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).spawn() else {
        return false;
    };
    match wait_until(&mut child, Instant::now() + limit) {
        Some(success) => success,
        None => {
            // Both fail only when the child has just ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            false
        }
    }
}

/// Waits for `child`; `None` when `deadline` passes first.
pub fn wait_until(child: &mut Child, deadline: Instant) -> Option<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            Ok(None) => return None,
            Err(_) => return Some(false),
        }
    }
}

/// Runs `command`, shows its standard output as it comes and returns it with
/// the verdict.
///
/// # Errors
/// When it cannot be started.
pub fn run_and_keep(command: &mut Command) -> Result<(bool, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", shown(command)))?;
    let mut kept = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        let mut buffer = [0; 8192];
        loop {
            let n = stdout.read(&mut buffer)?;
            if n == 0 {
                break;
            }
            std::io::Write::write_all(&mut std::io::stdout(), &buffer[..n])?;
            kept.extend_from_slice(&buffer[..n]);
        }
    }
    let success = child.wait()?.success();
    Ok((success, String::from_utf8_lossy(&kept).into_owned()))
}

/// Finds `program` on the search path.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Prepares `program` without the variables that cargo set for this process:
/// they would make the inner cargo rebuild what depends on them, and point a
/// second compiler at the first one's libraries.
pub fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let from_cargo = text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text.starts_with("CARGO_BIN_")
            || matches!(
                text,
                "CARGO"
                    | "RUSTC"
                    | "RUSTUP_TOOLCHAIN"
                    | "RUST_RECURSION_COUNT"
                    | "LD_LIBRARY_PATH"
                    | "DUCKDB_LIB_DIR"
            );
        if from_cargo {
            command.env_remove(text);
        }
    }
    command
}

/// Prepares the cargo that runs this process, without its variables.
pub fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = clean(cargo);
    // The toolchain that rustup chose for the outer cargo is kept, or a
    // `cargo +toolchain xtask` would build with two compilers.
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

/// Says whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Writes a command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    format!("`{}`", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_command_is_named_with_its_complaint() {
        let error =
            output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.ends_with("no such thing"), "{text}");
    }

    #[test]
    fn command_that_hangs_is_given_up() {
        let started = Instant::now();
        assert!(!succeeds_within(
            Command::new("sleep").arg("30"),
            Duration::from_millis(100)
        ));
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn kept_output_is_complete() {
        let (success, kept) =
            run_and_keep(Command::new("sh").args(["-c", "printf 'a\\nb'; exit 1"])).unwrap();
        assert!(!success);
        assert_eq!(kept, "a\nb");
    }
}
