//! Which containers run, and which cgroup and which service each belongs to.
//!
//! [`docker::watch`] asks Docker (inventory first, events after) and tells
//! what it learns as [`DiscoveryEvent`]s; [`directory::Directory`] is the
//! resulting map from cgroup to container; [`listeners`] says on which ports a
//! container listens, for connections that are older than the daemon;
//! [`resources`] reads what each one uses of the host; [`look`] is what of it
//! takes a privilege.
//!
//! It does not know what the containers serve, and nothing of probes, requests
//! or the wire. Docker and `/proc` are only ever read.
//!
//! Invariants:
//! - a cgroup told of is the container's own, never the root (id 1) nor one
//!   that other containers share;
//! - a container is removed before the same container is told of with another
//!   cgroup;
//! - what a container can choose (labels, names, number of processes) is
//!   bounded before it is kept.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod directory;
pub mod docker;
pub mod labels;
pub mod listeners;
pub mod look;
pub mod resources;

pub use directory::Directory;
pub use docker::{Config, watch};

use modeltap_core::connection::CgroupId;
use modeltap_core::container::{Container, ContainerId, DockerState};
use modeltap_core::timeline::TimelineEvent;

/// What [`watch`] learned.
#[derive(Clone, Debug, PartialEq)]
pub enum DiscoveryEvent {
    /// A container runs, or something about it changed.
    Upsert(Box<Container>),
    /// A container stopped, or its cgroup is no longer its own.
    Removed {
        /// The cgroup it was told of with.
        cgroup: CgroupId,
        /// Docker's id.
        id: ContainerId,
    },
    /// How many running containers a label leaves out; sent when it changes.
    Excluded(u32),
    /// Docker's version; sent when it changes.
    Engine(String),
    /// Where the connection to Docker stands; sent when it changes.
    State(DockerState),
    /// Something happened to a container, after the daemon's start; told once.
    Happened(TimelineEvent),
}
