//! The words the probes and the daemon share: events in the ring buffer,
//! configuration, counters.
//!
//! `no_std`, no features and no `unsafe`, so that the same crate serves the
//! BPF target and the host. Every struct derives zerocopy's traits, which
//! makes padding a compile error; fields are integers and arrays of integers
//! only, because any bit pattern can stand in shared memory. The daemon turns
//! them into its own types with `TryFrom`, in `capture::decode`.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod event;
pub mod feature;
