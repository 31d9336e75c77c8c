//! Faults, each with its figure: what stops, fills, floods or outlives the
//! daemon, and what its good clients' requests are told as meanwhile.
//!
//! Each test runs a short version. With `MODELTAP_FAULTS=full`, as by
//! `cargo xtask faults`, it runs the whole one, and the figures of all go to
//! the table of `userspace/docs/faults.md`.

#[path = "faults/api_clients.rs"]
mod api_clients;
#[path = "faults/churn.rs"]
mod churn;
#[path = "faults/clients.rs"]
mod clients;
#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/docker.rs"]
mod docker;
#[path = "faults/killed.rs"]
mod killed;
#[path = "faults/soak.rs"]
mod soak;
#[path = "faults/stopped.rs"]
mod stopped;
#[path = "faults/table.rs"]
mod table;

use std::env;

/// One of two sizes: that of the whole version, or of the short one.
fn size<T>(full: T, short: T) -> T {
    if env::var("MODELTAP_FAULTS").is_ok_and(|size| size == "full") {
        full
    } else {
        short
    }
}
