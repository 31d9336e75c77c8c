//! The daemon under test, known by its command line and its interface.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use modeltap_api_types::{Requests, Service, Services, Status};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::client::{Connection, Request, Response};
use crate::clock::{await_some, await_that};
use crate::exposition::{self, Sample};

/// Longest time from start to readiness: opening the history and loading the
/// probes on a busy machine.
const START_WITHIN: Duration = Duration::from_secs(30);
/// Longest time from SIGTERM to the end.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The binary: `MODELTAP_BIN`, or the one that cargo built for this test run.
#[must_use]
pub fn binary(built_by_cargo: &str) -> PathBuf {
    env::var_os("MODELTAP_BIN").map_or_else(|| built_by_cargo.into(), PathBuf::from)
}

/// How to start the daemon.
#[derive(Clone, Debug)]
pub struct Start {
    binary: PathBuf,
    /// What it is to do, and with what.
    order: Vec<OsString>,
    /// Its data directory.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// A command that starts it, and with what.
    starter: Vec<String>,
}

impl Start {
    /// The daemon on a free port.
    #[must_use]
    pub fn new(binary: &Path, data: &Path) -> Self {
        Self::ordered(binary, vec!["run".into()], data)
    }

    /// A replay of a recording on a free port; it writes nothing to `data`.
    #[must_use]
    pub fn replay(binary: &Path, recording: &Path, data: &Path) -> Self {
        Self::ordered(binary, vec!["replay".into(), recording.into()], data)
    }

    fn ordered(binary: &Path, order: Vec<OsString>, data: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            order,
            data: data.to_owned(),
            listen: "127.0.0.1:0".to_owned(),
            // What is sent at once for a test is no host's usual load.
            environment: vec![("MODELTAP_MAX_CPU".to_owned(), "off".to_owned())],
            arguments: Vec::new(),
            starter: Vec::new(),
        }
    }

    /// Started by a command, by blanks, that becomes the daemon: `setpriv`.
    #[must_use]
    pub fn by(mut self, starter: &str) -> Self {
        self.starter = starter.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// At an address.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// With a recording of what the probes report.
    #[must_use]
    pub fn recording(mut self, file: &Path) -> Self {
        self.order = vec!["record".into(), file.into()];
        self
    }

    /// With a further argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The command, without redirections.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = match self.starter.split_first() {
            None => Command::new(&self.binary),
            Some((starter, arguments)) => {
                let mut command = Command::new(starter);
                command.args(arguments).arg(&self.binary);
                command
            }
        };
        // What steers the tests is not meant for the daemon, which refuses
        // settings that it does not know.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("MODELTAP_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .args(&self.order)
            .args(["--listen", &self.listen, "--data-dir"])
            .arg(&self.data);
        command.args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; with what it printed.
    #[must_use]
    #[track_caller]
    pub fn ready(self) -> Daemon {
        let scratch = tempfile::tempdir()
            .unwrap_or_else(|error| panic!("create a temporary directory: {error}"));
        if !self.starter.is_empty() {
            // It may be another user that writes there.
            fs::set_permissions(scratch.path(), Permissions::from_mode(0o777))
                .unwrap_or_else(|error| panic!("open {scratch:?} to others: {error}"));
        }
        let port_file = scratch.path().join("port");
        let log = scratch.path().join("log");
        let create =
            || File::create(&log).unwrap_or_else(|error| panic!("create {log:?}: {error}"));
        let stdout = create();
        let stderr = stdout
            .try_clone()
            .unwrap_or_else(|error| panic!("share {log:?}: {error}"));
        let child = self
            .command()
            .arg("--port-file")
            .arg(&port_file)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.binary));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut daemon = Daemon {
            child,
            address,
            scratch,
            start: self,
        };
        daemon.address = await_some("the daemon's port file", START_WITHIN, || {
            daemon.check_alive();
            fs::read_to_string(&port_file)
                .ok()?
                .strip_suffix('\n')?
                .parse()
                .ok()
        });
        await_that("the daemon to be ready", START_WITHIN, || {
            daemon.check_alive();
            daemon
                .try_get("/readyz")
                .is_some_and(|response| response.status == 200)
        });
        daemon
    }

    /// Runs it to its end and returns its status and what it printed.
    ///
    /// # Panics
    /// If it does not end in time.
    #[must_use]
    #[track_caller]
    pub fn fails(&self) -> Failure {
        run_to_end(&mut self.command())
    }
}

/// How a run of the daemon ended that should not have begun.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed on its error output.
    pub stderr: String,
}

