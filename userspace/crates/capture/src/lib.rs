//! Loads the probes, says what they watch, and turns their ring buffer into
//! [`modeltap_core::connection::CaptureEvent`]s.
//!
//! It knows sockets and cgroups, but neither HTTP nor Docker. The only crate
//! of the daemon with `unsafe`: it talks to the kernel.
//!
//! Invariant: every event the probes saw is delivered, or counted as lost (the
//! ring was full), dropped (the daemon's queue was full) or undecoded.
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod clock;
pub mod control;
pub mod cut;
pub mod decode;
pub mod features;
mod left_out;
pub mod loader;
pub mod memory;
mod object;
mod offsets;
mod requirements;
pub mod ring;
mod skipped;
