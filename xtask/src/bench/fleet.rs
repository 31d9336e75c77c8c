//! Servers in containers, and the load on them.
//!
//! Their image holds the sample predictor: for the rest they see this machine's
//! programs, read-only, so that guests and containers run the same files. They
//! have the host's network, so that one sender reaches all of them.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::daemon::{cgroup_of, cpu_us};
use super::ground::Ground;
use crate::docker::{self, docker};
use crate::paths::Paths;
use crate::process;

const IMAGE: &str = "modeltap-bench";
/// Of the first container; the next have the next ones.
const FIRST_PORT: u16 = 18_300;
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What a container runs.
#[derive(Clone, Copy, Debug)]
pub enum Server<'a> {
    /// FastAPI on uvicorn; the name of what it is instrumented by, or nothing.
    Uvicorn(&'a str),
    /// nginx that says 200.
    Nginx,
    /// The sample predictor.
    Predictor,
}

/// A running container; dropping it removes it.
pub struct Container {
    name: String,
    address: String,
    cgroup: PathBuf,
    /// Its id and the number of its first process, as `docker.py` takes them.
    pub identity: String,
}

/// What the sender saw.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub n_requests: f64,
    pub seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// How servers are driven.
#[derive(Clone, Copy, Debug)]
pub struct Drive {
    pub connections: usize,
    pub seconds: f64,
    /// Requests a second; zero for as many as are answered.
    pub rate: f64,
    /// Different paths; zero for one.
    pub n_paths: u64,
    /// Connections that say nothing.
    pub n_idle: usize,
}

/// The image and the folder that containers see.
pub struct Fleet<'a> {
    ground: &'a Ground,
    folder: PathBuf,
    cache: PathBuf,
    next_port: Cell<u16>,
}

impl<'a> Fleet<'a> {
    /// Makes both.
    ///
    /// # Errors
    /// When the image cannot be built.
    pub fn prepare(paths: &Paths, ground: &'a Ground) -> Result<Self> {
        let context = paths.root.join("target/image");
        docker::build_image(&ground.binaries.join("predictor"), IMAGE, &context)?;
        let folder = paths.root.join("target/bench");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("app.py"), include_str!("app.py"))?;
        Ok(Self {
            ground,
            folder,
            cache: paths.cache.clone(),
            next_port: Cell::new(FIRST_PORT),
        })
    }

    /// Starts a container and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&self, name: &str, server: Server) -> Result<Container> {
        let name = format!("{IMAGE}-{name}");
        // One of a run that was killed may still be there.
        process::succeeds(&mut docker(["rm", "--force", &name]));
        let port = self.next_port.get();
        self.next_port.set(port + 1);
        let number = port.to_string();
        let mut run = docker(["run", "--detach", "--name", &name, "--network", "host"]);
        run.args(["--tmpfs", "/tmp"]);
        for folder in [
            "/usr",
            "/lib",
            "/lib64",
            "/bin",
            "/etc/passwd",
            "/etc/group",
        ] {
            run.args(["--volume", &format!("{folder}:{folder}:ro")]);
        }
        // The environment's interpreter may be anywhere, with its library.
        let python = self.ground.python.canonicalize()?;
        let prefix = python.parent().and_then(Path::parent);
        let prefix = prefix.context("find the interpreter's folder")?;
        for folder in [self.cache.as_path(), &self.folder, prefix] {
            let folder = folder.display();
            run.args(["--volume", &format!("{folder}:{folder}:ro")]);
        }
        // Folders in the cache may be closed to others.
        run.args(["--user", "0:0", "--workdir"]).arg(&self.folder);
        match server {
            Server::Uvicorn(instrumented_by) => run
                .args(["--env", &format!("INSTRUMENTED_BY={instrumented_by}")])
                .args(["--env", "PYTHONDONTWRITEBYTECODE=1", "--entrypoint"])
                .arg(&self.ground.python)
                .args([IMAGE, "-m", "uvicorn", "app:app", "--no-access-log"])
                .args(["--loop", "uvloop", "--http", "httptools", "--port", &number]),
            Server::Nginx => {
                let text = include_str!("nginx.conf").replace("8000", &number);
                let file = self.folder.join(format!("nginx-{number}.conf"));
                fs::write(&file, text)?;
                run.args(["--entrypoint", "/bin/sh", IMAGE, "-c"])
                    .arg(format!(
                        "mkdir /tmp/bench-nginx; exec {} -c {} -g 'user root;'",
                        self.ground.nginx.display(),
                        file.display()
                    ))
            }
            Server::Predictor => run.args([IMAGE, "--port", &number, "--latency-ms", "0"]),
        };
        process::output(&mut run).with_context(|| format!("start the container {name}"))?;
        let mut container = Container {
            name,
            address: format!("127.0.0.1:{port}"),
            cgroup: PathBuf::new(),
            identity: String::new(),
        };
        let format = "{{.Id}}={{.State.Pid}}";
        let told = process::output(&mut docker(["inspect", "-f", format, &container.name]))?;
        container.identity = told.trim().to_owned();
        let pid = container
            .identity
            .split_once('=')
            .map_or("", |(_, pid)| pid);
        container.cgroup = cgroup_of(pid.parse().context("docker told no pid")?)?;
        let deadline = Instant::now() + READY_WITHIN;
        while std::net::TcpStream::connect(&container.address).is_err() {
            if Instant::now() >= deadline {
                let said = process::output(&mut docker(["logs", &container.name]));
                bail!("{} does not listen: {said:?}", container.name);
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(container)
    }

    /// Drives servers together and waits for the end.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn drive(&self, containers: &[&Container], drive: Drive) -> Result<Sent> {
        let targets: Vec<_> = containers
            .iter()
            .map(|each| each.address.as_str())
            .collect();
        // Descriptors: the soft limit is often 1,024.
        let mut load = process::clean("sh");
        load.args(["-c", "ulimit -n $(ulimit -Hn); exec \"$0\" \"$@\""])
            .arg(self.ground.binaries.join("load"))
            .args(["--targets", &targets.join(",")])
            .args(["--connections", &drive.connections.to_string()])
            .args(["--seconds", &drive.seconds.to_string()])
            .args(["--rate", &drive.rate.to_string()])
            .args(["--paths", &drive.n_paths.to_string()])
            .args(["--idle", &drive.n_idle.to_string()])
            .args(["--path", if drive.n_paths > 0 { "/p/" } else { "/items/1" }]);
        let told = process::output(&mut load)?;
        let told: Value = serde_json::from_str(&told).context("read what the sender saw")?;
        let number = |name: &str| told[name].as_f64().unwrap_or(0.0);
        Ok(Sent {
            n_requests: number("requests"),
            seconds: number("seconds"),
            p50_us: number("p50_us"),
            p99_us: number("p99_us"),
        })
    }
}

impl Container {
    /// Processor time it used until now, in microseconds.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu_us(&self) -> Result<f64> {
        cpu_us(Path::new(&self.cgroup))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !process::succeeds(&mut docker(["rm", "--force", &self.name])) {
            eprintln!("could not remove the container {}", self.name);
        }
    }
}
