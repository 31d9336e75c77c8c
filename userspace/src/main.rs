//! modeltap: watches model APIs in containers from the kernel.
//!
//! Starts by its command line: logging, configuration, build, run, drain.
#![forbid(unsafe_code)]

mod alerts;
mod app;
mod budget;
mod clerk;
mod cli;
mod config;
mod confine;
mod host;
mod journal;
mod logging;
mod notify;
mod pipeline;
mod recorder;
mod replay;
mod resources;
mod telemetry;
mod thrift;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use modeltap_capture::loader::LoadError;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command};
use crate::config::Config;

/// Exit code where the running kernel lacks what the probes need.
const KERNEL_CANNOT: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the causes stand behind each other.
            eprintln!("modeltap: {}", format!("{error:#}").replace('\n', " "));
            let is_of_kernel = error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<LoadError>())
                .any(LoadError::is_of_kernel);
            if is_of_kernel {
                ExitCode::from(KERNEL_CANNOT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dispatch(cli: &Cli) -> anyhow::Result<()> {
    if let Some(Command::ProbeStore { file }) = &cli.command {
        return modeltap_store::probe_open(file).map_err(Into::into);
    }
    if let Some(Command::VerifyServer) = &cli.command {
        return verify::serve();
    }
    if let Some(Command::Clerk) = &cli.command {
        return clerk::serve();
    }
    let (config, figment) = config::load(&cli.options)?;
    match &cli.command {
        Some(Command::Config) => {
            print!("{}", config::describe(&config, &figment)?);
            print!("{}", notify::describe(&notify::settings(&config)?));
            Ok(())
        }
        Some(Command::Replay { file }) => {
            logging::start(&config)?;
            block_on(replay(&config, file))
        }
        Some(Command::Record { file }) => run(&config, Some(file)),
        Some(Command::Verify { requests, json }) => {
            logging::start(&config)?;
            block_on(verify(&config, *requests, *json))
        }
        Some(Command::Run) | None => run(&config, None),
        Some(Command::ProbeStore { .. } | Command::VerifyServer | Command::Clerk) => Ok(()),
    }
}

fn run(config: &Config, recording: Option<&Path>) -> anyhow::Result<()> {
    logging::start(config)?;
    let app = app::App::build(config, recording)?;
    // Its threads begin with the privileges that are left.
    block_on(async { app.run(stopped()?).await })
}

async fn replay(config: &Config, file: &Path) -> anyhow::Result<()> {
    replay::run(config, file, stopped()?).await
}

async fn verify(config: &Config, n_requests: u32, as_json: bool) -> anyhow::Result<()> {
    let found = verify::run(config, n_requests, stopped()?).await?;
    print!(
        "{}",
        if as_json {
            found.to_json()?
        } else {
            found.to_text()
        }
    );
    found.judge()
}

fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // Two threads serve every host: one drains and counts while the other
    // answers.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}

/// Ready when the process is asked to end.
fn stopped() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
