//! Gives up, once the probes are attached, every privilege that is no longer
//! needed.
//!
//! | what | how far |
//! |---|---|
//! | capabilities | none is left in any set, but those that [`privileges`] finds are needed on this host |
//! | `no_new_privs` | no program that is started can gain any |
//! | Landlock | files: history is written, what [`files`] lists is read; TCP: only to notifiers; signals: to its own |
//! | seccomp | only calls that the daemon makes; of `bpf` only those on maps it has |
//!
//! All of it is inherited by threads and child processes, and binds only those
//! made later: the daemon does this while it has one thread. What takes a
//! privilege all the time is done by another process, the
//! [clerk](crate::clerk).
//!
//! A kernel that lacks some of it is no reason to stop: what is lacking is
//! told.

mod calls;
mod files;
mod privileges;

use std::fs;
use std::path::PathBuf;

use modeltap_api::state::Confinement;
use modeltap_export::notify::Settings;

use crate::config::Config;
use crate::{app, notify};

pub use self::calls::Calls;
pub use self::files::Places;

/// What is to stay possible.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Files and ports.
    pub places: Places,
    /// What is to be written, and Docker's socket: if their owner is another
    /// user, a capability is kept.
    pub written: Vec<PathBuf>,
}

impl Needs {
    /// What the daemon needs that is configured so.
    pub fn of(config: &Config, notifiers: &Settings) -> Self {
        // Needed for its rule; where it cannot be made, history says so.
        let _ = fs::create_dir_all(&config.data_dir);
        let host = config.docker_host.as_str();
        let mut written = vec![
            config.data_dir.clone(),
            config.data_dir.join(app::STORE_FILE),
        ];
        written.extend(host.strip_prefix("unix://").map(PathBuf::from));
        let docker = host.strip_prefix("tcp://").map(port);
        let ports = notify::ports(notifiers).and_then(|mut ports| {
            if let Some(docker) = docker {
                ports.insert(docker?);
            }
            Some(ports)
        });
        Self {
            places: Places {
                written: vec![config.data_dir.clone()],
                ports,
            },
            written,
        }
    }
}

/// The port of `host:port`.
fn port(address: &str) -> Option<u16> {
    let (_, port) = address.trim_end_matches('/').rsplit_once(':')?;
    port.parse().ok()
}

/// Confines this process, as far as the kernel can.
pub fn confine(needs: &Needs) -> Confinement {
    let mut told = Confinement::default();
    let n_threads = fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if n_threads != 1 {
        lacks(
            &mut told,
            "threads",
            format!("{n_threads} threads run already"),
        );
    }
    if let Some(because) = privileges::lacking_to_look() {
        lacks(&mut told, "looking", because);
    }
    match privileges::drop_all(&needs.written) {
        Ok(kept) => told.kept = kept,
        Err(error) => lacks(&mut told, "capabilities", error),
    }
    if let Err(error) = privileges::promise() {
        // Neither of the others is to be had without.
        lacks(&mut told, "no_new_privs", error);
        return told;
    }
    if let Err(error) = files::confine(&needs.places) {
        lacks(&mut told, "Landlock", error);
    }
    if let Err(error) = calls::confine(Calls::Daemon) {
        lacks(&mut told, "seccomp", error);
    }
    told
}

fn lacks(told: &mut Confinement, what: &'static str, because: impl ToString) {
    let because = because.to_string();
    tracing::warn!(because, "this process is not confined by {what}");
    told.lacking.push((what, because));
}

/// Confines the clerk: it keeps what it looks at processes with.
///
/// # Errors
/// The kernel refuses a part that every kernel has.
pub fn confine_clerk() -> anyhow::Result<()> {
    privileges::keep_to_look()?;
    privileges::promise()?;
    // Landlock would forbid what it is there for.
    calls::confine(Calls::Clerk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_notifiers_no_port_is_connected_to_but_dockers() {
        let folder = tempfile::tempdir().unwrap();
        for (docker, expected) in [
            ("unix:///var/run/docker.sock", Some(vec![])),
            ("tcp://127.0.0.1:2375", Some(vec![2375])),
            ("tcp://[::1]:2375/", Some(vec![2375])),
            // Any: better open than blind.
            ("tcp://docker", None),
        ] {
            let config = Config {
                data_dir: folder.path().to_owned(),
                docker_host: docker.to_owned(),
                ..Config::default()
            };
            let needs = Needs::of(&config, &Settings::default());
            let ports = needs.places.ports.map(Vec::from_iter);
            assert_eq!(ports, expected, "{docker}");
        }
    }
}
