//! The daemon with the real kernel and real containers, against the truth of
//! the client that drives them.
//!
//! Needs root and Docker. The first run on a machine builds the servers' image
//! and takes some minutes more.

#[path = "live/boundaries.rs"]
mod boundaries;
#[path = "live/calls.rs"]
mod calls;
#[path = "live/counts.rs"]
mod counts;
#[path = "live/discovery.rs"]
mod discovery;
#[path = "live/history.rs"]
mod history;
#[path = "live/inner_hop.rs"]
mod inner_hop;
#[path = "live/language_model.rs"]
mod language_model;
#[path = "live/lifecycle.rs"]
mod lifecycle;
#[path = "live/overload.rs"]
mod overload;
#[path = "live/refusals.rs"]
mod refusals;
#[path = "live/servers.rs"]
mod servers;
#[path = "live/streams.rs"]
mod streams;
#[path = "live/tap.rs"]
mod tap;
#[path = "live/verify.rs"]
mod verify;

use std::path::Path;

use modeltap_testbed::daemon::{self, Daemon, Start};
use tempfile::TempDir;

/// A daemon with a history of its own, which goes with it.
struct Watch {
    daemon: Daemon,
    _data: TempDir,
}

fn start(data: &Path) -> Start {
    Start::new(&daemon::binary(env!("CARGO_BIN_EXE_modeltap")), data)
}

#[track_caller]
fn watch() -> Watch {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    Watch {
        daemon: start(data.path()).ready(),
        _data: data,
    }
}
