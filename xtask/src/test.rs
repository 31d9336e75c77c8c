//! Every check and every test, in the order of their cost.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::axe;
use crate::bench;
use crate::build::{self, Profile};
use crate::demo;
use crate::docker::Engine;
use crate::interrupt::Interrupt;
use crate::packages;
use crate::paths::Paths;
use crate::process;
use crate::python;
use crate::receivers;
use crate::report::Report;
use crate::seed::Seed;
use crate::setup;
use crate::tidy;

/// Test targets of the daemon's package that need root, the kernel and
/// containers.
pub const LIVE_FEATURE: &str = "live";
/// The daemon's package.
pub const DAEMON_PACKAGE: &str = "modeltap";

/// What the command line says about the tests.
#[derive(Args)]
pub struct Options {
    /// Leave out the tests that need root, containers or a browser
    #[arg(long)]
    without_live: bool,
}

/// Runs everything; the last line printed is `N passed, N failed`.
///
/// A check that is no test (formatting, lints, rules, a build) counts as one
/// failed test when it fails and not at all when it passes.
pub fn run(paths: &Paths, options: &Options) -> ExitCode {
    let mut report = Report::default();
    if let Err(error) = execute(paths, options, &mut report) {
        eprintln!("error: {error:#}");
        report.end_early();
    }
    report.print();
    if report.n_failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn execute(paths: &Paths, options: &Options, report: &mut Report) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let is_ci = env::var("CI").is_ok_and(|value| value == "true");
    let tools = report.stage("set-up", || setup::set_up(paths))?;
    // The checks need no build of the daemon and are the first to fail.
    let _ = report.stage("tidy", || tidy_is_clean(&paths.root));
    let _ = report.stage("format", || format_is_clean(paths));
    let daemon = report.stage("build", || {
        build::everything(paths, &tools, Profile::Release)
    })?;
    interrupt.check()?;

    let seed = Seed::new(paths, Profile::Debug.folder())?;
    seed.plant()?;
    let _ = report.stage("lints", || {
        let mut clippy = cargo(paths, "clippy");
        // With the live tests, which compile only with their feature.
        let live = format!("{DAEMON_PACKAGE}/{LIVE_FEATURE}");
        clippy.args(["--workspace", "--all-targets", "--features", &live]);
        clippy.args(["--", "-D", "warnings"]);
        process::run(&mut clippy)
    });
    report.tests("unit, property and replay tests", |names| {
        let mut unit = cargo(paths, "test");
        unit.args(["--workspace", "--no-fail-fast"]);
        if !names.is_empty() {
            unit.args(["--", "--exact"]).args(names);
        }
        unit
    });
    interrupt.check()?;
    seed.harvest()?;

    let obstacle = if options.without_live {
        Some("--without-live".to_owned())
    } else {
        live_obstacle()
    };
    if let Some(obstacle) = obstacle {
        if is_ci {
            let _ = report.stage("live tests", || -> Result<()> {
                bail!("cannot run under CI=true: {obstacle}")
            });
        } else {
            report.skip("live tests", &obstacle);
        }
        return Ok(());
    }
    let live = report.stage("live set-up", || {
        let binaries = demo::ensure_binaries(paths)?;
        ensure_test_tools(paths)?;
        receivers::ensure(paths)?;
        Ok((binaries, Engine::ensure(paths)?))
    });
    let (binaries, _engine) = match live {
        Ok(live) => live,
        Err(error) if is_ci => return Err(error),
        Err(error) => {
            report.forgive("live set-up");
            report.skip("live tests", &format!("{error:#}"));
            return Ok(());
        }
    };
    if packages::can_install() || is_ci {
        let _ = report.stage("instructions a request", || {
            bench::check::run(paths, &daemon, false)
        });
    } else {
        report.skip(
            "instructions a request",
            "they are counted with a kernel of Debian's",
        );
    }
    // Only the targets that need the feature: the rest ran above.
    let targets = live_targets(paths)?;
    report.tests("live and browser tests", |names| {
        let mut live = cargo(paths, "test");
        // Of the whole workspace, as above: a package alone would have its
        // dependencies compiled again, with fewer of their features.
        live.args([
            "--workspace",
            "--features",
            &format!("{DAEMON_PACKAGE}/{LIVE_FEATURE}"),
            "--no-fail-fast",
        ])
        .args(&targets)
        .env("MODELTAP_BIN", &daemon)
        .env("MODELTAP_DEMO_BIN_DIR", &binaries)
        .env("MODELTAP_CACHE", &paths.cache)
        // They share the kernel, the engine and two processors. Faults have a
        // command of their own: they take minutes and a machine to themselves.
        .args(["--", "--test-threads=1", "--skip", "faults::"]);
        if !names.is_empty() {
            live.arg("--exact").args(names);
        }
        live
    });
    Ok(())
}

