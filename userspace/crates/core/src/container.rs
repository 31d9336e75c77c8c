//! Containers, and the services they belong to.

use crate::connection::CgroupId;

/// Docker's id of a container: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve digits, as Docker shows it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// What the user calls one model API: a Compose service, a label's name, or a
/// container that stands alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(pub String);

/// One running container that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: ContainerId,
    /// Docker's name, without the leading slash.
    pub name: String,
    /// The service it is an instance of.
    pub service: ServiceName,
    /// The Compose project, where there is one.
    pub project: Option<String>,
    /// The image as it was asked for (`fastapi:1.2`).
    pub image: String,
    /// The cgroup its processes run in or below.
    pub cgroup: CgroupId,
    /// Process id of its first process, in the daemon's view of `/proc`.
    pub pid: u32,
    /// Route templates named by the label `modeltap.routes`.
    pub routes: Vec<String>,
}

/// Where the connection to Docker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerState {
    /// No answer was awaited yet.
    Connecting,
    /// The inventory is complete and events arrive.
    Connected,
    /// Docker does not answer; it is tried again. What was known is kept.
    Unreachable {
        /// The error in one line.
        reason: String,
    },
}
