//! Notifiers against real receivers on this host's loopback: sockets that
//! answer as they are told and keep what they were sent.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

mod deliveries;
mod hostile;
mod shapes;
mod sink;
mod support;
