//! The project's commands: `cargo xtask run`, `demo`, `test` and their parts.
//!
//! Each command does its own set-up, so that a fresh clone on a fresh machine
//! needs nothing else. What is slow to make is kept in a cache outside the
//! clone (`$MODELTAP_CACHE`, `$XDG_CACHE_HOME/modeltap` or
//! `~/.cache/modeltap`); deleting it is always safe.
#![forbid(unsafe_code)]

mod artefact;
mod axe;
mod bench;
mod build;
mod demo;
mod dist;
mod docker;
mod duckdb;
mod faults;
mod interrupt;
mod npm;
mod packages;
mod paths;
mod probes;
mod process;
mod python;
mod receivers;
mod report;
mod seed;
mod setup;
mod test;
mod tidy;
mod toolchain;
mod ui;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::build::Profile;
use crate::paths::Paths;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, sets up, runs and tests modeltap"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what a build needs and is not there yet
    Setup,
    /// Build the probes, the page and the daemon
    Build {
        /// Build the daemon without optimisation
        #[arg(long)]
        debug: bool,
    },
    /// Build everything and start the daemon
    Run {
        /// Build the daemon without optimisation
        #[arg(long)]
        debug: bool,
        /// Arguments of the daemon
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Start sample model servers in containers, traffic and the daemon
    Demo(demo::Options),
    /// Run every check and every test
    Test(test::Options),
    /// Stop, kill, fill and flood the daemon for an hour, and print the table
    Faults(faults::Options),
    /// Check the dependency rules and the source rules
    Tidy,
    /// Pack the daemon for another machine
    Dist,
    /// Measure what modeltap costs, as userspace/docs/performance.md tells it
    Bench(bench::Options),
    /// Boot other kernels in emulation and run `modeltap verify` there
    Vm(vm::Options),
}

fn main() -> ExitCode {
    match execute(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<ExitCode> {
    let paths = Paths::find()?;
    match command {
        Command::Setup => {
            setup::set_up(&paths)?;
            println!("everything a build needs is there");
        }
        Command::Build { debug } => {
            let tools = setup::set_up(&paths)?;
            let daemon = build::everything(&paths, &tools, Profile::from_debug(debug))?;
            println!("built {}", daemon.display());
        }
        Command::Run { debug, arguments } => {
            let tools = setup::set_up(&paths)?;
            let daemon = build::everything(&paths, &tools, Profile::from_debug(debug))?;
            build::become_daemon(&daemon, &arguments)?;
        }
        Command::Demo(options) => demo::run(&paths, &options)?,
        Command::Faults(options) => return faults::run(&paths, &options),
        Command::Test(options) => return Ok(test::run(&paths, &options)),
        Command::Tidy => {
            let violations = tidy::check(&paths.root)?;
            for violation in &violations {
                println!("{violation}");
            }
            if !violations.is_empty() {
                println!("tidy: {} violations", violations.len());
                return Ok(ExitCode::FAILURE);
            }
            println!("tidy: no violations");
        }
        Command::Dist => {
            let tools = setup::set_up(&paths)?;
            let daemon = build::everything(&paths, &tools, Profile::Release)?;
            dist::pack(&paths, &daemon)?;
        }
        Command::Bench(options) => bench::run(&paths, &options)?,
        Command::Vm(options) => return vm::run(&paths, &options),
    }
    Ok(ExitCode::SUCCESS)
}
