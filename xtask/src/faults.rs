//! Every fault in its whole length, and the table of what was measured.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::{self, Profile};
use crate::docker::Engine;
use crate::paths::Paths;
use crate::process;
use crate::setup;
use crate::test;

/// What the command line says about the faults.
#[derive(Args)]
pub struct Options {
    /// Only those with this in their test's name: `killed`, `soak`
    only: Option<String>,
}

/// Runs the tests of `live/faults` in their whole length, about 75 minutes for
/// all of them, and prints the table.
pub fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    if let Some(obstacle) = test::live_obstacle() {
        bail!("the faults cannot be made here: {obstacle}");
    }
    let tools = setup::set_up(paths)?;
    let daemon = build::everything(paths, &tools, Profile::Release)?;
    test::ensure_test_tools(paths)?;
    let _engine = Engine::ensure(paths)?;
    let table = paths.root.join("target/faults-table.md");
    if options.only.is_none() && table.exists() {
        fs::remove_file(&table).with_context(|| format!("remove {table:?}"))?;
    }
    let filter = options.only.as_deref().unwrap_or_default();
    let mut faults = test::cargo(paths, "test");
    faults
        .args(["--package", test::DAEMON_PACKAGE, "--features"])
        .arg(format!("{}/{}", test::DAEMON_PACKAGE, test::LIVE_FEATURE))
        .args(["--test", "live", "--", "--test-threads=1", "--nocapture"])
        .arg(format!("faults::{filter}"))
        .env("MODELTAP_FAULTS", "full")
        .env("MODELTAP_FAULTS_TABLE", &table)
        .env("MODELTAP_BIN", &daemon)
        .env("MODELTAP_CACHE", &paths.cache);
    let outcome = process::run(&mut faults);
    println!("{}", fs::read_to_string(&table).unwrap_or_default());
    Ok(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}
