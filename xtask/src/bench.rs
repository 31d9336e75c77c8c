//! `cargo xtask bench`: repeats what userspace/docs/performance.md says of modeltap's
//! cost, and prints its tables.
//!
//! `cost` counts instructions in an emulated guest, and comes to the same
//! whatever else this machine does. The others take processor time and run
//! real containers: they want a machine that is otherwise idle, interleave
//! what they compare and tell medians.

pub mod check;
mod cost;
mod daemon;
mod fleet;
mod ground;
mod guest;
mod load;
mod loss;
mod sides;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::ground::Ground;
use crate::paths::Paths;

/// What the command line says about the bench.
#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    /// The daemon to measure, in place of the one of this workspace
    #[arg(long, global = true, value_name = "FILE")]
    daemon: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// Instructions a request of nginx and of FastAPI, in an emulated guest
    Cost,
    /// FastAPI plain, with modeltap, and with what one might use instead
    SideBySide,
    /// The daemon's own use of processor and memory under load
    Load {
        /// How many containers; each number is measured
        #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 200])]
        containers: Vec<usize>,
    },
    /// Events lost, by rate and size of the ring
    Loss,
    /// Compare instructions a request with those in the repository, as the
    /// tests do
    Check {
        /// Write what is found there instead
        #[arg(long)]
        bless: bool,
    },
}

/// Measures and prints.
///
/// # Errors
/// When something is missing or breaks; costs that are over their goals are
/// none, but in `check`.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let ground = Ground::prepare(paths, options.daemon.as_deref())?;
    match &options.what {
        What::Cost => cost::run(paths, &ground),
        What::SideBySide => sides::run(paths, &ground),
        What::Load { containers } => load::run(paths, &ground, containers),
        What::Loss => loss::run(paths, &ground),
        What::Check { bless } => check::run(paths, &ground.daemon, *bless),
    }
}
