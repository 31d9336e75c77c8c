//! A cgroup of our own and the server in it; neither outlives the run.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use modeltap_core::connection::CgroupId;
use modeltap_discovery::cgroup::Hierarchy;

use super::server::Note;

/// Name of the hidden command that serves.
const SERVER_COMMAND: &str = "verify-server";
/// Beginning of the cgroups' names; the process id follows.
const PREFIX: &str = "modeltap-verify-";
/// A cgroup can be removed a moment after its last process is gone.
const REMOVED_WITHIN: Duration = Duration::from_secs(2);

/// A cgroup of this process's making; it is removed when this is dropped.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    id: CgroupId,
}

impl Cgroup {
    /// Makes one, and removes those of runs that were killed.
    ///
    /// # Errors
    /// There is no v2 hierarchy, or it cannot be written.
    pub fn create() -> anyhow::Result<Self> {
        let root = Hierarchy::find()?
            .root()
            .context("the root of the cgroup2 hierarchy is not mounted: run this on the host")?;
        sweep(&root);
        let directory = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make the cgroup {directory:?}: run this as root"))?;
        // From here on it goes with this value.
        let mut cgroup = Self {
            directory,
            id: CgroupId(0),
        };
        let metadata = cgroup.directory.metadata();
        let metadata = metadata.with_context(|| format!("cannot read {:?}", cgroup.directory))?;
        cgroup.id = CgroupId(metadata.ino());
        Ok(cgroup)
    }

    /// Its id.
    pub fn id(&self) -> CgroupId {
        self.id
    }

    fn take_in(&self, pid: u32) -> anyhow::Result<()> {
        let file = self.directory.join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .with_context(|| format!("cannot move the server into its cgroup by {file:?}"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let limit = Instant::now() + REMOVED_WITHIN;
        while let Err(error) = fs::remove_dir(&self.directory) {
            if error.kind() == ErrorKind::NotFound {
                return;
            }
            if Instant::now() >= limit {
                tracing::error!(%error, cgroup = ?self.directory, "the cgroup is left behind");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Removes cgroups whose makers were killed.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            // One with a process in it cannot be removed, and must not be.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The server, running; it is ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Starts this program as a server in `cgroup`.
    ///
    /// # Errors
    /// The process cannot be started or moved, or does not listen.
    pub fn start(cgroup: &Cgroup) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the running program")?;
        let mut child = Command::new(program)
            .arg(SERVER_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut server = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout.context("the server has no output")?),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        cgroup.take_in(server.child.id())?;
        let stdin = server.stdin.as_mut().context("the server has no input")?;
        stdin
            .write_all(b"serve\n")
            .context("cannot start the server")?;
        let mut line = String::new();
        server.stdout.read_line(&mut line)?;
        let Ok(port) = line.trim().parse() else {
            bail!("the server did not listen; it said {line:?}");
        };
        server.address.set_port(port);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and returns what it noted.
    ///
    /// # Errors
    /// It broke.
    pub fn finish(mut self) -> anyhow::Result<Vec<Note>> {
        self.stdin = None;
        let mut text = String::new();
        self.stdout
            .read_to_string(&mut text)
            .context("cannot read the server's notes")?;
        let status = self.child.wait().context("cannot wait for the server")?;
        if !status.success() {
            bail!("the server broke: {status}");
        }
        text.lines().map(str::parse).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of no effect on one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
