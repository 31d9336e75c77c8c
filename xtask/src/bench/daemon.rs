//! The daemon on this host, in a cgroup of its own, and what it says.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::fleet::Container;
use super::ground::Ground;
use crate::{docker, process};

const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running daemon; dropping it stops it and removes its cgroup.
pub struct Daemon {
    child: Child,
    docker: Child,
    folder: TempDir,
    address: String,
    cgroup: Cgroup,
}

/// How the kernel and the daemon itself see it at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub events_observed: u64,
    pub events_lost: u64,
    pub requests: u64,
}

impl Daemon {
    /// Starts it and waits until it watches these containers, and no others
    /// that run here: it asks `docker.py` in place of Docker.
    ///
    /// # Errors
    /// When it cannot be started or is not ready in time.
    pub fn start(ground: &Ground, containers: &[&Container], arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir().context("make the daemon's folder")?;
        let (log, port) = (folder.path().join("log"), folder.path().join("port"));
        let socket = folder.path().join("docker.sock");
        fs::write(folder.path().join("docker.py"), include_str!("docker.py"))?;
        let mut docker = process::clean("python3");
        docker.arg(folder.path().join("docker.py")).arg(&socket);
        docker.args(containers.iter().map(|each| each.identity.as_str()));
        let cgroup = Cgroup::create("modeltap-bench")?;
        let file = File::create(&log)?;
        let mut daemon = process::clean("sh");
        // It moves before it becomes the daemon, so that nothing is left out.
        daemon
            .args(["-c", "echo $$ > \"$0/cgroup.procs\"; exec \"$@\""])
            .arg(&cgroup.directory)
            .arg(&ground.daemon)
            .args(["run", "--listen", "127.0.0.1:0", "--max-cpu", "off"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--port-file")
            .arg(&port)
            .arg("--docker-host")
            .arg(format!("unix://{}", socket.display()))
            .args(arguments)
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut daemon = Self {
            docker: docker.spawn().context("start docker.py")?,
            child: daemon.spawn().context("start the daemon")?,
            folder,
            address: String::new(),
            cgroup,
        };
        daemon.await_ready(&port)?;
        Ok(daemon)
    }

    fn await_ready(&mut self, port: &Path) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.address.is_empty() {
                self.address = fs::read_to_string(port)
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
            }
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            if !self.address.is_empty() && log.contains("connected to Docker") {
                return Ok(());
            }
            let has_ended = self.child.try_wait()?.is_some();
            if has_ended || Instant::now() >= deadline {
                let last: Vec<_> = log.lines().rev().take(5).collect();
                bail!(
                    "the daemon is not ready; last of its log first:\n{}",
                    last.join("\n")
                );
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// What it answers to `/api/v1/status`.
    fn status(&self) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let host = &self.address;
        write!(
            stream,
            "GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).with_context(|| format!("read {answer:?}"))
    }

    /// What it counted until now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn seen(&self) -> Result<Seen> {
        let status = self.status()?;
        let count = |name: &str| status["capture"][name].as_u64().unwrap_or(0);
        Ok(Seen {
            events_observed: count("events_observed"),
            events_lost: count("events_lost"),
            requests: count("requests_complete"),
        })
    }

    /// Processor time it used until now, of all its processes, in
    /// microseconds.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu_us(&self) -> Result<f64> {
        cpu_us(&self.cgroup.directory)
    }

    /// Memory that is its own now, and at most until now, in megabytes.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn memory_mb(&self) -> Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kb: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kb * 1_024.0 / 1e6)
        };
        Ok((
            value("RssAnon:").context("the kernel tells no RssAnon")?,
            value("VmHWM:").context("the kernel tells no VmHWM")?,
        ))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        docker::stop(&mut self.child, STOPPED_WITHIN);
        docker::stop(&mut self.docker, STOPPED_WITHIN);
    }
}

/// A cgroup of the v2 hierarchy, removed when this is dropped.
struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    fn create(name: &str) -> Result<Self> {
        let directory = v2_root()?.join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {directory:?}"))?;
        Ok(Self { directory })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + STOPPED_WITHIN;
        while fs::remove_dir(&self.directory).is_err() && Instant::now() < deadline {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Where the v2 hierarchy is mounted.
fn v2_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
    });
    root.context("no cgroup2 hierarchy is mounted")
}

/// The v2 cgroup of a process.
///
/// # Errors
/// When it has ended or there is no such hierarchy.
pub fn cgroup_of(pid: u32) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(v2_root()?.join(path.context("the process is in no v2 cgroup")?))
}

/// Processor time that a cgroup used, in microseconds. The kernel tells it for
/// every cgroup, with a controller or without.
///
/// # Errors
/// When it cannot be read.
pub fn cpu_us(cgroup: &Path) -> Result<f64> {
    let file = cgroup.join("cpu.stat");
    let stat = fs::read_to_string(&file).with_context(|| format!("read {file:?}"))?;
    let used = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    Ok(used.context("the kernel tells no usage")?.parse()?)
}