/// Prepares cargo for tests.
pub fn cargo(paths: &Paths, command: &str) -> Command {
    let mut cargo = process::cargo();
    cargo
        .args([command, "--locked"])
        .current_dir(&paths.root)
        // Test binaries carry no path to the library of their own.
        .env("LD_LIBRARY_PATH", paths.native());
    cargo
}

fn tidy_is_clean(root: &Path) -> Result<()> {
    let violations = tidy::check(root)?;
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations of the rules", violations.len());
    }
    Ok(())
}

fn format_is_clean(paths: &Paths) -> Result<()> {
    let mut fmt = process::cargo();
    fmt.args(["fmt", "--all", "--check"])
        .current_dir(&paths.root);
    process::run(&mut fmt)
}

/// Says why the live tests cannot run here.
pub fn live_obstacle() -> Option<String> {
    if !process::is_root() {
        return Some("they load programs into the kernel: run as root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("the kernel describes no types (/sys/kernel/btf/vmlinux)".to_owned());
    }
    None
}

/// Installs what the live tests use beside the Docker engine: a browser, what
/// makes an image without a registry, what makes a disk, what counts the
/// entries of the probes' maps, and programs in Python.
///
/// # Errors
/// Something cannot be installed.
pub fn ensure_test_tools(paths: &Paths) -> Result<()> {
    for (programs, packages, purpose) in [
        (
            &["chromium", "chromedriver"][..],
            &["chromium", "chromium-driver"][..],
            "the browser test",
        ),
        (&["debootstrap"], &["debootstrap"], "images of real servers"),
        (&["bpftool"], &["bpftool"], "the tests for leaks"),
        (&["mkfs.ext4"], &["e2fsprogs"], "a disk that fails"),
    ] {
        if programs.iter().any(|name| process::which(name).is_none()) {
            packages::ensure(packages, purpose)?;
        }
    }
    // Without a font for it, Chinese is empty boxes on every picture.
    if !has_chinese_font() && packages::can_install() {
        packages::ensure(&["fonts-noto-cjk"], "pictures of the page")?;
    }
    axe::ensure(paths)?;
    python::ensure(paths, &python::TEST_TOOLS)?;
    Ok(())
}

fn has_chinese_font() -> bool {
    let mut list = process::clean("fc-list");
    process::output(list.arg(":lang=zh-tw")).is_ok_and(|fonts| !fonts.trim().is_empty())
}

/// Lists the daemon's test targets that need the feature, as arguments.
fn live_targets(paths: &Paths) -> Result<Vec<String>> {
    let mut metadata = process::cargo();
    metadata
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(&paths.root);
    let metadata: serde_json::Value = serde_json::from_str(&process::output(&mut metadata)?)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo lists packages")?;
    let daemon = packages
        .iter()
        .find(|package| package["name"] == DAEMON_PACKAGE)
        .context("the daemon's package is part of the workspace")?;
    let mut arguments = Vec::new();
    for target in daemon["targets"].as_array().into_iter().flatten() {
        let needs = target["required-features"].as_array();
        if needs.is_some_and(|features| features.iter().any(|feature| feature == LIVE_FEATURE)) {
            let name = target["name"].as_str().context("a target has a name")?;
            arguments.extend(["--test".to_owned(), name.to_owned()]);
        }
    }
    if arguments.is_empty() {
        bail!("no test target of {DAEMON_PACKAGE} requires the feature {LIVE_FEATURE:?}");
    }
    Ok(arguments)
}
