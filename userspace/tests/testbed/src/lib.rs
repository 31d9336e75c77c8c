//! The ground of the live tests: real model servers in containers, a client
//! that writes down the truth of what it asked and when, and the daemon beside
//! them.
//!
//! It knows the daemon only as a user does: its command line, its signals and
//! its HTTP interface. Its callers are tests, so what fails panics and says
//! what was attempted.
//!
//! Invariants:
//! - everything it starts ends with the value that stands for it, also when
//!   the test panics; what a killed run left behind is removed by the next;
//! - load goes to loopback only, into a container's own network namespace;
//! - no committed file names a package mirror: the machine's own settings are
//!   handed to the image builds and are in no layer of the result.
#![forbid(unsafe_code)]

pub mod client;
pub mod clock;
pub mod daemon;
pub mod docker;
pub mod engine;
pub mod exposition;
pub mod good;
pub mod ground;
pub mod images;
pub mod limits;
pub mod live;
pub mod load;
pub mod mirrors;
pub mod namespace;
pub mod process;
pub mod relay;
pub mod table;
pub mod tools;
pub mod truth;
