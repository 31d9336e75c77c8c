//! The Docker engine: found, or on Debian as root installed and started.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::paths::Paths;
use crate::process;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A Docker engine that answers. Where this process started it, dropping this
/// stops it.
pub struct Engine {
    started: Option<Child>,
}

impl Engine {
    /// Finds the engine; installs and starts one where that is possible.
    ///
    /// # Errors
    /// When none answers; the error says what to install or where to look.
    pub fn ensure(paths: &Paths) -> Result<Self> {
        if answers() {
            return Ok(Self { started: None });
        }
        if !packages::can_install() {
            bail!(
                "no Docker engine answers `docker info`: install and start Docker Engine, \
                 or name one with DOCKER_HOST, or run this as root on Debian"
            );
        }
        if process::which("dockerd").is_none() || process::which("docker").is_none() {
            packages::ensure(&["docker.io", "iptables"], "running containers")?;
            // The package starts the engine where there is a service manager.
            if answers() {
                return Ok(Self { started: None });
            }
        }
        Self::start(paths)
    }

    fn start(paths: &Paths) -> Result<Self> {
        let log_path = paths.cache.join("dockerd.log");
        println!(
            "starting dockerd (log: {}); it is stopped at the end",
            log_path.display()
        );
        remove_stale_pid();
        let log = File::create(&log_path)?;
        let child = process::clean("dockerd")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal must leave the engine alive until the
            // containers are removed.
            .process_group(0)
            .spawn()
            .context("start dockerd")?;
        let mut engine = Self {
            started: Some(child),
        };
        let deadline = Instant::now() + START_LIMIT;
        while !answers() {
            let ended = match engine.started.as_mut() {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if ended.is_some() || Instant::now() >= deadline {
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(5).collect();
                bail!(
                    "dockerd does not answer; the end of its log, last line first:\n{}",
                    last.join("\n")
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(engine)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(child) = &mut self.started {
            println!("stopping dockerd");
            stop(child, STOP_LIMIT);
        }
    }
}

/// Says whether an engine answers.
fn answers() -> bool {
    // `docker info` succeeds without an engine in some versions; the server's
    // version does not.
    process::succeeds(&mut docker(["version", "--format", "{{.Server.Version}}"]))
}

/// A dockerd refuses to start while the file of one that was killed names a
/// process, even another program's.
fn remove_stale_pid() {
    for (file, program) in [
        ("/var/run/docker.pid", "dockerd"),
        ("/var/run/docker/containerd/containerd.pid", "containerd"),
    ] {
        let Ok(pid) = fs::read_to_string(file) else {
            continue;
        };
        let name = fs::read_to_string(format!("/proc/{}/comm", pid.trim())).unwrap_or_default();
        if name.trim() != program {
            // Where it cannot be removed, dockerd says so in its log.
            let _ = fs::remove_file(file);
        }
    }
}

/// Prepares a `docker` command.
pub fn docker<const N: usize>(arguments: [&str; N]) -> Command {
    let mut docker = process::clean("docker");
    docker.args(arguments);
    docker
}

/// Makes an image that holds one static binary and nothing else.
///
/// # Errors
/// When the build fails.
pub fn build_image(binary: &Path, image: &str, context: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(context);
    fs::create_dir_all(context)?;
    fs::copy(binary, context.join("server")).with_context(|| format!("copy {binary:?}"))?;
    let dockerfile =
        "FROM scratch\nCOPY server /server\nUSER 65534:65534\nENTRYPOINT [\"/server\"]\n";
    fs::write(context.join("Dockerfile"), dockerfile)?;
    let mut build = docker(["build", "--quiet", "--tag", image]);
    // The classic builder is the one that every engine has.
    build.env("DOCKER_BUILDKIT", "0");
    process::output(build.arg(context)).with_context(|| format!("build the image {image}"))?;
    Ok(())
}

/// Asks a process to end, and kills it where it has not within `limit`.
pub fn stop(child: &mut Child, limit: Duration) {
    let Ok(None) = child.try_wait() else { return };
    let pid = child.id();
    let asked = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        });
    if !asked && !process::is_root() {
        // A child that sudo made root can only be signalled as root.
        process::succeeds(Command::new("sudo").args(["kill", "-TERM", &pid.to_string()]));
    }
    if process::wait_until(child, Instant::now() + limit).is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
