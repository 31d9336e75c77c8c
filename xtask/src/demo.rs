//! A living dashboard on any machine: sample servers, traffic, the daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::artefact::Artefact;
use crate::build::{self, Profile};
use crate::docker::{self, Engine, docker};
use crate::interrupt::Interrupt;
use crate::paths::Paths;
use crate::process;
use crate::setup;

const PACKAGE: &str = "modeltap-demo";
const BINARIES: [&str; 4] = ["predictor", "chat", "traffic", "load"];
const SERVICES: [&str; 2] = ["predictor", "chat"];
const PROJECT: &str = "modeltap-demo";
const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// What the command line says about the demo.
#[derive(Args)]
pub struct Options {
    /// Stop by itself after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Address of the dashboard
    #[arg(long, default_value = "127.0.0.1:7979")]
    listen: SocketAddr,
    /// Build the daemon without optimisation
    #[arg(long)]
    debug: bool,
}

/// Brings the statically linked sample servers up to date; returns their
/// folder.
///
/// # Errors
/// When they do not build.
pub fn ensure_binaries(paths: &Paths) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let artefact = Artefact {
        name: "sample servers",
        inputs: &["xtask/demo", "Cargo.toml", "Cargo.lock"],
        without: &[],
        tools: process::output(process::cargo().args(["version", "--verbose"]))?,
        folder: paths.demo(),
    };
    artefact.ensure(paths, |folder, workshop| {
        let mut cargo = process::cargo();
        cargo
            .args([
                "build",
                "--locked",
                "--quiet",
                "--release",
                "--package",
                PACKAGE,
                "--bins",
            ])
            // A target named in full keeps the flags off build scripts, which
            // cannot load procedural macros when linked statically.
            .args(["--target", &target, "--target-dir"])
            .arg(workshop)
            .current_dir(&paths.root)
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
        process::run(&mut cargo).context("build the sample servers")?;
        for name in BINARIES {
            let binary = workshop.join(&target).join("release").join(name);
            fs::copy(&binary, folder.join(name)).with_context(|| format!("copy {binary:?}"))?;
        }
        Ok(())
    })?;
    Ok(paths.demo())
}

/// Runs the demo until it is interrupted, a part of it dies or its time ends.
///
/// # Errors
/// When a part cannot be built or started, or died.
pub fn run(paths: &Paths, options: &Options) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let tools = setup::set_up(paths)?;
    let daemon = build::everything(paths, &tools, Profile::from_debug(options.debug))?;
    let binaries = ensure_binaries(paths)?;
    interrupt.check()?;
    let _engine = Engine::ensure(paths)?;
    let mut containers = Containers::default();
    println!("starting the sample servers: {}", SERVICES.join(", "));
    for service in SERVICES {
        let image = format!("{PROJECT}-{service}");
        docker::build_image(
            &binaries.join(service),
            &image,
            &paths.root.join("target/image"),
        )?;
        interrupt.check()?;
        containers.start(service, &image)?;
    }

    let mut parts = Parts::default();
    let mut daemon = build::as_root(&daemon);
    daemon
        .arg("run")
        .args(["--listen", &options.listen.to_string()])
        .arg("--data-dir")
        .arg(paths.root.join("target/demo-data"));
    parts.start("the daemon", &mut daemon)?;
    await_daemon(options.listen, &mut parts, &interrupt)?;
    let mut traffic = process::clean(binaries.join("traffic"));
    for service in SERVICES {
        traffic
            .arg(format!("--{service}"))
            .arg(containers.address(service)?.to_string());
    }
    parts.start("the traffic", &mut traffic)?;

    println!();
    println!("  dashboard: http://{}/", options.listen);
    println!("  Ctrl-C stops the demo and removes its containers");
    println!();
    let deadline = options
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    while !interrupt.is_raised() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        parts.check()?;
        thread::sleep(POLL_INTERVAL);
    }
    println!("stopping the demo");
    Ok(())
}

/// Waits until the daemon says that it is ready.
fn await_daemon(listen: SocketAddr, parts: &mut Parts, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    while !is_ready(listen) {
        parts.check()?;
        interrupt.check()?;
        if Instant::now() >= deadline {
            bail!(
                "the daemon is not ready after {READY_LIMIT:?}; ask it: curl http://{listen}/readyz"
            );
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn is_ready(listen: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&listen, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// The demo's containers; dropping this removes them.
#[derive(Default)]
struct Containers {
    names: Vec<String>,
}

impl Containers {
    fn start(&mut self, service: &str, image: &str) -> Result<()> {
        let name = format!("{PROJECT}-{service}-1");
        // One of a demo that was killed may still be there.
        process::succeeds(&mut docker(["rm", "--force", &name]));
        self.names.push(name.clone());
        let project = format!("com.docker.compose.project={PROJECT}");
        let label = format!("com.docker.compose.service={service}");
        let mut run = docker([
            "run", "--detach", "--name", &name, "--label", &project, "--label", &label,
        ]);
        run.args([
            "--publish",
            "127.0.0.1::8080",
            "--read-only",
            "--cap-drop",
            "ALL",
        ])
        .args(["--memory", "128m", "--pids-limit", "64", image]);
        process::output(&mut run).with_context(|| format!("start the container {name}"))?;
        Ok(())
    }

    fn address(&self, service: &str) -> Result<SocketAddr> {
        let name = format!("{PROJECT}-{service}-1");
        let published = process::output(&mut docker(["port", &name, "8080/tcp"]))?;
        let address = published.lines().next().context("docker named no port")?;
        address
            .parse()
            .with_context(|| format!("read the port of {name}"))
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for name in &self.names {
            if !process::succeeds(&mut docker(["rm", "--force", name])) {
                eprintln!("could not remove the container {name}");
            }
        }
    }
}

/// The demo's processes on the host, the first started first; dropping this
/// stops them, the last started first.
#[derive(Default)]
struct Parts {
    running: Vec<(&'static str, Child)>,
}

impl Parts {
    fn start(&mut self, what: &'static str, command: &mut std::process::Command) -> Result<()> {
        let child = command.spawn().with_context(|| format!("start {what}"))?;
        self.running.push((what, child));
        Ok(())
    }

    /// Fails when a part has ended.
    fn check(&mut self) -> Result<()> {
        for (what, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                bail!("{what} ended by itself with {status}");
            }
        }
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for (_, child) in self.running.iter_mut().rev() {
            docker::stop(child, STOP_LIMIT);
        }
    }
}
