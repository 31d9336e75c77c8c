//! The daemon with the real kernel and real containers, against the truth of
//! the client that drives them.
//!
//! Needs root and Docker. The first run on a machine builds the servers' image
//! and takes some minutes more.

#[path = "live/alert_resources.rs"]
mod alert_resources;
#[path = "live/alerts.rs"]
mod alerts;
#[path = "live/api.rs"]
mod api;
#[path = "live/arrival.rs"]
mod arrival;
#[path = "live/boundaries.rs"]
mod boundaries;
#[path = "live/budget.rs"]
mod budget;
#[path = "live/calls.rs"]
mod calls;
#[path = "live/confinement.rs"]
mod confinement;
#[path = "live/container_life.rs"]
mod container_life;
#[path = "live/cost.rs"]
mod cost;
#[path = "live/counts.rs"]
mod counts;
#[path = "live/discovery.rs"]
mod discovery;
#[path = "live/disk.rs"]
mod disk;
#[path = "live/faults.rs"]
mod faults;
#[path = "live/history.rs"]
mod history;
#[path = "live/inner_hop.rs"]
mod inner_hop;
#[path = "live/io_uring.rs"]
mod io_uring;
#[path = "live/language_model.rs"]
mod language_model;
#[path = "live/lifecycle.rs"]
mod lifecycle;
#[path = "live/overload.rs"]
mod overload;
#[path = "live/refusals.rs"]
mod refusals;
#[path = "live/resources.rs"]
mod resources;
#[path = "live/servers.rs"]
mod servers;
#[path = "live/streams.rs"]
mod streams;
#[path = "live/tap.rs"]
mod tap;
#[path = "live/verify.rs"]
mod verify;
#[path = "live/websocket.rs"]
mod websocket;
#[path = "live/why.rs"]
mod why;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use modeltap_core::connection::CaptureEvent;
use modeltap_core::recording::{Entry, Reader};
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

/// What the probes report while `drive` runs beside a daemon that watches
/// `service`, in the order of the ring.
#[track_caller]
fn recorded(service: &str, n_requests: usize, drive: impl FnOnce()) -> Vec<CaptureEvent> {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let file = data.path().join("live.mtap");
    let daemon = start(data.path()).recording(&file).ready();
    daemon.await_service(service);
    drive();
    daemon.await_requests(service, n_requests);
    daemon.stop();
    let file = File::open(&file).expect("the recording is there");
    let entries = Reader::new(BufReader::new(file)).expect("the recording can be read");
    entries
        .map(|entry| entry.expect("the recording is whole"))
        .filter_map(|entry| match entry {
            Entry::Event(event) => Some(event),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn watch() -> Watch {
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    Watch {
        daemon: start(data.path()).ready(),
        _data: data,
    }
}
