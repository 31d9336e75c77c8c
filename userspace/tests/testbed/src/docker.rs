//! Containers that end with the test.

use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, process};

use crate::clock::await_that;

/// Carries the process id of the test run, so that a later run can tell what
/// was left behind.
const OWNER_LABEL: &str = "modeltap.test.owner";
/// `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTEN: &str = "0A";

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec<'a> {
    /// The image.
    pub image: &'a str,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Its network; `none` still has a loopback.
    pub network: String,
    /// Labels, each `name=value`.
    pub labels: Vec<String>,
    /// Further arguments of `docker run`.
    pub more: Vec<String>,
    /// The engine, as in `DOCKER_HOST`; none for the machine's own.
    pub host: Option<String>,
}

impl<'a> Spec<'a> {
    /// A command, by blanks, in a network of its own with nothing but loopback.
    #[must_use]
    pub fn new(image: &'a str, command: &str) -> Self {
        Self {
            image,
            command: command.split_whitespace().map(str::to_owned).collect(),
            network: "none".to_owned(),
            labels: Vec::new(),
            more: Vec::new(),
            host: None,
        }
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name_and_value: &str) -> Self {
        self.labels.push(name_and_value.to_owned());
        self
    }

    /// In another network.
    #[must_use]
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }

    /// At another engine.
    #[must_use]
    pub fn at(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// With further arguments of `docker run`, by blanks.
    #[must_use]
    pub fn more(mut self, arguments: &str) -> Self {
        self.more
            .extend(arguments.split_whitespace().map(str::to_owned));
        self
    }
}

/// A container; it is removed when this is dropped.
#[derive(Debug)]
pub struct Container {
    id: String,
    name: String,
    host: Option<String>,
}

impl Container {
    /// Starts a container called after `name` and this process.
    ///
    /// # Panics
    /// If Docker refuses.
    #[must_use]
    pub fn start(name: &str, spec: &Spec) -> Self {
        static SWEPT: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        SWEPT.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", process::id());
        let owner = format!("{OWNER_LABEL}={}", process::id());
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &name,
            "--label",
            &owner,
            "--network",
            &spec.network,
        ];
        for label in &spec.labels {
            arguments.extend(["--label", label]);
        }
        arguments.extend(spec.more.iter().map(String::as_str));
        arguments.push(spec.image);
        arguments.extend(spec.command.iter().map(String::as_str));
        let host = spec.host.clone();
        let id = docker_at(host.as_deref(), &arguments);
        Self { id, name, host }
    }

    /// Its name, which is its service's too unless a label says otherwise.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Docker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Process id of its first process.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", &self.id]);
        match pid.parse() {
            Ok(0) | Err(_) => panic!("{} does not run: {}", self.name, self.logs()),
            Ok(pid) => pid,
        }
    }

    /// The same; nothing if it does not run.
    #[must_use]
    pub fn try_pid(&self) -> Option<u32> {
        let arguments = ["inspect", "--format", "{{.State.Pid}}", &self.id];
        let output = output(self.host.as_deref(), &arguments);
        let pid = String::from_utf8_lossy(&output.stdout).trim().parse();
        pid.ok().filter(|pid| *pid > 0)
    }

    /// Waits until something in its network listens on `port`, without
    /// connecting to it, so that the server sees nothing of us.
    #[must_use]
    pub fn listening(self, port: u16) -> Self {
        let limit = Duration::from_secs(30);
        await_that(&format!("{} to listen on {port}", self.name), limit, || {
            let pid = self.pid();
            ["tcp", "tcp6"].iter().any(|table| {
                let table = fs::read_to_string(format!("/proc/{pid}/net/{table}"));
                listens(&table.unwrap_or_default(), port)
            })
        });
        self
    }

    /// Runs a command in it, by blanks, and returns what that printed.
    ///
    /// # Panics
    /// If the command fails.
    pub fn execute(&self, command: &[&str]) -> String {
        self.docker(&[&["exec", &self.id], command].concat())
    }

    /// The last that it printed.
    #[must_use]
    pub fn logs(&self) -> String {
        let output = output(self.host.as_deref(), &["logs", "--tail", "40", &self.id]);
        [output.stdout, output.stderr]
            .iter()
            .map(|o| String::from_utf8_lossy(o))
            .collect()
    }

    /// Stops and starts it: same container, other process, other cgroup.
    pub fn restart(&self) {
        self.docker(&["restart", "--time", "2", &self.id]);
    }

    /// Holds all of its processes.
    pub fn pause(&self) {
        self.docker(&["pause", &self.id]);
    }

    /// Lets them go on.
    pub fn unpause(&self) {
        self.docker(&["unpause", &self.id]);
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) {
        let name = format!("{name}-{}", process::id());
        self.docker(&["rename", &self.id, &name]);
        self.name = name;
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        docker_at(self.host.as_deref(), arguments)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        output(
            self.host.as_deref(),
            &["rm", "--force", "--volumes", &self.id],
        );
    }
}

fn listens(table: &str, port: u16) -> bool {
    let port = format!(":{port:04X}");
    table.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().take(4).collect();
        fields.len() == 4 && fields[1].ends_with(&port) && fields[3] == LISTEN
    })
}

/// Removes containers of test runs that were killed.
fn sweep() {
    let format = format!("{{{{.ID}}}} {{{{.Label \"{OWNER_LABEL}\"}}}}");
    let filter = format!("label={OWNER_LABEL}");
    for line in docker(&["ps", "--all", "--filter", &filter, "--format", &format]).lines() {
        let Some((id, owner)) = line.split_once(' ') else {
            continue;
        };
        if !fs::exists(format!("/proc/{owner}")).unwrap_or(true) {
            output(None, &["rm", "--force", "--volumes", id]);
        }
    }
}

/// Runs `docker` and returns what it printed.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    docker_at(None, arguments)
}

/// As [`docker`], at the engine of `host`, or the machine's own.
///
/// # Panics
/// If it fails.
#[track_caller]
pub fn docker_at(host: Option<&str>, arguments: &[&str]) -> String {
    let output = output(host, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "docker {}: {error}",
        arguments.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn output(host: Option<&str>, arguments: &[&str]) -> Output {
    let host = host.into_iter().flat_map(|host| ["--host", host]);
    Command::new("docker")
        .args(host)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("run docker: {error}; install docker.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_that_port_counts() {
        let table = "\
  sl  local_address rem_address   st
   0: 00000000:1F40 00000000:0000 0A 0:0
   1: 0100007F:1F41 0100007F:1F42 01 0:0
";
        assert!(listens(table, 8000));
        assert!(!listens(table, 8001), "a connection");
        assert!(!listens(table, 8002), "a peer");
        assert!(!listens("", 8000));
    }
}