/// Runs a command to its end.
///
/// # Panics
/// If it does not end within ten seconds.
#[must_use]
#[track_caller]
pub fn run_to_end(command: &mut Command) -> Failure {
    let mut stderr = tempfile::NamedTempFile::new()
        .unwrap_or_else(|error| panic!("create a temporary file: {error}"));
    let handle = stderr
        .reopen()
        .unwrap_or_else(|error| panic!("open it again: {error}"));
    let mut child = command
        .stdout(Stdio::null())
        .stderr(handle)
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let limit = Instant::now() + Duration::from_secs(10);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < limit => thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => break None,
        }
    };
    let mut text = String::new();
    // What it printed only explains; the status is what counts.
    let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} did not end; it printed:\n{text}");
    };
    Failure {
        status,
        stderr: text,
    }
}

/// A running daemon; it is ended when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    address: SocketAddr,
    scratch: TempDir,
    start: Start,
}

impl Daemon {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Asks for a path; nothing if there is no answer.
    #[must_use]
    pub fn try_get(&self, path: &str) -> Option<Response> {
        let mut connection = Connection::open(self.address).ok()?;
        connection
            .send(&Request {
                close: true,
                ..Request::get(path)
            })
            .ok()?;
        connection.receive().ok()
    }

    /// Asks for a path that must be answered with 200.
    ///
    /// # Panics
    /// On any other answer; with what the daemon printed.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        match self.try_get(path) {
            Some(response) if response.status == 200 => response.text(),
            other => panic!("GET {path}: {other:?}; the daemon printed:\n{}", self.log()),
        }
    }

    /// Asks for a JSON document.
    ///
    /// # Panics
    /// As [`Self::get`], and if it is not what the interface promises.
    #[must_use]
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self, path: &str) -> T {
        let text = self.get(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {error}:\n{text}"))
    }

    /// `GET /api/v1/status`.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> Status {
        self.json("/api/v1/status")
    }

    /// `GET /metrics`.
    #[must_use]
    #[track_caller]
    pub fn metrics(&self) -> Vec<Sample> {
        exposition::parse(&self.get("/metrics"))
    }

    /// A service of `GET /api/v1/services`, if it is there.
    #[must_use]
    #[track_caller]
    pub fn service(&self, name: &str) -> Option<Service> {
        let all: Services = self.json("/api/v1/services");
        let mut service = all
            .services
            .into_iter()
            .find(|service| service.name == name)?;
        if service.totals.is_empty() {
            service.totals = self
                .json::<Service>(&format!("/api/v1/services/{name}"))
                .totals;
        }
        Some(service)
    }

    /// Requests of a service since the daemon's start.
    #[must_use]
    #[track_caller]
    pub fn n_requests(&self, service: &str) -> u64 {
        let service = self.service(service);
        service.map_or(0, |service| {
            service.totals.iter().map(|total| total.n_requests).sum()
        })
    }

    /// Single requests of a service, newest first.
    #[must_use]
    #[track_caller]
    pub fn requests(&self, service: &str) -> Vec<modeltap_api_types::Request> {
        let path = format!("/api/v1/requests?service={service}&limit=2000");
        self.json::<Requests>(&path).requests
    }

    /// Waits until the daemon watches a container of a service.
    #[track_caller]
    pub fn await_service(&self, name: &str) {
        await_that(
            &format!("{name:?} to be watched"),
            Duration::from_secs(10),
            || {
                self.service(name)
                    .is_some_and(|service| !service.containers.is_empty())
            },
        );
    }

    /// Waits until a service has `n` requests, then long enough for one too
    /// many to show as well; or until it is clear that it will not have them.
    /// Returns how many it has.
    #[track_caller]
    pub fn await_settled(&self, service: &str, n: usize) -> u64 {
        let n = n as u64;
        let start = Instant::now();
        while self.n_requests(service) < n && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(600));
        self.n_requests(service)
    }

    /// As [`Self::await_settled`].
    ///
    /// # Panics
    /// If it has another number in the end.
    #[track_caller]
    pub fn await_requests(&self, service: &str, n: usize) {
        let seen = self.await_settled(service, n);
        assert_eq!(
            seen,
            n as u64,
            "requests of {service}; capture: {:?}",
            self.status().capture
        );
    }

    /// Ends it in good order.
    ///
    /// # Panics
    /// If it does not end in time with exit status 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = await_some("the daemon to stop", STOP_WITHIN, || self.exit_status());
        assert!(status.success(), "{status}; it printed:\n{}", self.log());
    }

    /// Ends it at once, as a crash would.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Holds all of its threads, as a debugger would.
    pub fn hold(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets them go on.
    pub fn release(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// How it was started, at the address that it has now.
    #[must_use]
    pub fn same_again(&self) -> Start {
        self.start.clone().listen(self.address)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("process ids are positive");
        // It may have ended by itself; then its status tells.
        let _ = kill(Pid::from_raw(pid), signal);
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    #[track_caller]
    fn check_alive(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("the daemon ended ({status}); it printed:\n{}", self.log());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.exit_status().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let limit = Instant::now() + STOP_WITHIN;
        while self.exit_status().is_none() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(20));
        }
        // Of no effect on one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the daemon printed:\n{}", self.log());
        }
    }
}
