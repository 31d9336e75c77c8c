//! A Docker engine of a test's own: it can be stopped, killed and filled with
//! containers without harm to anybody else's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::{await_some, await_that};
use crate::docker::{Spec, docker, docker_at};

/// Longest time until it answers, on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Longest time from SIGTERM to its end.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// The image that it has: the server of [`GO`] and nothing else.
pub const IMAGE: &str = "modeltap-test/go:1";
/// The server in Go, in every image that has it.
pub const GO: &str = "/srv/go-server";

/// A running engine; it ends with its containers when this is dropped.
#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    process: Option<Child>,
}

impl Engine {
    /// Starts one with the Go server of the image `servers`. Its containers
    /// survive it, as with `live-restore`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    #[track_caller]
    pub fn start(servers: &str) -> Self {
        let folder = tempfile::tempdir()
            .unwrap_or_else(|error| panic!("create a temporary directory: {error}"));
        let mut engine = Self {
            folder,
            process: None,
        };
        engine.begin();
        engine.import(servers);
        engine
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// The same, as in `DOCKER_HOST`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// What to run for a Go server on port 8000.
    #[must_use]
    pub fn server(&self) -> Spec<'static> {
        Spec::new(IMAGE, GO).at(&self.host())
    }

    /// Runs `docker` with it and returns what that printed.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        docker_at(Some(&self.host()), arguments)
    }

    /// Starts it after [`stop`](Self::stop).
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn begin(&mut self) {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let log = File::options()
            .create(true)
            .append(true)
            .open(at("log"))
            .unwrap_or_else(|error| panic!("create the engine's log: {error}"));
        let none = "--bridge none --iptables=false --ip6tables=false --ip-forward=false \
                    --ip-masq=false --live-restore --log-level warn \
                    --containerd-namespace modeltap-test \
                    --containerd-plugins-namespace modeltap-test-plugins";
        // It ends with the test that started it, whatever becomes of that.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd"])
            .args(none.split_whitespace())
            .args(["--host", &self.host(), "--data-root", &at("data")])
            .args(["--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start dockerd: {error}; install docker.io"));
        self.process = Some(child);
        await_that("the test's own Docker to answer", START_WITHIN, || {
            if let Some(process) = &mut self.process
                && let Ok(Some(status)) = process.try_wait()
            {
                let log = std::fs::read_to_string(self.folder.path().join("log"));
                panic!("dockerd ended ({status}):\n{}", log.unwrap_or_default());
            }
            self.answers()
        });
    }

    /// Stops it in good order; its containers run on.
    ///
    /// # Panics
    /// If it does not end.
    #[track_caller]
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let pid = i32::try_from(process.id()).expect("process ids are positive");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("our own child can be ended");
        await_some("the test's own Docker to stop", STOP_WITHIN, || {
            process.try_wait().ok().flatten()
        });
    }

    /// Asks its interface itself, which costs less than the command; gives the
    /// answer's status and text.
    ///
    /// # Errors
    /// As of the connection.
    pub fn call(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket())?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        Ok((status, answer))
    }

    fn answers(&self) -> bool {
        Command::new("docker")
            .args(["--host", &self.host(), "version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Takes the server out of an image of the machine's engine into one of
    /// its own.
    #[track_caller]
    fn import(&self, servers: &str) {
        let root = self.folder.path().join("root");
        let to = root.join(GO.trim_start_matches('/'));
        let folder = to.parent().expect("the server is in a folder");
        std::fs::create_dir_all(folder)
            .unwrap_or_else(|error| panic!("create {folder:?}: {error}"));
        let source = docker(&["create", servers, "true"]);
        docker(&["cp", &format!("{source}:{GO}"), &to.display().to_string()]);
        docker(&["rm", &source]);
        let tarball = self.folder.path().join("root.tar");
        let tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&tarball)
            .arg(".")
            .status()
            .unwrap_or_else(|error| panic!("run tar: {error}"));
        assert!(tar.success(), "tar: {tar}");
        self.docker(&["import", &tarball.display().to_string(), IMAGE]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.process.is_none() {
            // Its containers can only be removed by it.
            self.begin();
        }
        let all = self.docker(&["ps", "--all", "--quiet"]);
        for id in all.lines() {
            // One may be going by itself.
            let _ = Command::new("docker")
                .args(["--host", &self.host(), "rm", "--force", id])
                .output();
        }
        self.stop();
        unmount(self.folder.path());
    }
}

/// Releases what is mounted in a folder, so that it can be removed.
fn unmount(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut inside: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|mount| Path::new(mount).starts_with(folder))
        .collect();
    inside.reverse();
    for mount in inside {
        let _ = Command::new("umount").arg("--lazy").arg(mount).output();
    }
}
